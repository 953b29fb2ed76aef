"""XEP-0203: Delayed Delivery, and the date and time profile of XEP-0082 (UTC throughout)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from xmppd.protocol.element import E, Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import DELAY

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


def stamp_of(element: Element) -> datetime | None:
    """The time of the <delay/> in a stanza; None when there is none, or one that cannot be read."""
    found = element.find(DELAY, "delay")
    if found is None:
        return None
    try:
        return parse_datetime(found.get("stamp"))
    except ValueError:
        return None
