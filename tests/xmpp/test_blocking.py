"""XEP-0191: Blocking Command."""

import pytest
from asgiref.sync import sync_to_async

from accounts.models import User
from tests.conversation import Client, authenticate, settled
from tests.xmpp.test_subscription import become_friends
from xmppd.models import BlockedAddress
from xmppd.protocol.jid import JID
from xmppd.services import blocklist
from xmppd.services.properties import overridden

NS = "urn:xmpp:blocking"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
LIST = f"<blocklist xmlns='{NS}'/>"
UNAVAILABLE = f"<error type='cancel'><service-unavailable xmlns='{STANZAS}'/></error>"
BLOCKED = f"<error type='cancel'><not-acceptable xmlns='{STANZAS}'/><blocked xmlns='{NS}:errors'/></error>"


def command(name, *jids):
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    return f"<{name} xmlns='{NS}'>{items}</{name}>"


async def block(client, *jids, name="block"):
    """The command's answer is checked; pushes and presence that it causes stay queued."""
    answer = await client.asks(command(name, *jids), type="set")
    assert answer.get("type") == "result", answer
    await settled(client.server)


async def unblock(client, *jids):
    await block(client, *jids, name="unblock")


async def refusal(client, payload):
    answer = await client.asks(payload, type="set")
    assert answer.get("type") == "error", answer
    return next(child.name for child in answer.find("jabber:client", "error").elements())


async def listed(client):
    return [item.get("jid") for item in (await client.asks(LIST)).find(NS, "blocklist").elements()]


@pytest.fixture
async def friends(alice, bob):
    """Alice and Bob see each other's presence; nothing is left to read."""
    for client in (alice, bob):
        await client.is_available()
    await become_friends(alice, bob)
    return alice, bob


# -- the list


async def test_domain_announces_it(alice):
    answer = await alice.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="example.org")
    features = [child.get("var") for child in next(answer.elements()).elements()]
    assert NS in features


async def test_list_is_empty_at_first_and_shows_what_was_blocked(alice):
    assert await listed(alice) == []
    await block(alice, "Romeo@Montague.lit", "pest@example.net/home", "spam.example", "irc.example/room")
    assert await listed(alice) == [
        "irc.example/room",
        "pest@example.net/home",
        "romeo@montague.lit",
        "spam.example",
    ]


async def test_list_survives_the_session(alice, log_in, server):
    await block(alice, "pest@example.net")
    await alice.disconnects()
    server.directory.forget("alice@example.org")
    again = await log_in("alice@example.org/other")
    assert await listed(again) == ["pest@example.net"]
    await again.sends("<message to='pest@example.net' id='m1'><body>hi</body></message>")
    await again.receives(f"<message type='error' id='m1' from='pest@example.net'>{BLOCKED}</message>")


async def test_changes_are_pushed_to_resources_that_asked_for_the_list(alice, alice_phone):
    await listed(alice_phone)
    await block(alice, "pest@example.net", "spam.example")
    push = await alice_phone.receives(
        f"<iq type='set' from='{alice.bare}' to='{alice_phone.full}' id='{{any}}'>"
        f"{command('block', 'pest@example.net', 'spam.example')}</iq>"
    )
    await alice_phone.sends(f"<iq type='result' id='{push.get('id')}'/>")
    await unblock(alice, "spam.example")
    await alice_phone.receives(f"<iq type='set'>{command('unblock', 'spam.example')}</iq>")
    await unblock(alice)
    await alice_phone.receives(f"<iq type='set'><unblock xmlns='{NS}'/></iq>")
    await alice_phone.receives_nothing()
    await alice.receives_nothing()  # it did not ask
    assert await listed(alice) == []


