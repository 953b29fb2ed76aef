"""XEP-0313, writing, and XEP-0359: messages are committed before they are delivered, under ids of ours."""

from __future__ import annotations

import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, OperationalError

from tests.conversation import settled
from xmppd.models import ArchivedMessage, OfflineMessage
from xmppd.modules.archive import Archive
from xmppd.services import archive
from xmppd.services.properties import overridden

SID = "urn:xmpp:sid:0"


@sync_to_async
def rows(username):
    """(peer, resource, stanza) of an account's archive, oldest first."""
    archive.settle()
    found = ArchivedMessage.objects.filter(user__username=username).order_by("id")
    return list(found.values_list("peer", "peer_resource", "stanza"))


async def test_both_sides_keep_a_message_and_the_recipient_is_told_its_id(alice, bob):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='m-1'><body>O, speak again</body></message>")
    got = await bob.receives("<message type='chat' id='m-1'><body>O, speak again</body></message>")
    stanza_id = got.find(SID, "stanza-id")
    assert stanza_id.get("by") == bob.bare
    (mine,), (theirs,) = await rows("alice"), await rows("bob")
    assert mine[:2] == (bob.bare, "")
    assert theirs[:2] == (alice.bare, "desktop")
    assert mine[2] == theirs[2]
    assert f"from='{alice.full}'" in mine[2]
    assert SID not in mine[2]
    kept = await ArchivedMessage.objects.aget(user__username="bob")  # settled by `rows`
    assert str(kept.id) == stanza_id.get("id")


async def test_ids_grow_and_tell_the_time(server, alice, bob, clock):
    await bob.is_available()
    for _ in range(3):
        await alice.sends(f"<message to='{bob.bare}' type='chat'><body>again</body></message>")
    await sync_to_async(archive.settle)()
    ids = [row.id async for row in ArchivedMessage.objects.order_by("id")]
    assert len(set(ids)) == 6
    assert all(abs(archive.time_of(i) - clock.time()) < 0.01 for i in ids)


def test_ids_grow_when_the_clock_goes_back():
    ids = archive.Ids()
    first = ids.next(1_800_000_000.0)
    assert first < ids.next(1_700_000_000.0) < ids.next(1_800_000_001.0)


async def test_ids_grow_when_the_clock_goes_back_over_a_restart(server, clock, alice, bob):
    """A client asks for what is behind the last id that it has."""
    await bob.is_available()
    ids = []
    for _ in range(2):
        await alice.sends(f"<message to='{bob.bare}' type='chat'><body>x</body></message>")
        ids.append(int((await bob.next()).find(SID, "stanza-id").get("id")))
        await server.module(Archive).stop()
        clock.advance(hours=-1)
        await server.module(Archive).start()
    assert ids == sorted(ids)


async def test_note_to_self_is_kept_once(alice, alice_phone):
    await alice_phone.is_available()
    await alice.sends(f"<message to='{alice.bare}' type='chat'><body>milk</body></message>")
    await alice_phone.receives("<message><body>milk</body></message>")
    assert len(await rows("alice")) == 1


@pytest.mark.parametrize(
    "message",
    [
        "type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/>",
        "type='headline'><body>news</body>",
        "type='chat'><body>secret</body><no-store xmlns='urn:xmpp:hints'/>",
        "type='chat'><body>secret</body><no-permanent-store xmlns='urn:xmpp:hints'/>",
    ],
)
async def test_not_kept(alice, bob, message):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}' {message}</message>")
    got = await bob.next()
    assert got.find(SID, "stanza-id") is None
    assert await rows("bob") == []


@pytest.mark.parametrize(
    "child",
    [
        "<received xmlns='urn:xmpp:receipts' id='1'/>",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
        "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>",
        "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>",
        "<x xmlns='example:x'/><store xmlns='urn:xmpp:hints'/>",
    ],
)
async def test_kept_without_a_body(alice, bob, child):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}' type='chat'>{child}</message>")
    await bob.next()
    assert len(await rows("bob")) == 1


