"""RFC 6121 4: who sees which resource, from its first presence to its end, however it ends."""

import pytest
from asgiref.sync import sync_to_async

from accounts import services
from accounts.models import User
from tests.conversation import settled
from tests.xmpp.test_roster import GET, condition
from tests.xmpp.test_subscription import become_friends, presence
from xmppd.protocol.errors import StreamError
from xmppd.server import router


@pytest.fixture
async def friends(alice, bob):
    """Alice and Bob with a mutual subscription, available, nothing left to read."""
    for client in (alice, bob):
        await client.is_available()
    await become_friends(alice, bob)
    return alice, bob


@pytest.fixture
async def alice_sees_bob(alice, bob):
    """Alice is subscribed to Bob, he is not to her."""
    for client in (alice, bob):
        await client.is_available()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await settled(alice.server)
    alice.forget_received()
    bob.forget_received()
    return alice, bob


# -- initial presence, 4.2


async def test_initial_presence_goes_to_contacts_and_all_own_resources(friends, log_in, stranger):
    alice, bob = friends
    await stranger.is_available()
    phone = await log_in("alice@example.org/phone")
    await phone.sends(
        "<presence id='p1'><show>away</show><priority>3</priority><c xmlns='urn:c' v='1'/></presence>"
    )
    letter = "<show>away</show><priority>3</priority><c xmlns='urn:c' v='1'/></presence>"
    await bob.receives(f"<presence from='{phone.full}' to='{bob.bare}' id='p1'>{letter}")
    await alice.receives(f"<presence from='{phone.full}' to='{alice.bare}' id='p1'>{letter}")
    await phone.receives_all(
        f"<presence from='{phone.full}' to='{alice.bare}'>{letter}",
        f"<presence from='{alice.full}'/>",
        f"<presence from='{bob.full}'/>",
    )
    for client in (alice, bob, phone, stranger):
        await client.receives_nothing()


async def test_connected_resources_get_no_presence(friends, log_in):
    alice, bob = friends
    phone = await log_in("alice@example.org/phone")
    await bob.sends("<presence><show>dnd</show></presence>")
    await phone.receives_nothing()


async def test_one_sided_subscription(alice_sees_bob):
    alice, bob = alice_sees_bob
    await alice.sends("<presence><show>away</show></presence>")
    await bob.receives_nothing()
    await bob.sends("<presence><show>away</show></presence>")
    await alice.receives(f"<presence from='{alice.full}'/>")
    await alice.receives(f"<presence from='{bob.full}' to='{alice.bare}'><show>away</show></presence>")


async def test_contact_who_may_not_be_seen_is_not_introduced(alice_sees_bob, log_in):
    alice, bob = alice_sees_bob
    phone = await log_in("bob@example.org/phone")
    await phone.is_available()
    await phone.receives(f"<presence from='{bob.full}'/>")
    await phone.receives_nothing()


async def test_presence_keeps_its_letter(friends):
    alice, bob = friends
    await alice.sends(
        "<presence xml:lang='de'><status>&lt;weg&gt; &amp; fort</status>"
        "<x xmlns='vcard-temp:x:update'><photo>ab</photo></x></presence>"
    )
    got = await bob.receives(
        f"<presence from='{alice.full}'><status>&lt;weg&gt; &amp; fort</status>"
        "<x xmlns='vcard-temp:x:update'><photo>ab</photo></x></presence>"
    )
    assert got.get("xml:lang") == "de"


@pytest.mark.parametrize("text", ["-129", "128", "high", "1.5", "", "1_0", "\u0661"])
async def test_bad_priority_is_refused(alice, text):
    await alice.sends(f"<presence><priority>{text}</priority></presence>")
    assert condition(await alice.receives("<presence type='error'/>")) == "bad-request"
    assert alice.session.presence is None


@pytest.mark.parametrize(
    ("text", "priority"), [("-128", -128), ("127", 127), (" 5 ", 5), ("+1", 1), ("-0", 0)]
)
async def test_priorities(alice, text, priority):
    await alice.sends(f"<presence><priority>{text}</priority></presence>")
    assert alice.session.priority == priority


@pytest.mark.parametrize("type", ["available", "invisible", "Unavailable", "online"])
async def test_unknown_type_is_refused(friends, type):
    alice, bob = friends
    for to in ("", f" to='{bob.bare}'"):
        await alice.sends(f"<presence type='{type}'{to}/>")
        assert condition(await alice.receives("<presence type='error'/>")) == "bad-request"
    await bob.receives_nothing()


@pytest.mark.parametrize("type", ["probe", "error"])
async def test_presence_to_nobody_without_meaning(friends, type):
    alice, bob = friends
    await alice.sends(f"<presence type='{type}'/>")
    await alice.receives_nothing()
    await bob.receives_nothing()


# -- the end, 4.5: of every kind

ENDINGS = {}


def ending(function):
    ENDINGS[function.__name__] = function
    return function


