"""XEP-0280: Message Carbons. Examples of the specification, its rules for what is copied, and what must not happen."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.conversation import Client, authenticate, settled
from tests.xmpp.test_sasl2 import PLAIN, Wire2
from xmppd.models import OfflineMessage
from xmppd.protocol.element import Element

NS = "urn:xmpp:carbons:2"
SM = "urn:xmpp:sm:3"
FORWARD = "urn:xmpp:forward:0"
SID = "urn:xmpp:sid:0"
MUC_USER = "http://jabber.org/protocol/muc#user"
CHAT = "<body>What man art thou?</body><thread>0e3141cd</thread>"


async def carbons(client: Client, what: str = "enable") -> None:
    reply = await client.asks(f"<{what} xmlns='{NS}'/>", type="set")
    assert (reply.get("type"), reply.children) == ("result", [])


def wrapped(direction: str, account: Client, to: Client, message: str, type: str = "chat") -> str:
    attribute = f" type='{type}'" if type else ""
    return (
        f"<message from='{account.bare}' to='{to.full}'{attribute}><{direction} xmlns='{NS}'>"
        f"<forwarded xmlns='{FORWARD}'>{message}</forwarded></{direction}></message>"
    )


def message(from_: str, to: str, inner: str, type: str = "chat") -> str:
    attribute = f" type='{type}'" if type else ""
    return f"<message xmlns='jabber:client' from='{from_}' to='{to}'{attribute} id='m1'>{inner}</message>"


def inner_of(copy: Element, direction: str) -> Element:
    """The message inside of a copy."""
    return copy.find(NS, direction).find(FORWARD, "forwarded").find("jabber:client", "message")


@pytest_asyncio.fixture
async def desktop(alice):
    """alice's first device, which takes what is sent to her bare JID."""
    await alice.is_available(5)
    return alice


@pytest_asyncio.fixture
async def phone(desktop, alice_phone):
    """Her second one, with carbons."""
    await alice_phone.is_available(0)
    await carbons(alice_phone)
    desktop.forget_received()
    alice_phone.forget_received()
    return alice_phone


@pytest_asyncio.fixture
async def romeo(bob):
    await bob.is_available()
    return bob


# -- discovery, enabling, disabling


async def test_server_announces_it(alice):
    info = await alice.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="example.org")
    features = {
        child.get("var") for child in info.find("http://jabber.org/protocol/disco#info", "query").elements()
    }
    assert {NS, "urn:xmpp:carbons:rules:0"} <= features


async def test_enabling_and_disabling_may_be_repeated(desktop, phone, romeo):
    await carbons(phone)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await phone.receives("<message/>")
    await phone.receives_nothing()  # one copy, not two
    await carbons(phone, "disable")
    await carbons(phone, "disable")
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await phone.receives_nothing()


async def test_nobody_enables_them_for_another_account(alice, romeo):
    reply = await romeo.asks(f"<enable xmlns='{NS}'/>", type="set", to=alice.bare)
    assert reply.get("type") == "error"
    assert alice.session.account.carbons == ()


async def test_ended_session_is_forgotten(phone, desktop):
    await phone.sends("</stream:stream>")
    assert desktop.session.account.carbons == ()


# -- received, 7


@pytest.mark.parametrize("to", ["alice@example.org", "alice@example.org/desktop"])
async def test_received_message_is_copied(desktop, phone, romeo, to):
    await romeo.sends(f"<message to='{to}' type='chat' id='m1'>{CHAT}</message>")
    original = message(romeo.full, to, CHAT)
    await desktop.receives(original)
    await desktop.receives_nothing()
    await phone.receives(wrapped("received", phone, phone, original))
    await phone.receives_nothing()


async def test_who_got_the_original_gets_no_copy(desktop, phone, romeo):
    await carbons(desktop)
    await desktop.sends("<presence><priority>0</priority></presence>")
    desktop.forget_received()
    phone.forget_received()
    await romeo.sends(f"<message to='{phone.bare}' type='chat' id='m1'>{CHAT}</message>")
    for device in (desktop, phone):
        await device.receives(message(romeo.full, phone.bare, CHAT))
        await device.receives_nothing()