async def test_device_that_is_away_for_a_moment_hears_of_changes(alice, alice_phone):
    """XEP-0198 5: what a resource asked for holds on; the push waits for it."""
    await alice_phone.asks("<blocklist xmlns='urn:xmpp:blocking'/>")
    await alice_phone.sends("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    previd = (await alice_phone.next()).get("id")
    await alice_phone.disconnects()
    item = "<item jid='romeo@montague.net'/>"
    await alice.asks(f"<block xmlns='urn:xmpp:blocking'>{item}</block>", type="set")
    connection = await authenticate(alice.server, alice_phone.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='0'/>".encode())
    again = Client(connection, alice_phone.jid)
    assert (await again.next()).name == "resumed"
    await again.receives(f"<iq type='set'><block xmlns='urn:xmpp:blocking'>{item}</block></iq>")
    assert (await again.next()).name == "r"
    await alice.asks(f"<unblock xmlns='urn:xmpp:blocking'>{item}</unblock>", type="set")
    await again.receives(f"<iq type='set'><unblock xmlns='urn:xmpp:blocking'>{item}</unblock></iq>")


async def test_push_carries_no_report(alice):
    await listed(alice)
    report = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>"
    await alice.asks(f"<block xmlns='{NS}'><item jid='pest@example.net'>{report}</item></block>", type="set")
    await alice.receives(f"<iq type='set'>{command('block', 'pest@example.net')}</iq>")


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        (f"<block xmlns='{NS}'/>", "bad-request"),
        (f"<block xmlns='{NS}'><item/></block>", "bad-request"),
        (command("block", "a@b@c@"), "jid-malformed"),
        (command("unblock", "@"), "jid-malformed"),
        (command("block", "alice@example.org"), "not-allowed"),
        (command("block", "alice@example.org/phone"), "not-allowed"),
        (command("block", "example.org"), "not-allowed"),
        (command("block", "bob@example.org", "example.org/x"), "not-allowed"),
        (command("block", f"x@example.net/{'r' * 600}"), "not-acceptable"),
    ],
)
async def test_bad_lists_are_refused_as_a_whole(alice, payload, condition):
    assert await refusal(alice, payload) == condition
    assert await listed(alice) == []


async def test_list_has_a_limit(alice):
    with overridden(blocking__max_items=2):
        await block(alice, "a@example.net", "b@example.net")
        assert await refusal(alice, command("block", "c@example.net")) == "policy-violation"
        await block(alice, "a@example.net")  # is there already
        await unblock(alice, "a@example.net")
        await block(alice, "c@example.net")


async def test_nobody_reads_or_writes_the_list_of_another(alice, bob):
    for type, payload in (("get", LIST), ("set", command("block", "x@example.net"))):
        answer = await bob.asks(payload, type=type, to=alice.bare)
        assert answer.find("jabber:client", "error").find(STANZAS, "service-unavailable") is not None
    assert await listed(alice) == []


async def test_change_made_elsewhere_holds_at_once(alice, bob, server):
    await alice.is_available()
    user = await User.objects.aget(username="alice")
    await sync_to_async(blocklist.add)(user.pk, [JID.parse(bob.bare)])
    await settled(server)
    await bob.sends(f"<message type='chat' id='m1' to='{alice.bare}'><body>hello?</body></message>")
    await bob.receives(f"<message type='error' id='m1' from='{alice.bare}'>{UNAVAILABLE}</message>")
    await sync_to_async(blocklist.remove)(user.pk)
    await settled(server)
    await bob.sends(f"<message type='chat' id='m2' to='{alice.bare}'><body>hello?</body></message>")
    await alice.receives("<message id='m2'/>")


async def test_list_goes_with_the_account(alice):
    await block(alice, "pest@example.net")
    await User.objects.filter(username="alice").adelete()
    assert not await BlockedAddress.objects.aexists()


# -- what the blocked one notices