@ending
async def unavailable_presence(client, **_):
    await client.sends("<presence type='unavailable'><status>bye</status></presence>")


@ending
async def stream_closed(client, **_):
    client.connection.receive(b"</stream:stream>")


@ending
async def unavailable_then_stream_closed(client, **_):
    client.connection.receive(b"<presence type='unavailable'/></stream:stream>")


@ending
async def broken_wire(client, **_):
    await client.disconnects()


@ending
async def not_well_formed(client, **_):
    client.connection.receive(b"<message><body></message>")


@ending
async def invalid_from(client, **_):
    client.connection.receive(b"<message from='mallory@example.org' to='bob@example.org'><body/></message>")


@ending
async def kicked(client, **_):
    client.connection.close(StreamError("policy-violation"))


@ending
async def replaced(client, log_in, **_):
    await log_in(client.full)


@ending
async def deleted(client, actor, **_):
    await sync_to_async(services.delete_user)(await User.objects.aget(username="alice"), actor=actor)


@ending
async def locked(client, actor, **_):
    await sync_to_async(services.lock_user)(await User.objects.aget(username="alice"), actor=actor)


@ending
async def password_changed(client, actor, **_):
    user = await User.objects.aget(username="alice")
    await sync_to_async(services.set_password)(user, "another battery staple", actor=actor)


@pytest.mark.parametrize("name", ENDINGS)
async def test_whoever_saw_a_resource_sees_it_go(friends, log_in, stranger, actor, name):
    alice, bob = friends
    await stranger.is_available()
    await alice.sends(f"<presence to='{stranger.full}'/>")
    await stranger.receives(f"<presence from='{alice.full}'/>")
    await ENDINGS[name](alice, log_in=log_in, actor=actor)
    await settled(bob.server)
    for client, to in ((bob, bob.bare), (stranger, stranger.full)):
        got = [each for each in client.connection.received if each.name == "presence"]
        client.forget_received()
        assert [(each.get("from"), each.get("to"), each.get("type")) for each in got] == [
            (alice.full, to, "unavailable")
        ], name
        await client.receives_nothing()


async def test_own_resources_see_it_go_too(friends, log_in):
    alice, bob = friends
    phone = await log_in("alice@example.org/phone")
    await phone.is_available()
    for client in (alice, phone):
        await settled(bob.server)
        client.forget_received()
    await phone.sends("<presence type='unavailable'><status>bye</status></presence>")
    text = (
        f"<presence type='unavailable' from='{phone.full}' to='{alice.bare}'><status>bye</status></presence>"
    )
    await alice.receives(text)
    await phone.receives(text)
    await phone.receives_nothing()
    await phone.is_available()
    await alice.receives(f"<presence from='{phone.full}'/>")
    await phone.disconnects()
    await alice.receives(presence("unavailable", phone.full, alice.bare))


async def test_unavailable_resource_is_connected_but_gets_no_presence(friends):
    alice, bob = friends
    await alice.sends("<presence type='unavailable'/>")
    await alice.receives(presence("unavailable", alice.full, alice.bare))
    await bob.sends("<presence/>")
    await alice.receives_nothing()
    await alice.sends("<presence/>")  # initial again
    await alice.receives_all(f"<presence from='{alice.full}'/>", f"<presence from='{bob.full}'/>")


async def test_who_never_was_available_does_not_go(friends, log_in):
    alice, bob = friends
    phone = await log_in("alice@example.org/phone")
    await phone.disconnects()
    await bob.receives_nothing()
    await alice.receives_nothing()


async def test_shutdown_tells_every_client(friends, server):
    alice, bob = friends
    await server.stop(timeout=2)
    for client in friends:
        await client.is_disconnected("system-shutdown")
        assert client.connection.text.endswith("</stream:stream>")


# -- directed presence, 4.6


async def test_directed_presence_gets_its_unavailable_once(alice, stranger):
    await alice.is_available()
    await stranger.is_available()
    await alice.sends(f"<presence to='{stranger.bare}'><status>hi</status></presence>")
    await stranger.receives(
        f"<presence from='{alice.full}' to='{stranger.bare}'><status>hi</status></presence>"
    )
    await alice.sends("<presence><show>away</show></presence>")  # no broadcast to strangers
    await stranger.receives_nothing()
    await alice.sends(f"<presence type='unavailable' to='{stranger.bare}'/>")
    await stranger.receives(presence("unavailable", alice.full, stranger.bare))
    await alice.sends("<presence type='unavailable'/>")
    await alice.disconnects()
    await stranger.receives_nothing()


async def test_directed_presence_ends_with_the_unavailable_and_is_forgotten(alice, stranger):
    await alice.is_available()
    await stranger.is_available()
    await alice.sends(f"<presence to='{stranger.full}'/>")
    await stranger.receives(f"<presence from='{alice.full}' to='{stranger.full}'/>")
    await alice.sends("<presence type='unavailable'><status>off</status></presence>")
    await stranger.receives(
        f"<presence type='unavailable' from='{alice.full}' to='{stranger.full}'><status>off</status></presence>"
    )
    await alice.disconnects()
    await stranger.receives_nothing()


