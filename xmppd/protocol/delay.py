"""XEP-0203: Delayed Delivery, and the date and time profile of XEP-0082 (UTC throughout)."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from xmppd.protocol.element import E, Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, DELAY
from xmppd.protocol.parser import parse_element
from xmppd.protocol.stanza import CLIENT_CONTEXT
from xmppd.protocol.writer import write

if TYPE_CHECKING:
    from xmppd.protocol.stanza import Stanza

_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


def format_datetime(value: datetime) -> str:
    """2002-09-10T23:08:25Z, with a fraction only when there is one; ValueError for a naive datetime."""
    if value.tzinfo is None:
        raise ValueError("a naive datetime has no place on the wire")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def parse_datetime(text: str) -> datetime:
    """Return an aware datetime in UTC; ValueError when it is none. Digits below a microsecond are cut off."""
    matched = _DATETIME.fullmatch(text)
    if not matched:
        raise ValueError(f"{text[:40]!r} is no XEP-0082 date and time")
    seconds, fraction, sign, hours, minutes = matched.groups()
    value = datetime.fromisoformat(seconds).replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
    try:
        return value.replace(tzinfo=timezone(-offset if sign == "-" else offset)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is before or after all time") from error


def delay(stamp: datetime, from_: JID | None = None, text: str = "") -> Element:
    """<delay/>; `from_` is who held the stanza back, `text` why."""
    return E(DELAY, "delay", text or None, stamp=format_datetime(stamp), from_=from_)


def stamped(data: bytes, since: datetime, by: JID, domains: Container[str]) -> bytes:
    """A written message or presence with the stamp of who held it back; as it is if one of these servers has done so
    before, and any other stanza.
    """
    name = next((name for name in (b"message", b"presence") if data.startswith(b"<" + name)), None)
    if name is None or (DELAY.encode() in data and _has_stamp(data, domains)):
        return data
    stamp, end = write(delay(since, by), CLIENT).encode(), b"</" + name + b">"
    if data.endswith(b"/>"):
        return data[:-2] + b">" + stamp + end
    return data.removesuffix(end) + stamp + end


def _has_stamp(data: bytes, domains: Container[str]) -> bool:
    return any(_is_of(child, domains) for child in parse_element(data, CLIENT_CONTEXT).elements())


def stamp_of(element: Element) -> datetime | None:
    """The time of the <delay/> in a stanza; None when there is none, or one that cannot be read."""
    found = element.find(DELAY, "delay")
    if found is None:
        return None
    try:
        return parse_datetime(found.get("stamp"))
    except ValueError:
        return None


def remove(stanza: Stanza, domains: Container[str]) -> None:
    """Take the stamps of these servers out of a stanza: nobody else says what they held back (XEP-0203 5)."""
    if stanza.has(DELAY, "delay"):
        children = stanza.element.children
        kept = [child for child in children if isinstance(child, str) or not _is_of(child, domains)]
        if len(kept) < len(children):
            stanza.replace_children(kept)


def held_since(stanza: Stanza, domains: Container[str]) -> datetime | None:
    """The earliest stamp of these servers in a stanza; ask only of what passed `remove` on its way in."""
    if not stanza.has(DELAY, "delay"):
        return None
    stamps = [child.get("stamp") for child in stanza.element.elements() if _is_of(child, domains)]
    return min(map(parse_datetime, stamps), default=None)


def _is_of(child: Element, domains: Container[str]) -> bool:
    return child.tag == (DELAY, "delay") and child.get("from") in domains