async def test_device_of_negative_priority_gets_copies_and_the_message_waits_too(desktop, phone, romeo):
    await phone.sends("<presence><priority>-1</priority></presence>")
    await desktop.sends("</stream:stream>")
    phone.forget_received()
    await romeo.sends(f"<message to='{phone.bare}' type='chat' id='m1'>{CHAT}</message>")
    await phone.receives(wrapped("received", phone, phone, message(romeo.full, phone.bare, CHAT)))
    assert await OfflineMessage.objects.acount() == 1


async def test_device_that_gets_it_from_the_offline_store_gets_no_copy(romeo, alice_phone):
    await carbons(alice_phone)
    await romeo.sends(f"<message to='{alice_phone.bare}' type='chat' id='m1'>{CHAT}</message>")
    await alice_phone.receives_nothing()
    await alice_phone.sends("<presence/>")
    await settled(alice_phone.server)
    await alice_phone.receives("<presence/>")
    await alice_phone.receives("<message id='m1' type='chat'/>")
    await alice_phone.receives_nothing()


async def test_letter_stays_what_its_author_wrote(desktop, phone, romeo):
    letter = '<body>a &lt; b &amp; "c"</body><x:y xmlns:x="urn:z" x:a=\'1\'><x:b/></x:y>'
    await romeo.sends(f"<message to='{desktop.full}' type='chat' xml:lang='it'>{letter}</message>")
    await phone.settles()
    assert letter in phone.connection.written[-1].decode()
    copy = await phone.next()
    assert (
        copy.find(NS, "received").find(FORWARD, "forwarded").find("jabber:client", "message").get("xml:lang")
        == "it"
    )


# -- sent, 8


async def test_sent_message_is_copied_to_the_other_devices(desktop, phone, romeo):
    await carbons(desktop)
    await desktop.sends(f"<message to='{romeo.full}' type='chat' id='m1'>{CHAT}</message>")
    original = message(desktop.full, romeo.full, CHAT)
    await romeo.receives(original)
    await phone.receives(wrapped("sent", phone, phone, original))
    await desktop.receives_nothing()


async def test_copies_bear_the_id_in_their_owners_archive(desktop, phone, romeo):
    forged = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{desktop.bare}' id='forged'/>"
    await desktop.sends(f"<message to='{romeo.full}' type='chat'>{BODY}{forged}</message>")
    sent = inner_of(await phone.next(), "sent")
    theirs = await romeo.next()
    await romeo.sends(f"<message to='{desktop.full}' type='chat'>{BODY}</message>")
    received = inner_of(await phone.next(), "received")
    mine = await desktop.next()
    ids = [
        (stanza.find(SID, "stanza-id").get("by"), stanza.find(SID, "stanza-id").get("id"))
        for stanza in (sent, theirs, received, mine)
    ]
    assert [by for by, _ in ids] == [desktop.bare, romeo.bare, desktop.bare, desktop.bare]
    assert ids[2] == ids[3]
    assert len({*ids, (desktop.bare, "forged")}) == 4
    assert len(list(sent.findall(SID, "stanza-id"))) == 1


async def test_message_between_own_devices_is_copied_once(desktop, phone, log_in):
    tablet = await log_in("alice@example.org/tablet")
    await carbons(tablet)
    await carbons(desktop)
    await phone.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    original = message(phone.full, desktop.full, CHAT)
    await desktop.receives(original)
    await tablet.receives(wrapped("received", tablet, tablet, original))
    for device in (phone, desktop, tablet):
        await device.receives_nothing()


async def test_note_to_self(desktop, phone):
    await desktop.sends(f"<message to='{desktop.bare}' type='chat' id='m1'>{CHAT}</message>")
    original = message(desktop.full, desktop.bare, CHAT)
    await desktop.receives(original)
    await phone.receives(wrapped("received", phone, phone, original))
    await phone.receives_nothing()


