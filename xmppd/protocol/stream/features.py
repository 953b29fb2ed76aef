"""Stream features as a table: what is offered, and what is accepted, in which state of the stream (RFC 6120 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.protocol.namespaces import BIND, SASL, SASL_CHANNEL_BINDING, SESSION, TLS


class Has:
    """What a stream has achieved, as bits. Plain numbers: enum's operators cost a tenth of a login."""

    NOTHING: Final = 0
    TLS: Final = 1
    AUTH: Final = 2
    BOUND: Final = 4


@dataclass(frozen=True, slots=True)
class Feature:
    """Offered once the stream has all of `needs` and nothing of `until`.

    `name` is the element that the peer sends to negotiate it (None: nothing is sent, the feature only informs).
    """

    ns: str
    offer: str
    needs: int
    until: int
    request: str | None

    def is_open(self, has: int) -> bool:
        return has & self.needs == self.needs and not has & self.until


STARTTLS = Feature(TLS, "starttls", Has.NOTHING, Has.TLS | Has.AUTH, "starttls")
MECHANISMS = Feature(SASL, "mechanisms", Has.NOTHING, Has.AUTH, "auth")
CHANNEL_BINDINGS = Feature(SASL_CHANNEL_BINDING, "channel_bindings", Has.TLS, Has.AUTH, None)
BIND_RESOURCE = Feature(BIND, "bind", Has.AUTH, Has.BOUND, None)
LEGACY_SESSION = Feature(SESSION, "session", Has.AUTH, Has.NOTHING, None)

CLIENT_FEATURES = (STARTTLS, MECHANISMS, CHANNEL_BINDINGS, BIND_RESOURCE, LEGACY_SESSION)
