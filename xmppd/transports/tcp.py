"""Clients over TCP: port 5222 with STARTTLS (RFC 6120 5) and 5223 with TLS from the first byte (XEP-0368).

A connection is a Protocol with callbacks: no task, queue or reader per connection. What is written during one turn of
the loop goes out in one write per connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from xmppd.protocol.addresses import is_loopback
from xmppd.protocol.errors import StreamError
from xmppd.protocol.stream.features import Has
from xmppd.server import limits
from xmppd.server.connection import ClientConnection
from xmppd.server.server import Server
from xmppd.transports.tls import END_POINT, EXPORTER, TLS, Certificate, TLSError

log = logging.getLogger("hearth.tcp")
LINGER_SECONDS = 1.0  # how long a peer may take to close its side after we closed ours
ABORT_SECONDS = 10.0  # how long our last words may wait to be read
BACKLOG = 1024
DEAD_AFTER_MS = 120_000  # a peer whose kernel acknowledges nothing for so long is gone


class Flusher:
    """Gathers what all connections send in one turn of the loop."""

    __slots__ = ("_dirty", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[TCPClient] = []

    def add(self, connection: TCPClient) -> None:
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(connection)

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            try:
                connection.flush()
            except Exception:  # the others would never be written to again
                log.exception("write to %r", connection)
                connection.drop()


class TCPClient(ClientConnection, asyncio.Protocol):
    """One accepted socket."""

    __slots__ = (
        "_certificate",
        "_is_congested",
        "_is_throttled",
        "_listener",
        "_out",
        "_pauses",
        "_quota",
        "_quota_tick",
        "_tls",
        "_tls_names",
        "_transport",
    )

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.server, "", is_direct_tls=listener.is_direct_tls)
        self._listener = listener
        self._certificate = listener.certificate
        self._transport: asyncio.Transport | None = None
        self._tls: TLS | None = None
        self._tls_names = ("", "")  # version and cipher, of a connection that is over
        self._out: list[bytes] = []
        self._is_congested = False
        self._is_throttled = False
        self._pauses = 0
        self._quota = 0
        self._quota_tick = 0.0

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.address = _address(transport)
        server = self.server
        server.connections.add(self)
        server.unauthenticated.add(self)
        if self._listener.is_direct_tls:
            self._wrap()
        if not self._listener.admit(self):
            server.metrics.count("refused_connections")
            if self._listener.is_direct_tls:
                transport.abort()
            else:
                self.close(StreamError("resource-constraint", "too many connections"))

    def data_received(self, data: bytes) -> None:
        server = self.server
        tick = server.tick
        if tick != self._quota_tick:
            self._quota_tick = self.last_seen = tick
            self._quota = limits.BYTES_PER_SECOND.value
        size = len(data)
        self.bytes_in += size
        self._quota -= size
        if self._quota < 0:
            self._throttle()
        if self.is_closed:
            return
        tls = self._tls
        if tls is not None:
            data = self._decrypt(tls, data)
            if not data:
                return
        self.receive(data)

    def _decrypt(self, tls: TLS, data: bytes) -> bytes:
        was_established = tls.is_established
        try:
            plain = tls.feed(data)
        except TLSError as error:
            log.info("tls-failed ip=%s reason=%s", self.address, error)
            self._fail_tls(tls)
            return b""
        output = tls.pending_output()
        assert self._transport is not None
        if output:
            self._transport.write(output)
        if not was_established and tls.is_established:
            self._on_tls_established()
        return plain

    def _fail_tls(self, tls: TLS) -> None:
        """Close behind the alert, which tells the client why (RFC 8446 6.2)."""
        transport = self._transport
        assert transport is not None
        transport.write(tls.pending_output())
        self.lost()
        transport.close()

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def connection_lost(self, error: Exception | None) -> None:
        self.lost()
        self.server.connections.discard(self)
        self._listener.forget(self)
        self._out.clear()
        self._tls_names = self.tls_version, self.tls_cipher
        self._tls = None
        self._transport = None

    def pause_writing(self) -> None:
        self._is_congested = True
        self._check_queue()

    def resume_writing(self) -> None:
        self._is_congested = False

    # -- ClientConnection

    def send(self, data: bytes) -> None:
        if self.is_closed:
            return  # TLS has said its last word
        out = self._out
        if not out:
            self._listener.flusher.add(self)
        out.append(data)

    def flush(self) -> None:
        """Write what was gathered."""
        transport = self._transport
        out = self._out
        if transport is None or not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        tls = self._tls
        if tls is not None and tls.is_established:
            data = tls.encrypt(data)
        self.bytes_out += len(data)
        transport.write(data)
        if self._is_congested:
            self._check_queue()

    @property
    def is_congested(self) -> bool:
        return self._is_congested

    def _check_queue(self) -> None:
        """A reader slower than its writers: the queue is bounded. A session that may be resumed waits for it."""
        transport = self._transport
        if (
            transport is None
            or self.is_closed
            or transport.get_write_buffer_size() <= limits.MAX_SEND_QUEUE_BYTES.value + self.allowance
        ):
            return
        session = self.session
        log.info("slow-reader jid=%s ip=%s", session.jid if session else "-", self.address)
        self.server.metrics.count("slow_readers")
        if session is not None and session.may_be_resumed:
            self.drop()
        else:
            self.close(StreamError("resource-constraint", "too much waits to be read"))

    def drop(self) -> None:
        transport = self._transport
        self.ends("timed-out")
        self.lost()
        if transport is not None:
            transport.abort()

    def start_tls(self) -> None:
        """RFC 6120 5.4.3: everything before <proceed/> is out in the clear, everything behind it is TLS."""
        self.flush()
        self._wrap()

    def _wrap(self) -> None:
        context = self._certificate.context
        if context is None:
            self.drop()
            return
        self._tls = TLS(context)

    def _on_tls_established(self) -> None:
        types: tuple[str, ...] = (END_POINT,)
        if self._listener.has_exporter and self._tls is not None and self._tls.version == "TLSv1.3":
            types = (EXPORTER, END_POINT)
        if self._listener.is_direct_tls:
            self.stream.binding_types = types
        else:
            self.stream.tls_established(types)

    def channel_bindings(self, *, with_data: bool) -> Mapping[str, bytes]:
        if self._tls is None or not self.stream.has & Has.TLS:
            return {}
        bindings = {END_POINT: self._certificate.end_point}
        if EXPORTER in self.stream.binding_types:
            bindings[EXPORTER] = self._tls.exporter() if with_data else b""
        return bindings

    @property
    def tls_version(self) -> str:
        return self._tls.version if self._tls is not None else self._tls_names[0]

    @property
    def tls_cipher(self) -> str:
        return self._tls.cipher if self._tls is not None else self._tls_names[1]

    def end(self, *, is_graceful: bool) -> None:
        self.flush()
        transport = self._transport
        if transport is None:
            return
        if self._tls is not None and self._tls.is_established:
            transport.write(self._tls.close_notify())
        if self.stream.is_peer_closed or self.server.is_stopping or transport.is_closing():
            transport.close()
            return
        if not is_graceful:
            transport.write_eof()  # and read on: a close with unread input is a reset, which destroys our last words
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, transport.close)
        loop.call_later(
            LINGER_SECONDS + ABORT_SECONDS, transport.abort
        )  # a peer that never reads holds nothing

    # -- reading: paused while a handler waits, and while the client is faster than it may be

    def pause_reading(self) -> None:
        self._pauses += 1
        if self._pauses == 1 and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._pauses -= 1
        if self._pauses == 0 and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _throttle(self) -> None:
        if not self._is_throttled:
            self._is_throttled = True
            self.pause_reading()
            seconds = min(10.0, -self._quota / limits.BYTES_PER_SECOND.value + 1.0)
            asyncio.get_running_loop().call_later(seconds, self._unthrottle)

    def _unthrottle(self) -> None:
        self._is_throttled = False
        self._quota_tick = 0.0
        self.resume_reading()


class Listener:
    """One port. `admit` bounds how many connections an address, and all strangers together, may hold."""

    def __init__(
        self,
        server: Server,
        certificate: Certificate,
        *,
        is_direct_tls: bool = False,
        has_exporter: bool = False,
    ) -> None:
        self.server = server
        self.certificate = certificate
        self.is_direct_tls = is_direct_tls
        self.has_exporter = has_exporter
        self.flusher = Flusher(asyncio.get_running_loop())
        self._by_address: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Bind ("" = every interface; port 0 = any free one) and return the port. Raises OSError.

        Who connects waits until `accept`.
        """
        loop = asyncio.get_running_loop()
        sockets = bind(host, port)
        for sock in sockets:
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # RFC 5482; what is accepted inherits it
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
        try:
            self._server = await loop.create_server(
                lambda: TCPClient(self), sock=sockets[0], backlog=BACKLOG, start_serving=False
            )
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self.port: int = sockets[0].getsockname()[1]
        return self.port

    async def accept(self) -> None:
        """Let clients in, once the server has started: before, nothing would be archived."""
        if self._server is not None:  # not closed meanwhile
            await self._server.start_serving()

    def close(self) -> None:
        """Accept nobody any more; connections go on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def admit(self, connection: TCPClient) -> bool:
        self._by_address[connection.address] += 1
        if len(self.server.unauthenticated) > limits.MAX_UNAUTHENTICATED.value:
            return False
        count = self._by_address[connection.address]
        return count <= limits.MAX_CONNECTIONS_PER_ADDRESS.value or is_loopback(connection.address)

    def forget(self, connection: TCPClient) -> None:
        self._by_address[connection.address] -= 1
        if self._by_address[connection.address] <= 0:
            del self._by_address[connection.address]


def bind(host: str, port: int) -> list[socket.socket]:
    """A listening socket's address family follows the host; "" takes IPv6 and IPv4 together where the system can."""
    if not host and socket.has_dualstack_ipv6():
        sock = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    elif ":" in host:
        sock = socket.create_server((host, port), family=socket.AF_INET6, backlog=BACKLOG)
    else:
        sock = socket.create_server((host, port), backlog=BACKLOG)
    sock.setblocking(False)
    return [sock]


def _address(transport: asyncio.Transport) -> str:
    peer: Any = transport.get_extra_info("peername")
    text = str(peer[0]) if peer else ""
    return text.removeprefix("::ffff:") if "." in text else text