async def test_messages_are_answered_as_if_nobody_was_there(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    for number, (type, to) in enumerate([("chat", alice.bare), ("normal", alice.bare), ("chat", alice.full)]):
        await bob.sends(f"<message type='{type}' id='m{number}' to='{to}'><body>hello?</body></message>")
        await bob.receives(f"<message type='error' id='m{number}' from='{to}'>{UNAVAILABLE}</message>")
    await alice.receives_nothing()


@pytest.mark.parametrize("type", ["headline", "groupchat", "error"])
async def test_messages_that_expect_no_answer_vanish(friends, type):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    await bob.sends(f"<message type='{type}' id='m1' to='{alice.full}'><body>x</body></message>")
    await bob.receives_nothing()
    await alice.receives_nothing()


async def test_message_for_a_blocker_who_is_offline_is_not_kept(alice, bob, log_in):
    await block(alice, bob.bare)
    await alice.disconnects()
    await bob.sends(f"<message type='chat' id='m1' to='{alice.bare}'><body>hello?</body></message>")
    await bob.receives(f"<message type='error' id='m1'>{UNAVAILABLE}</message>")
    again = await log_in("alice@example.org/later")
    await again.is_available()
    await again.receives_nothing()


async def test_requests_are_refused_and_answers_dropped(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    for to in (alice.full, alice.bare):
        for type in ("get", "set"):
            await bob.sends(f"<iq type='{type}' id='q' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
            await bob.receives(f"<iq type='error' id='q' from='{to}'>{UNAVAILABLE}</iq>")
    await bob.sends(f"<iq type='result' id='r1' to='{alice.full}'/>")
    await bob.sends(f"<iq type='error' id='r2' to='{alice.full}'>{UNAVAILABLE}</iq>")
    await bob.receives_nothing()
    await alice.receives_nothing()


async def test_presence_vanishes(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    await bob.receives(f"<presence type='unavailable' from='{alice.full}' to='{bob.bare}'/>")
    for xml in (
        "<presence><show>away</show></presence>",
        f"<presence to='{alice.full}'/>",
        f"<presence type='probe' to='{alice.bare}'/>",
        f"<presence type='subscribe' to='{alice.bare}'/>",
        f"<presence type='unavailable' to='{alice.full}'/>",
    ):
        await bob.sends(xml)
    await settled(alice.server)
    assert [str(stanza.get("from")) for stanza in bob.connection.received if stanza.name == "presence"] == [
        bob.full
    ]
    await alice.receives_nothing()


async def test_blocked_one_sees_no_more_presence_of_ours(friends, log_in):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    await alice.sends("<presence><show>dnd</show></presence>")
    await alice.receives(f"<presence from='{alice.full}'/>")
    phone = await log_in("alice@example.org/phone")
    await phone.sends("<presence/>")
    await phone.disconnects()
    await settled(alice.server)
    await bob.receives_nothing()
    tablet = await log_in("bob@example.org/tablet")
    await tablet.sends("<presence/>")
    await settled(alice.server)
    assert {stanza.get("from") for stanza in tablet.connection.received} == {tablet.full, bob.full}


async def test_who_appears_after_a_block_does_not_see_the_blocked_one(friends, log_in):
    alice, bob = friends
    await block(alice, bob.bare)
    phone = await log_in("alice@example.org/phone")
    await phone.sends("<presence/>")
    await settled(alice.server)
    assert {stanza.get("from") for stanza in phone.connection.received} == {phone.full, alice.full}


async def test_others_notice_nothing(friends, log_in):
    alice, bob = friends
    carol = await log_in("carol@example.org/home")
    await carol.is_available()
    await become_friends(alice, carol)
    await block(alice, bob.bare)
    await carol.receives_nothing()
    await alice.sends("<presence><show>dnd</show></presence>")
    await carol.receives(f"<presence from='{alice.full}' to='{carol.bare}'><show>dnd</show></presence>")
    await carol.sends("<presence><show>xa</show></presence>")
    await alice.receives(f"<presence from='{alice.full}'/>")
    await alice.receives(f"<presence from='{carol.full}' to='{alice.bare}'><show>xa</show></presence>")


async def test_blocking_twice_says_unavailable_once(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    await block(alice, bob.bare, bob.full)
    await bob.receives(f"<presence type='unavailable' from='{alice.full}'/>")
    await bob.receives_nothing()


async def test_stranger_hears_nothing_of_a_block(alice, stranger):
    await alice.is_available()
    await stranger.is_available()
    await block(alice, stranger.bare)
    await unblock(alice, stranger.bare)
    await stranger.receives_nothing()


async def test_directed_presence_is_taken_back(alice, stranger):
    await alice.is_available()
    await stranger.is_available()
    await alice.sends(f"<presence to='{stranger.full}'/>")
    await stranger.receives(f"<presence from='{alice.full}'/>")
    await block(alice, stranger.bare)
    await stranger.receives(f"<presence type='unavailable' from='{alice.full}' to='{stranger.full}'/>")
    await alice.disconnects()
    await settled(alice.server)
    await stranger.receives_nothing()


# -- what the one who blocks may do


@pytest.mark.parametrize(
    "stanza",
    [
        "<message type='chat' id='x' to='{to}'><body>hi</body></message>",
        "<iq type='get' id='x' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<presence id='x' to='{to}'/>",
        "<presence id='x' type='subscribe' to='{to}'/>",
    ],
)
async def test_nothing_can_be_sent_to_a_blocked_address(friends, stanza):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    await alice.sends(stanza.format(to=bob.bare))
    kind = stanza[1:].partition(" ")[0]
    await alice.receives(f"<{kind} type='error' id='x' from='{bob.bare}'>{BLOCKED}</{kind}>")
    await bob.receives_nothing()


async def test_answers_to_a_blocked_address_vanish(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    await alice.sends(f"<iq type='result' id='x' to='{bob.full}'/>")
    await alice.receives_nothing()
    await bob.receives_nothing()


async def test_own_resources_and_server_stay_within_reach(alice, alice_phone):
    await alice.is_available()
    await block(alice, "pest@example.net")
    await alice_phone.sends(f"<message id='m1' to='{alice.full}'><body>note</body></message>")
    await alice.receives("<message id='m1'/>")
    await alice.receives_nothing()  # which is a ping to the domain


# -- unblocking


async def test_unblocked_ones_see_each_other_again(friends):
    alice, bob = friends
    await block(alice, bob.bare)
    bob.forget_received()
    await bob.sends("<presence><show>away</show></presence>")
    bob.forget_received()
    await unblock(alice, bob.bare)
    await bob.receives(f"<presence from='{alice.full}' to='{bob.bare}'/>")
    await alice.receives(f"<presence from='{bob.full}'><show>away</show></presence>")
    await bob.sends(f"<message type='chat' id='m1' to='{alice.bare}'><body>there?</body></message>")
    await alice.receives("<message id='m1'/>")
    await alice.sends(f"<message type='chat' id='m2' to='{bob.bare}'><body>yes</body></message>")
    await bob.receives("<message id='m2'/>")


async def test_clearing_the_list_shows_us_to_all(friends, log_in):
    alice, bob = friends
    carol = await log_in("carol@example.org/home")
    await carol.is_available()
    await become_friends(alice, carol)
    await block(alice, bob.bare, carol.bare, "spam.example")
    for client in (bob, carol):
        await client.receives("<presence type='unavailable'/>")
    await unblock(alice)
    for client in (bob, carol):
        await client.receives(f"<presence from='{alice.full}' to='{client.bare}'/>")
        await client.receives_nothing()


async def test_unblocking_what_was_not_blocked_changes_nothing(friends):
    alice, bob = friends
    await unblock(alice, bob.bare)
    await unblock(alice)
    await bob.receives_nothing()


async def test_still_blocked_by_another_entry(friends):
    alice, bob = friends
    await block(alice, bob.bare, bob.full)
    bob.forget_received()
    await unblock(alice, bob.full)
    await bob.receives_nothing()
    await bob.sends(f"<message type='chat' id='m1' to='{alice.bare}'><body>x</body></message>")
    await bob.receives("<message type='error' id='m1'/>")


# -- forms of addresses


async def test_one_resource_is_blocked_and_another_is_not(friends, log_in):
    alice, bob = friends
    tablet = await log_in("bob@example.org/tablet")
    await tablet.sends("<presence/>")
    await settled(alice.server)
    for client in (alice, bob, tablet):
        client.forget_received()
    await block(alice, bob.full)
    await bob.receives(f"<presence type='unavailable' from='{alice.full}' to='{bob.full}'/>")
    await tablet.receives_nothing()
    await alice.sends("<presence><show>dnd</show></presence>")
    await alice.receives(f"<presence from='{alice.full}'/>")
    await tablet.receives(f"<presence from='{alice.full}'><show>dnd</show></presence>")
    await bob.receives_nothing()
    await bob.sends(f"<message type='chat' id='m1' to='{alice.bare}'><body>x</body></message>")
    await bob.receives("<message type='error' id='m1'/>")
    await tablet.sends(f"<message type='chat' id='m2' to='{alice.bare}'><body>x</body></message>")
    await alice.receives("<message id='m2'/>")
    await alice.sends(f"<message type='chat' id='m3' to='{bob.full}'><body>x</body></message>")
    await alice.receives(f"<message type='error' id='m3'>{BLOCKED}</message>")
    await unblock(alice, bob.full)
    await bob.receives(f"<presence from='{alice.full}' to='{bob.full}'><show>dnd</show></presence>")
    await tablet.receives_nothing()


@pytest.mark.parametrize(
    ("to", "is_refused"),
    [
        ("spam.example", True),
        ("pest@spam.example", True),
        ("pest@spam.example/home", True),
        ("spam.example/bot", True),
        ("irc.example/bot", True),
        ("irc.example/other", False),
        ("irc.example", False),
        ("x@irc.example/bot", False),
        ("x@sub.spam.example", False),
    ],
)
async def test_domain_forms(alice, to, is_refused):
    await block(alice, "spam.example", "irc.example/bot")
    await alice.sends(f"<message id='m1' to='{to}'><body>x</body></message>")
    error = BLOCKED if is_refused else f"<error><remote-server-not-found xmlns='{STANZAS}'/></error>"
    await alice.receives(f"<message type='error' id='m1'>{error}</message>")
