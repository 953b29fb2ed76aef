"""What clients say to each other and no server reads: it arrives byte for byte, and is archived as its hints say."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio

from tests.conversation import subscribe
from tests.xmpp.archive_queries import CLIENT, FORWARD, ask

SID = "urn:xmpp:sid:0"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
HINTS = "urn:xmpp:hints"
STORE, NO_STORE, NO_PERMANENT_STORE, NO_COPY = (
    f"<{name} xmlns='{HINTS}'/>" for name in ("store", "no-store", "no-permanent-store", "no-copy")
)
STATES, MARKERS, JMI = (
    "http://jabber.org/protocol/chatstates",
    "urn:xmpp:chat-markers:0",
    "urn:xmpp:jingle-message:0",
)

KEPT = {
    "0184 request": "<body>My lord</body><request xmlns='urn:xmpp:receipts'/>",
    "0184 received": "<received xmlns='urn:xmpp:receipts' id='richard2-4.1.247'/>",
    "0333 markable": f"<body>My lord</body><markable xmlns='{MARKERS}'/>",
    "0333 displayed": f"<displayed xmlns='{MARKERS}' id='message-1'/>",
    "0085 with a body": f"<body>My lord</body>\n  <active xmlns='{STATES}'/>",
    "0308": "<body>But soft</body><replace id='bad1' xmlns='urn:xmpp:message-correct:0'/>",
    "0444": "<reactions id='744f6e18' xmlns='urn:xmpp:reactions:0'><reaction>👋</reaction><reaction>🐢</reaction>"
    f"</reactions>{STORE}",
    "0424": "<retract id='wrong-recipient-1' xmlns='urn:xmpp:message-retract:1'/>"
    "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>"
    f"<body>/me retracted a previous message</body>{STORE}",
    "0461": "<body>&gt; Anna wrote:\n&gt; We should bake a cake\nGreat idea!</body>"
    "<reply to='anna@example.com' id='message-id1' xmlns='urn:xmpp:reply:0'/>"
    "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='38'/></fallback>",
    "0249": "<x xmlns='jabber:x:conference' jid='darkcave@macbeth.shakespeare.lit' password='cauldronburn'/>",
    "0353 propose": f"<propose xmlns='{JMI}' id='ca3cf894'><description xmlns='urn:xmpp:jingle:apps:rtp:1' "
    f"media='audio'/></propose>{STORE}",
    "0353 proceed": f"<proceed xmlns='{JMI}' id='ca3cf894'/>{STORE}",
    "0353 reject": f"<reject xmlns='{JMI}' id='ca3cf894'><reason xmlns='urn:xmpp:jingle:1'><busy/></reason></reject>",
    "0353 retract": f"<retract xmlns='{JMI}' id='ca3cf894'/>",
    "0353 finish": f"<finish xmlns='{JMI}' id='ca3cf894'><migrated to='989a46a6'/></finish>{STORE}",
    "0384": "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='27183'><key rid='31415'>QkFTRQ==</key>"
    f"<iv>QkFTRQ==</iv></header><payload>QkFTRQ==</payload></encrypted>{STORE}",
    "0359 origin-id": f"<body>hi</body><origin-id xmlns='{SID}' id='de305d54-75b4-431b-adb2-eb6b9e546013'/>",
    "0066": "<body>https://example.org/a.png</body><x xmlns='jabber:x:oob'><url>https://example.org/a.png</url></x>",
    "anything with a hint": f"<x:thing xmlns:x='urn:x' x:a=\"it's\"  b='&quot;'><x:y></x:y><z/></x:thing>{STORE}",
    "anything with a body": "<body xml:lang='en'>a &amp; b &#x263a;</body>\n\t<one xmlns='urn:1'><two xmlns=''/></one>",
}
NOT_KEPT = {
    "0085 alone": f"<composing xmlns='{STATES}'/><thread>act2scene2chat1</thread>",
    "0085 gone": f"<gone xmlns='{STATES}'/>",
    "0047": "<data xmlns='http://jabber.org/protocol/ibb' sid='i781hf64' seq='0'>qANQR1DBwU4DX7jmYZnncm</data>",
    "0353 ringing": f"<ringing xmlns='{JMI}' id='ca3cf894'/>",
    "0334 no-store": f"<body>V unir avtug'f pybnx</body>{NO_STORE}",
    "0334 no-permanent-store": f"<body>off the record</body>{NO_PERMANENT_STORE}",
    "0334 store and no-store": f"<body>make up your mind</body>{STORE}{NO_STORE}",
    "0224": "<attention xmlns='urn:xmpp:attention:0'/>",
    "anything else": "<thing xmlns='urn:example:x'> spaced  out </thing>",
}
ALL = KEPT | NOT_KEPT

IQS = {
    "0166 session-initiate": "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' "
    "initiator='romeo@montague.lit/orchard' sid='a73sjjvkla37jfea'><content creator='initiator' name='voice'>"
    "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><payload-type id='96' name='speex' "
    "clockrate='16000'/></description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' "
    "pwd='asd88fgpdd777uzjYhagZg' ufrag='8hhy'><candidate component='1' foundation='1' generation='0' "
    "id='el0747fg11' ip='10.0.1.1' network='1' port='8998' priority='2130706431' protocol='udp' type='host'/>"
    "</transport></content></jingle>",
    "0166 session-terminate": "<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='a73sjjvkla37jfea'>"
    "<reason><success/><text>Sorry, gotta go!</text></reason></jingle>",
    "0047 open": "<open xmlns='http://jabber.org/protocol/ibb' block-size='4096' sid='i781hf64' stanza='iq'/>",
    "0047 data": "<data xmlns='http://jabber.org/protocol/ibb' seq='0' sid='i781hf64'>\n"
    "  qANQR1DBwU4DX7jmYZnncm\n</data>",
    "0047 close": "<close xmlns='http://jabber.org/protocol/ibb' sid='i781hf64'></close>",
    "0009": "<query xmlns='jabber:iq:rpc'><methodCall><methodName>examples.getStateName</methodName><params><param>"
    "<value><i4>6</i4></value></param></params></methodCall></query>",
    "unknown": "<u:query xmlns:u='urn:example:u' u:attr='1'>\n <u:child/> text &lt;&#38;\n</u:query>",
}
BOB_QUERY = "<data xmlns='urn:xmpp:bob' cid='sha1+8f35fef110ffc5df08d579a50083ff9308fb6242@bob.xmpp.org'/>"
BOB_DATA = (
    "<data xmlns='urn:xmpp:bob' cid='sha1+8f35fef110ffc5df08d579a50083ff9308fb6242@bob.xmpp.org' max-age='86400' "
    "type='image/png'>iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAABGdBTUEAALGP\n"
    "  C/xhBQAAAAlwSFlzAAALEwAACxMBAJqcGAAAAAd0SU1FB9YGARc5KB0XV+IA=</data>"
)
RPC_FAULT = (
    "<query xmlns='jabber:iq:rpc'><methodCall><methodName>x</methodName></methodCall></query>"
    f"<error code='403' type='auth'><forbidden xmlns='{STANZAS}'/>"
    "<unknown-method xmlns='urn:example:errors' why='none of yours'/></error>"
)


@pytest_asyncio.fixture
async def friends(alice, bob):
    """alice and bob, who see each other's presence."""
    for client in (alice, bob):
        await client.is_available()
    await subscribe(alice, bob)
    await subscribe(bob, alice)
    for client in (alice, bob):
        client.forget_received()
    return alice, bob


