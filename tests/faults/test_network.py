# ruff: noqa: F401, F811 - fixtures of tests/xmpp are imported, and then are arguments
"""Bad networks: clients that are gone without a word (F10), that read too slowly (F11), or send too fast (F12).

Real sockets between a client and the server's listener; the server runs in this process, so that its clock is ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
import scramp

from tests.conversation import Client, ManualClock, MemoryConnection, settled
from tests.faults.proxy import Proxy
from tests.hearth import PASSWORD, Hearth
from tests.wire import SASL, Wire
from tests.xmpp.conftest import alice, clock, log_in, new_user, server
from tests.xmpp.test_login import _iterations
from tests.xmpp.test_session import FAIL, Failpoint
from xmppd.server.server import Server
from xmppd.server.session import Session
from xmppd.services.properties import overridden
from xmppd.transports.tcp import Listener

SM = "urn:xmpp:sm:3"
ENABLE = f"<enable xmlns='{SM}' resume='true'/>"
BODY = re.compile(r"<message [^>]*id='m(\d+)'")


@pytest_asyncio.fixture
async def port(server: Server) -> AsyncIterator[int]:
    """Of a listener where nobody has to encrypt."""
    with overridden(c2s__tls="optional", sessions__ask_client_version=False):
        listener = Listener(server, SimpleNamespace(context=None))  # type: ignore[arg-type]
        bound = await listener.listen("127.0.0.1", 0)
        await listener.accept()
        yield bound
        listener.close()


@pytest_asyncio.fixture
async def phone(
    server: Server, port: int, new_user: Callable[..., Awaitable[Any]]
) -> AsyncIterator[Callable[..., Awaitable[Wire]]]:
    """await phone(): bob's client on a socket, logged in and available; `login` False leaves it before binding."""
    await new_user("bob")
    wires: list[Wire] = []

    async def connect(*, at: int = 0, login: bool = True, receive_buffer: int = 0) -> Wire:
        wire = Wire(SimpleNamespace(domain="example.org", ports={"c2s": at or port}))  # type: ignore[arg-type]
        wires.append(wire)
        await wire.connect(receive_buffer=receive_buffer)
        wire.send(wire.header)
        await wire.expect("</stream:features>")
        await scram(wire, "bob")
        if login:
            await wire.bind("phone")
            wire.send("<presence/>")
            await wire.expect("<presence [^>]*/>")
        else:
            wire.send(wire.header)
            await wire.expect("</stream:features>")
        return wire

    yield connect
    for wire in wires:
        wire.close()


async def scram(wire: Wire, username: str) -> None:
    """PLAIN is for TLS alone."""
    client = scramp.ScramClient(["SCRAM-SHA-1"], username, PASSWORD)
    first = base64.b64encode(client.get_client_first().encode()).decode()
    wire.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{first}</auth>")
    challenge = (await wire.expect("<challenge[^>]*>([^<]*)<"))[1]
    client.set_server_first(base64.b64decode(challenge).decode())
    final = base64.b64encode(client.get_client_final().encode()).decode()
    wire.send(f"<response xmlns='{SASL}'>{final}</response>")
    await wire.expect("<success")


async def enable(wire: Wire) -> str:
    """Switch stream management on; the key to come back with."""
    wire.send(ENABLE)
    return (await wire.expect(f"<enabled xmlns='{SM}' id='([^']*)'"))[1]


def session_of(server: Server) -> Session | None:
    return next((s for s in server.sessions() if s.jid.resource == "phone"), None)


