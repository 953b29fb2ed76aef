"""XEP-0352: Client State Indication. What waits for a phone in a pocket, what wakes it, and that nothing is lost."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio

from tests.conversation import Client, authenticate, mismatch, settled, subscribe
from tests.xmpp.test_sasl2 import PLAIN, Wire2
from xmppd.models import OfflineMessage
from xmppd.protocol.element import E
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.parser import parse_element
from xmppd.protocol.stanza import make
from xmppd.protocol.stream.client_state import MAX_BYTES, Holding
from xmppd.services.properties import overridden

NS = "urn:xmpp:csi:0"
SM = "urn:xmpp:sm:3"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
PAUSED = "<paused xmlns='http://jabber.org/protocol/chatstates'/>"
READ = "<received xmlns='urn:xmpp:receipts' id='x'/>"
DISPLAYED = "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"


async def inactive(client: Client) -> None:
    await client.sends(f"<inactive xmlns='{NS}'/>")


async def active(client: Client) -> None:
    await client.sends(f"<active xmlns='{NS}'/>")


def waits_for(client: Client) -> bool:
    """Whether nothing has come. Asking the server would wake the client."""
    return not client.connection.received


@pytest_asyncio.fixture
async def phone(alice, bob):
    """bob's phone, in his pocket; he sees alice's presence."""
    await bob.is_available()
    await alice.is_available()
    await subscribe(bob, alice)
    await inactive(bob)
    return bob


async def shows(client: Client, show: str) -> None:
    await client.sends(f"<presence><show>{show}</show></presence>")


# -- negotiation


async def test_feature_is_offered_after_login(server, alice):
    connection = await authenticate(server, alice.full)
    assert f"<csi xmlns='{NS}'/>" in connection.text


async def test_nothing_answers(alice):
    for element in ("active", "inactive", "inactive", "active", "active"):
        await alice.sends(f"<{element} xmlns='{NS}'/>")
    await alice.receives_nothing()


async def test_client_is_active_until_it_says_otherwise(alice, bob):
    await bob.is_available()
    await alice.is_available()
    await subscribe(bob, alice)
    await shows(alice, "away")
    await bob.receives("<presence><show>away</show></presence>")


# -- what waits


async def test_presence_waits_and_only_the_last_one_comes(alice, phone, log_in):
    tablet = await log_in("alice@example.org/tablet")
    await tablet.is_available()
    for show in ("away", "dnd", "xa"):
        await shows(alice, show)
    assert waits_for(phone)
    await active(phone)
    await phone.receives(f"<presence from='{tablet.full}'/>")
    await phone.receives(f"<presence from='{alice.full}'><show>xa</show></presence>")
    await phone.receives_nothing()


async def test_unavailable_presence_waits_too(alice, phone):
    await shows(alice, "away")
    await alice.sends("<presence type='unavailable'/>")
    assert waits_for(phone)
    await active(phone)
    await phone.receives(f"<presence type='unavailable' from='{alice.full}'/>")
    await phone.receives_nothing()


async def test_chat_states_are_dropped(alice, phone):
    """Who types now is of no use an hour later, not even beside a message that wakes the client."""
    for state in (COMPOSING, PAUSED, COMPOSING):
        await alice.sends(f"<message to='{phone.bare}' type='chat'>{state}<thread>t</thread></message>")
    await alice.sends(f"<message to='{phone.bare}' type='chat' id='m'><body>hi</body>{COMPOSING}</message>")
    await phone.receives(f"<message id='m'><body>hi</body>{COMPOSING}</message>")
    await alice.sends(f"<message to='{phone.bare}' type='chat'>{PAUSED}</message>")
    await active(phone)
    await phone.receives_nothing()


async def test_chat_states_wake_nobody_however_much_waits(alice, phone):
    await active(phone)
    with overridden(csi__max_queue=1):
        await inactive(phone)
        await alice.sends(f"<message to='{phone.bare}' id='1'>{READ}</message>")
        await alice.sends(f"<message to='{phone.bare}' type='chat'>{COMPOSING}</message>")
    assert waits_for(phone)


async def test_what_waited_for_long_bears_the_time_at_which_it_came(alice, phone, clock):
    """XEP-0203; what came just now bears none."""
    stamp = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/>"
    await shows(alice, "away")
    await alice.sends(f"<message to='{phone.bare}' id='r'>{READ}</message>")
    clock.advance(seconds=40)
    alice.server.sweep()
    await alice.sends(f"<message to='{phone.bare}' id='late'>{READ}</message>")
    await active(phone)
    await phone.receives(f"<presence from='{alice.full}'><show>away</show>{stamp}</presence>")
    await phone.receives(f"<message id='r'>{READ}{stamp}</message>")
    (late,) = [got for got in phone.connection.received if got.get("id") == "late"]
    assert late.find("urn:xmpp:delay", "delay") is None


async def test_receipts_and_markers_wait_in_order(alice, phone):
    for letter in (READ, DISPLAYED, READ):
        await alice.sends(f"<message to='{phone.bare}'>{letter}</message>")
    assert waits_for(phone)
    await active(phone)
    for letter in (READ, DISPLAYED, READ):
        await phone.receives(f"<message from='{alice.full}'>{letter}</message>")


def event(node: str, *items: str, name: str = "items") -> str:
    inner = f"<{name} node='{node}'>{''.join(items)}</{name}>"
    return f"<event xmlns='http://jabber.org/protocol/pubsub#event'>{inner}</event>"


async def test_of_published_items_the_last_state_comes(alice, phone):
    mood, nick = "http://jabber.org/protocol/mood", "http://jabber.org/protocol/nick"
    first, second, retracted = "<item id='1'><a xmlns='urn:a'/></item>", "<item id='2'/>", "<retract id='1'/>"
    for letter in (
        event(mood, first),
        event(mood, second),
        event(nick, second),
        event(mood, name="purge"),
        event(mood, retracted),
        event(nick, second),
    ):
        await alice.sends(f"<message to='{phone.bare}' type='headline'>{letter}</message>")
    assert waits_for(phone)
    await active(phone)
    for letter in (
        event(mood, second),
        event(mood, name="purge"),
        event(mood, retracted),
        event(nick, second),
    ):
        await phone.receives(f"<message type='headline'>{letter}</message>")
    await phone.receives_nothing()


async def test_copies_wait_as_what_they_carry(alice, phone, log_in):
    await phone.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    desktop = await log_in("bob@example.org/desktop")
    await alice.sends(f"<message to='{desktop.full}' type='chat'>{COMPOSING}</message>")
    await alice.sends(f"<message to='{desktop.full}' type='chat'>{PAUSED}</message>")
    await desktop.sends(f"<message to='{alice.full}' type='chat'>{COMPOSING}</message>")
    await alice.sends(f"<message to='{desktop.full}'>{DISPLAYED}</message>")
    assert waits_for(phone)
    await desktop.sends(f"<message to='{alice.full}' id='read'>{DISPLAYED}</message>")
    assert len(phone.connection.received) == 2  # read elsewhere: worth telling, and what waited comes along


# -- what wakes the client

WAKING = [
    "<message type='chat'><body>hi</body></message>",
    "<message><body>hi</body></message>",
    "<message type='headline'><body>hi</body></message>",
    f"<message type='chat'><body>hi</body>{COMPOSING}</message>",
    "<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>",
    "<message type='chat'><encrypted xmlns='urn:xmpp:omemo:2'/><store xmlns='urn:xmpp:hints'/></message>",
    "<message><propose xmlns='urn:xmpp:jingle-message:0' id='j'/></message>",
    "<message><x xmlns='jabber:x:conference' jid='r@rooms.example'/></message>",
    "<message><subject>hi</subject></message>",
    "<message><attention xmlns='urn:xmpp:attention:0'/></message>",
    "<message/>",
    "<message type='error'><error type='cancel'/></message>",
    "<presence type='error'><error type='cancel'/></presence>",
    "<presence><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>",
    "<iq type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1'/></iq>",
    "<iq type='result' id='1'/>",
]


@pytest.mark.parametrize("xml", WAKING)
async def test_what_wakes_the_client_takes_along_what_waited(alice, phone, xml):
    await phone.sends(f"<presence to='{alice.full}'/>")
    await shows(alice, "away")
    assert waits_for(phone)
    await alice.sends(re.sub("^<[a-z]+", rf"\g<0> to='{phone.full}'", xml))
    await settled(alice.server)
    await phone.receives(f"<presence from='{alice.full}'><show>away</show></presence>")
    await phone.receives(xml)
    await shows(alice, "dnd")
    assert waits_for(phone)  # it is still in the pocket


@pytest.mark.parametrize("type", ["subscribe", "unsubscribed"])
async def test_subscriptions_wake_the_client(phone, alice, stranger, type):
    await phone.asks("<query xmlns='jabber:iq:roster'/>")
    sender = stranger if type == "subscribe" else alice
    await sender.sends(f"<presence to='{phone.bare}' type='{type}'/>")
    await settled(phone.server)
    assert not waits_for(phone)


async def test_its_own_requests_are_answered_at_once(alice, phone):
    await shows(alice, "away")
    await phone.sends(f"<iq type='get' id='p' to='example.org'>{PING}</iq>")
    await phone.receives("<presence><show>away</show></presence>")
    await phone.receives("<iq type='result' id='p'/>")


# -- order and limits


async def test_client_states_are_taken_in_order_with_its_stanzas(alice, phone):
    await shows(alice, "away")
    slow = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    await phone.sends(f"{slow}<active xmlns='{NS}'/><inactive xmlns='{NS}'/>")
    await phone.receives("<presence><show>away</show></presence>")
    await phone.receives("<iq type='result' id='r'/>")
    await shows(alice, "dnd")
    assert waits_for(phone)


async def test_number_of_stanzas_that_wait_is_bounded(alice, phone):
    await active(phone)
    with overridden(csi__max_queue=3):
        await inactive(phone)
        for number in range(3):
            await alice.sends(f"<message to='{phone.bare}' id='{number}'>{READ}</message>")
        assert waits_for(phone)
        await alice.sends(f"<message to='{phone.bare}' id='3'>{READ}</message>")
    for number in range(4):
        await phone.receives(f"<message id='{number}'/>")
    await alice.sends(f"<message to='{phone.bare}' id='4'>{READ}</message>")
    assert waits_for(phone)


async def test_bytes_that_wait_are_bounded(alice):
    holding = Holding(alice.bare, 10)
    status = "x" * (MAX_BYTES // 2)
    one, other = (
        make("presence", E(CLIENT, "status", status), from_=alice.jid.bare.with_resource(name), to=alice.jid)
        for name in ("one", "other")
    )
    assert holding.takes(one.to_bytes(), 1.0)
    assert not holding.takes(other.to_bytes(), 1.0)
    assert holding.release() == [(one.to_bytes(), 1.0)]
    assert holding.takes(other.to_bytes(), 1.0)


async def test_it_is_told_to_nobody(alice, phone):
    """XEP-0352 7: a contact sees neither a presence nor an answer that differs."""
    await alice.receives_nothing()
    await phone.sends(f"<presence to='{alice.full}'/>")
    alice.forget_received()
    await alice.sends(f"<iq type='get' id='p' to='{phone.full}'>{PING}</iq>")
    assert not waits_for(phone)


# -- with stream management


async def resumable(client: Client, seconds: int) -> str:
    await client.sends(f"<enable xmlns='{SM}' resume='true' max='{seconds}'/>")
    return (await client.next()).get("id")


async def resume(client: Client, previd: str) -> Client:
    connection = await authenticate(client.server, client.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>".encode())
    again = Client(connection, client.jid)
    assert (await again.next()).tag == (SM, "resumed")
    return again


async def test_what_waits_was_not_sent(alice, phone):
    await resumable(phone, 600)
    await shows(alice, "away")
    assert len(phone.session.management) == 0
    await active(phone)
    assert len(phone.session.management) == 1


async def test_resumed_client_is_active_and_gets_what_waited(alice, phone):
    previd = await resumable(phone, 600)
    await shows(alice, "away")
    await phone.disconnects()
    await alice.sends(f"<message to='{phone.bare}' type='chat' id='m1'><body>1</body></message>")
    for show in ("dnd", "xa"):
        await shows(alice, show)
    again = await resume(phone, previd)
    await again.receives(f"<presence from='{alice.full}'><show>away</show></presence>")
    await again.receives("<message id='m1'/>")
    assert (await again.next()).tag == (SM, "r")
    await again.receives(f"<presence from='{alice.full}'><show>xa</show></presence>")
    await shows(alice, "away")
    await again.receives(f"<presence from='{alice.full}'><show>away</show></presence>")


async def test_what_waited_twice_keeps_its_first_time(alice, phone, clock):
    """It waited for the client's user, then for the client: one stamp, and the queue holds what came."""
    previd = await resumable(phone, 7200)
    await shows(alice, "away")
    clock.advance(minutes=10)
    phone.server.sweep()
    await active(phone)
    stamp = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/>"
    await phone.receives(f"<presence><show>away</show>{stamp}</presence>")
    await phone.disconnects()
    clock.advance(minutes=10)
    phone.server.sweep()
    again = await resume(phone, previd)
    presence = await again.receives(f"<presence><show>away</show>{stamp}</presence>")
    assert len(list(presence.findall("urn:xmpp:delay", "delay"))) == 1