class Wire:
    """What the server writes to a client from here on."""

    def __init__(self, client) -> None:
        self._client = client
        self._start = len(client.connection.written)

    @property
    def text(self) -> str:
        return b"".join(self._client.connection.written[self._start :]).decode()


def archived(results) -> list[str]:
    """The names of the children of each message, as the archive gives them back."""
    messages = [result.find(FORWARD, "forwarded").find(CLIENT, "message") for result in results]
    return ["+".join(child.name for child in message.elements()) for message in messages]


def condition(stanza) -> str:
    """Of an error, which names it first."""
    return next(stanza.find(CLIENT, "error").elements()).name


# -- messages


@pytest.mark.parametrize("kind", ["chat", "normal", None])
@pytest.mark.parametrize("name", ALL)
async def test_message_arrives_as_it_was_sent_and_is_kept_or_not(alice, bob, name, kind):
    await bob.is_available()
    letter = ALL[name]
    attribute = f" type='{kind}'" if kind else ""
    wire = Wire(bob)
    await alice.sends(f"<message id='m1' to='{bob.full}'{attribute} xml:lang='en'>{letter}</message>")
    got = await bob.next()
    assert (got.get("from"), got.get("to"), got.get("id")) == (alice.full, bob.full, "m1")
    assert (got.get("type"), got.get("xml:lang")) == (kind or "", "en")
    text = wire.text
    start, end = text.index(">") + 1, text.rindex("</message>")
    mark = got.find(SID, "stanza-id")
    assert (mark is not None) == (name in KEPT)
    if mark is not None:
        added = f"<stanza-id xmlns='{SID}' by='{bob.bare}' id='{mark.get('id')}'/>"
        assert text[start:end] == letter + added
    else:
        assert text[start:end] == letter
    for client in (alice, bob):
        wire = Wire(client)
        results, _fin = await ask(client)
        assert len(results) == (name in KEPT)
        assert not results or f" xml:lang='en'>{letter}</message></forwarded>" in wire.text


