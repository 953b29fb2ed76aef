"""The rows of one roster inside a transaction: locked, limited, versioned. For services/roster.py alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.fields import MAX_JID_CHARS
from accounts.models import User
from xmppd.bus.channel import publish
from xmppd.bus.messages import RosterChanged
from xmppd.models import RosterItem, RosterState, RosterTombstone, SubscriptionRequest
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.writer import clean
from xmppd.services.properties import Setting

MAX_ITEMS = Setting(
    "roster.max_items",
    int,
    2000,
    _("Number of contacts that a user may add; shared contacts do not count."),
    label=_("Contacts per user"),
    minimum=1,
)
MAX_NAME_BYTES = Setting(
    "roster.max_name_bytes",
    int,
    1023,
    _("Bytes of the name that a user gives to a contact or to a group of contacts."),
    label=_("Longest name of a contact or group"),
    minimum=1,
    maximum=16384,
)
MAX_GROUPS = Setting(
    "roster.max_groups",
    int,
    100,
    _("Number of groups that one contact may be in."),
    label=_("Groups per contact"),
    minimum=1,
)
MAX_REQUESTS = Setting(
    "roster.max_requests",
    int,
    500,
    _("Number of unanswered subscription requests kept for a user; further ones are ignored."),
    label=_("Unanswered subscription requests per user"),
    minimum=1,
)
MAX_REQUEST_SIZE = Setting(
    "roster.max_request_size",
    "size",
    10 * 1024,
    _("Bytes of a subscription request that are kept; of a larger one only who asked."),
    label=_("Largest stored subscription request"),
    minimum=1024,
)
KEPT_TOMBSTONES = 200
MAX_SHARED_CHARS = 128  # users choose their groups: long lists of them are not remembered

FIELDS = ("jid", "name", "subscription", "ask", "approved", "groups")


@dataclass(frozen=True, slots=True)
class Item:
    """A roster item; `subscription` is none, to, from or both."""

    jid: str
    name: str = ""
    subscription: str = "none"
    ask: bool = False
    approved: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What the roster says of a contact since this version; no item: removed."""

    version: int
    contact: str
    item: Item | None
    previous: Item | None = None


def make_item(row: tuple[Any, ...]) -> Item:
    """From values_list(*FIELDS), or of a cursor: groups as JSON, MySQL's booleans as numbers."""
    jid, name, subscription, ask, approved, groups = row
    if isinstance(groups, str):
        groups = _group_names(groups) if len(groups) <= MAX_SHARED_CHARS else tuple(json.loads(groups))
    else:
        groups = tuple(groups)
    return Item(jid, name, subscription, bool(ask), bool(approved), groups)


@lru_cache(maxsize=4096)
def _group_names(text: str) -> tuple[str, ...]:
    """Most contacts of an installation stand in few combinations of groups: one tuple serves them all."""
    return tuple(json.loads(text))


def check_name(name: str) -> None:
    """RFC 6121 2.3.3. What XML cannot carry would break every stream that the item is pushed to."""
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES.value or clean(name) != name:
        raise StanzaError("not-acceptable", gettext("The name is too long or holds a forbidden character."))


def check_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """The groups in the client's order. RFC 6121 2.3.3: empty, too long not-acceptable; twice bad-request."""
    checked = tuple(groups)
    if len(checked) > MAX_GROUPS.value:
        text = gettext("A contact can be in %(limit)d groups at most.") % {"limit": MAX_GROUPS.value}
        raise StanzaError("not-acceptable", text)
    for group in checked:
        if not group:
            raise StanzaError("not-acceptable", gettext("A group must have a name."))
        check_name(group)
    if len(set(checked)) != len(checked):
        raise StanzaError("bad-request", gettext("A group is given twice."))
    return checked


