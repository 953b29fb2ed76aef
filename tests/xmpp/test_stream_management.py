"""XEP-0198: Stream Management: negotiation, counting, bounds."""

from __future__ import annotations

import pytest

from tests.conversation import authenticate, settled
from tests.xmpp.managed import (
    NS,
    STANZAS,
    acknowledged,
    answer,
    resume,
)
from xmppd.models import OfflineMessage
from xmppd.services import live
from xmppd.services.properties import overridden

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


# -- bounds


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