@pytest.mark.parametrize(
    "name", ["0184 request", "0353 ringing", "anything with a hint", "anything with a body"]
)
async def test_copies_for_other_devices_hold_what_was_sent(alice, alice_phone, bob, log_in, name):
    """XEP-0280: as it went over the wire, but for the id of each one's own archive."""
    tablet = await log_in("bob@example.org/tablet")
    for client in (alice_phone, tablet):
        await client.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    await bob.is_available()
    wires = {client: Wire(client) for client in (alice_phone, tablet)}
    await alice.sends(f"<message to='{bob.full}' type='chat'>{ALL[name]}</message>")
    await bob.next()
    for client, wire in wires.items():
        await client.next()
        letter = (
            wire.text.partition("type='chat'>")[2].partition("type='chat'>")[2].partition("</message>")[0]
        )
        mark = f"<stanza-id xmlns='{SID}' by='{client.bare}'" if name in KEPT else ""
        assert letter.startswith(ALL[name] + mark)
        assert bool(mark) or letter == ALL[name]


@pytest.mark.parametrize(
    "name", ["0184 request", "0047", "0353 retract", "anything with a hint", "anything else"]
)
async def test_message_that_waited_arrives_as_it_was_sent(alice, bob, name):
    """Behind it stand the id in the archive and the time since when it waited."""
    await alice.sends(f"<message to='{bob.bare}' type='chat'>{ALL[name]}</message>")
    wire = Wire(bob)
    await bob.is_available()
    await bob.next()
    letter = wire.text.partition(" type='chat'>")[2]
    assert letter.startswith(ALL[name])
    rest = letter.removeprefix(ALL[name]).removesuffix("</message>")
    pattern = rf"(<stanza-id xmlns='{SID}' by='{bob.bare}' id='\d+'/>)?<delay xmlns='urn:xmpp:delay' [^<>]*/>"
    found = re.fullmatch(pattern, rest)
    assert found is not None
    assert (found[1] is not None) == (name in KEPT)


@pytest.mark.parametrize("name", ["0085 alone", "0184 request", "0353 propose", "0047", "anything else"])
async def test_message_to_a_resource_that_is_not_there(alice, bob, name):
    """RFC 6121 8.5.3.2.1: chats go to the resources that are, others are refused and in no archive."""
    await bob.is_available()
    wire = Wire(bob)
    await alice.sends(f"<message to='{bob.bare}/gone' type='chat'>{ALL[name]}</message>")
    assert ALL[name] in wire.text
    await alice.receives_nothing()
    bob.forget_received()
    await alice.sends(f"<message to='{bob.bare}/gone' id='2'>{ALL[name]}</message>")
    got = await alice.next()
    assert (got.get("type"), got.get("id"), condition(got)) == ("error", "2", "service-unavailable")
    await bob.receives_nothing()
    assert len((await ask(alice))[0]) == (name in KEPT)


