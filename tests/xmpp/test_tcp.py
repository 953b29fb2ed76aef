"""Writing to sockets: one connection's trouble is nobody else's."""

import asyncio
import ssl
from types import SimpleNamespace

import pytest

from tests.conversation import settled
from xmppd.server import limits
from xmppd.transports.tcp import Listener, TCPClient


class Transport(asyncio.Transport):
    """What was written; broken ones refuse, as TLS does behind the end of its connection."""

    def __init__(self, *, is_broken=False):
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.is_broken = is_broken
        self.is_aborted = False
        self.written = b""

    def write(self, data):
        if self.is_broken:
            raise ssl.SSLError("protocol is shutdown")
        self.written += data

    def write_eof(self):
        pass

    def abort(self):
        self.is_aborted = True

    def close(self):
        self.is_aborted = True

    def is_closing(self):
        return self.is_aborted


@pytest.fixture
async def listener(server):
    return Listener(server, SimpleNamespace(context=None))


def connect(listener, **kwargs):
    connection = TCPClient(listener)
    transport = Transport(**kwargs)
    connection.connection_made(transport)
    return connection, transport


async def test_one_that_cannot_be_written_to_silences_no_other(server, listener, caplog):
    before, broken, behind = connect(listener), connect(listener, is_broken=True), connect(listener)
    for _round in range(2):
        for connection, _transport in (before, broken, behind):
            connection.send(b"x")
        await settled(server)
        await asyncio.sleep(0)
    assert before[1].written == behind[1].written == b"xx"
    assert broken[1].is_aborted
    assert broken[0].is_closed
    assert "protocol is shutdown" in caplog.text


async def test_one_write_for_a_turn_of_the_loop(listener):
    connection, transport = connect(listener)
    connection.send(b"a")
    connection.send(b"b")
    assert transport.written == b""
    await asyncio.sleep(0)
    assert transport.written == b"ab"


async def test_too_many_strangers(listener, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNAUTHENTICATED", SimpleNamespace(value=1))
    connect(listener)
    connection, transport = connect(listener)
    await asyncio.sleep(0)
    assert b"<resource-constraint " in transport.written
    assert connection.is_closed


async def test_nothing_is_written_behind_the_end(server, listener):
    connection, transport = connect(listener)
    connection.close()
    written = transport.written
    assert written.endswith(b"</stream:stream>")
    connection.send(b"late")
    await asyncio.sleep(0)
    assert transport.written == written


async def test_clients_wait_until_the_server_has_started(server, listener):
    port = await listener.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    )
    await writer.drain()
    await settled(server)
    assert not server.connections
    await listener.accept()
    assert (await asyncio.wait_for(reader.read(5), 5)) == b"<?xml"
    writer.close()
    listener.close()