async def test_hours_of_presence_do_not_end_a_session_that_waits(alice, phone):
    previd = await resumable(phone, 600)
    await phone.disconnects()
    with overridden(sm__max_queue=50):
        for number in range(60):
            await alice.sends(f"<presence><status>{number}</status></presence>")
        await settled(phone.server)
    again = await resume(phone, previd)
    await again.receives("<presence><status>59</status></presence>")
    await again.receives_nothing()


async def test_presence_waits_for_a_client_that_is_not_there(alice, bob):
    """Without a word of its own about its state; what is urgent keeps its place among the rest."""
    await bob.is_available()
    await alice.is_available()
    await subscribe(bob, alice)
    previd = await resumable(bob, 600)
    await bob.disconnects()
    with overridden(sm__max_queue=50):
        for number in range(60):
            await alice.sends(f"<presence><status>{number}</status></presence>")
        await alice.sends(f"<message to='{bob.bare}' type='chat' id='m1'><body>1</body></message>")
        for number in range(60, 120):
            await alice.sends(f"<presence><status>{number}</status></presence>")
        await settled(bob.server)
    assert len(bob.server.router.origin(bob.jid).management) == 2
    again = await resume(bob, previd)
    await again.receives("<presence><status>59</status></presence>")
    await again.receives("<message id='m1'/>")
    assert (await again.next()).tag == (SM, "r")
    await again.receives("<presence><status>119</status></presence>")
    await again.receives_nothing()
    await shows(alice, "away")
    await again.receives("<presence><show>away</show></presence>")  # it is active


