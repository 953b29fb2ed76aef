"""Reading the message archive, XEP-0313: pages by key, never by offset; preferences (XEP-0441)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import Count, Max, Min, QuerySet

from xmppd.models import ArchivedMessage, ArchivePreferences, JournalledMessage
from xmppd.protocol.errors import StanzaError
from xmppd.services import archive_search
from xmppd.services.archive import EPOCH_MS, TIME_SHIFT

MAX_ID = 2**63 - 1
NOBODY = -1  # the id of no user
MAX_PAGE_BYTES = 256 * 1024  # a page that has more ends before its limit
READ_ROWS = 64  # fetched at once: each may be as large as a stanza
SEARCH_ROWS = 2000  # that one call looks at for a text

Table = type[ArchivedMessage] | type[JournalledMessage]
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

    @property
    def named_ids(self) -> tuple[int | None, ...]:
        """Those which the archive has to hold."""
        return (self.after_id, self.before_id, *self.ids)


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` are (id, stanza), oldest first; `is_complete`: nothing further lies in the direction of paging.

    A search may stop before either is known. `reached` is then the id up to which it has come, to go on from.
    """

    rows: list[tuple[int, str]]
    is_complete: bool
    reached: int | None = None


def page(
    user_id: int,
    query: Query,
    *,
    limit: int,
    after: int | None = None,
    before: int | None = None,
    last: bool = False,
    max_bytes: int = MAX_PAGE_BYTES,
    reached: int | None = None,
) -> Page:
    """The page behind `after`, or with `last` the one that ends the result or stands before `before`.

    It ends where it would have more than `max_bytes`, though not without one row. `reached` is of the Page that this
    one continues. Raises item-not-found for an id that this archive does not hold.
    """
    require(user_id, [i for i in (after, before, *query.named_ids) if i is not None])
    start, stop = (after, reached or before) if last else (reached or after, before)

    def found(table: Table) -> QuerySet[Any]:
        return _between(matching(user_id, query, table), start, stop)

    edge = None
    if query.text:
        edge = _window_edge(found, last)
        candidates = archive_search.candidates(query.text)
        walk = _walk(lambda table: _up_to(found(table), edge, last).filter(candidates), READ_ROWS, last)
    else:
        walk = _walk(found, limit + 1, last)
    rows: list[tuple[int, str]] = []
    size = 0
    is_complete = edge is None
    for identity, stanza in walk:
        if query.text and not archive_search.matches(stanza, query.text):
            continue
        size += len(stanza.encode())
        if len(rows) == limit or (rows and size > max_bytes):
            is_complete, edge = False, None
            break
        rows.append((identity, stanza))
    if last:
        rows.reverse()
    return Page(rows, is_complete, edge)


def _between(found: QuerySet[Any], start: int | None, stop: int | None) -> QuerySet[Any]:
    """Both ends are excluded."""
    if start is not None:
        found = found.filter(id__gt=start)
    if stop is not None:
        found = found.filter(id__lt=stop)
    return found


def _walk(found: Callable[[Table], QuerySet[Any]], wanted: int, last: bool) -> Iterator[tuple[int, str]]:
    """(id, stanza) by key, a few at once; from the end with `last`."""
    size = min(wanted, READ_ROWS)
    edge: int | None = None
    while True:

        def part(table: Table, edge: int | None = edge) -> QuerySet[Any, tuple[int, str]]:
            rest = _between(found(table), None, edge) if last else _between(found(table), edge, None)
            return in_order(rest, last).values_list("id", "stanza")[:size]

        rows = sorted(_of_both(part), reverse=last)[:size]
        yield from rows
        if len(rows) < size:
            return
        edge = rows[-1][0]


def _window_edge(found: Callable[[Table], QuerySet[Any]], last: bool) -> int | None:
    """The id up to which one call looks; None where it looks at all that is left."""
    edges: list[int] = []
    for table in tables():
        ids = in_order(found(table), last).values("id")[:SEARCH_ROWS]
        window = ids.aggregate(number=Count("id"), edge=Min("id") if last else Max("id"))
        if window["number"] == SEARCH_ROWS:
            edges.append(window["edge"])
    if not edges:
        return None
    return max(edges) if last else min(edges)


def _up_to(found: QuerySet[Any], edge: int | None, last: bool) -> QuerySet[Any]:
    if edge is None:
        return found
    return found.filter(id__gte=edge) if last else found.filter(id__lte=edge)


def count(user_id: int, query: Query) -> int:
    """How many messages match, whatever their text; only for who asks for nothing else. Raises as `page`."""
    require(user_id, [i for i in query.named_ids if i is not None])
    first, *others = (matching(user_id, query, table).values("id") for table in tables())
    return first.union(*others, all=True).count() if others else first.count()