async def until(condition: Callable[[], object]) -> None:
    """Sockets need turns of the loop, and how many is theirs to say."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def passes(server: Server, clock: ManualClock, seconds: int) -> None:
    """Time goes by in steps of a few seconds, as the sweep sees it. Clients in memory are never silent."""
    for _ in range(0, seconds, 5):
        clock.advance(seconds=5)
        for connection in server.connections:
            if isinstance(connection, MemoryConnection):
                connection.last_seen = clock.monotonic()
        server.sweep()
        await asyncio.sleep(0)


async def says(alice: Client, number: int, body: str = "hi") -> None:
    await alice.sends(
        f"<message to='bob@example.org' type='chat' id='m{number}'><body>{body}</body></message>"
    )


def refused(client: Client) -> list[str]:
    """The ids of its messages that came back."""
    return [element.get("id") for element in client.connection.received if element.get("type") == "error"]


async def archived(wire: Wire) -> list[int]:
    """The numbers of all messages in bob's archive, in order."""
    numbers: list[int] = []
    after = ""
    while True:
        wire.read = ""
        page = f"<set xmlns='http://jabber.org/protocol/rsm'><max>100</max>{after}</set>"
        wire.send(f"<iq type='set' id='mam'><query xmlns='urn:xmpp:mam:2'>{page}</query></iq>")
        text = (await wire.expect("(?s)^.*<fin .*</iq>"))[0]
        numbers += [int(number) for number in BODY.findall(text)]
        if "complete='true'" in text:
            return numbers
        last = re.search("<last>([^<]*)</last>", text)
        after = f"<after>{last[1]}</after>"


# -- F10, gone without a word


@pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")])
async def test_half_open_client_is_found_out_by_its_acknowledgements(
    server, clock, port, phone, alice, directions
):
    """XEP-0198: after the longest wait for an answer the session waits for its client, which misses nothing and sees
    nothing twice."""
    async with Proxy(port) as proxy:
        wire = await phone(at=proxy.port)
        previd = await enable(wire)
        await says(alice, 0)
        await wire.expect("id='m0'")
        wire.send(f"<a xmlns='{SM}' h='1'/>")
        await until(lambda: len(session_of(server).management) == 0)

        proxy.silence(*directions)
        await says(alice, 1)
        await passes(server, clock, 60)
        assert session_of(server).detached_at is None
        await passes(server, clock, 10)
        assert session_of(server).detached_at is not None
        await says(alice, 2)
        got = 1
        if "down" not in directions:
            await wire.expect("id='m1'")
            got = 2

        back = await phone(login=False)
        back.send(f"<resume xmlns='{SM}' previd='{previd}' h='{got}'/>")
        await back.expect(f"<resumed [^>]*previd='{previd}'")
        text = (await back.expect("(?s)^.*<r [^>]*>"))[0]
        assert [int(number) for number in BODY.findall(text)] == list(range(got, 3))
        back.send(f"<a xmlns='{SM}' h='3'/>")
        await back.ping()
        assert len(session_of(server).management) == 1  # the answer to the ping
        assert not refused(alice)


@pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")])
async def test_half_open_client_without_acknowledgements_is_pinged(
    server, clock, port, phone, alice, directions
):
    """Gone within 150 s; what came after that waits offline, what was written to the dead wire is in the archive."""
    async with Proxy(port) as proxy:
        wire = await phone(at=proxy.port)
        proxy.silence(*directions)
        await says(alice, 1)
        await passes(server, clock, 100)
        assert session_of(server) is not None
        await passes(server, clock, 50)
        assert session_of(server) is None
        await says(alice, 2)
        if "down" not in directions:
            assert "<ping " in await wire.end()

        back = await phone()
        await back.expect("(?s)id='m2'.*<delay [^>]*/></message>")
        assert await archived(back) == [1, 2]
    assert not refused(alice)


async def test_silent_client_that_answers_pings_stays(server, clock, phone):
    wire = await phone()
    for _ in range(4):
        await passes(server, clock, 100)
        ping = await wire.expect("<iq [^>]*id='([^']*)'[^>]*><ping")
        wire.send(f"<iq type='result' id='{ping[1]}' to='example.org'/>")
        connection = session_of(server).connection
        seen = connection.last_seen
        await until(lambda connection=connection, seen=seen: connection.last_seen > seen)
    assert session_of(server) is not None


