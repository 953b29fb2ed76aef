"""The module API: a feature is a class whose declarations say what it answers and where it steps in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.protocol.stream.features import Has
from xmppd.server.hooks import EARLY, FIRST, LAST, LATE, NORMAL, STOP, Hook, Target

if TYPE_CHECKING:
    from xmppd.server.server import Server

__all__ = [
    "ACCOUNT",
    "EARLY",
    "FIRST",
    "LAST",
    "LATE",
    "NOBODY",
    "NORMAL",
    "SELF",
    "SERVER",
    "STOP",
    "DiscoItem",
    "DiscoNode",
    "Identity",
    "Module",
    "StreamFeature",
    "Xep",
    "iq_get",
    "iq_set",
    "on",
]

SERVER: Target = "server"  # the domain itself
ACCOUNT: Target = "account"  # a local account's bare JID, from anyone
SELF: Target = "self"  # the sender's own account, or no `to`
NOBODY: Target = "nobody"  # a bare JID of our domains that is no account

Reply = Element | bytes | None
F = TypeVar("F", bound=Callable[..., "Reply | Awaitable[Reply] | Any"])


@dataclass(frozen=True, slots=True)
class Xep:
    """A specification that is implemented, and its version. `note` says what is left out, if anything is."""

    number: int
    version: str
    note: str = ""
    name: str = ""
    is_partial: bool = False

    @property
    def label(self) -> str:
        return f"XEP-{self.number:04d}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A disco identity (XEP-0030 3.1)."""

    category: str
    type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class DiscoItem:
    """An item of a disco node (XEP-0030 4)."""

    jid: JID
    node: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class DiscoNode:
    """What disco#info and disco#items answer for one node."""

    identities: Sequence[Identity]
    features: Sequence[str] = ()
    forms: Sequence[Element] = ()
    items: Sequence[DiscoItem] = ()


@dataclass(frozen=True, slots=True)
class StreamFeature:
    """What a module adds to <stream:features/>; informs only, negotiation is by IQ or element of its own."""

    xml: bytes
    needs: int = Has.NOTHING
    until: int = Has.NOTHING

    def is_open(self, has: int) -> bool:
        return has & self.needs == self.needs and not has & self.until


@dataclass(frozen=True, slots=True)
class IQRoute:
    type: str
    tag: str
    to: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Subscription:
    hook: Hook
    priority: int


def _mark(spec: IQRoute | Subscription) -> Callable[[F], F]:
    """A decorator that only leaves a note on the function."""

    def decorate(function: F) -> F:
        function.__dict__.setdefault("_specs", []).append(spec)
        return function

    return decorate


def _targets(to: Target | Iterable[Target]) -> tuple[Target, ...]:
    return (to,) if isinstance(to, str) else tuple(to)


def iq_get(ns: str, name: str, *, to: Target | Iterable[Target]) -> Callable[[F], F]:
    """The method answers IQs of type get with this payload. It returns an Element, bytes, None (an empty result) or an
    awaitable of these, or raises StanzaError. `to` is the authorisation: no other address has a route."""
    return _mark(IQRoute("get", f"{ns}\n{name}", _targets(to)))


def iq_set(ns: str, name: str, *, to: Target | Iterable[Target]) -> Callable[[F], F]:
    return _mark(IQRoute("set", f"{ns}\n{name}", _targets(to)))


def on(hook: Hook, priority: int = NORMAL) -> Callable[[F], F]:
    """The method is called at this moment (see hooks.py)."""
    return _mark(Subscription(hook, priority))


class Module:
    """Base of all modules. Everything that can be said without an instance is class data."""

    xep: ClassVar[Xep | None] = None
    also: ClassVar[Sequence[Xep]] = ()  # further specifications that the module implements
    rfc: ClassVar[str] = ""  # for parts of an RFC: "RFC 6121 2"
    features: ClassVar[Sequence[str]] = ()  # disco features of the domain
    account_features: ClassVar[Sequence[str]] = ()  # disco features of each account's bare JID
    identities: ClassVar[Sequence[Identity]] = ()  # of the domain
    account_identities: ClassVar[Sequence[Identity]] = ()
    stream_features: ClassVar[Sequence[StreamFeature]] = ()
    specs: ClassVar[list[tuple[IQRoute | Subscription, str]]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.specs = [(spec, name) for name in dir(cls) for spec in getattr(getattr(cls, name), "_specs", ())]

    def __init__(self, server: Server) -> None:
        self.server = server

    async def start(self) -> None:
        """Called once when the server starts, after all modules are known."""

    async def stop(self) -> None:
        """Called once when the server stops."""

    def stream_offers(self, has: int) -> bytes:
        """What this module adds to the stream features of a stream in this state."""
        return b"".join(feature.xml for feature in self.stream_features if feature.is_open(has))

    def domain_forms(self) -> Sequence[Element]:
        """Extended disco#info of the domain (XEP-0128); called for each request."""
        return ()

    def domain_features(self) -> Sequence[str]:
        """Disco features of the domain now; for modules where they depend on a setting."""
        return self.features

    def disco_node(
        self, node: str, target: JID, requester: JID
    ) -> DiscoNode | Awaitable[DiscoNode | None] | None:
        """What this node of the domain or of an account's bare JID (`target`) has to show; None: not this module's.

        Asked for each disco request with a node. For an account the requester has been found to be its owner
        or a subscriber. May raise StanzaError(forbidden).
        """
        return None