@pytest.mark.parametrize(
    ("kind", "letter", "is_kept"),
    [
        ("headline", "<body>news</body>", False),
        ("headline", f"<body>news</body>{STORE}", True),
        ("unheard-of", "<body>is normal</body>", True),
        ("groupchat", f"<body>to a room</body>{STORE}", False),
        ("error", f"<body>no</body>{STORE}<error type='cancel'><gone xmlns='{STANZAS}'/></error>", False),
    ],
)
async def test_types_of_messages(alice, bob, kind, letter, is_kept):
    """A full JID takes them all (RFC 6121 8.5.3.1)."""
    await bob.is_available()
    await alice.sends(f"<message to='{bob.full}' type='{kind}'>{letter}</message>")
    assert (await bob.next()).get("type") == kind
    for client in (alice, bob):
        assert len((await ask(client))[0]) == is_kept


async def test_refused_messages_are_in_no_archive(alice, bob):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}' type='groupchat'><body>x</body></message>")
    assert condition(await alice.next()) == "service-unavailable"
    await alice.sends("<message to='nobody@example.org' type='chat'><body>x</body></message>")
    assert condition(await alice.next()) == "service-unavailable"
    block = f"<block xmlns='urn:xmpp:blocking'><item jid='{alice.bare}'/></block>"
    assert (await bob.asks(block, type="set")).get("type") == "result"
    await alice.sends(f"<message to='{bob.bare}' type='chat'><body>x</body></message>")
    assert condition(await alice.next()) == "service-unavailable"
    await bob.receives_nothing()
    for client in (alice, bob):
        assert (await ask(client))[0] == []


async def test_no_copy_hint_keeps_carbons_away_and_nothing_else(alice, alice_phone, bob, log_in):
    other = await log_in("bob@example.org/phone")
    for client in (alice_phone, bob, other):
        await client.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    await bob.is_available()
    await alice.sends(f"<message to='{bob.full}' type='chat'><body>x</body>{NO_COPY}</message>")
    await bob.receives(f"<message><body>x</body>{NO_COPY}</message>")
    for client in (alice_phone, other):
        await client.receives_nothing()
    for client in (alice, bob):
        assert archived((await ask(client))[0]) == ["body+no-copy"]


async def test_no_store_hint_keeps_no_carbon_away(alice, bob, log_in):
    other = await log_in("bob@example.org/phone")
    await other.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    await bob.is_available()
    await alice.sends(f"<message to='{bob.full}' type='chat'><body>x</body>{NO_STORE}</message>")
    await bob.next()
    assert (await other.next()).find("urn:xmpp:carbons:2", "received") is not None


# -- ids, XEP-0359


async def test_each_side_learns_the_id_of_its_own_archive_and_no_other(alice, alice_phone, bob, log_in):
    other = await log_in("bob@example.org/phone")
    for client in (alice_phone, other):
        await client.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    await bob.is_available()
    await alice.sends(
        f"<message to='{bob.bare}' type='chat'><body>x</body><origin-id xmlns='{SID}' id='o-1'/></message>"
    )
    copies = {bob: await bob.next()}
    for client, direction in ((alice_phone, "sent"), (other, "received")):
        carbon = (await client.next()).find("urn:xmpp:carbons:2", direction)
        copies[client] = carbon.find(FORWARD, "forwarded").find(CLIENT, "message")
    for client, message in copies.items():
        (mark,) = message.findall(SID, "stanza-id")
        (result,) = (await ask(client))[0]
        assert (mark.get("by"), mark.get("id")) == (client.bare, result.get("id"))
        assert message.find(SID, "origin-id").get("id") == "o-1"
    (result,) = (await ask(alice))[0]  # the sender finds what it sent by its own id
    kept = result.find(FORWARD, "forwarded").find(CLIENT, "message")
    assert kept.find(SID, "origin-id").get("id") == "o-1"


@pytest.mark.parametrize(
    "letter", ["<body>x</body>", f"<composing xmlns='{STATES}'/>", f"<body>x</body>{NO_STORE}"]
)
async def test_forged_ids_go_whether_the_message_is_kept_or_not(alice, bob, letter):
    await bob.is_available()
    forged = "".join(
        f"<stanza-id xmlns='{SID}' by='{by}' id='forged'/>" for by in (bob.bare, alice.bare, "example.org")
    )
    foreign = f"<stanza-id xmlns='{SID}' by='room@conference.example.net' id='1'/>"
    await alice.sends(f"<message to='{bob.bare}' type='chat'>{letter}{forged}{foreign}</message>")
    marks = {mark.get("by"): mark.get("id") for mark in (await bob.next()).findall(SID, "stanza-id")}
    assert marks.pop("room@conference.example.net") == "1"
    assert "forged" not in marks.values()
    assert set(marks) <= {bob.bare}


