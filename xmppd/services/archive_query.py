"""Reading the message archive, XEP-0313: pages by key, never by offset; preferences (XEP-0441); retention."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max, Min, QuerySet, Sum
from django.utils.translation import gettext_lazy as _

from xmppd.models import ArchivedMessage, ArchivePreferences
from xmppd.protocol.errors import StanzaError
from xmppd.services.archive import id_at
from xmppd.services.properties import Setting

KEEP_DAYS = Setting(
    "archive.keep_days",
    int,
    0,
    _("Days that messages stay in the archive; 0 keeps them for ever."),
    label=_("Days in the archive"),
    zero=_("for ever"),
    minimum=0,
    maximum=36_500,
)
KEEP_BYTES = Setting(
    "archive.keep_size",
    "size",
    0,
    _("Bytes of messages kept for one user, the oldest are deleted first; 0 sets no limit."),
    label=_("Size of the archive per user"),
    zero=_("no limit"),
    minimum=0,
)
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks for. Ids bound the page exclusively, times (seconds since 1970) inclusively."""

    start: float | None = None
    end: float | None = None
    peer: str = ""
    peer_resource: str = ""
    after_id: int | None = None
    before_id: int | None = None
    ids: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` are (id, stanza), oldest first; `is_complete`: nothing further lies in the direction of paging."""

    rows: list[tuple[int, str]]
    is_complete: bool


def page(
    user_id: int,
    query: Query,
    *,
    limit: int,
    after: int | None = None,
    before: int | None = None,
    last: bool = False,
) -> Page:
    """The page behind `after`, or with `last` the one that ends the result or stands before `before`.

    Raises item-not-found for an id that this archive does not hold.
    """
    require(
        user_id, [i for i in (after, before, query.after_id, query.before_id, *query.ids) if i is not None]
    )
    found = _matching(user_id, query)
    if after is not None:
        found = found.filter(id__gt=after)
    if before is not None:
        found = found.filter(id__lt=before)
    rows = list(found.order_by("-id" if last else "id").values_list("id", "stanza")[: limit + 1])
    is_complete = len(rows) <= limit
    rows = rows[:limit]
    if last:
        rows.reverse()
    return Page(rows, is_complete)


def count(user_id: int, query: Query) -> int:
    """How many messages match; only for who asks for nothing else."""
    return _matching(user_id, query).count()


def bounds(user_id: int) -> tuple[int, int] | None:
    """The first and the last id of an archive; None when it is empty."""
    found = ArchivedMessage.objects.filter(user_id=user_id).aggregate(first=Min("id"), last=Max("id"))
    return None if found["first"] is None else (found["first"], found["last"])


def require(user_id: int, ids: Iterable[int]) -> None:
    wanted = set(ids)
    if wanted and ArchivedMessage.objects.filter(user_id=user_id, id__in=wanted).count() != len(wanted):
        raise StanzaError("item-not-found")


def _matching(user_id: int, query: Query) -> QuerySet[ArchivedMessage]:
    found = ArchivedMessage.objects.filter(user_id=user_id)
    if query.peer:
        found = found.filter(peer=query.peer)
    if query.peer_resource:
        found = found.filter(peer_resource=query.peer_resource)
    if query.start is not None:
        found = found.filter(id__gte=id_at(query.start))
    if query.end is not None:
        found = found.filter(id__lt=id_at(query.end + 0.001))
    if query.after_id is not None:
        found = found.filter(id__gt=query.after_id)
    if query.before_id is not None:
        found = found.filter(id__lt=query.before_id)
    if query.ids:
        found = found.filter(id__in=query.ids)
    if query.text:
        found = found.filter(stanza__icontains=query.text)
    return found


# --- preferences, XEP-0441


@dataclass(frozen=True, slots=True)
class Preferences:
    """Bare JIDs in `always` and `never` go before the default: always, never or roster."""

    default: str = "always"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def wants(self, peer: str, is_contact: bool) -> bool:
        if peer in self.always:
            return True
        if peer in self.never:
            return False
        return self.default == "always" or (self.default == "roster" and is_contact)


def all_preferences() -> dict[int, Preferences]:
    """Those of the users who have said something, by user id."""
    rows = ArchivePreferences.objects.values_list("user_id", "default", "always", "never")
    return {
        user_id: Preferences(default, frozenset(yes), frozenset(no)) for user_id, default, yes, no in rows
    }


@transaction.atomic
def set_preferences(user_id: int, preferences: Preferences) -> None:
    ArchivePreferences.objects.update_or_create(
        user_id=user_id,
        defaults={
            "default": preferences.default,
            "always": sorted(preferences.always),
            "never": sorted(preferences.never),
        },
    )


# --- retention


def purge(now: float) -> int:
    """Delete what is older or more than may be kept, the user's own limits first; in small transactions."""
    own = {
        row.user_id: row
        for row in ArchivePreferences.objects.exclude(keep_days=None, keep_bytes=None).only(
            "keep_days", "keep_bytes"
        )
    }
    deleted = 0
    if KEEP_DAYS.value:
        old = ArchivedMessage.objects.filter(id__lt=id_at(now - KEEP_DAYS.value * 86400))
        deleted += _delete(
            old.exclude(user_id__in=[u for u, row in own.items() if row.keep_days is not None])
        )
    for user_id, row in own.items():
        if row.keep_days:
            old = ArchivedMessage.objects.filter(user_id=user_id, id__lt=id_at(now - row.keep_days * 86400))
            deleted += _delete(old)
    for user_id, excess in _too_much(own):
        deleted += _delete_oldest(user_id, excess)
    return deleted


def _too_much(own: dict[int, ArchivePreferences]) -> list[tuple[int, int]]:
    """(user id, bytes above the limit)."""
    if not KEEP_BYTES.value and all(row.keep_bytes is None for row in own.values()):
        return []
    found = []
    for user_id, size in (
        ArchivedMessage.objects.values("user_id").annotate(total=Sum("size")).values_list("user_id", "total")
    ):
        row = own.get(user_id)
        limit = KEEP_BYTES.value if row is None or row.keep_bytes is None else row.keep_bytes
        if limit and size > limit:
            found.append((user_id, size - limit))
    return found


def _delete_oldest(user_id: int, excess: int) -> int:
    last = 0
    for identity, size in (
        ArchivedMessage.objects.filter(user_id=user_id).order_by("id").values_list("id", "size").iterator()
    ):
        last = identity
        excess -= size
        if excess <= 0:
            break
    return _delete(ArchivedMessage.objects.filter(user_id=user_id, id__lte=last))


def _delete(found: QuerySet[ArchivedMessage]) -> int:
    deleted = 0
    while ids := list(found.order_by("id").values_list("id", flat=True)[:CHUNK]):
        deleted += ArchivedMessage.objects.filter(id__in=ids).delete()[0]
    return deleted


def usage(user_id: int) -> tuple[int, int]:
    """(messages, bytes) of an archive."""
    found = ArchivedMessage.objects.filter(user_id=user_id).aggregate(bytes=Sum("size"))
    return ArchivedMessage.objects.filter(user_id=user_id).count(), found["bytes"] or 0