async def test_directed_presence_of_a_resource_that_is_only_connected(friends, log_in, stranger):
    alice, bob = friends
    await stranger.is_available()
    phone = await log_in("alice@example.org/phone")
    for client in (bob, stranger):
        await phone.sends(f"<presence to='{client.full}'/>")
        await client.receives(f"<presence from='{phone.full}'/>")
    await phone.disconnects()
    for client in (bob, stranger):
        await client.receives(f"<presence type='unavailable' from='{phone.full}' to='{client.full}'/>")
        await client.receives_nothing()


async def test_directed_presence_lets_requests_through(alice, stranger):
    ping = "<ping xmlns='urn:xmpp:ping'/>"
    await stranger.sends(f"<iq type='get' id='q1' to='{alice.full}'>{ping}</iq>")
    assert condition(await stranger.receives("<iq type='error' id='q1'/>")) == "service-unavailable"
    await alice.sends(f"<presence to='{stranger.bare}'/>")
    await stranger.sends(f"<iq type='get' id='q2' to='{alice.full}'>{ping}</iq>")
    await alice.receives(f"<iq type='get' id='q2' from='{stranger.full}'>{ping}</iq>")
    await alice.sends(f"<presence type='unavailable' to='{stranger.bare}'/>")
    await stranger.sends(f"<iq type='get' id='q3' to='{alice.full}'>{ping}</iq>")
    assert condition(await stranger.receives("<iq type='error' id='q3'/>")) == "service-unavailable"


async def test_targets_of_directed_presence_are_bounded(alice, monkeypatch):
    monkeypatch.setattr(router, "MAX_DIRECTED", 3)
    for number in (0, 1, 2, 0):
        await alice.sends(f"<presence to='room{number}@nowhere.example'/>")
    await alice.receives_nothing()
    await alice.sends("<presence to='room3@nowhere.example' id='much'/>")
    assert condition(await alice.receives("<presence type='error' id='much'/>")) == "resource-constraint"
    await alice.sends("<presence type='unavailable' to='room0@nowhere.example'/>")
    await alice.sends("<presence to='room3@nowhere.example'/>")
    await alice.receives_nothing()


# -- probes, 4.3


async def test_probe_of_a_contact(friends, log_in):
    alice, bob = friends
    await bob.sends("<presence id='mine'><show>xa</show></presence>")
    phone = await log_in("bob@example.org/phone")
    await phone.is_available()
    for client in friends:
        await settled(bob.server)
        client.forget_received()
    await alice.sends(f"<presence type='probe' to='{bob.bare}'/>")
    await alice.receives_all(
        f"<presence from='{bob.full}' to='{alice.full}' id='mine'><show>xa</show></presence>",
        f"<presence from='{phone.full}' to='{alice.full}'/>",
    )
    await alice.sends(f"<presence type='probe' to='{phone.full}'/>")
    await alice.receives(f"<presence from='{phone.full}' to='{alice.full}'/>")
    await alice.receives_nothing()
    await bob.receives_nothing()  # the server answers, the client is not asked


async def test_probe_of_a_contact_who_is_away(friends):
    alice, bob = friends
    await bob.disconnects()
    await settled(alice.server)
    alice.forget_received()
    await alice.sends(f"<presence type='probe' to='{bob.bare}' id='pr'/>")
    await alice.receives(f"<presence type='unavailable' from='{bob.bare}' to='{alice.full}' id='pr'/>")


@pytest.mark.parametrize("to", ["stranger@example.org", "stranger@example.org/home", "nobody@example.org"])
async def test_probe_of_who_may_not_be_seen(alice, stranger, to):
    await alice.asks(GET)
    await alice.is_available()
    await stranger.is_available()
    await alice.sends(f"<presence type='probe' to='{to}'/>")
    await settled(alice.server)
    await alice.receives_nothing()  # "unsubscribed" where nothing was subscribed
    await stranger.receives_nothing()


async def test_probe_by_the_target_of_directed_presence(alice, stranger):
    await alice.is_available()
    await stranger.is_available()
    await alice.sends(f"<presence to='{stranger.full}'/>")
    await stranger.receives(f"<presence from='{alice.full}'/>")
    await stranger.sends(f"<presence type='probe' to='{alice.full}'/>")
    await stranger.receives(f"<presence from='{alice.full}' to='{stranger.full}'/>")


async def test_probe_of_oneself(alice, log_in):
    await alice.is_available()
    phone = await log_in("alice@example.org/phone")
    await phone.sends(f"<presence type='probe' to='{alice.bare}'/>")
    await phone.receives(f"<presence from='{alice.full}' to='{phone.full}'/>")
    await phone.receives_nothing()
