"""Scripted conversations with a real Server object over connections in memory.

    await alice.sends("<iq ...>")          as the client `alice`
    await bob.receives("<message ...>")    the next stanza that bob gets matches
    await alice.receives_nothing()         proved by a ping, not by waiting

Matching: an element of the stanza's own namespace may carry more than was asked (attributes, children); payloads of
any other namespace must be equal. `{any}` stands for any value of an attribute or text.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.parser import AUTHENTICATED, StanzaParser, parse_element
from xmppd.protocol.stanza import CLIENT_CONTEXT
from xmppd.protocol.stream.features import Has
from xmppd.protocol.writer import escape
from xmppd.server.clock import Clock
from xmppd.server.connection import ClientConnection
from xmppd.server.server import Server
from xmppd.server.session import Session

PATIENCE = 10.0  # seconds until a missing stanza fails the test; nothing waits for it to pass
ANY = "{any}"


class ManualClock(Clock):
    """Time that only a test moves."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def time(self) -> float:
        return self._now.timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, **duration: float) -> None:
        step = timedelta(**duration)
        self._now += step
        self._monotonic += step.total_seconds()


class MemoryConnection(ClientConnection):
    """A client's connection without a socket. What the server writes is parsed as a client would."""

    transport_name = "memory"

    def __init__(self, server: Server, address: str = "192.0.2.1") -> None:
        super().__init__(server, address)
        self.written: list[bytes] = []
        self.received: deque[Element] = deque()
        self.arrived = asyncio.Event()
        self.is_tls_started = False
        self.is_ended = False
        self.bindings: dict[str, bytes] = {}
        self._parser: StanzaParser | None = None
        server.connections.add(self)
        server.unauthenticated.add(self)

    def send(self, data: bytes) -> None:
        self.written.append(data)
        if self._parser is not None:
            for stanza in self._parser.feed(data):
                self.received.append(stanza.element)
        self.arrived.set()

    def start_tls(self) -> None:
        self.is_tls_started = True

    def end(self, *, is_graceful: bool) -> None:
        self.is_ended = True
        self.server.connections.discard(self)
        self.arrived.set()

    def channel_bindings(self, *, with_data: bool) -> Mapping[str, bytes]:
        return self.bindings

    @property
    def text(self) -> str:
        """All that the server wrote, so far."""
        return b"".join(self.written).decode()

    def begin_parsing(self) -> None:
        self._parser = StanzaParser(AUTHENTICATED, CLIENT_CONTEXT)