@pytest.mark.parametrize("is_managed", [True, False])
async def test_receipts_that_waited_in_vain_are_kept(alice, phone, clock, log_in, is_managed):
    if is_managed:
        await resumable(phone, 3)
    await shows(alice, "away")
    await alice.sends(f"<message to='{phone.bare}' type='chat'>{COMPOSING}</message>")
    await alice.sends(f"<message to='{phone.bare}' type='chat' id='r1'>{READ}</message>")
    await phone.disconnects()
    clock.advance(seconds=4)
    phone.server.sweep()
    await settled(phone.server)
    assert await OfflineMessage.objects.acount() == 1
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    await settled(back.server)
    await back.receives(f"<presence from='{alice.full}'><show>away</show></presence>")
    await back.receives("<message id='r1'/>")


async def test_receipt_that_waited_bears_the_time_at_which_it_came(alice, phone, clock, log_in):
    """XEP-0203: not that of the end of the session that held it back."""
    await resumable(phone, 1200)
    await phone.disconnects()
    await alice.sends(f"<message to='{phone.bare}' type='chat' id='r1'>{READ}</message>")
    clock.advance(minutes=20)
    phone.server.sweep()
    await settled(phone.server)
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    stamp = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/>"
    while (got := await back.next()).name != "message":
        pass
    assert (
        mismatch(
            parse_element(f"<message xmlns='jabber:client' id='r1'>{READ}{stamp}</message>".encode()), got
        )
        is None
    )


async def test_clean_end_drops_presence(alice, phone):
    await shows(alice, "away")
    await phone.sends("</stream:stream>")
    assert "away" not in phone.connection.text
    assert phone.connection.is_ended


async def test_inactive_from_the_first_moment(server, alice):
    """XEP-0386: a client that is started in the background."""
    wire = Wire2(server)
    assert f"<feature var='{NS}'/>" in wire.features
    await wire.logs_in(PLAIN, "", f"<bind xmlns='urn:xmpp:bind:0'><inactive xmlns='{NS}'/></bind>")
    assert wire.connection.session.holding is not None