async def test_forged_ids_are_removed_and_foreign_ones_stay(alice, bob):
    await bob.is_available()
    forged = "".join(
        f"<stanza-id xmlns='{SID}' by='{by}' id='{identity}'/>"
        for by, identity in ((bob.bare, "forged"), ("room@elsewhere.example", "r"))
    )
    await alice.sends(f"<message to='{bob.bare}' type='chat'><body>x</body>{forged}</message>")
    got = await bob.next()
    ids = {child.get("by"): child.get("id") for child in got.findall(SID, "stanza-id")}
    assert ids["room@elsewhere.example"] == "r"
    assert ids[bob.bare] != "forged"
    assert len(ids) == 2


async def test_offline_message_is_kept_in_the_same_breath(alice, log_in, server):
    bob = await log_in("bob@example.org/laptop")
    await bob.disconnects()
    await alice.sends("<message to='bob@example.org' type='chat' id='m-1'><body>later</body></message>")
    assert len(await rows("bob")) == 1
    assert await OfflineMessage.objects.acount() == 1
    bob = await log_in("bob@example.org/laptop")
    await bob.sends("<presence/>")
    await settled(server)
    await bob.receives(f"<presence from='{bob.full}'/>")
    await bob.receives("<message id='m-1'><body>later</body></message>")
    await bob.receives_nothing()


async def test_short_ids_are_no_sign_of_a_repetition(alice, alice_phone, bob):
    await bob.is_available()
    for client in (alice, alice_phone):
        await client.sends("<enable xmlns='urn:xmpp:sm:3'/>")
        await client.next()
        await client.sends(f"<message to='{bob.bare}' type='chat' id='1'><body>hi</body></message>")
        await bob.receives("<message id='1'/>")


async def test_order_is_kept_while_messages_wait_for_their_commit(alice, bob):
    await bob.is_available()
    texts = [f"line {number}" for number in range(40)]
    await alice.sends(
        "".join(f"<message to='{bob.bare}' type='chat'><body>{t}</body></message>" for t in texts)
    )
    for text in texts:
        await bob.receives(f"<message><body>{text}</body></message>")
    assert [stanza for *_, stanza in await rows("bob")] == sorted(
        (s for *_x, s in await rows("bob")), key=lambda s: int(s.split("line ")[1].split("<")[0])
    )


async def test_a_message_counts_as_handled_once_it_is_committed(alice, bob):
    await bob.is_available()
    await alice.sends("<enable xmlns='urn:xmpp:sm:3'/>")
    await alice.next()
    await alice.sends(
        f"<message to='{bob.bare}' type='chat'><body>1</body></message><r xmlns='urn:xmpp:sm:3'/>"
    )
    assert (await alice.next()).get("h") == "1"
    assert len(await rows("bob")) == 1


async def test_failing_database_holds_messages_back_and_others_go_on(monkeypatch, alice, bob, stranger):
    await bob.is_available()
    failures = 2

    def write(batch, real=archive.write):
        nonlocal failures
        if failures:
            failures -= 1
            raise OperationalError("database is locked")
        return real(batch)

    monkeypatch.setattr(archive, "write", write)
    monkeypatch.setattr(archive, "RETRY_SECONDS", 0.01)
    alice.connection.receive(
        f"<message to='{bob.bare}' type='chat' id='m-1'><body>x</body></message>".encode()
    )
    await stranger.receives_nothing()  # a ping is answered meanwhile
    await alice.settles()
    await bob.receives("<message id='m-1'/>")
    assert failures == 0


