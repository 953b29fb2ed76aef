"""The module API: a feature is a class whose declarations say what it answers and where it steps in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

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
    "inline_bind",
    "inline_login",
    "inline_session",
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


@dataclass(frozen=True, slots=True)
class InlineRoute:
    stage: Literal["login", "session", "bind"]
    tag: tuple[str, str]
    priority: int = NORMAL


Spec = IQRoute | Subscription | InlineRoute


def _mark(spec: Spec) -> Callable[[F], F]:
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


def inline_login(ns: str, name: str) -> Callable[[F], F]:
    """The method handles this element inside <authenticate/> (XEP-0388), behind the proof and before <success/>:
    `handler(element, completion)` returns an element for <success/>, None, or an awaitable of these.
    """
    return _mark(InlineRoute("login", (ns, name)))


def inline_session(ns: str, name: str, priority: int = NORMAL) -> Callable[[F], F]:
    """As above, at the very moment of <success/>: a plain function that may give the stream its session, by
    `completion.resume` or `completion.bind`. Those of lower priority are asked only while there is none.
    """
    return _mark(InlineRoute("session", (ns, name), priority))


def inline_bind(ns: str, name: str) -> Callable[[F], F]:
    """The method handles this element inside <bind/> (XEP-0386), once the resource is bound and before the client
    knows: `handler(element, session)`, a plain function, returns an element for <bound/> or None.
    """
    return _mark(InlineRoute("bind", (ns, name)))


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
    bind_features: ClassVar[Sequence[str]] = ()  # what `inline_bind` methods understand, for XEP-0386
    specs: ClassVar[list[tuple[Spec, str]]] = []

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

    def login_offers(self, binding_types: tuple[str, ...]) -> str:
        """What this module adds to <inline/> in <authentication/> (XEP-0388), for these channel bindings."""
        return ""

    def authentication_offers(self) -> str:
        """What this module adds to <authentication/> (XEP-0388) beside <inline/>; called now and then."""
        return ""

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
