"""The stream service while it runs: modules, accounts in memory, sessions, time. One object, one event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from xmppd.protocol import sasl
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID
from xmppd.protocol.parser import AUTHENTICATED, Limits, ParserPool
from xmppd.protocol.stanza import Stanza, error, make, result
from xmppd.protocol.stream.features import Has
from xmppd.server import hooks, limits
from xmppd.server.authentication import Authentication
from xmppd.server.clock import Clock
from xmppd.server.deferred import Deferred
from xmppd.server.directory import Directory
from xmppd.server.hooks import Handler, Hook
from xmppd.server.loader import module_classes
from xmppd.server.metrics import Metrics
from xmppd.server.module import InlineRoute, IQRoute, Module
from xmppd.server.router import IQHandler, Router
from xmppd.services.db import OUT_OF_REACH, refusal

if TYPE_CHECKING:
    from xmppd.protocol.stream.c2s import ClientStream
    from xmppd.server.account import Account
    from xmppd.server.completion import Completion
    from xmppd.server.connection import ClientConnection
    from xmppd.server.session import Session

log = logging.getLogger("hearth.server")
REPLY_TIMEOUT = 30.0  # seconds that an IQ of ours waits for its answer
SWEEP_SECONDS = 1.0

NonzaHandler = Callable[[Stanza, "Session"], "Awaitable[object] | None"]
InlineLogin = Callable[[Element, "Completion"], "Element | Awaitable[Element | None] | None"]
InlineSession = Callable[[Element, "Completion"], "Element | None"]
InlineBind = Callable[[Element, "Session"], "Element | None"]
EarlyHandler = Callable[[Stanza, "ClientConnection"], "Awaitable[Element | None]"]


class Server:
    """`domain` is the primary one; `domains` all that accounts may live on.

    Modules find here: `router`, `directory` (accounts), `handlers` and `iq_routes` (what modules declared),
    `services` (what answers at other domains of ours), `clock`, `metrics`, `spawn`, `request`.
    """

    def __init__(
        self,
        domain: str,
        *,
        domains: Iterable[str] = (),
        clock: Clock | None = None,
        classes: Sequence[type[Module]] | None = None,
    ) -> None:
        self.domain = domain
        self.domains = {domain, *domains}
        self.jid = JID.parse(domain)
        self.clock = clock or Clock()
        self.started = self.clock.now()
        self.metrics = Metrics()
        self.directory = Directory()
        self.authentication = Authentication(self)
        self.has_tls = False
        self.tick = self.clock.monotonic()  # refreshed by the sweep; good enough for idle times
        self.is_stopping = False
        self.changes = 0  # grows whenever a session opens, closes or changes its presence
        self.connections: set[ClientConnection] = set()
        self.unauthenticated: set[ClientConnection] = set()  # more exactly: no resource bound yet
        self.services: dict[str, Callable[[Stanza], Awaitable[object] | None]] = {}
        self.handlers: dict[Hook, tuple[Handler, ...]] = dict.fromkeys(hooks.ALL, ())
        self.iq_routes: dict[tuple[str, hooks.Target, str], IQHandler] = {}
        self.early_routes: dict[tuple[str, str], EarlyHandler] = {}
        self.nonzas: dict[str, NonzaHandler] = {}
        self.early_elements: dict[str, Callable[[Stanza, ClientConnection], None]] = {}
        # Set by the archive: (message, account, is nobody there) -> a Deferred that delivers it; None: not kept.
        self.archive: Callable[[Stanza, Account, bool], Deferred | None] | None = None
        self.inline_login: dict[tuple[str, str], InlineLogin] = {}
        self.inline_session: list[tuple[tuple[str, str], InlineSession]] = []  # in order of priority
        self.inline_bind: dict[tuple[str, str], InlineBind] = {}
        self._inline_session: list[tuple[int, tuple[str, str], InlineSession]] = []
        self.sweeps: list[Callable[[], None]] = []  # called once a second
        # Name -> whether it holds; the console warns of them.
        self.problems: dict[str, Callable[[], bool]] = {}
        self.router = Router(self)
        self.modules: list[Module] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()
        self._replies: dict[tuple[str, str], asyncio.Future[Stanza]] = {}
        self._pool = ParserPool(AUTHENTICATED)
        self._offers: dict[int, bytes] = {}
        self._sasl2_extras: dict[tuple[str, ...], str] = {}
        for cls in module_classes() if classes is None else classes:
            self.add_module(cls)

    # -- modules

    def add_module(self, cls: type[Module]) -> Module:
        """Register what the class declares; two modules on one route are an error of ours."""
        module = cls(self)
        self.modules.append(module)
        for spec, name in cls.specs:
            method = getattr(module, name)
            if isinstance(spec, IQRoute):
                for target in spec.to:
                    route = (spec.type, target, spec.tag)
                    if route in self.iq_routes:
                        raise RuntimeError(f"{cls.__name__}.{name}: {route} is taken")
                    self.iq_routes[route] = method
            elif isinstance(spec, InlineRoute):
                self._add_inline(spec, method)
            else:
                self._handlers_of(spec.hook).append((spec.priority, method))
        self._freeze_handlers()
        return module

    def _add_inline(self, spec: InlineRoute, method: Any) -> None:
        if spec.stage == "session":
            self._inline_session.append((spec.priority, spec.tag, method))
            self._inline_session.sort(key=lambda row: -row[0])
            self.inline_session = [(tag, handler) for _, tag, handler in self._inline_session]
            return
        table = self.inline_login if spec.stage == "login" else self.inline_bind
        if spec.tag in table:
            raise RuntimeError(f"{method}: {spec.tag} is taken")
        table[spec.tag] = method

    def _handlers_of(self, hook: Hook) -> list[tuple[int, Handler]]:
        if not hasattr(self, "_subscriptions"):
            self._subscriptions: dict[Hook, list[tuple[int, Handler]]] = {hook: [] for hook in hooks.ALL}
        return self._subscriptions[hook]

    def _freeze_handlers(self) -> None:
        for hook in hooks.ALL:
            ordered = sorted(self._handlers_of(hook), key=lambda pair: -pair[0])
            self.handlers[hook] = tuple(handler for _, handler in ordered)

    def module(self, cls: type[Any]) -> Any:
        """The instance of this module class."""
        return next(module for module in self.modules if type(module) is cls)

    def ask(self, hook: Hook, *arguments: Any) -> None:
        """Tell a moment whose outcome nobody waits for: handlers that wait go on in tasks, and one that fails keeps
        neither the others nor the caller from their work."""
        for handler in self.handlers[hook]:
            try:
                outcome = handler(*arguments)
            except Exception as problem:
                log.exception("%r: %r failed fingerprint=%s", hook, handler, self.metrics.failed(problem))
                continue
            if outcome is not None and outcome is not hooks.STOP:
                self.spawn(outcome)  # type: ignore[arg-type]

    # -- life

    async def start(self) -> None:
        for module in self.modules:
            await module.start()
        self.keep_running(self._sweep())
        self.tick = self.clock.monotonic()

    async def stop(self, *, timeout: float = 8.0) -> None:
        """Tell every client system-shutdown and wait until their ends have been written and handled (F2)."""
        self.is_stopping = True
        for connection in list(self.connections):
            connection.close(StreamError("system-shutdown"))
        for session in self.sessions():
            session.close(StreamError("system-shutdown"))  # those that wait for their clients
        deadline = time.monotonic() + timeout
        while self.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for module in self.modules:
            await module.stop()
        for task in list(self._endless):
            task.cancel()
        waiting = self._tasks - {asyncio.current_task()}
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.1, deadline - time.monotonic()))

    def spawn(self, work: Awaitable[Any] | Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it beside everything else; what fails is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what goes on until the server stops; it is cancelled then."""
        task = asyncio.ensure_future(work)
        self._endless.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._endless.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            if isinstance(problem, (StanzaError, StreamError, *OUT_OF_REACH)):
                return  # what the database does is in the log, once for all
            fingerprint = self.metrics.failed(problem)
            log.error("background task failed fingerprint=%s", fingerprint, exc_info=problem)

    async def _sweep(self) -> None:
        """Once a second: time-outs of all connections in one pass instead of a timer for each."""
        while not self.is_stopping:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def next_moment(self) -> float:
        """A tick later than all that has been noted in this second, so that one can tell what was first."""
        self.tick = math.nextafter(self.tick, math.inf)
        return self.tick

    def sweep(self) -> None:
        self.tick = max(self.tick, self.clock.monotonic())
        self._offers.clear()
        self._sasl2_extras.clear()
        deadline = self.clock.now() - limits.LOGIN_TIMEOUT.value
        for connection in [c for c in self.unauthenticated if c.since < deadline]:
            connection.close(StreamError("connection-timeout", "no login"))
        for call in self.sweeps:
            try:
                call()
            except Exception as problem:
                log.exception("sweep failed fingerprint=%s", self.metrics.failed(problem))

    # -- policy of client streams (protocol.stream.c2s.Policy)

    @property
    def pool(self) -> ParserPool:
        """Parsers for authenticated clients; another pool from the moment a limit is changed."""
        wanted = limits.MAX_STANZA_BYTES.value
        if self._pool.limits.max_bytes != wanted:
            base = AUTHENTICATED
            self._pool = ParserPool(Limits(wanted, base.max_depth, base.max_elements, base.max_attributes))
        return self._pool

    @property
    def default_domain(self) -> str:
        return self.domain

    @property
    def is_tls_required(self) -> bool:
        return bool(limits.TLS_POLICY.value == "required")

    @property
    def max_auth_failures(self) -> int:
        return limits.MAX_AUTH_FAILURES.value

    def serves(self, domain: str) -> bool:
        return domain in self.domains

    def mechanisms(self, stream: ClientStream) -> list[str]:
        """PLAIN shows the password to the server, so only inside TLS; without TLS at all where TLS is optional."""
        return sasl.offered(
            tls=bool(stream.has & Has.TLS),
            plus_types=stream.binding_types,
            allow_plain=limits.ALLOW_PLAIN.value,
            hashes=self.authentication.hashes(stream),
        )

    def token_mechanisms(self, stream: ClientStream) -> Sequence[str]:
        tokens = self.authentication.tokens
        return () if tokens is None else tokens.mechanisms(stream.binding_types)

    def sasl2_extras(self, stream: ClientStream) -> str:
        """What may be asked for inside <authenticate/>; kept as the features are."""
        extras = self._sasl2_extras.get(stream.binding_types)
        if extras is None:
            inline = "".join(module.login_offers(stream.binding_types) for module in self.modules)
            extras = f"<inline>{inline}</inline>" if inline else ""
            extras += "".join(module.authentication_offers() for module in self.modules)
            self._sasl2_extras[stream.binding_types] = extras
        return extras

    def extra_features(self, stream: ClientStream) -> bytes:
        """What modules add, kept until the next sweep: every login reads it three times."""
        offers = self._offers.get(stream.has)
        if offers is None:
            offers = b"".join(module.stream_offers(stream.has) for module in self.modules)
            self._offers[stream.has] = offers
        return offers

    # -- stanzas that go to nobody's account

    def on_nonza(self, stanza: Stanza, session: Session) -> Awaitable[object] | None:
        handler = self.nonzas.get(stanza.tag)
        if handler is None:
            raise StreamError("unsupported-stanza-type")
        return handler(stanza, session)

    def on_early_element(self, element: Stanza, connection: ClientConnection) -> None:
        """An element that is no stanza, between login and binding."""
        handler = self.early_elements.get(element.tag)
        if handler is None:
            connection.close(StreamError("unsupported-stanza-type"))
        else:
            handler(element, connection)

    async def answer_early(self, request: Stanza, connection: ClientConnection) -> bytes:
        """An IQ before a resource is bound: only what a module answers there (in-band registration)."""
        request.from_ = connection.account.jid if connection.account else JID.parse(self.domain)
        request.to = JID.parse(connection.stream.domain)
        tag = request.children[0] if len(request.children) == 1 else ""
        handler = self.early_routes.get((request.type, tag))
        try:
            if handler is None:
                raise StanzaError("service-unavailable" if tag else "bad-request")
            return _without_to(result(request, await handler(request, connection)))
        except StanzaError as problem:
            answer = error(request, problem)
        except OUT_OF_REACH as problem:
            answer = error(request, refusal(problem))
        except Exception as problem:
            log.exception("%r before binding failed fingerprint=%s", request, self.metrics.failed(problem))
            answer = error(request, StanzaError("internal-server-error"))
        return _without_to(answer.to_bytes()) if answer is not None else b""

    # -- IQs of the server's own

    def request(self, session: Session, payload: Element, type: str = "get") -> asyncio.Future[Stanza]:
        """Send an IQ from the domain to a session; the future gives the result or error stanza, or TimeoutError."""
        identity = secrets.token_urlsafe(9)
        stanza = make("iq", payload, from_=self.jid, to=session.jid, type=type, id=identity)
        future: asyncio.Future[Stanza] = asyncio.get_running_loop().create_future()
        key = (session.jid.full_str, identity)
        self._replies[key] = future
        timer = asyncio.get_running_loop().call_later(REPLY_TIMEOUT, _expire, future)
        future.add_done_callback(lambda _: (timer.cancel(), self._replies.pop(key, None)))
        session.send(stanza.to_bytes())
        return future

    def on_reply(self, stanza: Stanza) -> None:
        """A result or error to the server or an account: wanted, or dropped (RFC 6120 8.2.3)."""
        future = self._replies.get((stanza.from_.full_str, stanza.id))
        if future is not None and not future.done():
            future.set_result(stanza)

    # -- sessions

    def session_ended(self, session: Session) -> None:
        """The session's connection is over: tell the modules, forget it."""
        if session.is_closed:
            return
        session.is_closed = True
        self.changes += 1
        account = session.account
        account.remove(session)
        account.update_available()
        self.ask(hooks.session_closed, session)
        if not account.sessions:
            self.directory.now_offline(account)

    def sessions(self) -> list[Session]:
        return [
            session for account in self.directory.online.values() for session in account.sessions.values()
        ]

    @property
    def uptime(self) -> timedelta:
        return self.clock.now() - self.started


def _expire(future: asyncio.Future[Stanza]) -> None:
    if not future.done():
        future.set_exception(TimeoutError("no answer"))


def _without_to(data: bytes) -> bytes:
    """Before binding the client has no address to be answered at."""
    start = data.index(b" to='")
    return data[:start] + data[data.index(b"'", start + 5) + 1 :]
