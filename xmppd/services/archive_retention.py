"""How long messages stay in the archive: the server's limits, a user's own ones, and erasing (XEP-0313 8)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import takewhile

from django.db import DatabaseError, transaction
from django.db.models import BigIntegerField, Count, F, Max, Min, QuerySet, RowRange, Sum, Window
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import audit
from accounts.audit import Actor
from accounts.models import User
from accounts.services.checks import invalid, require_manages
from xmppd.models import ArchivedMessage, ArchivePreferences
from xmppd.services.archive import id_at, settle, time_of
from xmppd.services.archive_query import MAX_ID, NOBODY, Query, in_order, matching, messages
from xmppd.services.db import is_stopping, writing
from xmppd.services.properties import Setting

log = logging.getLogger("hearth.archive")

MAX_DAYS = 36_500
MIN_BYTES = 1024**2  # below it a server would keep next to nothing: a unit that was mistaken
MAX_BYTES = 1024**4


def _warn_of_days(old: int, new: int) -> str | None:
    return _warn_of(count_older(new, time.time())) if new and (not old or new < old) else None


def _warn_of_size(old: int, new: int) -> str | None:
    return _warn_of(count_beyond(new)) if new and (not old or new < old) else None


def _warn_of(found: tuple[int, int]) -> str | None:
    number, users = found
    if not number:
        return None
    messages_text = ngettext("%(n)d message", "%(n)d messages", number) % {"n": number}
    users_text = ngettext("%(n)d user", "%(n)d users", users) % {"n": users}
    return _("Within a day, %(messages)s of %(users)s will be deleted for good.") % {
        "messages": messages_text,
        "users": users_text,
    }


KEEP_DAYS = Setting(
    "archive.keep_days",
    int,
    0,
    gettext_lazy(
        "Days that messages stay in the archive; older ones are deleted within a day. 0 keeps them for ever. "
        "A user's own limit comes before this one."
    ),
    label=gettext_lazy("Days in the archive"),
    zero=gettext_lazy("for ever"),
    minimum=0,
    maximum=MAX_DAYS,
    warn=_warn_of_days,
)
KEEP_BYTES = Setting(
    "archive.keep_size",
    "size",
    0,
    gettext_lazy(
        "Bytes of messages kept for one user; above it the oldest are deleted within a day. 0 sets no limit. "
        "A user's own limit comes before this one."
    ),
    label=gettext_lazy("Size of the archive per user"),
    zero=gettext_lazy("no limit"),
    minimum=MIN_BYTES,
    maximum=MAX_BYTES,
    warn=_warn_of_size,
)
CHUNK = 500  # rows deleted in one transaction
MAX_PAUSE_SECONDS = 0.05  # between two of them
DAY_SECONDS = 86_400


# --- what is there


@dataclass(frozen=True, slots=True)
class Usage:
    """How much an archive or a part of it holds; bytes of stanzas, without what the database needs around them."""

    messages: int
    bytes: int
    first: datetime | None
    last: datetime | None


def usage(user_id: int, query: Query | None = None) -> Usage:
    """Of an archive, or of what in it matches; without the last moments where the database takes no writes."""
    with suppress(DatabaseError):  # a full disk hides no figures
        settle()
    found = messages(user_id) if query is None else matching(user_id, query)
    row = found.aggregate(number=Count("id"), bytes=Sum("size"), first=Min("id"), last=Max("id"))
    return Usage(row["number"], row["bytes"] or 0, _moment(row["first"]), _moment(row["last"]))


def _moment(identity: int | None) -> datetime | None:
    return None if identity is None else datetime.fromtimestamp(time_of(identity), UTC)


def between(since: date | None = None, before: date | None = None, peer: str = "") -> Query:
    """From the first of these days on, before the other one, in the server's time zone; with one bare JID."""
    return Query(
        after_id=None if since is None else _start_of(since) - 1,
        before_id=None if before is None else _start_of(before),
        peer=peer,
    )


def _start_of(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.get_current_timezone())
    return min(id_at(midnight.timestamp()), MAX_ID)


# --- limits


@dataclass(frozen=True, slots=True)
class Limits:
    """Days and bytes that are kept; 0 is no limit."""

    days: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Retention:
    """A user's own limits; None: as the server's settings say."""

    days: int | None = None
    bytes: int | None = None

    @property
    def effective(self) -> Limits:
        return Limits(
            KEEP_DAYS.value if self.days is None else self.days,
            KEEP_BYTES.value if self.bytes is None else self.bytes,
        )


def retention(user_id: int) -> Retention:
    row = ArchivePreferences.objects.filter(user_id=user_id).first()
    return Retention() if row is None else Retention(row.keep_days, row.keep_bytes)


