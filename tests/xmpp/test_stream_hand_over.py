"""XEP-0198 5: what becomes of the stanzas of a session that nobody came back for."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from tests.conversation import settled, subscribe
from tests.xmpp.managed import (
    NS,
    answer,
    resume,
)
from xmppd.models import OfflineMessage
from xmppd.services import live, offline
from xmppd.services.properties import overridden


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


async def test_closed_by_an_administrator_while_it_waits(server, phone):
    from asgiref.sync import sync_to_async

    from accounts.audit import Actor

    await phone.disconnects()
    assert await sync_to_async(live.close_session)(jid=phone.full, actor=Actor("tests", "cli"))
    again = await resume(server, phone, phone.previd, h=0)
    assert (await again.next()).tag == (NS, "failed")