class Client:
    """An actor: one connected resource. `bare` and `full` are its addresses as text."""

    _ids = itertools.count(1)

    def __init__(self, connection: MemoryConnection, jid: JID) -> None:
        self.connection = connection
        self.server = connection.server
        self.jid = jid
        self.bare = jid.bare_str
        self.full = jid.full_str

    @property
    def session(self) -> object:
        return self.connection.session

    @property
    def is_connected(self) -> bool:
        return not self.connection.is_closed

    async def sends(self, xml: str) -> None:
        """Hand the bytes in, then let everything that they caused on this stream finish."""
        self.connection.receive(xml.encode())
        await self.settles()

    async def settles(self) -> None:
        """Wait until no stanza of this stream waits for the database."""
        session = self.connection.session
        if session is not None:
            await _done(session)

    async def next(self) -> Element:
        """The next stanza that arrives."""
        while not self.connection.received:
            self.connection.arrived.clear()
            try:
                await asyncio.wait_for(self.connection.arrived.wait(), PATIENCE)
            except TimeoutError:
                raise AssertionError(f"{self.full} received nothing") from None
            if self.connection.is_ended and not self.connection.received:
                raise AssertionError(f"{self.full} was disconnected: {self.connection.text[-300:]}")
        return self.connection.received.popleft()

    async def receives(self, xml: str) -> Element:
        """The next stanza matches; returns it."""
        wanted = parse_element(xml.strip().encode(), CLIENT_CONTEXT)
        got = await self.next()
        problem = mismatch(wanted, got)
        assert problem is None, f"{self.full}: {problem}\nwanted {wanted}\ngot    {got}"
        return got

    async def receives_all(self, *xml: str) -> list[Element]:
        """As many stanzas as given arrive next, in any order."""
        wanted = [parse_element(text.strip().encode(), CLIENT_CONTEXT) for text in xml]
        found = []
        for _ in xml:
            got = await self.next()
            match = next((want for want in wanted if mismatch(want, got) is None), None)
            assert match is not None, (
                f"{self.full}: nobody expected {got}\nstill wanted: {list(map(str, wanted))}"
            )
            wanted.remove(match)
            found.append(got)
        return found

    async def receives_nothing(self) -> None:
        """A ping is answered and nothing came before the answer."""
        identity = f"barrier{next(self._ids)}"
        await self.sends(
            f"<iq type='get' id='{identity}' to='{self.server.domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        got = await self.next()
        assert got.get("id") == identity, f"{self.full}: expected nothing, got {got}"

    async def asks(self, payload: str, *, type: str = "get", to: str | None = None) -> Element:
        """Send an IQ and return its result or error stanza; other stanzas in between stay queued."""
        identity = f"ask{next(self._ids)}"
        address = f" to='{to}'" if to else ""
        await self.sends(f"<iq type='{type}' id='{identity}'{address}>{payload}</iq>")
        kept: list[Element] = []
        while True:
            got = await self.next()
            if got.name == "iq" and got.get("id") == identity:
                self.connection.received.extendleft(reversed(kept))
                return got
            kept.append(got)

    async def is_available(self, priority: int | None = None, extra: str = "") -> None:
        """Send initial presence and read its own copy."""
        inner = (f"<priority>{priority}</priority>" if priority is not None else "") + extra
        await self.sends(f"<presence>{inner}</presence>")
        await self.receives(f"<presence from='{self.full}'/>")

    def forget_received(self) -> None:
        self.connection.received.clear()

    async def is_disconnected(self, condition: str = "") -> None:
        """The server ended this stream, with the condition if one is named."""
        while not self.connection.is_ended:
            self.connection.arrived.clear()
            await asyncio.wait_for(self.connection.arrived.wait(), PATIENCE)
        assert not condition or f"<{condition} " in self.connection.text, self.connection.text[-500:]

    async def disconnects(self) -> None:
        """The wire breaks, without a word."""
        self.connection.lost()
        self.server.connections.discard(self.connection)
        await asyncio.sleep(0)


async def authenticate(server: Server, jid: str, *, lang: str = "") -> MemoryConnection:
    """A connection that is logged in as this account and has no resource yet, past SASL (which has its own tests)."""
    address = JID.parse(jid)
    account = await server.directory.load(address)
    assert account is not None, f"no account {address.bare_str}"
    connection = MemoryConnection(server)
    language = f" xml:lang='{lang}'" if lang else ""
    header = (
        f"<?xml version='1.0'?><stream:stream to='{address.domain}' version='1.0'{language} "
        "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    connection.stream.has |= Has.TLS
    connection.receive(header.encode())
    connection.account = account
    connection.mechanism = "TEST"
    server.unauthenticated.discard(connection)
    connection.stream.auth_succeeded(account.jid)
    connection.after_verb()
    connection.receive(header.encode())
    return connection


async def connect(server: Server, jid: str, *, lang: str = "") -> Client:
    """Log an existing account in and bind the resource."""
    connection = await authenticate(server, jid, lang=lang)
    address = JID.parse(jid)
    resource = f"<resource>{escape(address.resource)}</resource>" if address.resource else ""
    connection.receive(
        f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>".encode()
    )
    assert connection.session is not None, connection.text
    connection.begin_parsing()
    return Client(connection, connection.session.jid)


async def subscribe(watcher: Client, watched: Client) -> None:
    """Let the watcher see the other's presence (RFC 6121 3.1), and forget what both received over it."""
    await watcher.sends(f"<presence type='subscribe' to='{watched.bare}'/>")
    await watched.sends(f"<presence type='subscribed' to='{watcher.bare}'/>")
    for client in (watcher, watched):
        client.forget_received()


async def settled(server: Server) -> None:
    """Wait until all that was caused so far, by the bus too, is done."""
    while True:
        await asyncio.sleep(0)
        busy = [session for session in server.sessions() if session._backlog is not None]
        if tasks := list(server._tasks):
            await asyncio.wait(tasks)
        elif busy:
            await _done(busy[0])
        else:
            return


async def _done(session: Session) -> None:
    event = asyncio.Event()
    session.when_done(event.set)
    await asyncio.wait_for(event.wait(), PATIENCE)


def mismatch(wanted: Element, got: Element, path: str = "") -> str | None:
    """Why `got` is not what was wanted; None when it is."""
    path = f"{path}/{wanted.name}"
    if wanted.tag != got.tag:
        return f"{path}: expected {wanted.tag}, got {got.tag}"
    is_open = wanted.ns == CLIENT
    for key, value in wanted.attrs.items():
        if key not in got.attrs or (value != ANY and got.attrs[key] != value):
            return f"{path}@{key}: expected {value!r}, got {got.attrs.get(key)!r}"
    if not is_open and (extra := got.attrs.keys() - wanted.attrs.keys()):
        return f"{path}: unexpected attributes {sorted(extra)}"
    if wanted.text.strip() and wanted.text.strip() != ANY and wanted.text != got.text:
        return f"{path}: expected text {wanted.text!r}, got {got.text!r}"
    if not is_open and not wanted.text.strip() and got.text.strip():
        return f"{path}: unexpected text {got.text!r}"
    return _children_mismatch(wanted, got, path, is_open)


def _children_mismatch(wanted: Element, got: Element, path: str, is_open: bool) -> str | None:
    left = list(got.elements())
    for child in wanted.elements():
        problems = [mismatch(child, candidate, path) for candidate in left]
        if None not in problems:
            same = [
                problem
                for problem, candidate in zip(problems, left, strict=True)
                if candidate.tag == child.tag
            ]
            return (same or [f"{path}: {child.name} in {child.ns!r} is missing"])[0]
        left.pop(problems.index(None))
    if left and not is_open:
        return f"{path}: unexpected {[child.name for child in left]}"
    return None