def bounds(user_id: int) -> tuple[int, int] | None:
    """The first and the last id of an archive; None when it is empty."""

    def end(last: bool) -> list[int]:
        return [
            identity
            for table in tables()
            for identity in in_order(messages(user_id, table), last).values_list("id", flat=True)[:1]
        ]

    first, last = end(last=False), end(last=True)
    return (min(first), max(last)) if first and last else None


def require(user_id: int, ids: Iterable[int]) -> None:
    """Raises item-not-found unless the archive holds all of them."""
    wanted = set(ids)
    if wanted and len(
        _of_both(lambda table: messages(user_id, table).filter(id__in=wanted).values_list("id"))
    ) != len(wanted):
        raise StanzaError("item-not-found")


def tables() -> tuple[Table, ...]:
    """Where messages are. The journal first: what is moved meanwhile is seen twice, not missed."""
    return (JournalledMessage, ArchivedMessage) if connection.vendor == "sqlite" else (ArchivedMessage,)


def by_ids(user_id: int, ids: Iterable[int]) -> dict[int, str]:
    """{id: stanza} of those that the archive holds."""
    wanted = set(ids)
    return dict(
        _of_both(lambda table: messages(user_id, table).filter(id__in=wanted).values_list("id", "stanza"))
    )


def _of_both(part: Callable[[Table], Iterable[Found]]) -> set[Found]:
    """The rows that the tables have."""
    return {row for table in tables() for row in part(table)}


def messages(user_id: int | None = None, table: Table = ArchivedMessage) -> QuerySet[Any]:
    """The messages of one archive, or of all: where everything that reads the table begins.

    Who reads the archive's table alone, calls services.archive.settle() before.
    """
    found = table._default_manager.all()
    if user_id is None:
        return found
    if connection.vendor == "sqlite":
        return found.filter(user_id=user_id)
    return found.filter(user_id__in=(NOBODY, user_id))


def in_order(found: QuerySet[Any], last: bool = False) -> QuerySet[Any]:
    """Messages of one archive, the oldest or the newest first.

    Where a single user is asked for, PostgreSQL may walk along the primary key and leave out everybody else's
    messages, and MariaDB along the user's ones from the wrong end: millions of rows for a page. Of two users, sorted by
    user first, the index of both columns alone gives the order.
    """
    return found.order_by("-user_id", "-id") if last else found.order_by("user_id", "id")


def matching(user_id: int, query: Query, table: Table = ArchivedMessage) -> QuerySet[Any]:
    """What of an archive the query asks for, but for the text, in no order yet."""
    found = messages(user_id, table)
    if query.peer:
        found = found.filter(peer=query.peer)
    if query.peer_resource:
        found = found.filter(peer_resource=query.peer_resource)
    if query.start is not None:
        found = found.filter(id__gte=_id_of(-(-_micros(query.start) // 1000)))
    if query.end is not None:
        found = found.filter(id__lt=_id_of(_micros(query.end) // 1000 + 1))
    if query.after_id is not None:
        found = found.filter(id__gt=query.after_id)
    if query.before_id is not None:
        found = found.filter(id__lt=query.before_id)
    if query.ids:
        found = found.filter(id__in=query.ids)
    return found


def _micros(time: float) -> int:
    """Exact: the float of a time that a client saw in a message may lie a little beside it."""
    return round(time * 1_000_000)


def _id_of(milliseconds: int) -> int:
    """The lowest id of a time since 1970, which may be any that a calendar knows."""
    return min(max(0, milliseconds - EPOCH_MS) << TIME_SHIFT, MAX_ID)


# --- preferences, XEP-0441


@dataclass(frozen=True, slots=True)
class Preferences:
    """JIDs in `always` and `never` go before the default: always, never or roster."""

    default: str = "always"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def wants(self, peer: str, is_contact: bool) -> bool:
        """2.3.1: a listed bare JID stands for all its resources; a full one goes before it."""
        for jid in (peer, peer.partition("/")[0]):
            if jid in self.always:
                return True
            if jid in self.never:
                return False
        return self.default == "always" or (self.default == "roster" and is_contact)


def all_preferences() -> dict[int, Preferences]:
    """Those of the users who have said something, by user id."""
    rows = ArchivePreferences.objects.values_list("user_id", "default", "always", "never")
    return {
        user_id: Preferences(default, frozenset(yes), frozenset(no)) for user_id, default, yes, no in rows
    }


def preferences(user_id: int) -> Preferences:
    """Those of one user."""
    row = ArchivePreferences.objects.filter(user_id=user_id).first()
    return (
        Preferences()
        if row is None
        else Preferences(row.default, frozenset(row.always), frozenset(row.never))
    )


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
