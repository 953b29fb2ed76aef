"""Reading the message archive, XEP-0313: pages by key, never by offset; preferences (XEP-0441)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import QuerySet

from xmppd.models import ArchivedMessage, ArchivePreferences, JournalledMessage
from xmppd.protocol.errors import StanzaError
from xmppd.services.archive import id_at

MAX_ID = 2**63 - 1

Table = type[ArchivedMessage] | type[JournalledMessage]
TABLES: tuple[Table, Table] = (JournalledMessage, ArchivedMessage)
Found = TypeVar("Found")


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

    def part(table: Table) -> QuerySet[Any, tuple[int, str]]:
        found = matching(user_id, query, table)
        if after is not None:
            found = found.filter(id__gt=after)
        if before is not None:
            found = found.filter(id__lt=before)
        return found.order_by("-id" if last else "id").values_list("id", "stanza")[: limit + 1]

    found = sorted(_of_both(part), reverse=last)[: limit + 1]
    is_complete = len(found) <= limit
    return Page(sorted(found[:limit]), is_complete)


def count(user_id: int, query: Query) -> int:
    """How many messages match; only for who asks for nothing else."""
    journal, archive = (matching(user_id, query, table).values("id") for table in TABLES)
    return archive.union(journal, all=True).count()


def bounds(user_id: int) -> tuple[int, int] | None:
    """The first and the last id of an archive; None when it is empty."""

    def end(order: str) -> list[int]:
        return [
            identity
            for table in TABLES
            for identity in messages(user_id, table).order_by(order).values_list("id", flat=True)[:1]
        ]

    first, last = end("id"), end("-id")
    return (min(first), max(last)) if first and last else None


def require(user_id: int, ids: Iterable[int]) -> None:
    """Raises item-not-found unless the archive holds all of them."""
    wanted = set(ids)
    if wanted and len(
        _of_both(lambda table: messages(user_id, table).filter(id__in=wanted).values_list("id"))
    ) != len(wanted):
        raise StanzaError("item-not-found")


def _of_both(part: Callable[[Table], Iterable[Found]]) -> set[Found]:
    """The rows that both tables have. The journal first: what is moved meanwhile is seen twice, not missed."""
    return {row for table in TABLES for row in part(table)}


def messages(user_id: int | None = None, table: Table = ArchivedMessage) -> QuerySet[Any]:
    """The messages of one archive, or of all: where everything that reads the table begins.

    Who reads the archive's table alone, calls services.archive.settle() before.
    """
    found = table._default_manager.all()
    return found if user_id is None else found.filter(user_id=user_id)


def matching(user_id: int, query: Query, table: Table = ArchivedMessage) -> QuerySet[Any]:
    """What of an archive the query asks for, in no order yet."""
    found = messages(user_id, table)
    if query.peer:
        found = found.filter(peer=query.peer)
    if query.peer_resource:
        found = found.filter(peer_resource=query.peer_resource)
    if query.start is not None:
        found = found.filter(id__gte=min(id_at(query.start), MAX_ID))
    if query.end is not None:
        found = found.filter(id__lt=min(id_at(query.end + 0.001), MAX_ID))
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