async def test_white_space_is_a_sign_of_life(server, clock, phone):
    """RFC 6120 4.6.1."""
    wire = await phone()
    for _ in range(10):
        await passes(server, clock, 60)
        wire.send(" ")
        connection = session_of(server).connection
        await until(lambda connection=connection: connection.last_seen == server.tick)
    await wire.ping()


async def test_half_open_client_to_which_nobody_writes(server, clock, port, phone, alice):
    """With stream management nothing can be lost to it: a ping now and then is enough."""
    async with Proxy(port) as proxy:
        previd = await enable(await phone(at=proxy.port))
        proxy.silence()
        await passes(server, clock, 350)
        assert session_of(server).detached_at is None
        await passes(server, clock, 200)
        assert session_of(server).detached_at is not None
        back = await phone(login=False)
        back.send(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>")
        await back.expect("<resumed ")


async def test_nobody_comes_back(server, clock, port, phone, alice):
    """The session ends when its time is up; its messages wait offline with the time at which they first came."""
    async with Proxy(port) as proxy:
        await enable(await phone(at=proxy.port))
        proxy.silence()
        await says(alice, 1)
        await passes(server, clock, 75)
        await says(alice, 2)
        await passes(server, clock, 3600)
        await settled(server)
        assert session_of(server) is None
        back = await phone()
        await back.expect("id='m1'.*?stamp='2026-01-01T12:00:00Z'")
        await back.expect("id='m2'.*?stamp='2026-01-01T12:01:15Z'")
        assert await archived(back) == [1, 2]
    assert not refused(alice)


async def test_half_open_stranger(server, clock, port):
    """Before the login there is a time-out of its own."""
    async with Proxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await until(lambda: len(server.connections) == 1)
        proxy.silence()
        await passes(server, clock, 65)
        await until(lambda: not server.unauthenticated)
        writer.transport.abort()


# -- F11, slow readers

LARGE = "x" * 50_000


async def flood(alice: Client, count: int) -> float:
    """Messages for bob; how long the slowest of them kept its sender."""
    slowest = 0.0
    for number in range(count):
        before = time.monotonic()
        await says(alice, number, LARGE)
        slowest = max(slowest, time.monotonic() - before)
    return slowest


async def test_slow_reader_with_stream_management_goes_on_later(server, port, phone, alice):
    """Its connection is given up, its session is not; after resumption it has everything once, in order."""
    with overridden(c2s__max_send_queue=64 * 1024, sm__max_queue_size=64 * 1024 * 1024):
        wire = await phone(receive_buffer=4096)
        previd = await enable(wire)
        wire.writer.transport.pause_reading()
        connection = session_of(server).connection
        slowest = await flood(alice, 200)  # 10 MB, more than the kernel takes
        assert slowest < 2.0
        await until(lambda: connection.is_closed)
        assert connection not in server.connections
        session = session_of(server)
        assert session.detached_at is not None
        assert server.metrics.counters["slow_readers"] == 1
        waiting = session.management.queued_bytes
        assert 200 * len(LARGE) < waiting < 200 * (len(LARGE) + 1000)

        back = await phone(login=False)
        back.send(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>")
        numbers: list[int] = []
        while not numbers or numbers[-1] < 199:
            numbers.append(int((await back.expect(BODY.pattern))[1]))
            if len(numbers) % 20 == 0:
                back.send(f"<a xmlns='{SM}' h='{len(numbers)}'/>")
        assert numbers == list(range(200))
    assert not refused(alice)


async def test_slow_reader_whose_queue_is_full_finds_the_rest_in_store_and_archive(
    server, port, phone, alice
):
    """The session ends, its messages go where those for somebody who is away go; alice hears of nothing."""
    with overridden(c2s__max_send_queue=64 * 1024, offline__quota=64 * 1024 * 1024):
        wire = await phone(receive_buffer=4096)
        await enable(wire)
        wire.writer.transport.pause_reading()
        await flood(alice, 200)
        await settled(server)
        assert session_of(server) is None
        assert server.metrics.counters["overflowed_sessions"] >= 1
        back = await phone()
        numbers = [int((await back.expect(BODY.pattern))[1]) for _ in range(200)]
        assert numbers == list(range(200))
        assert await archived(back) == list(range(200))
    assert not refused(alice)


async def test_slow_reader_without_stream_management_is_told_why(server, port, phone, alice):
    """Its stream ends by an error, and messages wait offline from then on; what it did not read is in the archive."""
    with overridden(c2s__max_send_queue=64 * 1024):
        wire = await phone(receive_buffer=4096)
        wire.writer.transport.pause_reading()
        connection = session_of(server).connection
        sent = 0
        while session_of(server) is not None:
            await says(alice, sent, LARGE)
            sent += 1
            await asyncio.sleep(0)
            transport = connection._transport
            assert transport is None or transport.get_write_buffer_size() < 64 * 1024 + 3 * len(LARGE)
            assert sent < 1000
        await says(alice, sent)
        wire.writer.transport.resume_reading()
        assert await wire.is_closed_with("resource-constraint")
        back = await phone()
        await back.expect(f"(?s)id='m{sent}'.*<delay [^>]*/></message>")
        assert await archived(back) == list(range(sent + 1))
    assert not refused(alice)


async def test_slow_readers_in_number_cost_what_is_allowed(server, port, phone, alice, new_user, log_in):
    """Twenty of bob's devices read nothing: nobody waits for them, and what they hold is bounded."""
    with overridden(c2s__max_send_queue=64 * 1024):
        wires = []
        for number in range(20):
            wire = await phone(login=False, receive_buffer=4096)
            wire.send(
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                f"<resource>slow{number}</resource></bind></iq><presence/>"
            )
            await wire.expect(f"<presence [^>]*slow{number}'")
            wire.writer.transport.pause_reading()
            wires.append(wire)
        held = [
            session.connection for session in server.sessions() if session.jid.resource.startswith("slow")
        ]
        assert len(held) == 20
        peak = 0
        for number in range(120):
            await says(alice, number, LARGE)
            await asyncio.sleep(0)
            sizes = [c._transport.get_write_buffer_size() for c in held if c._transport is not None]
            peak = max(peak, *sizes, 0)
        assert peak < 64 * 1024 + 3 * len(LARGE)
        assert server.metrics.counters["slow_readers"] == 20
        assert not refused(alice)


# -- a phone in a pocket (XEP-0352)


async def test_what_waited_comes_in_one_packet(server, port, phone, alice, monkeypatch):
    """The radio wakes once: everything that waited goes out in one write with what woke it."""
    wire = await phone()
    connection = session_of(server).connection
    wire.send("<inactive xmlns='urn:xmpp:csi:0'/>")
    await wire.ping()
    writes: list[bytes] = []
    write = connection._transport.write
    monkeypatch.setattr(
        connection, "_transport", SimpleNamespace(write=lambda data: (writes.append(data), write(data)))
    )
    for number in range(20):
        await alice.sends(f"<presence to='bob@example.org/phone'><status>{number}</status></presence>")
        await alice.sends(
            f"<message to='bob@example.org/phone' id='r{number}'><received xmlns='urn:xmpp:receipts' id='x'/></message>"
        )
    await asyncio.sleep(0)
    assert not writes
    await says(alice, 1)
    await until(lambda: writes)
    monkeypatch.undo()
    (packet,) = writes
    text = packet.decode()
    assert text.count("<presence ") == 1
    assert "<status>19</status>" in text
    assert re.findall(r" id='r(\d+)'", text) == [str(number) for number in range(20)]
    assert text.rindex("<message ") == text.index(BODY.search(text)[0])
    await wire.ping()


# -- F12, fast senders


async def test_sender_is_not_read_while_its_stanza_waits(server, port, phone, alice):
    """What it sends ahead stays in its socket; nothing is dropped, the order is kept, nobody else waits."""
    failpoint = server.add_module(Failpoint)
    await failpoint.start()
    await alice.is_available()
    wire = await phone()
    session = session_of(server)
    before = session.connection.bytes_in
    count = 100
    wire.send(f"<iq type='get' id='w'><wait xmlns='{FAIL}'/></iq>")
    for number in range(count):
        wire.send(
            f"<message to='{alice.full}' type='chat' id='m{number}'><body>{LARGE}</body></message>"
        )  # 5 MB
    await until(lambda: session.connection._pauses)
    for _ in range(20):
        alice.forget_received()
        await alice.receives_nothing()
        await asyncio.sleep(0)
    assert session.connection.bytes_in - before < 1_000_000
    assert session.stanzas_in < count
    failpoint.gate.set()
    await until(lambda: session.stanzas_in == 2 + count)
    await settled(server)
    numbers = [element.get("id") for element in alice.connection.received if element.name == "message"]
    assert numbers == [f"m{number}" for number in range(count)]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    """A Hearth in a process of its own, whose clients may send as fast as they can."""
    hearth = Hearth(tmp_path_factory.mktemp("hearth") / "home")
    hearth.set_up()
    for username in ("juliet", "romeo", "nurse"):
        hearth.add_user(username)
    hearth.manage("settings", "set", "c2s.max_bytes_per_second", "1 GiB")
    hearth.start()
    yield hearth
    hearth.kill()


@pytest.mark.interop
@pytest.mark.slow
async def test_flood_delays_nobody(far):
    """20 MB as fast as the socket takes them: another client's pings are answered meanwhile."""
    sender, reader, other = Wire(far), Wire(far), Wire(far)
    for wire, name in ((sender, "juliet"), (reader, "nurse"), (other, "romeo")):
        await wire.connect()
        await wire.log_in(name, "home")
    count = 2000

    async def flood() -> None:
        body = "x" * 10_000
        for number in range(count):
            sender.send(
                f"<message to='nurse@example.org/home' type='chat' id='m{number}'><body>{body}</body></message>"
            )
            await sender.writer.drain()

    async def read() -> list[int]:
        numbers: list[int] = []
        while len(numbers) < count:
            numbers.append(int((await reader.expect(BODY.pattern))[1]))
        return numbers

    flooding, reading = asyncio.create_task(flood()), asyncio.create_task(read())
    times = []
    while not reading.done():
        before = time.monotonic()
        await other.ping(f"p{len(times)}")
        times.append(time.monotonic() - before)
        await asyncio.sleep(0.02)
    await flooding
    assert await reading == list(range(count))
    assert len(times) > 20
    assert sorted(times)[len(times) // 2] < 0.2
    assert max(times) < 2.0  # on a machine that does much else
    for wire in (sender, reader, other):
        wire.close()


def sessions_of(hearth: Hearth) -> list[dict[str, Any]]:
    """What the console is told of them, by the control socket."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(hearth.home / "control.sock"))
        control.sendall(b'{"call": "sessions", "args": {}}\n')
        with control.makefile() as reader:
            return list(json.loads(reader.readline())["ok"])


@pytest.mark.interop
async def test_client_whose_wire_broke_was_encrypted(far):
    """What is shown of a session that waits is what it had."""
    wire = await Wire(far).connect()
    await wire.log_in("juliet", "phone")
    await enable(wire)
    before = sessions_of(far)[0]
    assert before["tls"].startswith("TLSv1.")
    wire.reset()
    await until(lambda: sessions_of(far)[0]["is_detached"])
    after = sessions_of(far)[0]
    assert 3590 < after["seconds_left"] <= 3600
    for name in ("tls", "cipher", "address", "bytes_in", "since"):
        assert after[name] == before[name]