async def test_copies_are_no_messages_of_their_own(desktop, phone, romeo):
    """However many devices got a copy, each archive has the message once, with the id that the copies bear."""
    await carbons(desktop)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{BODY}</message>")
    await desktop.sends(f"<message to='{romeo.full}' type='chat' id='m2'>{BODY}</message>")
    for client in (desktop, romeo):
        client.forget_received()
    copies = [await phone.next(), await phone.next()]
    query = "<query xmlns='urn:xmpp:mam:2' queryid='q'/>"
    for client in (phone, romeo):
        reply = await client.asks(query, type="set")
        assert reply.get("type") == "result"
        kept = [stanza.find("urn:xmpp:mam:2", "result") for stanza in client.connection.received]
        messages = [result.find(FORWARD, "forwarded").find("jabber:client", "message") for result in kept]
        assert [inner.get("id") for inner in messages] == ["m1", "m2"]
        if client is phone:
            ids = [
                inner_of(copy, direction).find(SID, "stanza-id").get("id")
                for copy, direction in zip(copies, ("received", "sent"), strict=True)
            ]
            assert [result.get("id") for result in kept] == ids


# -- what is copied, 6.1

RECEIPT = "<received xmlns='urn:xmpp:receipts' id='x'/>"
DISPLAYED = "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>"
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
INVITED = f"<x xmlns='{MUC_USER}'><invite from='crone1@shakespeare.lit/desktop'/></x>"
DIRECTLY = "<x xmlns='jabber:x:conference' jid='darkcave@macbeth.shakespeare.lit'/>"
PROPOSED = "<propose xmlns='urn:xmpp:jingle-message:0' id='j'/>"
BODY = "<body>hi</body>"
# type, letter, copied when received, copied when sent
RULES = [
    ("chat", BODY, True, True),
    ("chat", "<subject>hi</subject>", True, True),
    ("chat", COMPOSING, True, True),
    ("", BODY, True, True),
    ("normal", BODY, True, True),
    ("shout", BODY, True, True),  # an unknown type is normal
    ("normal", "<subject>hi</subject>", False, False),
    ("normal", "<query xmlns='urn:other'/>", False, False),
    ("normal", RECEIPT, True, True),
    ("normal", DISPLAYED, True, True),
    ("normal", COMPOSING, True, True),
    ("normal", PROPOSED, True, True),
    ("normal", DIRECTLY, True, True),
    ("normal", INVITED, True, True),
    ("headline", BODY, False, False),
    ("headline", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", False, False),
    ("groupchat", BODY, False, False),
    ("groupchat", COMPOSING, False, False),
    ("chat", f"{BODY}<x xmlns='{MUC_USER}'/>", False, True),  # a private message in a room
    ("normal", f"{RECEIPT}<x xmlns='{MUC_USER}'/>", False, True),
    ("chat", f"{BODY}<private xmlns='{NS}'/>", False, False),
    ("chat", f"{BODY}<no-copy xmlns='urn:xmpp:hints'/>", False, False),
    ("chat", f"{BODY}<store xmlns='urn:xmpp:hints'/>", True, True),
]


@pytest.mark.parametrize(("type", "letter", "is_copied", "_"), RULES)
async def test_rules_for_received_messages(desktop, phone, romeo, type, letter, is_copied, _):
    attribute = f" type='{type}'" if type else ""
    await romeo.sends(f"<message to='{desktop.full}'{attribute} id='m1'>{letter}</message>")
    original = message(romeo.full, desktop.full, letter, type)
    await desktop.receives(original)
    if is_copied:
        await phone.receives(wrapped("received", phone, phone, original, type))
    await phone.receives_nothing()


@pytest.mark.parametrize(("type", "letter", "_", "is_copied"), RULES)
async def test_rules_for_sent_messages(desktop, phone, romeo, type, letter, _, is_copied):
    attribute = f" type='{type}'" if type else ""
    await desktop.sends(f"<message to='{romeo.full}'{attribute} id='m1'>{letter}</message>")
    original = message(desktop.full, romeo.full, letter, type)
    await romeo.receives(original)  # <private/> too stays where its author put it
    if is_copied:
        await phone.receives(wrapped("sent", phone, phone, original, type))
    await phone.receives_nothing()


# -- errors


async def test_error_of_the_server_follows_the_copy_of_its_message(desktop, phone):
    await desktop.sends(f"<message to='nobody@example.org' type='chat' id='m1'>{BODY}</message>")
    await phone.receives(
        wrapped("sent", phone, phone, message(desktop.full, "nobody@example.org", BODY)),
    )
    await desktop.receives("<message type='error' id='m1'/>")
    inner = (
        f"<message xmlns='jabber:client' type='error' id='m1' from='nobody@example.org' to='{desktop.full}'>"
    )
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    await phone.receives(wrapped("received", phone, phone, f"{inner}{error}</message>", "error"))


async def test_error_for_what_was_not_copied_is_not_copied(desktop, phone):
    await desktop.sends("<message to='nobody@example.org' id='m1'><subject>hi</subject></message>")
    await desktop.receives("<message type='error' id='m1'/>")
    await phone.receives_nothing()


ERROR = "<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


@pytest.mark.parametrize(
    ("letter", "is_copied"),
    [
        (BODY + ERROR, True),
        (RECEIPT + ERROR, True),
        (f"{BODY}<x xmlns='{MUC_USER}'/>{ERROR}", True),  # of a private message that was sent to a room
        (f"{BODY}<private xmlns='{NS}'/>{ERROR}", False),
        (f"<subject>hi</subject>{ERROR}", False),
        (ERROR, False),  # from a resource, and nothing tells what it answers
    ],
)
async def test_error_from_a_client(desktop, phone, romeo, letter, is_copied):
    await romeo.sends(f"<message to='{desktop.full}' type='error' id='m1'>{letter}</message>")
    await desktop.receives("<message type='error'/>")
    if is_copied:
        original = message(romeo.full, desktop.full, letter, "error")
        await phone.receives(wrapped("received", phone, phone, original, "error"))
    await phone.receives_nothing()


async def test_error_of_a_copy_goes_to_nobody(desktop, phone, romeo):
    """10: the sender of the original must not learn of it."""
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await desktop.receives("<message/>")
    copy = await phone.receives("<message/>")
    await phone.sends(f"<message to='{copy.get('from')}' type='error'>{ERROR}</message>")
    for client in (romeo, desktop, phone):
        await client.receives_nothing()


# -- forgeries, 11


async def test_forged_copy_is_an_ordinary_message(desktop, phone, romeo):
    forged = (
        f"<received xmlns='{NS}'><forwarded xmlns='{FORWARD}'>"
        f"<message xmlns='jabber:client' from='{desktop.bare}' to='{phone.bare}' type='chat'>{BODY}</message>"
        "</forwarded></received>"
    )
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{forged}</message>")
    original = message(romeo.full, desktop.full, forged)
    await desktop.receives(original)  # from romeo, as everybody sees
    await phone.receives(wrapped("received", phone, phone, original))


async def test_copy_in_another_name_is_no_way_in(alice, romeo):
    await romeo.sends(f"<message from='{alice.bare}' to='{alice.bare}' type='chat'>{BODY}</message>")
    await romeo.is_disconnected("invalid-from")


# -- with stream management


async def enable_resumption(client: Client, seconds: int) -> str:
    await client.sends(f"<enable xmlns='{SM}' resume='true' max='{seconds}'/>")
    return (await client.next()).get("id")


async def test_resumed_session_has_carbons_as_before(server, desktop, phone, romeo):
    previd = await enable_resumption(phone, 600)
    await phone.disconnects()
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    connection = await authenticate(server, phone.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>".encode())
    again = Client(connection, phone.jid)
    assert (await again.next()).tag == (SM, "resumed")
    original = message(romeo.full, desktop.full, CHAT)
    await again.receives(wrapped("received", phone, phone, original))
    assert (await again.next()).tag == (SM, "r")
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await again.receives(wrapped("received", phone, phone, original))


async def ends(client: Client, clock) -> None:
    """The session waited in vain."""
    await client.disconnects()
    clock.advance(seconds=4)
    client.server.sweep()
    await settled(client.server)


async def test_copies_are_not_handed_over(server, clock, desktop, phone, romeo):
    await enable_resumption(phone, 3)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await desktop.receives("<message/>")
    await ends(phone, clock)
    await desktop.receives(f"<presence type='unavailable' from='{phone.full}'/>")
    await desktop.receives_nothing()
    assert await OfflineMessage.objects.acount() == 0


async def test_who_has_a_copy_is_not_handed_the_message(server, clock, desktop, phone, romeo):
    """Though all was in one second, in which no clock tells what was first."""
    desktop.forget_received()
    phone.forget_received()
    await enable_resumption(desktop, 3)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await phone.receives("<message/>")
    await ends(desktop, clock)
    await phone.receives(f"<presence type='unavailable' from='{desktop.full}'/>")
    await phone.receives_nothing()


async def test_who_came_later_is_handed_the_message(server, clock, desktop, romeo, log_in):
    await enable_resumption(desktop, 3)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    tablet = await log_in("alice@example.org/tablet")
    await carbons(tablet)
    await tablet.is_available()
    tablet.forget_received()
    await ends(desktop, clock)
    await tablet.receives(f"<presence type='unavailable' from='{desktop.full}'/>")
    await tablet.receives("<message id='m1' type='chat'/>")
    await tablet.receives_nothing()


async def test_who_asked_for_copies_later_is_handed_the_message(server, clock, desktop, alice_phone, romeo):
    await alice_phone.is_available(0)
    await enable_resumption(desktop, 3)
    await romeo.sends(f"<message to='{desktop.full}' type='chat' id='m1'>{CHAT}</message>")
    await settled(server)
    await carbons(alice_phone)
    alice_phone.forget_received()
    await ends(desktop, clock)
    await alice_phone.receives(f"<presence type='unavailable' from='{desktop.full}'/>")
    await alice_phone.receives("<message id='m1' type='chat'/>")
    await alice_phone.receives_nothing()


# -- what passes between clients untouched

PASSING = [
    "<request xmlns='urn:xmpp:receipts'/><body>hi</body>",  # XEP-0184
    RECEIPT,
    DISPLAYED,  # XEP-0333
    COMPOSING,  # XEP-0085
    "<replace xmlns='urn:xmpp:message-correct:0' id='x'/><body>corrected</body>",  # XEP-0308
    "<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>👋</reaction></reactions>",  # XEP-0444
    PROPOSED,  # XEP-0353
    "<body>hi</body><delay xmlns='urn:xmpp:delay' from='other.example' stamp='2002-09-10T23:08:25Z'/>",  # XEP-0203
    "<body>hi</body><store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>",  # XEP-0334
    "<data xmlns='http://jabber.org/protocol/ibb' sid='i' seq='0'>qANQR1DB</data>",  # XEP-0047
]


@pytest.mark.parametrize("letter", PASSING)
async def test_payloads_pass_untouched(alice, romeo, letter):
    await alice.sends(f"<message to='{romeo.full}' type='chat'>{letter}</message>")
    await romeo.receives("<message/>")
    assert f">{letter}<" in romeo.connection.text


@pytest.mark.parametrize(
    "payload",
    [
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s'/>",  # XEP-0166
        "<open xmlns='http://jabber.org/protocol/ibb' block-size='4096' sid='i'/>",  # XEP-0047
        "<data xmlns='urn:xmpp:bob' cid='sha1+8f35fef110ffc5df08d579a50083ff9308fb6242@bob.xmpp.org'/>",  # XEP-0231
        "<query xmlns='jabber:iq:rpc'><methodCall><methodName>m</methodName></methodCall></query>",  # XEP-0009
    ],
)
async def test_requests_pass_untouched(alice, romeo, payload):
    await romeo.sends(f"<presence to='{alice.full}'/>")  # who got presence directly may ask
    alice.forget_received()
    await alice.sends(f"<iq type='set' id='q' to='{romeo.full}'>{payload}</iq>")
    await romeo.receives(f"<iq type='set' id='q' from='{alice.full}'/>")
    assert f">{payload}</iq>" in romeo.connection.text
    await romeo.sends(f"<iq type='result' id='q' to='{alice.full}'/>")
    await alice.receives(f"<iq type='result' id='q' from='{romeo.full}'/>")


async def test_enabled_while_binding(server, alice):
    """XEP-0386: in one step with the login; the feature is named there."""
    wire = Wire2(server)
    assert f"<feature var='{NS}'/>" in wire.features
    await wire.logs_in(PLAIN, "", f"<bind xmlns='urn:xmpp:bind:0'><enable xmlns='{NS}'/></bind>")
    assert wire.connection.session.account.carbons == (wire.connection.session,)
