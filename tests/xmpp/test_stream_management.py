"""XEP-0198: Stream Management."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_asyncio
from django.db import OperationalError

from tests.conversation import Client, authenticate, settled, subscribe
from xmppd.models import OfflineMessage
from xmppd.modules.stream_management import StreamManagement
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StreamError
from xmppd.services import live, offline
from xmppd.services.properties import overridden

NS = "urn:xmpp:sm:3"
DELAY_OF_OURS = b"<delay xmlns='urn:xmpp:delay' from='example.org'"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


async def answer(client: Client, xml: str) -> Element:
    await client.sends(xml)
    return await client.next()


async def acknowledged(client: Client) -> int:
    """What the server says that it has handled."""
    a = await answer(client, f"<r xmlns='{NS}'/>")
    assert a.tag == (NS, "a")
    return int(a.get("h"))


async def resume(server, client: Client, previd: str, h: int) -> Client:
    """Come back on a new connection; what the server answers stands in the client's queue."""
    connection = await authenticate(server, client.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='{NS}' previd='{previd}' h='{h}'/>".encode())
    await settled(server)
    return Client(connection, client.jid)


@pytest_asyncio.fixture
async def phone(bob):
    """bob's client with resumption; `phone.previd` is its key."""
    await bob.is_available()
    enabled = await answer(bob, f"<enable xmlns='{NS}' resume='true'/>")
    assert (enabled.tag, enabled.get("resume"), enabled.get("max")) == ((NS, "enabled"), "true", "3600")
    bob.previd = enabled.get("id")
    return bob


@pytest_asyncio.fixture
async def brief_phone(bob):
    """As above, but the session waits for three seconds only: less than any other time-out."""
    await bob.is_available()
    enabled = await answer(bob, f"<enable xmlns='{NS}' resume='true' max='3'/>")
    bob.previd = enabled.get("id")
    return bob


@pytest.fixture
def unasked(server):
    """Nobody is asked for the version of its client."""
    with overridden(sessions__ask_client_version=False):
        yield


# -- negotiation


async def test_feature_is_offered_after_login(server, alice):
    connection = await authenticate(server, alice.full)
    assert f"<sm xmlns='{NS}'/>" in connection.text


async def test_enable_without_resumption(alice):
    enabled = await answer(alice, f"<enable xmlns='{NS}'/>")
    assert (enabled.tag, enabled.attrs) == ((NS, "enabled"), {})


async def test_client_may_ask_for_a_shorter_time(alice):
    enabled = await answer(alice, f"<enable xmlns='{NS}' resume='1' max='60'/>")
    assert enabled.get("max") == "60"


async def test_second_enable_ends_the_stream(phone):
    """XEP-0198 3: a client makes at most one attempt; 7: each that fails is answered."""
    failed = await answer(phone, f"<enable xmlns='{NS}' resume='true'/>")
    assert failed.find(STANZAS, "unexpected-request") is not None
    await phone.is_disconnected("policy-violation")


async def test_enable_before_binding_fails(server, alice):
    connection = await authenticate(server, alice.full)
    connection.receive(f"<enable xmlns='{NS}'/>".encode())
    assert f"<failed xmlns='{NS}'><unexpected-request" in connection.text
    assert not connection.is_closed


@pytest.mark.parametrize("element", ["r", "a h='0'"])
async def test_acknowledgements_need_enable(alice, element):
    await alice.sends(f"<{element} xmlns='{NS}'/>")
    await alice.is_disconnected("unsupported-stanza-type")


# -- counting


async def test_server_counts_stanzas_from_enable_on(phone):
    assert await acknowledged(phone) == 0
    await phone.sends("<presence><show>away</show></presence>")
    await phone.receives(f"<presence from='{phone.full}'/>")
    await phone.sends("<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
    await phone.receives("<iq type='result' id='p'/>")
    await phone.sends(
        "<message to='nobody@example.org' type='chat'><body>refused, but handled</body></message>"
    )
    await phone.receives("<message type='error'/>")
    assert await acknowledged(phone) == 3


async def test_request_behind_a_slow_stanza_counts_it(phone):
    roster = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    phone.connection.receive(f"{roster}<r xmlns='{NS}'/>".encode())
    await phone.settles()
    await phone.receives("<iq type='result' id='r'/>")
    a = await phone.next()
    assert (a.tag, a.get("h")) == ((NS, "a"), "1")


async def test_server_asks_for_acknowledgements(server, clock, alice, phone):
    await alice.sends(f"<message to='{phone.full}' type='chat'><body>1</body></message>")
    await phone.receives("<message/>")
    clock.advance(seconds=2)
    server.sweep()
    assert (await phone.next()).tag == (NS, "r")
    await phone.sends(f"<a xmlns='{NS}' h='1'/>")
    assert len(phone.session.management) == 0


async def test_too_high_a_count_ends_the_stream(phone):
    await phone.sends(f"<a xmlns='{NS}' h='7'/>")
    await phone.is_disconnected("undefined-condition")
    assert f"<handled-count-too-high xmlns='{NS}' h='7' send-count='0'/>" in phone.connection.text


@pytest.mark.parametrize("h", ["", "x", "-1", "4294967296", "१"])
async def test_a_count_that_is_none_ends_the_stream(phone, h):
    await phone.sends(f"<a xmlns='{NS}' h='{h}'/>")
    await phone.is_disconnected("invalid-xml")


# -- resumption


async def test_resumed_client_misses_nothing_and_sees_nothing_twice(server, alice, phone):
    for number in (1, 2):
        await alice.sends(
            f"<message to='{phone.full}' type='chat' id='m{number}'><body>{number}</body></message>"
        )
        await phone.receives(f"<message id='m{number}'/>")
    await phone.sends("<presence><show>away</show></presence>")
    await phone.disconnects()
    await alice.sends(f"<message to='{phone.bare}' type='chat' id='m3'><body>3</body></message>")
    await alice.receives_nothing()  # no error: the session waits

    again = await resume(server, phone, phone.previd, h=1)
    resumed = await again.next()
    assert (resumed.tag, resumed.get("previd"), resumed.get("h")) == ((NS, "resumed"), phone.previd, "1")
    await again.receives("<message id='m2'/>")
    await again.receives(f"<presence from='{phone.full}'/>")
    await again.receives("<message id='m3'/>")
    assert (await again.next()).tag == (NS, "r")
    await again.receives_nothing()


async def test_what_is_sent_again_bears_the_time_at_which_it_came(server, clock, alice, phone):
    """XEP-0203: messages and presence, no IQ, and nothing that came just before. Twice, and still one stamp of ours."""
    stamp = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/>"
    other = "<delay xmlns='urn:xmpp:delay' from='far.example' stamp='2002-01-01T00:00:00Z'/>"
    await phone.asks("<ping xmlns='urn:xmpp:ping'/>", to="example.org")
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body>{other}</message>")
    await alice.sends(f"<presence to='{phone.full}'/>")
    before = phone.session.management.queued_bytes
    await phone.disconnects()
    for seconds in (50, 5):
        clock.advance(seconds=seconds)
        server.sweep()
        await alice.sends(f"<message to='{phone.full}' type='chat' id='new'><body>2</body></message>")
        again = await resume(server, phone, phone.previd, h=0)
        assert (await again.next()).tag == (NS, "resumed")
        pong = await again.receives("<iq type='result'/>")
        message = await again.receives(f"<message id='m1'><body>1</body>{other}{stamp}</message>")
        assert len(list(message.findall("urn:xmpp:delay", "delay"))) == 2
        await again.receives(f"<presence from='{alice.full}'>{stamp}</presence>")
        new = [got for got in again.connection.received if got.get("id") == "new"][-1]
        assert pong.find("urn:xmpp:delay", "delay") is new.find("urn:xmpp:delay", "delay") is None
        assert again.connection.allowance > again.session.management.queued_bytes  # the stamps come on top
        await again.disconnects()
    await alice.settles()
    management = server.router.origin(phone.jid).management
    assert sum(len(data) for data, _ in management.unacknowledged()) == management.queued_bytes > before
    assert all(DELAY_OF_OURS not in data for data, _ in management.unacknowledged())


async def test_what_the_offline_store_stamped_is_not_stamped_again(server, clock, alice, new_user, log_in):
    await new_user("bob")
    await alice.sends("<message to='bob@example.org' type='chat' id='m1'><body>1</body></message>")
    clock.advance(minutes=5)
    server.sweep()
    bob = await log_in("bob@example.org/laptop")
    previd = (await answer(bob, f"<enable xmlns='{NS}' resume='true'/>")).get("id")
    await bob.is_available()
    first = await bob.receives("<message id='m1'/>")
    await bob.disconnects()
    clock.advance(minutes=5)
    server.sweep()
    again = await resume(server, bob, previd, h=0)
    while (got := await again.next()).name != "message":
        pass
    (stamp,) = got.findall("urn:xmpp:delay", "delay")
    assert stamp.attrs == first.find("urn:xmpp:delay", "delay").attrs


async def test_presence_goes_on_while_the_session_waits(server, alice, phone):
    await alice.is_available()
    await subscribe(alice, phone)
    await phone.disconnects()
    await alice.receives_nothing()
    again = await resume(server, phone, phone.previd, h=0)
    await alice.receives_nothing()
    assert again.connection.session is not None


async def test_resuming_ends_the_former_connection(server, phone):
    again = await resume(server, phone, phone.previd, h=0)
    assert phone.connection.is_ended
    assert "<conflict " in phone.connection.text
    assert (await again.next()).tag == (NS, "resumed")


async def test_unknown_session_cannot_be_resumed_and_binding_stays_possible(server, alice):
    connection = await authenticate(server, alice.full)
    connection.receive(f"<resume xmlns='{NS}' previd='no-such' h='0'/>".encode())
    assert f"<failed xmlns='{NS}'><item-not-found" in connection.text
    connection.receive(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert connection.session is not None


async def test_of_a_session_that_is_over_the_count_is_told(server, clock, brief_phone):
    """5: the client sends again only what was not handled."""
    await brief_phone.sends("<presence/>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    again = await authenticate(server, brief_phone.full)
    again.receive(f"<resume xmlns='{NS}' previd='{brief_phone.previd}' h='0'/>".encode())
    assert f"<failed xmlns='{NS}' h='1'><item-not-found" in again.text
    again.receive(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert again.session is not None


async def test_the_count_of_another_account_is_not_told(server, clock, alice, brief_phone):
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    thief = await authenticate(server, alice.full)
    thief.receive(f"<resume xmlns='{NS}' previd='{brief_phone.previd}' h='0'/>".encode())
    assert f"<failed xmlns='{NS}'><item-not-found" in thief.text


async def test_counts_of_sessions_that_are_over_are_bounded(server, monkeypatch, log_in):
    monkeypatch.setattr("xmppd.modules.stream_management.MAX_ENDED", 3)
    ended = server.module(StreamManagement)._ended
    keys = []
    for number in range(5):
        client = await log_in(f"bob@example.org/{number}")
        keys.append((await answer(client, f"<enable xmlns='{NS}' resume='true'/>")).get("id"))
        await client.sends("</stream:stream>")
    assert list(ended) == keys[2:]


@pytest.mark.parametrize("h", ["", "x", "-1", "4294967296"])
async def test_resuming_without_a_count_fails_and_the_session_waits_on(server, phone, h):
    """7: what is wrong with <resume/> is answered by <failed/>."""
    connection = await authenticate(server, phone.full)
    connection.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='{h}'/>".encode())
    assert f"<failed xmlns='{NS}'><bad-request" in connection.text
    assert phone.is_connected


async def test_resuming_with_too_high_a_count_ends_the_new_stream(server, phone):
    await phone.disconnects()
    connection = await authenticate(server, phone.full)
    connection.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='1'/>".encode())
    await settled(server)
    assert f"<handled-count-too-high xmlns='{NS}' h='1' send-count='0'/>" in connection.text
    assert connection.is_ended
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "resumed")


async def test_counters_go_on_after_resumption(server, alice, phone):
    """5: the sequence values are carried over; management is on without asking, and asking is one too many."""
    await alice.sends(f"<message to='{phone.full}' type='chat'><body>1</body></message>")
    await phone.sends("<presence/>")
    again = await resume(server, phone, phone.previd, h=1)
    assert (await again.next()).get("h") == "1"
    await again.receives(f"<presence from='{phone.full}'/>")
    assert (await again.next()).tag == (NS, "r")
    await again.sends(f"<presence/><a xmlns='{NS}' h='3'/>")
    await again.receives(f"<presence from='{phone.full}'/>")
    assert await acknowledged(again) == 2
    assert len(again.session.management) == 0
    await again.sends(f"<enable xmlns='{NS}' resume='true'/>")
    await again.is_disconnected("policy-violation")


async def test_resumed_twice(server, alice, phone):
    first = await resume(server, phone, phone.previd, h=0)
    assert (await first.next()).tag == (NS, "resumed")
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body></message>")
    await first.receives("<message id='m1'/>")
    second = await resume(server, phone, phone.previd, h=0)
    assert "<conflict " in first.connection.text
    assert (await second.next()).tag == (NS, "resumed")
    await second.receives("<message id='m1'/>")
    assert (await second.next()).tag == (NS, "r")
    await second.receives_nothing()


async def test_two_connections_resume_at_once(server, phone):
    """The later one has it; the session lives once."""
    connections = [await authenticate(server, phone.full) for _ in range(2)]
    roster = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    phone.connection.receive(roster.encode())  # both have to wait for it
    for connection in connections:
        connection.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>".encode())
    await settled(server)
    assert connections[0].is_ended
    assert f"<resumed xmlns='{NS}' previd='{phone.previd}' h='1'/>" in connections[1].text
    assert [session.connection for session in server.sessions()] == [connections[1]]


async def test_what_came_over_the_old_connection_counts(server, alice, phone):
    await alice.is_available()
    text = f"<message to='{alice.bare}' type='chat' id='last'><body>last</body></message>"
    connection = await authenticate(server, phone.full)
    phone.connection.receive(text.encode())
    connection.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>".encode())
    await settled(server)
    assert f"<resumed xmlns='{NS}' previd='{phone.previd}' h='1'/>" in connection.text
    await alice.receives("<message id='last'/>")
    await alice.receives_nothing()


async def test_many_stanzas_are_sent_again_with_requests_between(server, alice, phone):
    """A slow wire: an answer to the first ones shows that the client is there."""
    await phone.disconnects()
    for number in range(120):
        await alice.sends(f"<message to='{phone.full}' type='chat'><body>{number}</body></message>")
    again = await resume(server, phone, phone.previd, h=0)
    names = [element.name for element in again.connection.received]
    assert [position for position, name in enumerate(names) if name == "r"] == [51, 102, 123]
    await again.sends(f"<a xmlns='{NS}' h='50'/>")
    assert len(again.session.management) == 70


async def test_server_that_was_restarted_knows_no_session(server, phone):
    """Another server object on the same database; binding stays possible."""
    from xmppd.server.server import Server

    other = Server("example.org", clock=server.clock)
    await other.start()
    try:
        connection = await authenticate(other, phone.full)
        connection.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>".encode())
        assert f"<failed xmlns='{NS}'><item-not-found" in connection.text
        connection.receive(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        assert connection.session is not None
    finally:
        await other.stop(timeout=2)


async def test_without_resumption_a_broken_wire_ends_the_session(server, alice, bob, log_in):
    await bob.is_available()
    await answer(bob, f"<enable xmlns='{NS}'/>")
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='m1'><body>1</body></message>")
    await bob.disconnects()
    await settled(server)
    assert bob.full not in {session.jid.full_str for session in server.sessions()}
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    await back.receives("<message id='m1'/>")


@pytest.mark.parametrize("seconds", ["0", "00"])
async def test_client_that_wants_no_time_gets_no_resumption(alice, seconds):
    enabled = await answer(alice, f"<enable xmlns='{NS}' resume='true' max='{seconds}'/>")
    assert enabled.attrs == {}


async def test_administrator_may_switch_resumption_off(alice):
    with overridden(sm__resumption_time=timedelta(0)):
        enabled = await answer(alice, f"<enable xmlns='{NS}' resume='true'/>")
    assert enabled.attrs == {}


async def test_session_of_another_account_cannot_be_resumed(server, alice, phone):
    thief = await authenticate(server, alice.full)
    thief.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>".encode())
    assert f"<failed xmlns='{NS}'><item-not-found" in thief.text
    assert phone.is_connected


async def test_clean_end_cannot_be_resumed(server, phone):
    await phone.sends("</stream:stream>")
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")


async def test_clean_end_hands_over_at_once(server, alice, phone, log_in):
    """6: a closed stream is an ended session; nobody waits for its client."""
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body></message>")
    await phone.sends("</stream:stream>")
    await settled(server)
    back = await log_in("bob@example.org/tablet")
    await back.is_available()
    await back.receives("<message id='m1'/>")


@pytest.mark.parametrize("behind", ["", "\n", " ", "\0", "<presence/>", "junk", "</stream:stream>"])
async def test_acknowledgement_right_before_the_end(server, alice, phone, behind):
    """A client says what it has when it leaves, in one piece with the end of its stream and what is behind it."""
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body></message>")
    await phone.sends(f"<a xmlns='{NS}' h='1'/></stream:stream>{behind}")
    await settled(server)
    assert phone.connection.is_ended
    assert phone.connection.text.endswith("</stream:stream>")
    assert "stream:error" not in phone.connection.text
    assert await OfflineMessage.objects.acount() == 0


async def test_end_of_the_wire_without_a_word_is_no_end_of_the_session(server, phone):
    await phone.disconnects()
    assert [session.jid for session in server.sessions()] == [phone.jid]
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "resumed")


async def test_end_behind_a_stanza_that_is_still_handled(server, alice, phone):
    """The closing tag came, then the wire broke while a handler waited: closed it is."""
    roster = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    phone.connection.receive(f"{roster}</stream:stream>".encode())
    phone.connection.lost()
    await settled(server)
    assert phone.jid not in {session.jid for session in server.sessions()}


async def test_kicked_while_its_last_stanza_is_handled(server, phone):
    roster = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    phone.connection.receive(roster.encode())
    session = phone.session
    phone.connection.lost()
    session.close(StreamError("policy-violation"))
    await settled(server)
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")


async def test_resume_after_binding_fails(alice, phone):
    failed = await answer(alice, f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>")
    assert failed.tag == (NS, "failed")


# -- the end


async def test_session_that_waited_too_long_hands_its_messages_to_another_resource(
    server, clock, alice, brief_phone, log_in
):
    tablet = await log_in("bob@example.org/tablet")
    await tablet.is_available()
    tablet.forget_received()
    await alice.sends(
        f"<message to='{brief_phone.full}' type='chat' id='m1'><body>for the phone</body></message>"
    )
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    await tablet.receives(f"<presence type='unavailable' from='{brief_phone.full}'/>")
    await tablet.receives(
        "<message id='m1' type='chat'><body>for the phone</body>"
        "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/></message>"
    )


async def test_without_another_resource_they_wait_offline(server, clock, alice, brief_phone, log_in):
    await alice.sends(f"<message to='{brief_phone.full}' type='chat' id='m1'><body>later</body></message>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    back = await log_in("bob@example.org/laptop")
    await back.sends("<presence/>")
    await settled(server)
    await back.receives(f"<presence from='{back.full}'/>")
    await back.receives("<message id='m1'><body>later</body></message>")


async def test_offline_store_keeps_the_time_of_receipt(server, clock, alice, phone, log_in):
    """4, XEP-0203: the stamp is that of the delivery that failed, not of the end of the session."""
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body></message>")
    await phone.disconnects()
    clock.advance(seconds=1800)
    server.sweep()
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m2'><body>2</body></message>")
    clock.advance(seconds=1801)
    server.sweep()
    await settled(server)
    clock.advance(hours=5)
    server.sweep()
    back = await log_in("bob@example.org/tablet")
    await back.is_available()
    for number, stamp in (1, "2026-01-01T12:00:00Z"), (2, "2026-01-01T12:30:00Z"):
        await back.receives(
            f"<message id='m{number}'><body>{number}</body>"
            f"<delay xmlns='urn:xmpp:delay' from='example.org' stamp='{stamp}'/></message>"
        )


async def test_message_that_is_handed_over_twice_keeps_its_first_time(
    server, clock, alice, brief_phone, log_in
):
    await alice.sends(f"<message to='{brief_phone.full}' type='chat' id='m1'><body>1</body></message>")
    for _ in range(2):
        await brief_phone.disconnects()
        clock.advance(hours=1)
        server.sweep()
        await settled(server)
        brief_phone = await log_in("bob@example.org/laptop")
        await answer(brief_phone, f"<enable xmlns='{NS}' resume='true' max='3'/>")
        await brief_phone.is_available()
        message = await brief_phone.receives("<message id='m1'/>")
        stamps = [child.get("stamp") for child in message.findall("urn:xmpp:delay", "delay")]
        assert stamps == ["2026-01-01T12:00:00Z"]


async def test_stamp_in_our_name_is_taken_from_nobody(server, clock, alice, brief_phone, log_in):
    forged = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>"
    other = "<delay xmlns='urn:xmpp:delay' from='far.example' stamp='2002-01-01T00:00:00Z'/>"
    await alice.sends(f"<message to='{brief_phone.full}' type='chat'><body>1</body>{forged}{other}</message>")
    assert (await brief_phone.receives(f"<message><body>1</body>{other}</message>")).find(
        "jabber:client", "body"
    )
    assert "2001-01-01" not in brief_phone.connection.text
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    ours = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-01-01T12:00:00Z'/>"
    await back.receives(f"<message><body>1</body>{other}{ours}</message>")


async def test_who_got_the_message_too_is_not_handed_it(unasked, server, clock, alice, brief_phone, log_in):
    """A message to the bare JID went to both, since neither is more available."""
    tablet = await log_in("bob@example.org/tablet")
    await tablet.is_available()
    clock.advance(seconds=2)
    server.sweep()
    tablet.forget_received()
    await alice.sends(f"<message to='{brief_phone.bare}' type='chat' id='both'><body>1</body></message>")
    await alice.sends(f"<message to='{brief_phone.full}' type='chat' id='phone'><body>2</body></message>")
    await tablet.receives("<message id='both'/>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    await tablet.receives(f"<presence type='unavailable' from='{brief_phone.full}'/>")
    await tablet.receives("<message id='phone'/>")
    await tablet.receives_nothing()


@pytest.mark.parametrize("is_first", [True, False])
async def test_who_came_in_the_same_second(unasked, server, clock, alice, brief_phone, log_in, is_first):
    """No clock tells which came first, the other resource or the message to both; its order does."""
    tablet = await log_in("bob@example.org/tablet")
    letter = f"<message to='{brief_phone.bare}' type='chat' id='m1'><body>1</body></message>"
    if is_first:
        await tablet.is_available()
        tablet.forget_received()
        await alice.sends(letter)
        await tablet.receives("<message id='m1'/>")
    else:
        await alice.sends(letter)
        await tablet.is_available()
    tablet.forget_received()
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    await tablet.receives(f"<presence type='unavailable' from='{brief_phone.full}'/>")
    if not is_first:
        await tablet.receives("<message id='m1'/>")
    await tablet.receives_nothing()


async def test_who_became_available_later_is_handed_it(unasked, server, clock, alice, brief_phone, log_in):
    tablet = await log_in("bob@example.org/tablet")
    await tablet.is_available(-1)
    clock.advance(seconds=2)
    server.sweep()
    await alice.sends(f"<message to='{brief_phone.bare}' type='chat' id='m1'><body>1</body></message>")
    clock.advance(seconds=2)
    server.sweep()
    await tablet.sends("<presence><priority>0</priority></presence>")
    tablet.forget_received()
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    await tablet.receives(f"<presence type='unavailable' from='{brief_phone.full}'/>")
    await tablet.receives("<message id='m1'/>")


async def test_message_that_is_in_the_archive_is_not_refused_later(server, clock, alice, brief_phone):
    """The offline store is full: the user's clients find the message in the archive, and alice hears nothing."""
    await alice.sends(f"<message to='{brief_phone.full}' type='chat'><body>1</body></message>")
    with overridden(offline__max_messages=0):
        await brief_phone.disconnects()
        clock.advance(seconds=4)
        server.sweep()
        await settled(server)
    await alice.receives_nothing()


async def test_message_that_nobody_has_is_refused(server, clock, alice, brief_phone):
    """4: treated as one to a resource that is not there."""
    with overridden(archive__enabled=False, offline__policy="bounce"):
        await alice.sends(f"<message to='{brief_phone.full}' type='chat' id='m1'><body>1</body></message>")
        await brief_phone.disconnects()
        clock.advance(seconds=4)
        server.sweep()
        await settled(server)
    await alice.receives("<message type='error' id='m1'/>")


async def test_database_that_is_away_when_a_session_ends(
    server, clock, alice, brief_phone, log_in, monkeypatch
):
    failures = [OperationalError("the database is locked")] * 2
    store = offline.store

    def fail_twice(*args, **kwargs):
        if failures:
            raise failures.pop()
        return store(*args, **kwargs)

    monkeypatch.setattr("xmppd.modules.stream_management.RETRY_SECONDS", 0.0)
    monkeypatch.setattr("xmppd.services.offline.store", fail_twice)
    for number in (1, 2):
        await alice.sends(f"<message to='{brief_phone.full}' type='chat'><body>{number}</body></message>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    for number in (1, 2):
        await back.receives(f"<message><body>{number}</body></message>")


async def test_message_whose_hand_over_breaks_takes_no_other_along(
    server, clock, alice, brief_phone, monkeypatch
):
    for text in ("one", "two", "three"):
        await alice.sends(f"<message to='{brief_phone.bare}' type='chat'><body>{text}</body></message>")
    await settled(server)
    hand_out = server.router.hand_out

    def broken(stanza, account, rule=""):
        if stanza.element.children[0].text == "one":
            raise RuntimeError("broken")
        return hand_out(stanza, account, rule)

    monkeypatch.setattr(server.router, "hand_out", broken)
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    kept = [row.stanza async for row in OfflineMessage.objects.order_by("id")]
    assert ["two" in kept[0], "three" in kept[1], len(kept)] == [True, True, 2]


async def test_what_is_no_message_is_not_in_the_way(server, clock, alice, brief_phone):
    """A roster larger than any client's stanza may be, unacknowledged, then a message."""
    items = "".join(f"<item jid='u{number}@example.org'/>" for number in range(6000))
    brief_phone.connection._parser = None  # the tests' client would refuse it
    brief_phone.session.send(
        f"<iq type='result' from='{brief_phone.bare}' to='{brief_phone.full}' id='r'>"
        f"<query xmlns='jabber:iq:roster'>{items}</query></iq>".encode()
    )
    await alice.sends(f"<message to='{brief_phone.full}' type='chat'><body>1</body></message>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    assert await OfflineMessage.objects.acount() == 1


async def test_acknowledged_messages_are_not_handed_over(server, clock, alice, brief_phone, log_in):
    await alice.sends(f"<message to='{brief_phone.full}' type='chat' id='m1'><body>read</body></message>")
    await brief_phone.sends(f"<a xmlns='{NS}' h='1'/>")
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    await back.receives_nothing()


async def test_unanswered_request_is_refused_when_the_session_ends(server, clock, alice, brief_phone):
    await subscribe(alice, brief_phone)
    await alice.sends(
        f"<iq type='get' id='v' to='{brief_phone.full}'><query xmlns='jabber:iq:version'/></iq>"
    )
    await brief_phone.disconnects()
    clock.advance(seconds=4)
    server.sweep()
    await settled(server)
    await alice.receives(f"<iq type='error' id='v' from='{brief_phone.full}'/>")


async def test_client_that_acknowledges_nothing_is_taken_for_gone_but_may_come_back(
    server, clock, alice, phone
):
    await alice.sends(f"<message to='{phone.full}' type='chat' id='m1'><body>1</body></message>")
    for _ in range(3):
        clock.advance(seconds=31)
        server.sweep()
    assert not phone.is_connected
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "resumed")


async def test_queue_is_bounded(server, alice, phone):
    with overridden(sm__max_queue=50):
        await phone.disconnects()
        for number in range(52):
            await alice.sends(f"<message to='{phone.full}' type='chat'><body>{number}</body></message>")
        await settled(server)
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")


async def test_too_much_for_a_client_that_is_there(server, clock, alice, phone):
    """It has a moment to acknowledge; then its session waits for it as if the wire had broken."""
    with overridden(sm__max_queue=50):
        for number in range(60):
            await alice.sends(f"<message to='{phone.full}' type='chat'><body>{number}</body></message>")
        await settled(server)
        assert phone.is_connected
        clock.advance(seconds=6)
        server.sweep()
        assert not phone.is_connected
        again = await resume(server, phone, phone.previd, h=0)
        assert (await again.next()).tag == (NS, "resumed")
        await again.sends(f"<a xmlns='{NS}' h='60'/>")
        clock.advance(seconds=6)
        server.sweep()
        assert again.is_connected


async def test_far_too_much_for_a_client_that_is_there(server, alice, phone):
    with overridden(sm__max_queue=50):
        for number in range(201):
            await alice.sends(f"<message to='{phone.full}' type='chat'><body>{number}</body></message>")
        await settled(server)
    assert not phone.is_connected
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "resumed")


async def test_too_much_for_a_client_that_cannot_come_back(server, clock, alice, bob, log_in):
    await bob.is_available()
    await answer(bob, f"<enable xmlns='{NS}'/>")
    with overridden(sm__max_queue=50):
        for number in range(201):
            await alice.sends(f"<message to='{bob.full}' type='chat'><body>{number}</body></message>")
        await bob.is_disconnected("resource-constraint")
    await settled(server)
    assert await OfflineMessage.objects.acount() == 201
    await alice.receives_nothing()


async def test_what_the_console_is_told(unasked, server, clock, alice, phone):
    def row() -> dict:
        return next(row for row in live.run_here("sessions", {}) if row["jid"] == phone.full)

    facts = ("is_managed", "is_resumable", "is_detached", "seconds_left", "queue", "is_inactive", "held")
    await phone.sends("<inactive xmlns='urn:xmpp:csi:0'/>")
    assert [row()[name] for name in facts] == [True, True, False, 0, 0, True, 0]
    await alice.sends(f"<message to='{phone.full}' type='chat'><body>1</body></message>")
    await phone.disconnects()
    clock.advance(minutes=10)
    server.sweep()
    await alice.sends(f"<message to='{phone.full}' type='chat'><body>2</body></message>")
    await alice.sends(f"<presence to='{phone.full}'/>")
    assert [row()[name] for name in facts] == [True, True, True, 3000, 2, False, 1]
    assert (row()["address"], row()["mechanism"], row()["idle_seconds"]) == ("192.0.2.1", "TEST", 600)
    again = await resume(server, phone, phone.previd, h=1)
    await again.sends(f"<a xmlns='{NS}' h='3'/>")
    assert [row()[name] for name in facts] == [True, True, False, 0, 0, False, 0]


async def test_too_much_for_too_long_for_a_client_that_cannot_come_back(server, clock, alice, bob):
    await bob.is_available()
    await answer(bob, f"<enable xmlns='{NS}'/>")
    with overridden(sm__max_queue=50):
        for number in range(51):
            await alice.sends(f"<message to='{bob.full}' type='chat'><body>{number}</body></message>")
        clock.advance(seconds=6)
        server.sweep()
        await bob.is_disconnected("resource-constraint")
    await settled(server)
    assert server.metrics.counters["overflowed_sessions"] == 1
    assert await OfflineMessage.objects.acount() == 51


async def test_closed_by_an_administrator_while_it_waits(server, phone):
    from asgiref.sync import sync_to_async

    from accounts.audit import Actor

    await phone.disconnects()
    assert await sync_to_async(live.close_session)(jid=phone.full, actor=Actor("tests", "cli"))
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")
