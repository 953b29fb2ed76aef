"""XEP-0478: Stream Limits Advertisement. What is refused from a client, told before it sends it."""

from __future__ import annotations

from xmppd.protocol.namespaces import STREAM_LIMITS
from xmppd.protocol.parser import Limits
from xmppd.protocol.stream.features import Has
from xmppd.server.limits import IDLE_TIMEOUT, MAX_STANZA_BYTES
from xmppd.server.module import Module, Xep


class StreamLimits(Module):
    """Strangers may send less; their time is bounded by the login, not by silence."""

    xep = Xep(478, "0.2.0", name="Stream Limits Advertisement")

    def stream_offers(self, has: int) -> bytes:
        if not has & Has.AUTH:
            return _limits(Limits().max_bytes, "")
        seconds = int(IDLE_TIMEOUT.value.total_seconds())
        return _limits(MAX_STANZA_BYTES.value, f"<idle-seconds>{seconds}</idle-seconds>")


def _limits(max_bytes: int, idle: str) -> bytes:
    return f"<limits xmlns='{STREAM_LIMITS}'><max-bytes>{max_bytes}</max-bytes>{idle}</limits>".encode()