# -- to oneself


async def test_message_to_another_resource_of_mine_is_kept_once(alice, alice_phone):
    await alice.sends(f"<message to='{alice_phone.full}' type='chat'><body>x</body></message>")
    got = await alice_phone.receives("<message><body>x</body></message>")
    (result,) = (await ask(alice))[0]
    assert result.get("id") == got.find(SID, "stanza-id").get("id")


# -- requests between resources


@pytest.mark.parametrize("name", IQS)
async def test_request_and_answer_arrive_as_they_were_sent(friends, name):
    alice, bob = friends
    payload = IQS[name]
    wire = Wire(bob)
    await alice.sends(f"<iq type='set' id='zid615d9' to='{bob.full}'>{payload}</iq>")
    got = await bob.next()
    assert (got.get("from"), got.get("to"), got.get("type")) == (alice.full, bob.full, "set")
    assert wire.text.endswith(f"id='zid615d9'>{payload}</iq>")
    wire = Wire(alice)
    await bob.sends(f"<iq type='result' id='zid615d9' to='{alice.full}'/>")
    await alice.receives(f"<iq type='result' id='zid615d9' from='{bob.full}'/>")
    assert wire.text.endswith("id='zid615d9'/>")
    for client in friends:
        assert (await ask(client))[0] == []


async def test_bits_of_binary_are_fetched_from_their_sender(friends):
    alice, bob = friends
    wire = Wire(bob)
    await alice.sends(f"<iq type='get' id='get-data-1' to='{bob.full}'>{BOB_QUERY}</iq>")
    assert f">{BOB_QUERY}</iq>" in wire.text
    wire = Wire(alice)
    await bob.sends(f"<iq type='result' id='get-data-1' to='{alice.full}'>{BOB_DATA}</iq>")
    assert f">{BOB_DATA}</iq>" in wire.text


async def test_errors_of_clients_arrive_whole(friends):
    alice, bob = friends
    await alice.sends(f"<iq type='set' id='rpc1' to='{bob.full}'>{IQS['0009']}</iq>")
    wire = Wire(alice)
    await bob.sends(f"<iq type='error' id='rpc1' to='{alice.full}'>{RPC_FAULT}</iq>")
    assert wire.text.endswith(f"type='error' id='rpc1'>{RPC_FAULT}</iq>")


@pytest.mark.parametrize("name", ["0166 session-initiate", "0047 open", "0009"])
@pytest.mark.parametrize(
    "address", ["bob@example.org/gone", "nobody@example.org/x", "bob@example.org", "nobody@example.org"]
)
async def test_request_that_nobody_can_answer(friends, name, address):
    """RFC 6121 8.5.1, 8.5.2, 8.5.3: the same answer, whoever is missing; the server never passes on what is for it."""
    alice, bob = friends
    await alice.sends(f"<iq type='set' id='1' to='{address}'>{IQS[name]}</iq>")
    got = await alice.next()
    assert (got.get("type"), got.get("from"), condition(got)) == ("error", address, "service-unavailable")
    await bob.receives_nothing()


async def test_request_to_a_resource_that_shares_no_presence(alice, stranger):
    """RFC 6121 8.5.3.1, until it shows itself by directed presence."""
    await alice.is_available()
    await stranger.sends(f"<iq type='set' id='1' to='{alice.full}'>{IQS['0166 session-initiate']}</iq>")
    assert condition(await stranger.next()) == "service-unavailable"
    await alice.sends(f"<presence to='{stranger.full}'/>")
    await stranger.next()
    await stranger.sends(f"<iq type='set' id='2' to='{alice.full}'>{IQS['0166 session-initiate']}</iq>")
    await alice.receives("<iq type='set' id='2'/>")


@pytest.mark.parametrize("kind", ["result", "error"])
async def test_answers_to_nobody_vanish(alice, kind):
    inner = f"<error type='cancel'><gone xmlns='{STANZAS}'/></error>" if kind == "error" else ""
    for address in ("bob@example.org/gone", "nobody@example.org/x", "nobody@example.org"):
        await alice.sends(f"<iq type='{kind}' id='1' to='{address}'>{inner}</iq>")
    await alice.receives_nothing()
