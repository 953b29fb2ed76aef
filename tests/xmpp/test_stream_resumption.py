"""XEP-0198 5: what a client finds that comes back on another connection."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.conversation import authenticate, settled, subscribe
from tests.xmpp.managed import (
    DELAY_OF_OURS,
    NS,
    acknowledged,
    answer,
    resume,
)
from xmppd.models import OfflineMessage
from xmppd.modules.stream_management import StreamManagement
from xmppd.protocol.errors import StreamError
from xmppd.services.properties import overridden


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
