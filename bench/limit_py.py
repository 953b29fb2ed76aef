#!/usr/bin/env python3
"""limit.c's job in CPython: what a Python router pays per stanza before it does any real work.

find: stanza ends by bytes.find, `to` by a substring. expat: stanzas go through the stream's pyexpat parser
(handlers in Python, bounds from CurrentByteIndex). The original bytes are forwarded with `from` inserted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import select
import socket
from abc import ABC, abstractmethod
from typing import Any
from xml.parsers import expat

HEADER = (
    b"<?xml version='1.0'?><stream:stream from='localhost' id='x' xmlns='jabber:client'"
    b" xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
FEATURES_SASL = (
    b"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>"
    b"</mechanisms></stream:features>"
)
FEATURES_BIND = b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"


class Connection(ABC):
    """One client; what it is to be sent gathers in `out` until the end of the turn."""

    __slots__ = ("authenticated", "bare", "buffer", "closed", "from_", "jid", "out", "router", "socket")

    def __init__(self, router: Router, socket: Any) -> None:
        self.router = router
        self.socket = socket
        self.buffer = b""
        self.bare = self.jid = ""
        self.from_ = b""
        self.out: list[bytes] = []
        self.authenticated = self.closed = False

    def send(self, *parts: bytes) -> None:
        if not self.out:
            self.router.dirty.append(self)
        self.out.extend(parts)

    def take(self) -> bytes:
        data = b"".join(self.out)
        self.out = []
        return data

    def send_header(self) -> None:
        self.send(HEADER + (FEATURES_BIND if self.authenticated else FEATURES_SASL))

    def close(self) -> None:
        self.send(b"</stream:stream>")
        self.closed = True

    def reset(self) -> None:
        """A new stream begins."""
        self.buffer = b""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Bytes from the client: cut them into stanzas and hand each to `stanza`."""

    def stanza(self, raw: bytes, name: str, to: str, id_: str) -> None:
        if name == "message":
            recipient = self.router.users.get(to.partition("/")[0])
            if recipient is not None:
                recipient.send(raw[:8], self.from_, raw[8:])
        elif name == "presence":
            self.send(raw[:9], self.from_, raw[9:])
        elif name == "iq":
            self.answer_iq(id_)
        elif name == "auth":
            self.authenticate(base64.b64decode(raw[raw.index(b">") + 1 : raw.rindex(b"<")]))

    def answer_iq(self, id_: str) -> None:
        if id_ == "bind1":
            payload = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{self.jid}</jid></bind>"
            self.send(f"<iq type='result' id='bind1'>{payload}</iq>".encode())
        else:
            self.send(f"<iq type='result' from='localhost' to='{self.jid}' id='{id_}'/>".encode())

    def authenticate(self, message: bytes) -> None:
        """Any password will do."""
        user = message.split(b"\0")[1].decode()
        self.bare = user + "@localhost"
        self.jid = f"{self.bare}/load{user[4:]}"
        self.from_ = f" from='{self.jid}'".encode()
        self.authenticated = True
        self.router.users[self.bare] = self
        self.send(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        self.reset()


class FindConnection(Connection):
    __slots__ = ()

    def feed(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        position = 0
        while position < len(data):
            gt = data.find(b">", position)
            if gt < 0:
                break
            if data.startswith((b"<?xml", b"<stream:stream"), position):
                if data.startswith(b"<stream", position):
                    self.send_header()
                position = gt + 1
                continue
            if data.startswith(b"</", position):
                self.close()
                return
            end = self.stanza_at(data, position, gt)
            if end < 0:
                break
            position = end
        self.buffer = data[position:]

    def stanza_at(self, data: bytes, start: int, gt: int) -> int:
        """Handle the stanza whose first tag ends at `gt`; its end, or -1 while more is to come."""
        space = data.find(b" ", start, gt)
        name = data[start + 1 : space if space > 0 else gt].rstrip(b"/")
        if data[gt - 1 : gt] == b"/":
            end = gt + 1
        else:
            end = data.find(b"</" + name + b">", gt)
            if end < 0:
                return -1
            end += len(name) + 3
        id_ = attribute(data, b" id='", start, gt) if name == b"iq" else ""
        self.stanza(data[start:end], name.decode(), attribute(data, b" to='", start, gt), id_)
        return end


def attribute(data: bytes, opening: bytes, start: int, end: int) -> str:
    begin = data.find(opening, start, end)
    if begin < 0:
        return ""
    begin += len(opening)
    return data[begin : data.find(b"'", begin)].decode()


class ExpatConnection(Connection):
    __slots__ = ("base", "depth", "done", "id", "name", "parser", "start", "to")

    def __init__(self, router: Router, socket: Any) -> None:
        super().__init__(router, socket)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.depth = self.base = self.start = 0
        self.done: list[tuple[int, int, str, str, str]] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.on_start
        self.parser.EndElementHandler = self.on_end

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 1:
            self.start = self.parser.CurrentByteIndex
            self.name = name
            self.to = attributes.get("to", "")
            self.id = attributes.get("id", "")
        elif self.depth == 0:
            self.send_header()
        self.depth += 1

    def on_end(self, name: str) -> None:
        self.depth -= 1
        if self.depth == 1:
            self.done.append((self.start, self.parser.CurrentByteIndex, self.name, self.to, self.id))
        elif self.depth == 0:
            self.close()

    def feed(self, data: bytes) -> None:
        parser = self.parser
        self.buffer = whole = self.buffer + data if self.buffer else data
        parser.Parse(data)
        if self.done:
            self.forward(whole, parser)
        elif self.depth <= 1:
            self.base += len(whole)
            self.buffer = b""

    def forward(self, whole: bytes, parser: expat.XMLParserType) -> None:
        done, self.done = self.done, []
        last = 0
        for start, end, name, to, id_ in done:
            end -= self.base
            if whole.startswith(b"</" + name.encode(), end):  # <x/> ends where expat points
                end = whole.find(b">", end) + 1
            self.stanza(whole[start - self.base : end], name, to, id_)
            last = end
            if self.parser is not parser:
                return
        self.buffer = whole[last:]
        self.base += last


class Router:
    """Who is connected, and who has something to be sent at the end of this turn."""

    def __init__(self, connection_class: type[Connection]) -> None:
        self.connection_class = connection_class
        self.users: dict[str, Connection] = {}
        self.dirty: list[Connection] = []

    def connect(self, socket: Any) -> Connection:
        return self.connection_class(self, socket)

    def drop(self, connection: Connection) -> None:
        if self.users.get(connection.bare) is connection:
            del self.users[connection.bare]


def run_epoll(router: Router, port: int) -> None:
    """Clients that saturate the router always read, so a send that takes only a part is not handled here."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, Connection] = {}

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                client, _ = listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[client.fileno()] = router.connect(client)
                poll.register(client.fileno(), select.EPOLLIN)

    def drop(descriptor: int) -> None:
        poll.unregister(descriptor)
        connection = connections.pop(descriptor)
        router.drop(connection)
        connection.socket.close()

    def receive(descriptor: int) -> None:
        connection = connections[descriptor]
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            connection.feed(data)
        else:
            drop(descriptor)

    while True:
        for descriptor, _ in poll.poll(-1, 256):
            if descriptor == listener.fileno():
                accept()
            else:
                receive(descriptor)
        for connection in router.dirty:
            data = connection.take()
            with contextlib.suppress(OSError):
                connection.socket.send(data)
            if connection.closed and connection.socket.fileno() >= 0:
                drop(connection.socket.fileno())
        router.dirty.clear()


class ClientProtocol(asyncio.Protocol):
    __slots__ = ("connection", "router")

    def __init__(self, router: Router) -> None:
        self.router = router

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connection = self.router.connect(transport)

    def data_received(self, data: bytes) -> None:
        self.connection.feed(data)
        for connection in self.router.dirty:
            connection.socket.write(connection.take())
            if connection.closed:
                connection.socket.close()
        self.router.dirty.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self.router.drop(self.connection)


async def run_asyncio(router: Router, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ClientProtocol(router), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=26041)
    parser.add_argument("--loop", choices=["epoll", "asyncio", "uvloop"], default="uvloop")
    parser.add_argument("--parse", choices=["find", "expat"], default="expat")
    arguments = parser.parse_args()
    router = Router(ExpatConnection if arguments.parse == "expat" else FindConnection)
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.loop == "epoll":
            run_epoll(router, arguments.port)
        elif arguments.loop == "asyncio":
            asyncio.run(run_asyncio(router, arguments.port))
        else:
            import uvloop

            uvloop.run(run_asyncio(router, arguments.port))


if __name__ == "__main__":
    main()