async def test_database_that_stays_away_has_the_sender_told(monkeypatch, alice, bob):
    await bob.is_available()

    def write(batch):
        raise OperationalError("disk full")

    monkeypatch.setattr(archive, "write", write)
    monkeypatch.setattr(archive, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(archive, "GIVE_UP_SECONDS", 0.05)
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='m-1'><body>x</body></message>")
    error = (
        "<error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='{any}'>{any}</text></error>"
    )
    await alice.receives(f"<message type='error' id='m-1'>{error}</message>")
    await bob.receives_nothing()


async def test_commit_whose_answer_is_lost_counts(monkeypatch, alice, bob):
    """The connection breaks when the server has written and not said so."""
    await bob.is_available()
    is_cut = False

    def write(batch, real=archive.write):
        nonlocal is_cut
        number = real(batch)
        if not is_cut:
            is_cut = True
            raise OperationalError("server closed the connection unexpectedly")
        return number

    monkeypatch.setattr(archive, "write", write)
    monkeypatch.setattr(archive, "RETRY_SECONDS", 0.01)
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='m-1'><body>x</body></message>")
    await bob.receives("<message type='chat' id='m-1'><body>x</body></message>")
    await alice.receives_nothing()
    assert is_cut
    assert len(await rows("bob")) == 1


async def test_row_that_the_database_refuses_holds_nobody_up(monkeypatch, alice, bob, stranger):
    await bob.is_available()

    def write(batch, real=archive.write):
        if any(b"bad" in job.stanza for job in batch):
            raise DataError("value too long")
        return real(batch)

    monkeypatch.setattr(archive, "write", write)
    for client, body in ((alice, "bad"), (stranger, "good")):
        message = f"<message to='{bob.bare}' type='chat' id='m-1'><body>{body}</body></message>"
        client.connection.receive(message.encode())
    assert (await alice.next()).get("type") == "error"
    await bob.receives("<message type='chat'><body>good</body></message>")
    await stranger.receives_nothing()


async def test_message_that_nobody_keeps_for_its_recipient_is_refused(alice, log_in):
    """The offline store is full, and the recipient wants no archive; what is refused is in none (XEP-0313 5.1)."""
    bob = await log_in("bob@example.org/laptop")
    prefs = "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>"
    await bob.asks(prefs, type="set")
    await bob.disconnects()
    with overridden(offline__max_messages=1):
        for number in range(2):
            await alice.sends(
                f"<message to='{bob.bare}' type='chat' id='message-{number}'><body>{number}</body></message>"
            )
        refused = await alice.next()
    assert (refused.get("type"), refused.get("id")) == ("error", "message-1")
    assert await OfflineMessage.objects.acount() == 1
    assert len(await rows("alice")) == 1
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='message-1'><body>1</body></message>")
    assert await OfflineMessage.objects.acount() == 2  # it may be sent again


async def test_message_sent_again_before_its_commit_waits_for_it(monkeypatch, alice, alice_phone, bob):
    """A client that came back on another connection is not told of a message which is still to fail."""
    await bob.is_available()
    await alice.sends("<enable xmlns='urn:xmpp:sm:3'/>")
    await alice.next()
    is_gone = threading.Event()
    jobs = []

    def write(batch):
        jobs.extend(batch)
        assert is_gone.wait(10)
        raise OperationalError("disk full")

    monkeypatch.setattr(archive, "write", write)
    monkeypatch.setattr(archive, "GIVE_UP_SECONDS", 0.0)
    message = f"<message to='{bob.bare}' type='chat' id='0a1b2c3d4e5f'><body>x</body></message>".encode()
    alice.connection.receive(message)
    alice_phone.connection.receive(message)
    is_gone.set()
    for client in (alice, alice_phone):
        refused = await client.next()
        assert (refused.get("type"), refused.get("id")) == ("error", "0a1b2c3d4e5f")
    assert len(jobs) == 1


async def test_switched_off(alice, bob):
    await bob.is_available()
    with overridden(archive__enabled=False):
        await alice.sends(f"<message to='{bob.bare}' type='chat'><body>x</body></message>")
        got = await bob.next()
    assert got.find(SID, "stanza-id") is None
    assert await rows("bob") == []
