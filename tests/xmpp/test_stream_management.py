"""XEP-0198: Stream Management."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.conversation import Client, authenticate, settled, subscribe
from xmppd.protocol.element import Element
from xmppd.services.properties import overridden

NS = "urn:xmpp:sm:3"
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


async def test_session_of_another_account_cannot_be_resumed(server, alice, phone):
    thief = await authenticate(server, alice.full)
    thief.receive(f"<resume xmlns='{NS}' previd='{phone.previd}' h='0'/>".encode())
    assert f"<failed xmlns='{NS}'><item-not-found" in thief.text
    assert phone.is_connected


async def test_clean_end_cannot_be_resumed(server, phone):
    await phone.sends("</stream:stream>")
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


async def test_closed_by_an_administrator_while_it_waits(server, phone):
    from asgiref.sync import sync_to_async

    from accounts.audit import Actor
    from xmppd.services import live

    await phone.disconnects()
    assert await sync_to_async(live.close_session)(jid=phone.full, actor=Actor("tests", "cli"))
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")
