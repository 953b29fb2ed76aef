"""XEP-0160: offline messages."""

import asyncio
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from accounts import registry
from tests.conversation import Client, authenticate
from tests.xmpp.archive_queries import ask
from xmppd.models import OfflineMessage
from xmppd.services import archive_query, offline
from xmppd.services.properties import overridden

DELAY = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='{any}'/>"
MANAGEMENT = "urn:xmpp:sm:3"
UNAVAILABLE = (
    "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"


@pytest.fixture
async def bob_away(new_user):
    return await new_user("bob")


async def stored() -> int:
    return await OfflineMessage.objects.acount()


@pytest.fixture
def setting(actor):
    """await setting(name, value)"""
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


async def test_messages_come_at_login_in_order_and_once(server, alice, bob_away, log_in):
    for number in range(3):
        await alice.sends(
            f"<message to='bob@example.org' type='chat' id='m{number}'><body>{number}</body></message>"
        )
    await alice.receives_nothing()
    bob = await log_in("bob@example.org/laptop")
    await bob.receives_nothing()
    await bob.is_available()
    for number in range(3):
        await bob.receives(
            f"<message from='{alice.full}' to='bob@example.org' type='chat' id='m{number}'>"
            f"<body>{number}</body>{DELAY}</message>"
        )
    await finished(server)
    assert await stored() == 0
    phone = await log_in("bob@example.org/phone")
    await phone.sends("<presence/>")
    await phone.receives_all(f"<presence from='{phone.full}'/>", f"<presence from='{bob.full}'/>")
    await phone.receives_nothing()


async def finished(server):
    """Deliveries have deleted what they sent."""
    while tasks := [task for task in server._tasks if task.get_name() != "sweep"]:
        await asyncio.wait(tasks)


async def test_negative_priority_gets_nothing_until_it_rises(alice, bob_away, log_in):
    await alice.sends("<message to='bob@example.org'><body>hi</body></message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available(priority=-1)
    await bob.receives_nothing()
    await alice.sends("<message to='bob@example.org'><body>again</body></message>")
    await bob.receives_nothing()
    await bob.is_available(priority=5)
    await bob.receives(f"<message><body>hi</body>{DELAY}</message>")
    await bob.receives(f"<message><body>again</body>{DELAY}</message>")


async def test_two_resources_at_once_do_not_both_get_them(alice, bob_away, log_in):
    for number in range(5):
        await alice.sends(f"<message to='bob@example.org'><body>{number}</body></message>")
    one, two = await log_in("bob@example.org/one"), await log_in("bob@example.org/two")
    one.connection.receive(b"<presence/>")
    two.connection.receive(b"<presence/>")
    bodies = []
    await finished(one.server)
    for client in (one, two):
        bodies += [
            got.text_of("jabber:client", "body")
            for got in client.connection.received
            if got.name == "message"
        ]
    assert bodies == ["0", "1", "2", "3", "4"]


async def test_what_one_resource_did_not_live_to_get_goes_to_the_next(server, alice, bob_away, log_in):
    """The resource breaks away while its messages are read from the database."""
    for number in range(3):
        await alice.sends(f"<message to='bob@example.org'><body>{number}</body></message>")
    one, two = await log_in("bob@example.org/one"), await log_in("bob@example.org/two")
    one.connection.receive(b"<presence/>")
    two.connection.receive(b"<presence/>")
    await one.disconnects()
    await finished(server)
    got = [got.text_of("jabber:client", "body") for got in two.connection.received if got.name == "message"]
    assert got == ["0", "1", "2"]
    assert await stored() == 0


async def test_what_a_broken_connection_cannot_take_stays(server, alice, bob_away, log_in, monkeypatch):
    """The session lasts until its last stanza is dealt with, which waits for the database here."""
    for number in range(3):
        await alice.sends(f"<message to='bob@example.org'><body>{number}</body></message>")
    one = await log_in("bob@example.org/one")
    may_go_on = threading.Event()
    monkeypatch.setattr(archive_query, "bounds", lambda user_id: may_go_on.wait(10) and None)
    one.connection.receive(
        b"<presence/><iq type='get' id='1'><metadata xmlns='urn:xmpp:mam:2'/></iq><presence/>"
    )
    await one.disconnects()
    while [task for task in server._tasks if "_deliver" in repr(task)]:
        await asyncio.sleep(0)
    may_go_on.set()
    await finished(server)
    assert await stored() == 3
    two = await log_in("bob@example.org/two")
    await two.is_available()
    for number in range(3):
        assert (await two.next()).text_of("jabber:client", "body") == str(number)


@pytest.mark.parametrize(
    "letter",
    [
        ACTIVE,
        "",
        f"{ACTIVE}<thread>t</thread>",
        "<composing xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/>",
        "<x xmlns='jabber:x:event'><composing/></x>",
        "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>",
    ],
)
async def test_passing_signs_are_dropped_in_silence(alice, bob_away, letter):
    await alice.sends(f"<message to='bob@example.org' type='chat'>{letter}</message>")
    await alice.receives_nothing()
    assert await stored() == 0


@pytest.mark.parametrize(
    "letter",
    [
        f"<body>hi</body>{ACTIVE}",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
        "<received xmlns='urn:xmpp:receipts' id='1'/>",
        f"{ACTIVE}<store xmlns='urn:xmpp:hints'/>",
        "<x xmlns='jabber:x:conference' jid='room@muc.example.org'/>",
    ],
)
async def test_content_is_stored(alice, bob_away, letter):
    await alice.sends(f"<message to='bob@example.org' type='chat'>{letter}</message>")
    await alice.receives_nothing()
    assert await stored() == 1


async def test_no_store_hint_is_obeyed_and_the_sender_told(alice, bob_away):
    hint = "<no-store xmlns='urn:xmpp:hints'/>"
    await alice.sends(f"<message to='bob@example.org' type='chat' id='1'><body>hi</body>{hint}</message>")
    await alice.receives(f"<message type='error' id='1' from='bob@example.org'>{UNAVAILABLE}</message>")
    assert await stored() == 0


@pytest.mark.parametrize("kind", ["groupchat", "headline", "error"])
async def test_other_types_are_never_stored(alice, bob_away, kind):
    error = (
        "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        if kind == "error"
        else ""
    )
    await alice.sends(f"<message to='bob@example.org' type='{kind}' id='1'><body>hi</body>{error}</message>")
    if kind == "groupchat":
        await alice.receives(f"<message type='error' id='1'>{UNAVAILABLE}</message>")
    await alice.receives_nothing()
    assert await stored() == 0


async def test_forged_stamp_of_ours_is_removed(alice, bob_away, log_in):
    forged = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>"
    foreign = "<delay xmlns='urn:xmpp:delay' from='elsewhere.example' stamp='2002-01-01T00:00:00Z'/>"
    await alice.sends(f"<message to='bob@example.org'><body>a &amp; b</body>{forged}{foreign}</message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    got = await bob.receives(f"<message><body>a &amp; b</body>{foreign}{DELAY}</message>")
    delays = list(got.findall("urn:xmpp:delay", "delay"))
    assert [delay.get("from") for delay in delays] == ["elsewhere.example", "example.org"]
    assert delays[1].get("stamp") != "2001-01-01T00:00:00Z"


async def test_full_store_bounces(setting, alice, bob_away):
    # What the archive holds is not lost, so nobody would be told that it is.
    await setting("archive.enabled", False)
    await setting("offline.max_messages", 1)
    await alice.sends("<message to='bob@example.org' id='1'><body>one</body></message>")
    await alice.sends("<message to='bob@example.org' id='2'><body>two</body></message>")
    await alice.receives(f"<message type='error' id='2'>{UNAVAILABLE}</message>")
    assert await stored() == 1


@pytest.mark.parametrize(("policy", "bounces"), [("bounce", True), ("drop", False)])
async def test_policy(setting, alice, bob_away, policy, bounces):
    await setting("offline.policy", policy)
    await alice.sends("<message to='bob@example.org' id='1'><body>one</body></message>")
    if bounces:
        await alice.receives(f"<message type='error' id='1'>{UNAVAILABLE}</message>")
    await alice.receives_nothing()
    assert await stored() == 0
    assert await archived(alice) == (not bounces)  # what is refused is in no archive (XEP-0313 5.1)


async def test_unknown_account_gets_no_store(alice):
    await alice.sends("<message to='nobody@example.org' id='1'><body>one</body></message>")
    await alice.receives(f"<message type='error' id='1'>{UNAVAILABLE}</message>")
    assert await stored() == 0


async def test_message_stored_while_somebody_comes_online_is_delivered(server, alice, bob_away, log_in):
    """The presence arrives while the database still writes the message."""
    bob = await log_in("bob@example.org/laptop")
    alice.connection.receive(b"<message to='bob@example.org'><body>race</body></message>")
    bob.connection.receive(b"<presence/>")
    await alice.settles()
    await finished(server)
    got = [got.text_of("jabber:client", "body") for got in bob.connection.received if got.name == "message"]
    assert got == ["race"]
    assert await stored() == 0


async def test_old_messages_are_deleted_once_a_day(setting, server, clock, alice, bob_away):
    await setting("offline.expire_after", timedelta(days=7))
    server.sweep()
    await alice.sends("<message to='bob@example.org'><body>old</body></message>")
    await OfflineMessage.objects.aupdate(created=clock.now() - timedelta(days=6))
    clock.advance(hours=23)
    server.sweep()
    await finished(server)
    assert await stored() == 1
    clock.advance(hours=30)
    server.sweep()
    await finished(server)
    assert await stored() == 0


async def test_many_large_messages_arrive_whole(setting, server, alice, bob_away, log_in):
    await setting("offline.quota", 8 * 1024 * 1024)
    text = "x" * 10_000
    for number in range(120):
        await alice.sends(f"<message to='bob@example.org' id='m{number}'><body>{text}</body></message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    await finished(server)
    assert [got.get("id") for got in bob.connection.received] == [f"m{number}" for number in range(120)]
    assert await stored() == 0


async def test_feature_is_declared(server):
    assert any("msgoffline" in module.features for module in server.modules)


# -- hints, XEP-0334 4


async def archived(client) -> int:
    return len((await ask(client))[0])


@pytest.mark.parametrize(
    ("letter", "in_archives", "in_store", "is_refused"),
    [
        ("<body>hi</body>", True, True, False),
        ("<body>hi</body><no-permanent-store xmlns='urn:xmpp:hints'/>", False, True, False),
        ("<body>hi</body><no-store xmlns='urn:xmpp:hints'/>", False, False, True),
        ("<body>hi</body><no-copy xmlns='urn:xmpp:hints'/>", True, True, False),
        (
            "<body>hi</body><store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>",
            False,
            False,
            True,
        ),
        (ACTIVE, False, False, False),
        (f"{ACTIVE}<store xmlns='urn:xmpp:hints'/>", True, True, False),
        ("<x xmlns='urn:x'/>", False, True, False),
        ("<x xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", True, True, False),
    ],
)
async def test_hints_for_somebody_who_is_away(
    alice, bob_away, log_in, letter, in_archives, in_store, is_refused
):
    await alice.sends(f"<message to='bob@example.org' type='chat' id='1'>{letter}</message>")
    if is_refused:
        await alice.receives(f"<message type='error' id='1'>{UNAVAILABLE}</message>")
    await alice.receives_nothing()
    assert await stored() == in_store
    assert await archived(alice) == in_archives
    bob = await log_in("bob@example.org/laptop")
    assert await archived(bob) == in_archives
    await bob.is_available()
    if in_store:
        await bob.receives(f"<message id='1'>{letter}{DELAY}</message>")
    await bob.receives_nothing()


async def test_store_hint_of_a_headline_is_for_the_archive(alice, bob_away, log_in):
    """RFC 6121 8.5.2.2.1 lets nobody have it who is not there; where to look it up is another matter."""
    hint = "<store xmlns='urn:xmpp:hints'/>"
    await alice.sends(f"<message to='bob@example.org' type='headline'><body>news</body>{hint}</message>")
    await alice.receives_nothing()
    assert await stored() == 0
    assert await archived(await log_in("bob@example.org/laptop")) == 1


async def test_offline_message_tells_its_place_in_the_archive(alice, bob_away, log_in):
    """So that a client which fetches both does not show it twice."""
    await alice.sends("<message to='bob@example.org' type='chat'><body>hi</body></message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    got = await bob.receives(f"<message><body>hi</body>{DELAY}</message>")
    (mark,) = got.findall("urn:xmpp:sid:0", "stanza-id")
    assert mark.get("by") == bob.bare
    (result,) = (await ask(bob))[0]
    assert result.get("id") == mark.get("id")


# -- more than a client may leave unacknowledged, XEP-0198


async def acknowledges(bob, number):
    """Read so many messages, answering each request; their bodies."""
    bodies, handled = [], 0
    while len(bodies) < number:
        got = await bob.next()
        if got.ns == MANAGEMENT:
            await bob.sends(f"<a xmlns='{MANAGEMENT}' h='{handled}'/>")
            continue
        handled += 1
        if got.name == "message":
            bodies.append(got.text_of("jabber:client", "body"))
    return bodies


async def test_many_messages_do_not_overrun_a_client_that_acknowledges(
    setting, server, alice, bob_away, log_in
):
    await setting("sm.max_queue", 50)
    for number in range(120):
        await alice.sends(f"<message to='bob@example.org'><body>{number}</body></message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.sends(f"<enable xmlns='{MANAGEMENT}'/>")
    assert (await bob.next()).name == "enabled"
    await bob.sends("<presence/>")
    assert await acknowledges(bob, 120) == [str(number) for number in range(120)]
    await finished(server)
    assert bob.is_connected
    assert await stored() == 0


async def test_client_that_goes_in_between_gets_the_rest_when_it_is_back(
    setting, server, alice, bob_away, log_in, monkeypatch
):
    monkeypatch.setattr("xmppd.modules.offline.WAIT_SECONDS", 0.01)
    await setting("sm.max_queue", 50)
    for number in range(80):
        await alice.sends(f"<message to='bob@example.org'><body>{number}</body></message>")
    bob = await log_in("bob@example.org/laptop")
    await bob.sends(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
    previd = (await bob.next()).get("id")
    await bob.sends("<presence/>")
    for _ in range(10):
        await bob.next()
    await bob.disconnects()
    connection = await authenticate(server, bob.full)
    connection.begin_parsing()
    bob = Client(connection, bob.jid)
    connection.receive(f"<resume xmlns='{MANAGEMENT}' previd='{previd}' h='0'/>".encode())
    assert await acknowledges(bob, 80) == [str(number) for number in range(80)]
    await finished(server)
    assert await stored() == 0


async def test_client_that_is_gone_keeps_nobody_else_waiting(alice, log_in, monkeypatch):
    """Its session has as many messages as it may have unacknowledged, and waits; another device is there."""
    monkeypatch.setattr("xmppd.modules.offline.WAIT_SECONDS", 0.01)
    with overridden(sm__max_queue=50):
        phone = await log_in("bob@example.org/phone")
        await phone.sends("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        await phone.next()
        for number in range(60):
            await alice.sends(f"<message to='{phone.bare}' type='chat' id='{number}'><body/></message>")
        phone.connection.receive(b"<presence/>")
        last = 0
        while last < 20:
            got = await phone.next()
            last = int(got.get("id")) if got.name == "message" else last
        phone.connection.lost()
        laptop = await log_in("bob@example.org/laptop")
        laptop.connection.receive(b"<presence/>")
        ids = []
        while "59" not in ids:
            got = await laptop.next()
            ids += [got.get("id")] if got.name == "message" else []
    assert ids == [str(number) for number in range(60 - len(ids), 60)]
    assert last < 60 - len(ids) <= 50


async def test_database_that_is_away_when_a_client_comes(server, clock, alice, log_in, monkeypatch):
    """What is stored comes once the database is back, without another word of the client."""
    bodies = [str(number) for number in range(3)]
    names = ["bob", "carol"]
    clients = [await log_in(f"{name}@example.org/laptop") for name in names]
    for name in names:
        for body in bodies:
            await alice.sends(f"<message to='{name}@example.org'><body>{body}</body></message>")
    take, asked = offline.take, []

    def fail(account_id, **kwargs):
        asked.append(account_id)
        raise OperationalError("the database is locked")

    monkeypatch.setattr("xmppd.services.offline.take", fail)
    for client in clients:
        await client.is_available()
    await finished(server)
    assert len(asked) == 2
    server.sweep()
    await finished(server)
    assert len(asked) == 2  # not at once
    clock.advance(seconds=6)
    server.sweep()
    await finished(server)
    assert len(asked) == 3  # one for all
    monkeypatch.setattr("xmppd.services.offline.take", take)
    clock.advance(seconds=6)
    server.sweep()
    await finished(server)
    for client in clients:
        got = [stanza for stanza in client.connection.received if stanza.name == "message"]
        assert [stanza.text_of("jabber:client", "body") for stanza in got] == bodies
    assert await stored() == 0


async def test_message_for_a_client_that_is_gone_while_its_last_stanza_waits(server, alice, log_in):
    """No XEP-0198, no archive: nobody but the offline store has it. The same of a request, which is answered."""
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    roster = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c@example.org'/></query></iq>"
    with overridden(archive__enabled=False):
        bob.connection.receive(roster.encode())
        bob.connection.lost()
        assert not bob.session.is_closed
        for to in (bob.bare, bob.full):
            alice.connection.receive(f"<message to='{to}' type='chat'><body>{to}</body></message>".encode())
        await alice.settles()
        await finished(server)
    assert await stored() == 2
    back = await log_in("bob@example.org/laptop")
    await back.is_available()
    for to in (bob.bare, bob.full):
        await back.receives(f"<message><body>{to}</body>{DELAY}</message>")