class LockedRoster:
    """One account's roster while its RosterState row is locked; make it inside a transaction.

    Two of them in one transaction: the lower user id first, or two transactions may wait for each other.
    Raises StanzaError(item-not-found) when there is no such account.
    """

    def __init__(self, user_id: int) -> None:
        user = User.objects.filter(pk=user_id).values_list("username", "domain__name").first()
        if user is None:
            raise StanzaError("item-not-found")
        self.user_id = user_id
        self.jid = f"{user[0]}@{user[1]}"
        # A new roster starts at the clock, so that an account which gets the name of a deleted one is never
        # at a version that clients of the former one remember (unless that one changed every second).
        start = int(time.time())
        state, _created = RosterState.objects.select_for_update().get_or_create(
            user_id=user_id, defaults={"version": start, "log_start": start}
        )
        self.version = state.version

    def get(self, contact: str) -> Item | None:
        row = RosterItem.objects.filter(user_id=self.user_id, jid=contact).values_list(*FIELDS).first()
        return make_item(row) if row else None

    def put(self, item: Item, previous: Item | None) -> Change:
        """Write the item; `previous` is what `get` returned."""
        self._next_version()
        values = {
            "name": item.name,
            "subscription": item.subscription,
            "ask": item.ask,
            "approved": item.approved,
            "groups": list(item.groups),
            "version": self.version,
        }
        if previous is None:
            RosterItem.objects.create(user_id=self.user_id, jid=item.jid, **values)
            RosterTombstone.objects.filter(user_id=self.user_id, jid=item.jid).delete()
        else:
            RosterItem.objects.filter(user_id=self.user_id, jid=item.jid).update(**values)
        self._publish(item.jid)
        return Change(self.version, item.jid, item, previous)

    def remove(self, contact: str) -> int:
        """Delete the item and log its removal; the new version."""
        self._next_version()
        RosterItem.objects.filter(user_id=self.user_id, jid=contact).delete()
        RosterTombstone.objects.create(user_id=self.user_id, jid=contact, version=self.version)
        self._prune_tombstones()
        self._publish(contact)
        return self.version

    def get_pending(self, contact: str) -> str | None:
        request = SubscriptionRequest.objects.filter(user_id=self.user_id, jid=contact)
        return request.values_list("stanza", flat=True).first()

    def add_pending(self, contact: str, stanza: str) -> bool:
        """False when the account has too many unanswered requests."""
        if SubscriptionRequest.objects.filter(user_id=self.user_id).count() >= MAX_REQUESTS.value:
            return False
        SubscriptionRequest.objects.create(user_id=self.user_id, jid=contact, stanza=stanza)
        return True

    def drop_pending(self, contact: str) -> bool:
        """True when there was a request."""
        return SubscriptionRequest.objects.filter(user_id=self.user_id, jid=contact).delete()[0] > 0

    def check_contact(self, contact: str) -> None:
        if contact == self.jid:
            raise StanzaError("not-allowed", gettext("An account cannot be its own contact."))
        if not contact or len(contact) > MAX_JID_CHARS:
            text = gettext("An address can have %(limit)d characters at most.") % {"limit": MAX_JID_CHARS}
            raise StanzaError("not-acceptable", text)

    def check_room(self) -> None:
        if RosterItem.objects.filter(user_id=self.user_id).count() >= MAX_ITEMS.value:
            text = gettext("A contact list can have %(limit)d contacts at most.") % {"limit": MAX_ITEMS.value}
            raise StanzaError("policy-violation", text)

    def _next_version(self) -> None:
        self.version += 1
        RosterState.objects.filter(user_id=self.user_id).update(version=self.version)

    def _prune_tombstones(self) -> None:
        tombstones = RosterTombstone.objects.filter(user_id=self.user_id).order_by("-version")
        newest_pruned = tombstones.values_list("version", flat=True)[KEPT_TOMBSTONES : KEPT_TOMBSTONES + 1]
        for version in newest_pruned:
            tombstones.filter(version__lte=version).delete()
            RosterState.objects.filter(user_id=self.user_id).update(log_start=version)

    def _publish(self, contact: str) -> None:
        publish(RosterChanged(self.user_id, self.jid, contact, self.version))
