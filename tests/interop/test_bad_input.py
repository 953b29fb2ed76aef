"""Hostile and broken clients on real sockets. After each of them the server serves the next one as before."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from accounts import registry
from tests.hearth import Hearth
from tests.wire import PATIENCE, SASL, STARTTLS, Wire, plain
from xmppd.server.server import Server
from xmppd.transports.tcp import Listener, TCPClient

pytestmark = pytest.mark.interop
MESSAGE = "<message to='{}' type='chat' id='{}'><body>{}</body></message>"


def log_of(hearth: Hearth) -> str:
    return (hearth.home / "logs" / "hearth.log").read_text() + hearth.text()


@pytest_asyncio.fixture(autouse=True)
async def _control(hearth: Hearth, wire: Callable[..., Wire]) -> AsyncIterator[None]:
    """After each test a fresh client logs in, and the log holds no traceback."""
    yield
    control = await wire().connect()
    await control.log_in("romeo")
    await control.ping()
    assert "Traceback" not in log_of(hearth)


# -- before TLS


async def test_plaintext_behind_starttls_never_counts(wire):
    """CVE-2011-0411."""
    client = await wire().connect()
    client.send(client.header)
    await client.expect("</stream:features>")
    client.send(STARTTLS + plain("juliet"))
    assert await client.is_closed_with("policy-violation")
    assert "<proceed" not in client.read


async def test_plaintext_between_proceed_and_tls_breaks_the_handshake(wire):
    client = await wire().connect()
    client.send(client.header)
    await client.expect("</stream:features>")
    client.send(STARTTLS)
    await client.expect("<proceed[^>]*/>")
    client.send(client.header + plain("juliet"))
    assert "<success" not in await client.end()


async def test_client_that_tries_tls_first_falls_back(wire):
    probe = await wire().connect()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await probe.start_tls()
    client = await wire().connect()
    await client.log_in("juliet")
    await client.ping()


async def test_garbage_on_the_tls_port(wire, hearth):
    for garbage in (b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40):
        client = await wire().connect("c2s_tls")
        client.send(garbage)
        assert "stream" not in await client.end()
    client = await wire().connect("c2s_tls")
    await client.start_tls()
    client.send(client.header)
    await client.expect("</stream:features>")


async def test_garbage_behind_the_handshake(wire):
    client = await wire().connect()
    await client.secure()
    with socket.socket(fileno=socket.dup(client.writer.get_extra_info("socket").fileno())) as sock:
        sock.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that nobody encrypted
    client.read = ""
    assert await client.end() == ""


async def test_sasl_before_tls_is_refused(wire):
    client = await wire().connect()
    client.send(client.header)
    features = await client.expect("<stream:features>.*</stream:features>")
    assert "mechanism" not in features[0]
    client.send(plain("juliet"))
    await client.expect("<encryption-required")
    assert "<success" not in client.read


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (MESSAGE.format("romeo@example.org", 1, "x"), "not-authorized"),
        ("<presence/>", "not-authorized"),
        ("<whatever xmlns='urn:x'/>", "unsupported-stanza-type"),
    ],
)
async def test_stanza_before_login(wire, stanza, condition):
    client = await wire().connect()
    await client.secure()
    client.send(stanza)
    assert await client.is_closed_with(condition)


async def test_host_that_is_not_served(wire):
    client = await wire().connect()
    client.send(client.header.replace("example.org", "example.net"))
    assert await client.is_closed_with("host-unknown")


async def test_header_that_never_ends_is_timed_out(wire, hearth):
    """Slow loris: one byte at a time, and each of them a sign of life."""
    await asyncio.to_thread(hearth.manage, "settings", "set", "c2s.login_timeout", "5 seconds")
    client = await wire().connect()

    async def drip() -> None:
        client.send("<stream:stream to='example.org' a='")
        while True:
            client.send("x")
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    try:
        started = time.monotonic()
        assert await client.is_closed_with("connection-timeout")
        assert time.monotonic() - started < 10
    finally:
        dripping.cancel()
        await asyncio.to_thread(hearth.manage, "settings", "reset", "c2s.login_timeout")


async def test_flood_of_bytes_before_login(wire):
    client = await wire().connect()
    client.send(client.header)
    await client.expect("</stream:features>")
    client.send("<a" + " " * 4_000_000)
    assert await client.is_closed_with("policy-violation")


async def test_flood_of_elements_before_login(wire):
    client = await wire().connect()
    await client.secure()
    client.send("<iq type='get' id='1'><query xmlns='urn:x'>" + "<a/>" * 1000)
    assert await client.is_closed_with("policy-violation")


# -- XML


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        ("<message>" + "<a>" * 100, "policy-violation"),
        ("<message>" + "<a>" * 50_000, "policy-violation"),
        ("<!-- comment -->", "restricted-xml"),
        ("<?pi x?>", "restricted-xml"),
        ("<message><!DOCTYPE x></message>", "not-well-formed"),
        ("<message><body>&nbsp;</body></message>", "restricted-xml"),
        ("<message></presence>", "not-well-formed"),
        ("text between stanzas", "bad-format"),
        (b"<message><body>\xc0\x80</body></message>", "unsupported-encoding"),
        (b"<message><body>\xed\xa0\x80</body></message>", "unsupported-encoding"),
    ],
)
async def test_xml_that_is_refused(wire, data, condition):
    client = await wire().connect()
    await client.log_in("juliet")
    client.send(data)
    assert await client.is_closed_with(condition)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_other_encodings(wire, encoding):
    client = await wire().connect()
    client.send(client.header.replace("<?xml version='1.0'?>", "").encode(encoding))
    text = await client.end()
    assert re.search("<(unsupported-encoding|not-well-formed|bad-format) ", text), text
    assert "<stream:features>" not in text


async def test_giant_attribute_in_small_pieces_costs_little(wire, hearth):
    """CVE-2023-52425: expat reads an unfinished tag from its start at each piece."""
    client = await wire().connect()
    await client.log_in("juliet")
    spent = cpu_seconds(hearth)
    client.send("<message a='")
    for _ in range(500):
        client.send("x" * 1000)
        await client.writer.drain()
    assert await client.is_closed_with("policy-violation")
    assert cpu_seconds(hearth) - spent < 1.0


async def test_ten_thousand_elements(wire):
    client = await wire().connect()
    await client.log_in("juliet")
    client.send(f"<message to='romeo@example.org'><x xmlns='urn:x'>{'<a/>' * 10_000}</x></message>")
    assert await client.is_closed_with("policy-violation")


async def test_stanza_of_another_sender(wire):
    client = await wire().connect()
    await client.log_in("juliet")
    client.send("<message from='nurse@example.org' to='romeo@example.org'><body>x</body></message>")
    assert await client.is_closed_with("invalid-from")


# -- logins


@pytest.mark.parametrize(
    ("auth", "condition"),
    [
        (plain("juliet", authzid="romeo@example.org"), "invalid-authzid"),
        (plain("juliet", "wrong"), "not-authorized"),
        (plain("nobody"), "not-authorized"),
        (f"<auth xmlns='{SASL}' mechanism='ANONYMOUS'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>no base64</auth>", "incorrect-encoding"),
        (f"<response xmlns='{SASL}'/>", "malformed-request"),
    ],
)
async def test_login_that_is_refused(wire, auth, condition):
    client = await wire().connect()
    await client.secure()
    client.send(auth)
    await client.expect(f"<failure [^>]*><{condition}")
    client.send(plain("juliet"))  # one failure does not end the stream
    await client.expect("<success ")


# -- ends


async def steps_to(client: Wire, state: str) -> None:
    """Bring a connected client to the state after which it is torn away."""
    if state == "connected":
        return
    if state in ("half a header", "header"):
        client.send(client.header[: None if state == "header" else 40])
        return
    if state == "proceed":
        client.send(client.header)
        await client.expect("</stream:features>")
        client.send(STARTTLS)
        await client.expect("<proceed")
        return
    if state in ("tls", "auth"):
        await client.secure()
        if state == "auth":
            client.send(plain("juliet"))  # the look-up is under way
        return
    await client.log_in("juliet")
    if state == "half a stanza":
        client.send("<message to='romeo@example.org'><body>half")
    elif state == "waiting":
        for n in range(20):
            client.send(f"<iq type='get' id='{n}'><query xmlns='jabber:iq:roster'/></iq>")


@pytest.mark.parametrize(
    "state",
    ["connected", "half a header", "header", "proceed", "tls", "auth", "bound", "half a stanza", "waiting"],
)
async def test_reset_in_every_state(wire, hearth, state):
    for _ in range(3):
        client = await wire().connect()
        await steps_to(client, state)
        client.reset()
    await until(lambda: hearth.status()["sessions"] == 0)


async def test_client_that_only_stops_writing_is_let_go(wire, hearth):
    client = await wire().connect()
    client.send(client.header)
    await client.expect("</stream:features>")
    client.writer.write_eof()
    await client.end()


# -- floods


@pytest_asyncio.fixture
async def unthrottled(hearth: Hearth) -> AsyncIterator[None]:
    """Clients may send as fast as they can."""
    await asyncio.to_thread(hearth.manage, "settings", "set", "c2s.max_bytes_per_second", "1 GiB")
    yield
    await asyncio.to_thread(hearth.manage, "settings", "reset", "c2s.max_bytes_per_second")


async def test_slow_reader_is_closed_and_delays_nobody(wire, hearth, unthrottled):
    slow, fast = await wire().connect(receive_buffer=4096), await wire().connect()
    address = await slow.log_in("nurse")
    await fast.log_in("juliet")
    slow.writer.transport.pause_reading()
    before = memory_bytes(hearth)
    body = "x" * 100_000
    for n in range(600):  # 60 MB
        fast.send(MESSAGE.format(address, n, body))
        await fast.writer.drain()
    await fast.ping("behind")
    assert memory_bytes(hearth) - before < 40_000_000
    assert "slow-reader jid=nurse@example.org" in log_of(hearth)
    slow.writer.transport.resume_reading()
    assert len(await slow.end()) < 20_000_000


async def test_fast_sender_is_slowed_and_delays_nobody(wire):
    """Nothing of what it sends is lost, and another client's pings are answered in between."""
    fast, reader, other = await wire().connect(), await wire().connect(), await wire().connect()
    await fast.log_in("juliet")
    address = await reader.log_in("nurse")
    await other.log_in("romeo")
    body = "x" * 10_000

    async def flood() -> None:
        for n in range(300):  # 3 MB at the default of 1 MiB per second
            fast.send(MESSAGE.format(address, n, body))
            await fast.writer.drain()

    started = time.monotonic()
    flooding = asyncio.create_task(flood())
    arriving = asyncio.create_task(reader.expect("id='299'[^>]*>", keep=True))
    slowest, pings = 0.0, 0
    while not arriving.done():
        before = time.monotonic()
        await other.ping(f"p{pings}")
        slowest = max(slowest, time.monotonic() - before)
        pings += 1
        await asyncio.sleep(0.05)
    await arriving
    await flooding
    assert time.monotonic() - started > 1.0, "nobody slowed it"
    assert slowest < 1.0
    assert pings > 10
    assert re.findall(r"<message [^>]*id='(\d+)'", reader.read) == [str(n) for n in range(300)]