def set_retention(user: User, *, days: int | None, bytes: int | None, actor: Actor) -> int:
    """Set the user's own limits, and delete what they do not keep: the number of messages.

    None is as the server says, 0 for ever or without limit. Raises ValidationError (days, bytes).
    """
    require_manages(actor, user, self_too=True)
    if days is not None and not 0 <= days <= MAX_DAYS:
        raise invalid("days", _("From 0 to %(limit)d days."), limit=MAX_DAYS)
    if bytes is not None and not 0 <= bytes <= MAX_ID:
        raise invalid("bytes", _("This is too much."))
    wanted = Retention(days, bytes)
    with transaction.atomic():
        before = retention(user.pk)
        if wanted == before:
            return 0
        ArchivePreferences.objects.update_or_create(
            user_id=user.pk, defaults={"keep_days": days, "keep_bytes": bytes}
        )
        audit.record(
            actor, "archive-retention-changed", user.jid, before=_facts(before), after=_facts(wanted)
        )
    return purge_user(user.pk, wanted.effective, time.time())


def _facts(own: Retention) -> dict[str, int | None]:
    return {"keep_days": own.days, "keep_bytes": own.bytes}


def count_excess(user_id: int, limits: Limits, now: float) -> int:
    """How many messages these limits would delete."""
    settle()
    number = 0
    if limits.days:
        number = messages(user_id).filter(id__lt=_oldest(limits.days, now)).count()
    if limits.bytes:
        # What is too old and what is too much both begin with the oldest.
        number = max(number, sum(len(ids) for ids in _oldest_of(user_id, _excess_bytes(user_id, limits))))
    return number


def count_older(days: int, now: float) -> tuple[int, int]:
    """How many messages of how many users a server-wide limit of days would delete: of those without one of their
    own.
    """
    settle()
    others = ArchivePreferences.objects.exclude(keep_days=None).values("user_id")
    return _count(messages().filter(id__lt=_oldest(days, now)).exclude(user_id__in=others))


def count_beyond(size: int) -> tuple[int, int]:
    """The same of a limit of bytes for each user."""
    settle()
    others = ArchivePreferences.objects.exclude(keep_bytes=None).values("user_id")
    # A message goes when it and the newer ones are more than may stay: read from the index that has the sizes.
    with_newer = Window(
        Sum("size", output_field=BigIntegerField()),
        partition_by=F("user_id"),
        order_by="-id",
        frame=RowRange(start=None, end=0),
    )
    return _count(
        messages().exclude(user_id__in=others).annotate(with_newer=with_newer).filter(with_newer__gt=size)
    )


def _count(found: QuerySet[ArchivedMessage]) -> tuple[int, int]:
    row = found.aggregate(number=Count("id"), users=Count("user_id", distinct=True))
    return row["number"], row["users"]


# --- deleting


@dataclass
class Purged:
    """What a sweep deleted: how many messages for which reason, and of whom."""

    too_old: int = 0
    too_much: int = 0
    of_deleted: int = 0
    users: set[int] = field(default_factory=set)

    @property
    def messages(self) -> int:
        return self.too_old + self.too_much + self.of_deleted

    def tell(self) -> None:
        """In the log first: what ended the sweep half-way may be the database."""
        reasons = {"too_old": self.too_old, "too_much": self.too_much, "of_deleted": self.of_deleted}
        counts = {name: number for name, number in reasons.items() if number}
        reason = ",".join(f"{name}:{number}" for name, number in counts.items())
        log.info("archive-purged messages=%d users=%d reason=%s", self.messages, len(self.users), reason)
        facts = {"messages": self.messages, "users": len(self.users), **counts}
        audit.record(audit.SYSTEM, "archive-purged", after=facts)


@writing
def forget(user_id: int) -> int:
    """Delete the archive of a deleted account; the number of messages."""
    settle()
    return sum(_delete(in_order(messages(user_id))))


def _owners() -> Iterator[int]:
    """Whose archives there are, by skipping from one user to the next in the index."""
    last = NOBODY
    while True:
        found = (
            messages().filter(user_id__gt=last).order_by("user_id", "id").values_list("user_id", flat=True)
        )
        owner = found.first()
        if owner is None:
            return
        last = owner
        yield owner


@writing
def purge(now: float) -> int:
    """Delete what is older or more than may be kept, the user's own limits first, and what deleted accounts left; the
    number of messages. Log and audit tell it.
    """
    purged = Purged()
    try:
        _purge(now, purged)
    finally:  # a database that fails half-way has deleted the first half
        if purged.messages:
            purged.tell()
    return purged.messages


