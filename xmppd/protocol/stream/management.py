"""XEP-0198: Stream Management, the counting. What was handled, what was sent and is not acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterator

from xmppd.protocol.element import E
from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import STREAM_MANAGEMENT

MODULUS = 2**32  # counters wrap, XEP-0198 4
REQUEST = f"<r xmlns='{STREAM_MANAGEMENT}'/>".encode()
REQUEST_AFTER = 8  # stanzas without a request, while many are on their way


class Management:
    """One session's counters; they outlive the connection when the session is resumed.

    `handled` counts the client's stanzas that we are done with. The queue holds (stanza, time) for each one sent and
    not acknowledged, oldest first; `queued_bytes` is their size.
    """

    __slots__ = (
        "_acknowledged",
        "_queue",
        "_since_request",
        "handled",
        "id",
        "queued_bytes",
        "requested_at",
        "seconds",
        "told",
    )

    def __init__(self, identity: str = "", seconds: int = 0) -> None:
        self.id = identity  # '' where the client did not ask for resumption
        self.seconds = seconds  # for how long the session waits for its client
        self.handled = 0
        self.told = 0  # as many as the client knows to be handled
        self.queued_bytes = 0
        self.requested_at: float | None = None  # when the oldest unanswered <r/> was sent
        self._queue: list[tuple[bytes, float]] = []  # a deque takes 600 bytes before it holds anything
        self._acknowledged = 0  # as the client counts, modulo 2**32
        self._since_request = 0

    def tell(self) -> int:
        """`h` for the client."""
        self.told = self.handled
        return self.handled % MODULUS

    @property
    def is_resumable(self) -> bool:
        return bool(self.id)

    def __len__(self) -> int:
        """Stanzas sent and not acknowledged."""
        return len(self._queue)

    def add(self, data: bytes, now: float) -> bool:
        """Note a stanza that goes out; whether an acknowledgement should be asked for with it."""
        self._queue.append((data, now))
        self.queued_bytes += len(data)
        self._since_request += 1
        return self._since_request >= REQUEST_AFTER

    def requested(self, now: float) -> None:
        """An <r/> was sent."""
        self._since_request = 0
        if self.requested_at is None:
            self.requested_at = now

    @property
    def is_request_due(self) -> bool:
        """Something is unacknowledged and no request for it is under way."""
        return bool(self._queue) and self.requested_at is None

    def acknowledge(self, h: int) -> None:
        """The client has handled `h` stanzas. Raises StreamError when it claims more than were sent (4)."""
        queue = self._queue
        count = (h - self._acknowledged) % MODULUS
        if count > len(queue):
            sent = (self._acknowledged + len(queue)) % MODULUS
            extra = E(STREAM_MANAGEMENT, "handled-count-too-high", h=h, **{"send-count": sent})
            raise StreamError("undefined-condition", f"{h} acknowledged, {sent} sent", extra)
        for data, _since in queue[:count]:
            self.queued_bytes -= len(data)
        del queue[:count]
        self._acknowledged = h % MODULUS
        self.requested_at = None

    def unacknowledged(self) -> Iterator[tuple[bytes, float]]:
        """What is to be sent again, or handed over."""
        return iter(self._queue)

    def clear(self) -> list[tuple[bytes, float]]:
        """Take the whole queue out."""
        taken, self._queue = self._queue, []
        self.queued_bytes = 0
        return taken
