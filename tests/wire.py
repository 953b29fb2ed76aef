"""A client that is nothing but a socket, for tests that must say what no library would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
import struct
from typing import Any

from tests.hearth import PASSWORD, Hearth

PATIENCE = 20.0
HEADER = (
    "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' "
    "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind></iq>"
PING = "<iq type='get' id='{}'><ping xmlns='urn:xmpp:ping'/></iq>"


def trusting(hearth: Hearth, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """A context that trusts the certificate which the server has now."""
    context = ssl.create_default_context(cafile=str(hearth.home / "certificates" / "server.crt"))
    for name, version in versions.items():
        setattr(context, name, version)
    return context


def plain(username: str, password: str = PASSWORD, authzid: str = "") -> str:
    data = base64.b64encode(f"{authzid}\0{username}\0{password}".encode()).decode()
    return f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>"


class Wire:
    """`read` holds everything that came since the last `expect`."""

    def __init__(self, hearth: Hearth, *, context: ssl.SSLContext | None = None) -> None:
        self.hearth = hearth
        self.context = context
        self.read = ""
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter | None = None

    @property
    def header(self) -> str:
        return HEADER.format(domain=self.hearth.domain)

    @property
    def tls(self) -> Any:
        """The SSLObject of this end."""
        return self.writer.get_extra_info("ssl_object")

    # -- steps

    async def connect(self, port: str = "c2s", *, receive_buffer: int = 0) -> Wire:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.hearth.ports[port]))
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=1024)
        return self

    async def start_tls(self) -> None:
        """The handshake, on a port of direct TLS or behind <proceed/>."""
        context = self.context or trusting(self.hearth)
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context, server_hostname=self.hearth.domain)

    async def secure(self) -> None:
        """Open the stream, STARTTLS, open it again; the features stand in `read`."""
        self.send(self.header)
        await self.expect("</stream:features>")
        self.send(STARTTLS)
        await self.expect("<proceed[^>]*/>")
        await self.start_tls()
        self.send(self.header)
        await self.expect("</stream:features>", keep=True)

    async def log_in(self, username: str, resource: str = "", *, password: str = PASSWORD) -> str:
        """From a connected socket to a bound resource, with PLAIN; returns the full JID."""
        await self.secure()
        self.read = ""
        self.send(plain(username, password))
        await self.expect("<success ")
        return await self.bind(resource)

    async def bind(self, resource: str = "") -> str:
        self.send(self.header)
        await self.expect("</stream:features>")
        self.send(BIND.format(f"<resource>{resource}</resource>" if resource else ""))
        return (await self.expect("<jid>([^<]*)</jid></bind></iq>"))[1]

    async def ping(self, id: str = "p") -> None:
        self.send(PING.format(id))
        await self.expect(f"<iq [^>]*id='{id}'[^>]*type='result'|<iq [^>]*type='result'[^>]*id='{id}'")

    # -- bytes

    def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def expect(self, pattern: str, *, keep: bool = False) -> re.Match[str]:
        """Read on until the pattern has come; what stood up to its end is dropped unless `keep`."""
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.read)):
                data = await self.reader.read(65536)
                assert data, f"the server closed; {pattern!r} is not in {self.read!r}"
                self.read += data.decode()
        if not keep:
            self.read = self.read[found.end() :]
        return found

    async def end(self) -> str:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := await self.reader.read(65536):
                    self.read += data.decode("utf-8", "replace")
        return self.read

    async def is_closed_with(self, condition: str) -> bool:
        """Whether the stream ends by this error; what it ends by instead is raised."""
        text = await self.end()
        assert f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'" in text, text
        return True

    def reset(self) -> None:
        """End without a word: RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