def _purge(now: float, purged: Purged) -> None:
    settle()
    # Accounts are read behind the archives: one that was made meanwhile has none of these.
    owners = set(_owners())
    gone = owners.difference(User.objects.values_list("id", flat=True))
    own = {
        user_id: Retention(days, bytes_)
        for user_id, days, bytes_ in ArchivePreferences.objects.exclude(
            keep_days=None, keep_bytes=None
        ).values_list("user_id", "keep_days", "keep_bytes")
    }
    for owner in sorted(gone):
        for number in _delete(in_order(messages(owner)), purged.users):
            purged.of_deleted += number
    if KEEP_DAYS.value:
        others = ArchivePreferences.objects.exclude(keep_days=None).values("user_id")
        old = messages().filter(id__lt=_oldest(KEEP_DAYS.value, now)).exclude(user_id__in=others)
        for number in _delete(old.order_by("id"), purged.users):
            purged.too_old += number
    for user_id, limits in own.items():
        _purge_user(user_id, limits.effective, now, purged)
    if KEEP_BYTES.value:
        # Django holds the sum to be of the column's 32 bits, and finds nothing beyond them, unless told.
        total = Sum("size", output_field=BigIntegerField())
        sizes = messages().values_list("user_id").annotate(total=total).filter(total__gt=KEEP_BYTES.value)
        for user_id, size in list(sizes):
            if user_id not in own:
                _delete_oldest(user_id, size - KEEP_BYTES.value, purged)


def purge_user(user_id: int, limits: Limits, now: float) -> int:
    """Delete what these limits do not keep of one archive; the number of messages."""
    settle()
    purged = Purged()
    _purge_user(user_id, limits, now, purged)
    return purged.messages


def _purge_user(user_id: int, limits: Limits, now: float, purged: Purged) -> None:
    if limits.days:
        old = messages(user_id).filter(id__lt=_oldest(limits.days, now))
        for number in _delete(in_order(old), purged.users):
            purged.too_old += number
    if limits.bytes:
        _delete_oldest(user_id, _excess_bytes(user_id, limits), purged)


def erase(user: User, *, actor: Actor, before: date | None = None, peer: str = "") -> int:
    """Delete a user's messages: all, or those before a day, or with one bare JID; the number of messages.

    Other people's copies of them stay. What comes meanwhile stays too.
    """
    require_manages(actor, user, self_too=True)
    settle()
    query = between(before=before, peer=peer)
    found = matching(user.pk, query)
    last = in_order(found, last=True).values_list("id", flat=True).first()
    if last is None:
        return 0
    deleted = 0
    try:
        for number in _delete(in_order(found.filter(id__lte=last))):
            deleted += number
    finally:  # a database that fails half-way has deleted the first half
        facts = {"messages": deleted, "before": before, "peer": peer}
        audit.record(actor, "archive-erased", user.jid, after={k: v for k, v in facts.items() if v})
    return deleted


def _oldest(days: int, now: float) -> int:
    """The lowest id that is kept."""
    return id_at(now - days * DAY_SECONDS)


def _excess_bytes(user_id: int, limits: Limits) -> int:
    return (messages(user_id).aggregate(bytes=Sum("size"))["bytes"] or 0) - limits.bytes


def _delete_oldest(user_id: int, excess: int, purged: Purged) -> None:
    """Delete the oldest until this number of bytes is gone, or the server ends."""
    for ids in takewhile(lambda _ids: not is_stopping(), _oldest_of(user_id, excess)):
        purged.too_much += _delete_ids(ids)
        purged.users.add(user_id)


def _oldest_of(user_id: int, excess: int) -> Iterator[list[int]]:
    """The ids of the oldest messages that together have at least this number of bytes, some at a time."""
    last = -1
    while excess > 0:
        ids = []
        found = in_order(messages(user_id).filter(id__gt=last)).values_list("id", "size")[:CHUNK]
        for identity, size in found:
            ids.append(identity)
            excess -= size
            if excess <= 0:
                break
        if not ids:
            return
        last = ids[-1]
        yield ids


def _delete(found: QuerySet[ArchivedMessage], users: set[int] | None = None) -> Iterator[int]:
    """Delete what is found, in its order; the number of rows of each transaction. It ends when the server does.

    Whose messages they were is added to `users`.
    """
    last = -1
    while not is_stopping() and (
        rows := list(found.filter(id__gt=last).values_list("id", "user_id")[:CHUNK])
    ):
        last = rows[-1][0]
        number = _delete_ids([identity for identity, _owner in rows])
        if users is not None:
            users.update(owner for _id, owner in rows)
        yield number


def _delete_ids(ids: list[int]) -> int:
    """One small transaction; then whoever waits to write a message has as much time as this took."""
    started = time.monotonic()
    deleted = ArchivedMessage.objects.filter(id__in=ids).delete()[0]
    time.sleep(min(time.monotonic() - started, MAX_PAUSE_SECONDS))
    return deleted
