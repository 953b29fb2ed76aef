"""What a client's stream tells its caller, and what it asks of its server (see c2s.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StreamError
from xmppd.protocol.parser import ParserPool
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.sasl2 import Request

if TYPE_CHECKING:
    from xmppd.protocol.stream.c2s import ClientStream


@dataclass(frozen=True, slots=True)
class StartTLS:
    """Answer: write take_output(), start TLS, call tls_established()."""


@dataclass(frozen=True, slots=True)
class AuthRequested:
    """`initial` is None when there was no initial response; `request` is None in the profile of RFC 6120.

    Answer: auth_challenge, auth_failed, and for success auth_succeeded, or in XEP-0388 auth_continue and
    login_completed.
    """

    mechanism: str
    initial: bytes | None
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The client's answer to a challenge."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TaskChosen:
    """XEP-0388 2.6.3: the client begins a task that it was told of. Answer: task_data, or auth_failed."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskData:
    """What the client sends of its task. Answer: task_data, auth_continue, auth_failed or login_completed."""

    element: Element


@dataclass(frozen=True, slots=True)
class BindRequested:
    """`resource` is '' when the server shall choose. Answer: bind_succeeded or bind_failed."""

    request: Stanza
    resource: str


@dataclass(frozen=True, slots=True)
class EarlyIQ:
    """An IQ before a resource is bound (in-band registration). Answer: answered(bytes)."""

    request: Stanza


@dataclass(frozen=True, slots=True)
class EarlyElement:
    """An element that is no stanza, behind the login and before binding (XEP-0198 resumption).

    Answer: answered(bytes), or resumed(bytes).
    """

    element: Stanza


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream is over. `error` is what we sent; None when the peer closed it in good order."""

    error: StreamError | None = None


Event = (
    StartTLS
    | AuthRequested
    | AuthResponse
    | TaskChosen
    | TaskData
    | BindRequested
    | EarlyIQ
    | EarlyElement
    | Closed
    | Stanza
)


class Policy(Protocol):
    """What the stream must know of its server; read at each step, so that changed settings hold at once."""

    @property
    def pool(self) -> ParserPool: ...  # parsers with the limits of authenticated clients
    @property
    def default_domain(self) -> str: ...
    @property
    def has_tls(self) -> bool: ...
    @property
    def is_tls_required(self) -> bool: ...
    @property
    def max_auth_failures(self) -> int: ...
    def serves(self, domain: str) -> bool: ...
    def mechanisms(self, stream: ClientStream) -> Sequence[str]: ...
    def token_mechanisms(self, stream: ClientStream) -> Sequence[str]: ...  # XEP-0484
    def sasl2_extras(self, stream: ClientStream) -> str: ...  # what follows the mechanisms of XEP-0388
    def extra_features(self, stream: ClientStream) -> bytes: ...
