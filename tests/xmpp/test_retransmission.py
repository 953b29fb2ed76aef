"""A message whose acknowledgement was lost is sent again (XEP-0198 5): it is kept and delivered once."""

from __future__ import annotations

import pytest

from tests.conversation import Client, authenticate, settled
from tests.xmpp.archive_queries import ask
from xmppd.modules.archive import Archive

SM, SID = "urn:xmpp:sm:3", "urn:xmpp:sid:0"
ID = "5f4dcc3b-5aa7-65d6"


def message(to, text="once", identity=ID):
    return f"<message to='{to}' type='chat' id='{identity}'><body>{text}</body></message>"


async def enable(client) -> str:
    await client.sends(f"<enable xmlns='{SM}' resume='true'/>")
    return (await client.next()).get("id")


async def handled(client) -> str:
    await client.sends(f"<r xmlns='{SM}'/>")
    return (await client.next()).get("h")


async def test_on_a_new_connection_when_resumption_failed(server, alice, bob, log_in):
    """The usual case: the session is gone, the client binds anew and sends what nobody acknowledged."""
    await bob.is_available()
    await enable(alice)
    await alice.sends(message(bob.bare))
    first = await bob.next()
    again = await log_in("alice@example.org/another")
    await enable(again)
    await again.sends(message(bob.bare))
    assert await handled(again) == "1"  # acknowledged, so that it is not sent a third time
    await bob.receives_nothing()
    (result,) = (await ask(bob))[0]
    assert result.get("id") == first.find(SID, "stanza-id").get("id")
    assert len((await ask(again))[0]) == 1


async def test_who_was_told_means_another_one(server, alice, bob, log_in):
    """A bot may say the same under the same id each time; only what nobody acknowledged is a repetition."""
    await bob.is_available()
    await enable(alice)
    await alice.sends(message(bob.bare))
    await bob.next()
    assert await handled(alice) == "1"
    again = await log_in("alice@example.org/another")
    await enable(again)
    await again.sends(message(bob.bare))
    await bob.receives(f"<message id='{ID}'/>")
    assert len((await ask(bob))[0]) == 2


async def test_resumption_tells(server, alice, bob):
    await bob.is_available()
    previd = await enable(alice)
    await alice.sends(message(bob.bare))
    await bob.next()
    await alice.disconnects()
    connection = await authenticate(server, alice.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>".encode())
    await settled(server)
    alice = Client(connection, alice.jid)
    resumed = await alice.next()
    assert (resumed.name, resumed.get("h")) == ("resumed", "1")
    await alice.sends(message(bob.bare))
    await bob.receives(f"<message id='{ID}'/>")


async def test_a_stream_does_not_repeat_itself(alice, bob):
    await bob.is_available()
    await enable(alice)
    for _ in range(2):
        await alice.sends(message(bob.bare))
        await bob.receives(f"<message id='{ID}'/>")
    assert len((await ask(bob))[0]) == 2


async def test_without_stream_management_nothing_is_sent_again(alice, alice_phone, bob):
    await bob.is_available()
    for client in (alice, alice_phone):
        await client.sends(message(bob.bare))
        await bob.receives(f"<message from='{client.full}' id='{ID}'/>")


@pytest.mark.parametrize("pause", [{"seconds": 1}, {"minutes": 55}])
async def test_after_a_restart(server, clock, alice, bob, pause):
    """Nobody knows any more what the client was told; it may repeat itself once."""
    await bob.is_available()
    await alice.sends(message(bob.bare))
    await bob.next()
    await server.module(Archive).stop()
    clock.advance(**pause)
    await server.module(Archive).start()
    await alice.sends(message(bob.bare))
    await bob.receives_nothing()
    assert len((await ask(bob))[0]) == 1
    await alice.sends(message(bob.bare))
    await bob.receives(f"<message id='{ID}'/>")


async def test_long_before_a_restart(server, clock, alice, bob):
    await bob.is_available()
    await alice.sends(message(bob.bare))
    await bob.next()
    await server.module(Archive).stop()
    clock.advance(hours=2)
    await server.module(Archive).start()
    await alice.sends(message(bob.bare))
    await bob.receives(f"<message id='{ID}'/>")


async def test_around_midnight(server, clock, alice, bob, log_in):
    await bob.is_available()
    clock.advance(hours=11, minutes=59, seconds=59)
    await enable(alice)
    await alice.sends(message(bob.bare))
    await bob.next()
    clock.advance(seconds=2)
    again = await log_in("alice@example.org/another")
    await again.sends(message(bob.bare))
    await bob.receives_nothing()
    assert len((await ask(bob))[0]) == 1


async def test_to_somebody_who_is_away(server, alice, log_in):
    bob = await log_in("bob@example.org/laptop")
    await enable(alice)
    await alice.sends(message(bob.bare))
    again = await log_in("alice@example.org/another")
    await again.sends(message(bob.bare))
    await bob.sends("<presence/>")
    await settled(server)
    await bob.receives(f"<presence from='{bob.full}'/>")
    await bob.receives(f"<message id='{ID}'><body>once</body></message>")
    await bob.receives_nothing()


async def test_refused_message_may_be_sent_again(alice, bob):
    await bob.is_available()
    block = "<{0} xmlns='urn:xmpp:blocking'><item jid='" + alice.bare + "'/></{0}>"
    await bob.asks(block.format("block"), type="set")
    await alice.sends(message(bob.bare))
    assert (await alice.next()).get("type") == "error"
    await bob.asks(block.format("unblock"), type="set")
    await alice.sends(message(bob.bare))
    await bob.receives(f"<message id='{ID}'/>")


@pytest.mark.parametrize(
    ("text", "identity", "to"),
    [("twice", ID, ""), ("once", f"{ID}x", ""), ("once", ID, "/laptop"), ("once", "1", "")],
)
async def test_other_messages_are_none(alice, bob, text, identity, to):
    """Another text, id or address; and the same where the id is too short to be one of its own."""
    await bob.is_available()
    await alice.sends(message(bob.bare, identity="1" if identity == "1" else ID))
    await bob.next()
    await alice.sends(message(bob.bare + to, text, identity))
    await bob.receives(f"<message><body>{text}</body></message>")
    assert len((await ask(bob))[0]) == 2


async def test_same_words_of_somebody_else_are_theirs(alice, bob, stranger):
    await bob.is_available()
    for client in (alice, stranger):
        await client.sends(message(bob.bare))
        await bob.receives(f"<message from='{client.full}'/>")
