"""Stream features as a table: what is offered, and what is accepted, in which state of the stream (RFC 6120 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from xmppd.protocol.namespaces import BIND, SASL, SASL2, SASL_CHANNEL_BINDING, SESSION, TLS

if TYPE_CHECKING:
    from xmppd.protocol.stream.c2s import ClientStream
    from xmppd.protocol.stream.events import Policy


class Has:
    """What a stream has achieved, as bits. Plain numbers: enum's operators cost a tenth of a login."""

    NOTHING: Final = 0
    TLS: Final = 1
    AUTH: Final = 2
    BOUND: Final = 4


def _starttls(stream: ClientStream, policy: Policy) -> str:
    if not policy.has_tls:
        return ""
    required = "<required/>" if policy.is_tls_required else ""
    return f"<starttls xmlns='{TLS}'>{required}</starttls>"


def _mechanisms(stream: ClientStream, policy: Policy) -> str:
    if not stream.offered:
        return ""
    return f"<mechanisms xmlns='{SASL}'>{_names(stream.offered)}</mechanisms>"


def _authentication(stream: ClientStream, policy: Policy) -> str:
    """XEP-0388 2.1; the mechanisms are those of the other profile."""
    if not stream.offered:
        return ""
    return f"<authentication xmlns='{SASL2}'>{_names(stream.offered)}{policy.sasl2_extras(stream)}</authentication>"


def _channel_bindings(stream: ClientStream, policy: Policy) -> str:
    """XEP-0440: of which types this connection has data."""
    if not stream.binding_types or not stream.offered:
        return ""
    types = "".join(f"<channel-binding type='{name}'/>" for name in stream.binding_types)
    return f"<sasl-channel-binding xmlns='{SASL_CHANNEL_BINDING}'>{types}</sasl-channel-binding>"


def _bind(stream: ClientStream, policy: Policy) -> str:
    return f"<bind xmlns='{BIND}'/>"


def _session(stream: ClientStream, policy: Policy) -> str:
    return f"<session xmlns='{SESSION}'><optional/></session>"


@lru_cache(maxsize=64)
def _names(offered: tuple[str, ...]) -> str:
    return "".join(f"<mechanism>{name}</mechanism>" for name in offered)


@dataclass(frozen=True, slots=True)
class Feature:
    """Offered once the stream has all of `needs` and nothing of `until`; `offer` may still have nothing to say."""

    offer: Callable[[ClientStream, Policy], str]
    needs: int
    until: int

    def is_open(self, has: int) -> bool:
        return has & self.needs == self.needs and not has & self.until


CLIENT_FEATURES = (
    Feature(_starttls, Has.NOTHING, Has.TLS | Has.AUTH),
    Feature(_mechanisms, Has.NOTHING, Has.AUTH),
    Feature(_authentication, Has.TLS, Has.AUTH),
    Feature(_channel_bindings, Has.TLS, Has.AUTH),
    Feature(_bind, Has.AUTH, Has.BOUND),
    Feature(_session, Has.AUTH, Has.NOTHING),
)


def write(stream: ClientStream, policy: Policy) -> str:
    """<stream:features/> for the stream as it is; before TLS nothing else where TLS is required (RFC 6120 5.3.1)."""
    if stream.needs_tls_first:
        return f"<stream:features>{_starttls(stream, policy)}</stream:features>"
    offers = "".join(
        feature.offer(stream, policy) for feature in CLIENT_FEATURES if feature.is_open(stream.has)
    )
    return f"<stream:features>{offers}{policy.extra_features(stream).decode()}</stream:features>"
