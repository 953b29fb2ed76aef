"""Whom accounts block, XEP-0191; the only writer of a block list. BlocklistChanged is published on commit."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.fields import MAX_JID_CHARS
from accounts.models import User
from xmppd.bus import channel
from xmppd.bus.messages import BlocklistChanged
from xmppd.models import BlockedAddress
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.services.properties import Setting

MAX_ITEMS = Setting(
    "blocking.max_items",
    int,
    1000,
    _("Number of addresses that one user can block."),
    label=_("Blocked addresses per user"),
    minimum=1,
)

NOBODY: frozenset[str] = frozenset()
CHUNK = 500  # rows in one statement: SQLite may be built for no more than 999 parameters


def load(user_id: int) -> frozenset[str]:
    """The blocked addresses as prepared texts; see JID for the four forms."""
    return frozenset(BlockedAddress.objects.filter(user_id=user_id).values_list("jid", flat=True))


@transaction.atomic
def add(user_id: int, jids: Iterable[JID]) -> frozenset[str]:
    """Block these, all or none; returns the whole list. StanzaError: not-allowed (oneself, or the own server, whose
    answers would be lost), not-acceptable (too long), policy-violation (too many).
    """
    user = User.objects.select_related("domain").get(pk=user_id)
    wanted = set(jids)
    for jid in wanted:
        _check(user, jid)
    known = load(user_id)
    missing = {jid.full_str for jid in wanted} - known
    if len(known) + len(missing) > MAX_ITEMS.value:
        text = gettext("At most %(limit)d addresses can be blocked.") % {"limit": MAX_ITEMS.value}
        raise StanzaError("policy-violation", text)
    if missing:
        rows = [BlockedAddress(user_id=user_id, jid=jid) for jid in sorted(missing)]
        BlockedAddress.objects.bulk_create(rows, CHUNK // 2, ignore_conflicts=True)
        channel.publish(BlocklistChanged(user_id, user.jid))
    return known | missing


def _check(user: User, jid: JID) -> None:
    if jid.bare_str == user.jid:
        raise StanzaError("not-allowed", gettext("Nobody can block themselves."))
    if jid.bare_str == user.domain.name:
        raise StanzaError("not-allowed", gettext("Nobody can block their own server."))
    if len(jid.full_str) > MAX_JID_CHARS:
        text = gettext("An address can have %(limit)d characters at most.") % {"limit": MAX_JID_CHARS}
        raise StanzaError("not-acceptable", text)


@transaction.atomic
def remove(user_id: int, jids: Iterable[JID] | None = None) -> frozenset[str]:
    """Block these no more, or (None) nobody at all; returns what is left. What is not blocked does not matter."""
    user = User.objects.select_related("domain").get(pk=user_id)
    known = load(user_id)
    gone = known if jids is None else known & {jid.full_str for jid in jids}
    texts = sorted(gone)
    for start in range(0, len(texts), CHUNK):
        BlockedAddress.objects.filter(user_id=user_id, jid__in=texts[start : start + CHUNK]).delete()
    if gone:
        channel.publish(BlocklistChanged(user_id, user.jid))
    return known - gone
