"""XEP-0059: Result Set Management. Pages of a result, asked for by the id of the item before or after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import RSM

Item = TypeVar("Item")

MAX_DIGITS = 19  # of max and index; clients that want all there is name the largest number they know


@dataclass(frozen=True, slots=True)
class Request:
    """What is absent is None. `before` is '' when the last page is asked for (2.5)."""

    max: int | None = None
    before: str | None = None
    after: str | None = None
    index: int | None = None

    def limit(self, default: int, maximum: int) -> int:
        """How many items to return at most; 0 asks for the count alone (2.7)."""
        return min(default if self.max is None else self.max, maximum)

    @property
    def is_backwards(self) -> bool:
        """The page ends before an item instead of beginning after one."""
        return self.before is not None


def parse(parent: Element) -> Request | None:
    """Return the request in a child <set/>; None when there is none. Raises bad-request."""
    found = parent.find(RSM, "set")
    if found is None:
        return None
    return Request(
        max=_number(found, "max"),
        before=_text(found, "before"),
        after=_text(found, "after"),
        index=_number(found, "index"),
    )


def response(
    first: str | None = None, last: str | None = None, *, count: int | None = None, index: int | None = None
) -> Element:
    """<set/> of a page from item `first` to `last`, whose first stands at `index` of all `count` items.

    An empty page has neither first nor last.
    """
    return E(
        RSM,
        "set",
        None if first is None else E(RSM, "first", first, index=index),
        None if last is None else E(RSM, "last", last),
        None if count is None else E(RSM, "count", str(count)),
    )


def page(
    items: Sequence[Item],
    id_of: Callable[[Item], str],
    request: Request | None,
    *,
    default: int,
    maximum: int,
) -> tuple[Sequence[Item], Element]:
    """Cut the page out of a result that is in memory; return it and the <set/> to go along with it.

    Raises item-not-found when the item to start from is not in the result (2.2, 2.3, 2.6).
    """
    request = request or Request()
    limit = request.limit(default, maximum)
    start, stop = 0, len(items)
    if request.after is not None:
        start = _position(items, id_of, request.after) + 1
    if request.before:
        stop = _position(items, id_of, request.before)
    if request.index is not None:
        if request.index > len(items):
            raise StanzaError("item-not-found")
        start = request.index
    if request.is_backwards:
        start = max(start, stop - limit)
    chosen = items[start : max(start, min(stop, start + limit))]
    if not chosen:
        return chosen, response(count=len(items))
    return chosen, response(id_of(chosen[0]), id_of(chosen[-1]), count=len(items), index=start)


def _position(items: Sequence[Item], id_of: Callable[[Item], str], wanted: str) -> int:
    for position, item in enumerate(items):
        if id_of(item) == wanted:
            return position
    raise StanzaError("item-not-found")


def _text(parent: Element, name: str) -> str | None:
    child = parent.find(RSM, name)
    return None if child is None else child.text


def _number(parent: Element, name: str) -> int | None:
    text = _text(parent, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise StanzaError("bad-request", f"<{name}/> is no number")
    return int(text)
