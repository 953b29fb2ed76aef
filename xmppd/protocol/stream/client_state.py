"""XEP-0352: Client State Indication, the choice: which stanzas may wait while nobody looks at the client.

Presence waits, the last one of each full JID; publish-subscribe events, the last one of each item; receipts and chat
markers of others, all of them. Chat states alone are of the moment: nobody gets them later. Everything else is worth
waking the radio.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import (
    CARBONS,
    CHAT_MARKERS,
    CHAT_STATES,
    CLIENT,
    DELAY,
    FORWARD,
    HINTS,
    PUBSUB_EVENT,
    RECEIPTS,
    STANZA_ID,
)
from xmppd.protocol.parser import parse_element
from xmppd.protocol.stanza import CLIENT_CONTEXT

MAX_BYTES = 64 * 1024  # that wait in one session
# What stands before the letter in every stanza that we write (Stanza.prefix, Stanza.suffix).
_HEAD = re.compile(rb"<(presence|message) from='([^']*)' to='[^']*'(?: type='([^']*)')?")
_OWN_OCCUPANT = re.compile(
    rb"""<status[^>]*code=['"]110['"]"""
)  # a client that joins a room waits for it (XEP-0045)
_ACCOMPANYING = frozenset({DELAY, HINTS, STANZA_ID, "http://jabber.org/protocol/shim"})
_NOTICES = frozenset({RECEIPTS, CHAT_MARKERS})
_THREAD = (CLIENT, "thread")
_PASSING = object()  # the key of what is not worth waiting for


class Holding:
    """What waits in one session. `own` is its account's bare JID, `limit` the number of stanzas that may wait."""

    __slots__ = ("_bytes", "_count", "_stanzas", "limit", "own")

    def __init__(self, own: str, limit: int) -> None:
        self.own = own
        self.limit = limit
        self._stanzas: dict[Hashable, tuple[bytes, float]] = {}  # with the time at which each came
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._stanzas)

    def takes(self, data: bytes, now: float) -> bool:
        """Keep the stanza if it may wait and there is room; it replaces what it makes obsolete. One that is worth
        nothing later is taken and forgotten.
        """
        if not self.limit or len(data) > MAX_BYTES:
            return False
        key = self._key(data)
        if key is _PASSING:
            return True
        if key is None or len(self._stanzas) >= self.limit or self._bytes + len(data) > MAX_BYTES:
            return False
        self._bytes += len(data) - len(self._stanzas.pop(key, (b"", 0.0))[0])
        self._stanzas[key] = data, now  # at the end, where it stands in time
        return True

    def release(self) -> list[tuple[bytes, float]]:
        """Take out all that waits, oldest first, each with the time at which it came."""
        stanzas = list(self._stanzas.values())
        self._stanzas.clear()
        self._bytes = 0
        return stanzas

    def lasting(self) -> list[tuple[bytes, float]]:
        """What somebody wants to know even if this session never gets it, and since when."""
        return [kept for key, kept in self._stanzas.items() if isinstance(key, int)]

    def _key(self, data: bytes) -> Hashable | None:
        """By what the stanza is known to wait; a number if nothing makes it obsolete; None: it must not wait."""
        head = _HEAD.match(data)
        if head is None:
            return None
        kind, sender, type = head.groups()
        if kind == b"presence":
            if type not in (None, b"unavailable") or _OWN_OCCUPANT.search(data, head.end()):
                return None
            return sender
        if type == b"error" or b"<body" in data:
            return None
        try:
            message = parse_element(data, CLIENT_CONTEXT)
        except StreamError:
            return None
        return self._message_key(message)

    def _message_key(self, message: Element) -> Hashable | None:
        message, is_sent = _without_envelope(message)
        children = [child for child in message.elements() if child.ns not in _ACCOMPANYING]
        if len(children) == 1 and children[0].tag == (PUBSUB_EVENT, "event"):
            return _event_key(message.get("from"), children[0]) or self._next_number()
        spaces = {child.ns for child in children if child.tag != _THREAD}
        is_own = is_sent or message.get("from").partition("/")[0] == self.own
        if spaces == {CHAT_STATES}:
            return _PASSING
        if not spaces or not spaces <= _NOTICES | {CHAT_STATES}:
            return None
        if is_own and CHAT_MARKERS in spaces:
            return None  # read elsewhere: the notification on this device goes away
        return self._next_number()

    def _next_number(self) -> int:
        self._count += 1
        return self._count


def _without_envelope(message: Element) -> tuple[Element, bool]:
    """The message that a carbon carries (XEP-0280), and whether its account sent it; any other message itself."""
    for direction in ("sent", "received"):
        copy = message.find(CARBONS, direction)
        forwarded = copy.find(FORWARD, "forwarded") if copy is not None else None
        inner = forwarded.find(CLIENT, "message") if forwarded is not None else None
        if inner is not None:
            return inner, direction == "sent"
    return message, False


def _event_key(sender: str, event: Element) -> Hashable | None:
    """The items that were published or retracted; None for what else happens to a node."""
    items = event.find(PUBSUB_EVENT, "items")
    if items is None:
        return None
    return sender, items.get("node"), tuple(item.get("id") for item in items.elements())