# -- how many


async def test_strangers_altogether_are_bounded(wire, hearth):
    await asyncio.to_thread(hearth.manage, "settings", "set", "c2s.max_unauthenticated", "10")
    try:
        strangers = [await wire().connect() for _ in range(10)]
        for stranger in strangers:
            stranger.send(stranger.header)
            await stranger.expect("</stream:features>")
        assert await (await wire().connect()).is_closed_with("resource-constraint")
    finally:
        await asyncio.to_thread(hearth.manage, "settings", "reset", "c2s.max_unauthenticated")


@pytest.fixture
def two_per_address() -> Iterator[None]:
    registry._store.put({"c2s.max_connections_per_address": 2})
    yield
    registry._store.put({})


async def test_connections_of_one_address_are_bounded_but_not_those_of_this_machine(two_per_address):
    """Every connection of a test comes from loopback, so the listener is asked itself."""
    listener = Listener(Server("example.org", classes=()), SimpleNamespace())

    def arrives(address: str) -> TCPClient:
        connection = TCPClient(listener)
        connection.address = address
        return connection

    first, second, third = (arrives("203.0.113.7") for _ in range(3))
    assert [listener.admit(connection) for connection in (first, second, third)] == [True, True, False]
    assert listener.admit(arrives("203.0.113.8"))
    listener.forget(third)
    listener.forget(first)
    assert listener.admit(arrives("203.0.113.7"))
    assert all(listener.admit(arrives(address)) for address in ("127.0.0.1", "::1") for _ in range(5))


# -- the process, from outside


def memory_bytes(hearth: Hearth) -> int:
    status = Path(f"/proc/{hearth.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def cpu_seconds(hearth: Hearth) -> float:
    fields = Path(f"/proc/{hearth.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
