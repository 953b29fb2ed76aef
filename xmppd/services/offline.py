"""Messages for accounts without an available resource, XEP-0160. The caller decides which are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.fields import MAX_JID_CHARS
from xmppd.models import OfflineMessage
from xmppd.protocol.errors import StanzaError
from xmppd.services.db import writing
from xmppd.services.properties import Setting

POLICY = Setting(
    "offline.policy",
    str,
    "store",
    _("What happens to a message for a user who is not online."),
    label=_("Messages for users who are offline"),
    choices=[
        ("store", _("kept until the user comes online")),
        ("bounce", _("refused with an error")),
        ("drop", _("dropped without a word")),
    ],
)
WHEN_FULL = Setting(
    "offline.when_full",
    str,
    "bounce",
    _("What happens to a message when the store is full: an error to the sender, or nothing."),
    label=_("Messages when the store is full"),
    choices=[("bounce", _("refused with an error")), ("drop", _("dropped without a word"))],
)
QUOTA = Setting(
    "offline.quota",
    "size",
    1024 * 1024,
    _("Bytes of offline messages kept for each user."),
    label=_("Space for offline messages per user"),
    zero=_("none"),
    minimum=0,
)
MAX_MESSAGES = Setting(
    "offline.max_messages",
    int,
    1000,
    _("Number of offline messages kept for each user."),
    label=_("Offline messages per user"),
    zero=_("none"),
    minimum=0,
)
EXPIRE_AFTER = Setting(
    "offline.expire_after",
    timedelta,
    timedelta(0),
    _("Time after which an offline message is deleted unread; 0 keeps it until the user comes online."),
    label=_("Expiry of offline messages"),
    zero=pgettext_lazy("of an expiry", "never"),
    minimum=timedelta(0),
    maximum=timedelta(days=36500),
)

CHUNK = 500  # rows in one statement: SQLite may be built for no more than 999 parameters


@dataclass(frozen=True, slots=True)
class Stored:
    id: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored message; `created` is the stamp of its <delay/> (XEP-0203)."""

    id: int
    xml: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    messages: int
    bytes: int


@transaction.atomic
def store(user_id: int, stanza_xml: str, sender: str, *, received: datetime | None = None) -> Stored | None:
    """Keep the message. None: policy drops it; StanzaError(service-unavailable): policy bounces it.

    `received`: when it first came, if that is not now.
    """
    if POLICY.value != "store":
        return _refuse(POLICY.value)
    size = len(stanza_xml.encode())
    used = usage(user_id)
    if used.messages >= MAX_MESSAGES.value or used.bytes + size > QUOTA.value:
        return _refuse(WHEN_FULL.value)
    message = OfflineMessage.objects.create(
        user_id=user_id,
        stanza=stanza_xml,
        size=size,
        sender=sender[:MAX_JID_CHARS],
        created=received or timezone.now(),
    )
    return Stored(message.id, message.created)


def _refuse(reaction: str) -> None:
    """XEP-0160 2: the sender is told that a message is not kept, unless the administrator wants silence."""
    if reaction == "bounce":
        raise StanzaError("service-unavailable")


def take(user_id: int, limit: int = 200) -> list[Kept]:
    """The oldest messages in the order in which they first came: what a session hands over at its end is stored late.

    They stay until `delete`, so that a crash repeats messages and never loses one.
    """
    rows = OfflineMessage.objects.filter(user_id=user_id).order_by("created", "id")
    return [Kept(*row) for row in rows.values_list("id", "stanza", "created")[:limit]]


@transaction.atomic
def delete(user_id: int, ids: Iterable[int]) -> int:
    """Delete delivered messages of this account; the number that existed."""
    return sum(
        OfflineMessage.objects.filter(user_id=user_id, id__in=chunk).delete()[0]
        for chunk in _chunks(list(ids))
    )


def count(user_id: int) -> int:
    return OfflineMessage.objects.filter(user_id=user_id).count()


def usage(user_id: int) -> Usage:
    used = OfflineMessage.objects.filter(user_id=user_id).aggregate(messages=Count("id"), bytes=Sum("size"))
    return Usage(used["messages"], used["bytes"] or 0)


def has_room(user_id: int) -> bool:
    """Whether another message may be kept."""
    used = usage(user_id)
    return used.messages < MAX_MESSAGES.value and used.bytes < QUOTA.value


@writing
def purge_expired(now: datetime | None = None) -> int:
    """Delete what is older than the setting allows, in small transactions; the number deleted."""
    if not EXPIRE_AFTER.value:
        return 0
    until = (now or timezone.now()) - EXPIRE_AFTER.value
    ids = list(OfflineMessage.objects.filter(created__lt=until).values_list("id", flat=True))
    return sum(OfflineMessage.objects.filter(id__in=chunk).delete()[0] for chunk in _chunks(ids))


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
