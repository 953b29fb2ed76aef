"""What the log says of sessions: one line of key=value pairs for each thing that happens to one."""

from __future__ import annotations

import pytest

from tests.conversation import Client, authenticate, settled
from xmppd.protocol.errors import StreamError

NS = "urn:xmpp:sm:3"
WHO = "jid=bob@example.org/laptop"


@pytest.fixture
def lines(caplog, bob):
    """What was said of sessions since bob came."""
    caplog.set_level("INFO", "hearth.c2s")

    def said() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "hearth.c2s"]
        caplog.clear()
        return messages

    said()
    return said


async def enable(client: Client, seconds: int) -> str:
    await client.sends(f"<enable xmlns='{NS}' resume='true' max='{seconds}'/>")
    return (await client.next()).get("id")


async def test_closed_by_the_client(bob, lines):
    await bob.sends("</stream:stream>")
    assert lines() == [f"session-closed {WHO} ip=192.0.2.1 reason=closed-by-client condition=-"]


async def test_closed_by_the_server(bob, lines):
    bob.session.close(StreamError("policy-violation"))
    assert lines() == [
        f"session-closed {WHO} ip=192.0.2.1 reason=closed-by-server condition=policy-violation"
    ]


async def test_closed_over_what_the_client_sent(bob, lines):
    await bob.sends("<message></presence>")
    assert lines() == [f"session-closed {WHO} ip=192.0.2.1 reason=closed-by-server condition=not-well-formed"]


async def test_lost(bob, lines):
    await bob.disconnects()
    assert lines() == [f"session-closed {WHO} ip=192.0.2.1 reason=connection-lost condition=-"]


async def test_given_up(bob, lines):
    bob.connection.drop()
    assert lines() == [f"session-closed {WHO} ip=192.0.2.1 reason=timed-out condition=-"]


async def test_replaced(bob, lines, log_in):
    await log_in(bob.full)
    assert lines() == [
        f"session-closed {WHO} ip=192.0.2.1 reason=replaced condition=conflict",
        f"session-opened {WHO} ip=192.0.2.1 mech=TEST tls=-",
    ]


async def test_resource_is_one_word(lines, log_in):
    await log_in("bob@example.org/my phone ip=203.0.113.9")
    word = "jid=bob@example.org/my\\u0020phone\\u0020ip=203.0.113.9"
    assert lines() == [f"session-opened {word} ip=192.0.2.1 mech=TEST tls=-"]


async def test_detached_and_resumed(server, bob, lines):
    previd = await enable(bob, 600)
    await bob.disconnects()
    connection = await authenticate(server, bob.full)
    connection.receive(f"<resume xmlns='{NS}' previd='{previd}' h='0'/>".encode())
    await settled(server)
    assert lines() == [
        f"session-detached {WHO} ip=192.0.2.1 reason=connection-lost condition=- waits=600",
        f"session-resumed {WHO} ip=192.0.2.1 mech=TEST tls=-",
    ]
    assert previd not in connection.server.sessions()[0].connection.ending


async def test_expired(server, clock, alice, bob, lines):
    await enable(bob, 3)
    await alice.sends(f"<message to='{bob.full}' type='chat'><body>secret</body></message>")
    await bob.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    assert lines() == [
        f"session-detached {WHO} ip=192.0.2.1 reason=connection-lost condition=- waits=3",
        f"session-expired {WHO} handed-over=1",
    ]


async def test_ended_while_it_waits(server, bob, lines):
    await enable(bob, 600)
    await bob.disconnects()
    server.router.origin(bob.jid).close(StreamError("policy-violation"))
    assert lines()[1:] == [
        f"session-closed {WHO} ip=192.0.2.1 reason=closed-by-server condition=policy-violation"
    ]


async def test_shutdown(server, bob, lines):
    await server.stop(timeout=2)
    assert lines() == [f"session-closed {WHO} ip=192.0.2.1 reason=closed-by-server condition=system-shutdown"]
