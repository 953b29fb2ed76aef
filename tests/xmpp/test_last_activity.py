"""XEP-0012: Last Activity."""

from __future__ import annotations

from accounts.models import User
from tests.conversation import subscribe
from xmppd.modules.last_activity import NS, LastActivity

QUERY = f"<query xmlns='{NS}'/>"


def seconds(answer):
    return answer.find(NS, "query").get("seconds")


async def row(username):
    return await User.objects.aget(username=username)


async def test_server_tells_how_long_it_runs(alice, clock):
    clock.advance(hours=34, seconds=16)
    await alice.sends(f"<iq type='get' id='last3' to='example.org'>{QUERY}</iq>")
    await alice.receives(
        f"<iq type='result' id='last3' from='example.org'><query xmlns='{NS}' seconds='122416'/></iq>"
    )


async def test_subscriber_learns_when_the_last_resource_went_and_its_words(alice, alice_phone, bob, clock):
    await subscribe(bob, alice)
    for client in (alice, alice_phone):
        await client.sends("<presence/>")
    clock.advance(minutes=5)
    assert seconds(await bob.asks(QUERY, to=alice.bare)) == "0"
    await alice_phone.sends("<presence type='unavailable'><status>battery</status></presence>")
    assert seconds(await bob.asks(QUERY, to=alice.bare)) == "0"
    await alice.sends("<presence type='unavailable'><status>Heading Home</status></presence>")
    clock.advance(minutes=15, seconds=3)
    await bob.sends(f"<iq type='get' id='last1' to='{alice.bare}'>{QUERY}</iq>")
    await bob.receives(
        f"<iq type='result' id='last1' from='{alice.bare}'>"
        f"<query xmlns='{NS}' seconds='903'>Heading Home</query></iq>"
    )


async def test_owner_may_ask(alice, clock):
    assert "item-not-found" in str(await alice.asks(QUERY))  # the first login, not available yet
    await alice.is_available()
    assert seconds(await alice.asks(QUERY)) == "0"


async def test_stranger_cannot_tell_an_account_from_a_missing_one(alice, stranger):
    await alice.is_available()
    answers = [await stranger.asks(QUERY, to=to) for to in (alice.bare, "nobody@example.org")]
    assert list(answers[0].elements()) == list(answers[1].elements())
    assert "service-unavailable" in str(answers[0])


async def test_end_of_a_session_is_written(server, clock, alice, bob):
    await alice.is_available()
    clock.advance(minutes=1)
    await alice.sends("<presence type='unavailable'><status>gone fishing</status></presence>")
    clock.advance(minutes=1)
    await alice.disconnects()
    await bob.disconnects()  # was never available
    await server.module(LastActivity)._rows.flush()
    assert (await row("alice")).last_seen == clock.now()
    assert (await row("alice")).last_status == "gone fishing"
    assert (await row("bob")).last_seen == clock.now()


async def test_loss_of_the_wire_is_an_end_too(server, clock, alice, bob):
    await subscribe(bob, alice)
    await alice.is_available()
    await alice.sends("<presence type='unavailable'><status>old words</status></presence>")
    await alice.sends("<presence/>")
    await alice.disconnects()
    clock.advance(seconds=7)
    answer = await bob.asks(QUERY, to=alice.bare)
    assert seconds(answer) == "7"
    assert answer.find(NS, "query").text == ""


async def test_what_waits_is_written_when_the_server_stops(server, clock, alice):
    await alice.is_available()
    await server.stop(timeout=2)
    assert (await row("alice")).last_seen == clock.now()


async def test_status_is_cut(server, alice):
    await alice.is_available()
    await alice.sends(f"<presence type='unavailable'><status>{'x' * 5000}</status></presence>")
    await server.module(LastActivity)._rows.flush()
    assert (await row("alice")).last_status == "x" * 1000
