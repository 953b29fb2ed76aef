"""What console and commands do to the running server: its operations, and its reactions to what they wrote."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from accounts import services
from accounts.models import User
from accounts.services.users import locks_beginning
from tests.conversation import settled
from tests.xmpp.test_login import Wire, failure
from tests.xmpp.test_roster import GET, push, query, roster_of
from tests.xmpp.test_subscription import become_friends
from xmppd.bus import channel, messages
from xmppd.server import live as server_live
from xmppd.services import live
from xmppd.services import roster as roster_service


@pytest.fixture
def console(server, actor):
    """await console(service, ...): as the console calls it, on a thread of its own."""

    async def call(function, *args, **kwargs):
        result = await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)
        await settled(server)
        return result

    return call


async def user(name: str) -> User:
    return await User.objects.select_related("domain").aget(username=name)


# -- operations


async def test_status(console, server, clock, alice, bob):
    clock.advance(minutes=5)
    status = await console(live.status)
    assert status["domain"] == "example.org"
    assert status["uptime_seconds"] == 300
    assert status["users_online"] == 2
    assert status["sessions"] == 2
    assert status["connections"] == 2


async def test_sessions(console, server, clock, alice, alice_phone, bob):
    await alice.sends("<presence><show>away</show><status>tea</status><priority>7</priority></presence>")
    clock.advance(seconds=90)
    server.sweep()
    rows = {row["jid"]: row for row in await console(live.sessions)}
    assert set(rows) == {alice.full, alice_phone.full, bob.full}
    row = rows[alice.full]
    assert (row["user"], row["resource"], row["status"]) == ("alice@example.org", "desktop", "available")
    assert (row["show"], row["status_text"], row["priority"]) == ("away", "tea", 7)
    assert (row["transport"], row["address"], row["mechanism"]) == ("memory", "192.0.2.1", "TEST")
    assert row["idle_seconds"] == 90
    assert row["stanzas_in"] == 1
    assert rows[bob.full]["status"] == "connected"
    assert [row["resource"] for row in await console(live.sessions, "alice@example.org")] == [
        "desktop",
        "phone",
    ]
    assert await console(live.sessions, "nobody@example.org") == []
    assert await console(live.sessions, "@@") == []
    assert await console(live.online_users) == [alice.bare, bob.bare]


async def test_sessions_of_several(console, alice, alice_phone, bob):
    jids = [bob.bare, "nobody@example.org", "@@", "", alice.bare]
    found = await console(live.sessions_of, jids)
    assert {jid: [row["resource"] for row in rows] for jid, rows in found.items()} == {
        bob.bare: [bob.full.partition("/")[2]],
        alice.bare: ["desktop", "phone"],
    }
    assert await console(live.sessions_of, []) == {}


@pytest.fixture
async def many(new_user, log_in):
    """Five users with two devices each; the phones of user0 and user1 are away."""
    clients = {}
    for number in range(5):
        await new_user(f"user{number}")
        for resource in ("desktop", "phone"):
            clients[number, resource] = await log_in(f"user{number}@example.org/{resource}")
    for number in range(2):
        await clients[number, "phone"].sends(
            f"<presence><show>away</show><status>On the road {number}</status></presence>"
        )
    return clients


async def test_a_page_of_the_table(console, server, many):
    def resources(table):
        return [row["jid"].replace("@example.org", "") for row in table["rows"]]

    table = await console(live.session_table, offset=3, limit=3)
    assert resources(table) == ["user1/phone", "user2/desktop", "user2/phone"]
    assert (table["offset"], table["found"], table["sessions"]) == (3, 10, 10)
    assert (table["users"], table["plain"]) == (5, 10)
    last = await console(live.session_table, offset=90, limit=4, sort="-jid")
    assert (last["offset"], resources(last)) == (8, ["user0/phone", "user0/desktop"])
    assert (await console(live.session_table, limit=0))["rows"] == []
    assert len((await console(live.session_table, limit=10**9, offset=-5))["rows"]) == 10
    away = await console(live.session_table, presence="away", query="ROAD user1", limit=50)
    assert (resources(away), away["found"], away["sessions"]) == (["user1/phone"], 1, 10)
    assert (await console(live.session_table, tls="yes", limit=50))["found"] == 0
    server.directory.online["user3@example.org"].sessions["phone"].software = "Gajim " + "9" * 100
    name = ("Gajim " + "9" * 100)[:60]
    gajim = await console(live.session_table, client=name, limit=50)
    assert (resources(gajim), gajim["clients"]) == (["user3/phone"], [name])


async def test_only_the_rows_of_the_page_are_made(console, server, many, monkeypatch):
    from xmppd.server.live import Live

    made, row_of = [], Live._row

    def row(self, session):
        made.append(session)
        return row_of(self, session)

    monkeypatch.setattr(Live, "_row", row)
    await console(live.session_table, query="user", sort="-idle", limit=3)
    assert len(made) == 3


async def test_what_presence_says_is_kept_and_forgotten_with_it(console, many):
    phone = many[0, "phone"]

    async def said():
        (row,) = (await console(live.session_table, query=phone.full, limit=9))["rows"]
        return row["status"], row["show"], row["status_text"]

    assert await said() == ("available", "away", "On the road 0")
    await phone.sends("<presence><show>dnd</show></presence>")
    assert await said() == ("available", "dnd", "")
    await phone.sends("<presence/>")
    assert await said() == ("available", "", "")
    await phone.sends("<presence type='unavailable'><status>gone</status></presence>")
    assert await said() == ("connected", "", "")


async def test_every_order_of_the_table_works(console, many):
    from adminconsole.views.sessions import PRESENCE_FILTERS, SORTS
    from xmppd.server import session_table

    assert set(SORTS) == set(session_table.SORTS)
    assert set(PRESENCE_FILTERS) == set(session_table.GROUPS)
    for sort in SORTS:
        forwards, backwards = [
            [row["jid"] for row in (await console(live.session_table, sort=key, limit=50))["rows"]]
            for key in (sort, f"-{sort}")
        ]
        assert sorted(forwards) == sorted(backwards)
        assert len(forwards) == 10


async def test_close_a_session(console, actor, alice, alice_phone):
    assert await console(live.close_session, jid=alice.full, actor=actor, reason="tidying up")
    await alice.is_disconnected("policy-violation")
    assert "tidying up" in alice.connection.text
    assert alice_phone.is_connected
    assert not await console(live.close_session, jid=alice.full, actor=actor)
    assert not await console(live.close_session, jid="@@", actor=actor)


async def test_close_all_sessions(console, actor, alice, alice_phone, bob):
    assert await console(live.close_sessions_of, jid=alice.bare, actor=actor) == 2
    for client in (alice, alice_phone):
        await client.is_disconnected("policy-violation")
    assert bob.is_connected
    assert await console(live.close_sessions_of, jid="nobody@example.org", actor=actor) == 0


async def test_messages(console, actor, alice, alice_phone, bob):
    body = "<b>maintenance</b> & more"
    escaped = "<body>&lt;b&gt;maintenance&lt;/b&gt; &amp; more</body>"
    assert await console(live.send_message, to="", body=body, subject="Hear", actor=actor) == 3
    for client in (alice, alice_phone, bob):
        await client.receives(
            f"<message type='headline' from='example.org' to='{client.full}'><subject>Hear</subject>{escaped}</message>"
        )
    assert await console(live.send_message, to=alice.bare, body=body, actor=actor) == 2
    assert await console(live.send_message, to=alice.full, body=body, actor=actor) == 1
    assert await console(live.send_message, to="nobody@example.org", body=body, actor=actor) == 0
    await alice.receives(f"<message from='example.org'>{escaped}</message>")
    await alice.receives(f"<message from='example.org'>{escaped}</message>")
    await alice.receives_nothing()
    await bob.receives_nothing()


async def test_nobody_answers_when_the_server_has_ended(server, alice):
    live.register({}, None)
    with pytest.raises(live.NotRunningError):
        await sync_to_async(live.status, thread_sensitive=False)()


# -- accounts that change


async def test_deleted(console, server, actor, alice, alice_phone, bob):
    waiting = Wire(server)
    await waiting.plain("alice")  # logged in, nothing bound
    await console(services.delete_user, await user("alice"), actor=actor)
    for client in (alice, alice_phone):
        await client.is_disconnected("not-authorized")
    assert waiting.connection.is_ended
    assert bob.is_connected
    assert alice.bare not in server.directory.online
    await bob.sends(f"<message to='{alice.bare}' id='late'><body/></message>")
    await bob.receives("<message type='error' id='late'/>")


async def test_name_used_again(console, server, actor, alice, bob, new_user, log_in):
    """Nothing of the former owner is left: no contacts, no sessions, no presence."""
    for client in (alice, bob):
        await client.asks(GET)
        await client.is_available()
    await become_friends(alice, bob)
    old = server.directory.online[alice.bare]
    await console(services.delete_user, await user("alice"), actor=actor)
    await new_user("alice", password="quite another one")
    await settled(server)
    bob.forget_received()
    alice = await log_in("alice@example.org/desktop")
    assert server.directory.online[alice.bare] is not old
    assert roster_of(await alice.asks(GET)) == {}
    await alice.is_available()
    await alice.receives_nothing()
    await bob.receives_nothing()
    assert failure("not-authorized") in await Wire(server).plain("alice")
    assert "<success" in await Wire(server).plain("alice", "quite another one")


async def test_name_used_again_when_the_end_was_not_heard(server, alice):
    """The bus promises nothing: a new account with the name ends what was left of the old one."""
    account = server.directory.online[alice.bare]
    channel.deliver_locally(messages.UserCreated(user_id=account.id + 1, jid=alice.bare))
    await alice.is_disconnected("not-authorized")
    assert server.directory.in_memory(alice.bare) is None


async def test_message_about_another_account_with_the_name_is_ignored(server, alice):
    account = server.directory.online[alice.bare]
    channel.deliver_locally(messages.UserDeleted(user_id=account.id + 1, jid=alice.bare))
    await settled(server)
    assert alice.is_connected


async def test_lock_that_begins_while_the_database_fails_is_found_when_it_works_again(
    server, actor, alice, monkeypatch
):
    outcomes = [OperationalError("down"), OperationalError("down")]

    def find(after, until):
        if outcomes:
            raise outcomes.pop()
        return locks_beginning(after, until)

    monkeypatch.setattr(server_live, "locks_beginning", find)
    monkeypatch.setattr(server_live, "LOCK_CHECK_SECONDS", 0)
    watching = asyncio.ensure_future(server_live.Live(server).watch_locks())
    await asyncio.sleep(0)  # it begins to watch
    await User.objects.filter(username="alice").aupdate(locked_from=timezone.now())
    async with asyncio.timeout(10):
        while alice.is_connected:
            await asyncio.sleep(0)  # the watch goes round
    watching.cancel()
    assert not outcomes


async def test_locked(console, server, actor, alice, bob):
    waiting = Wire(server)
    await waiting.plain("alice")
    await console(services.lock_user, await user("alice"), actor=actor)
    await alice.is_disconnected("not-authorized")
    assert waiting.connection.is_ended
    assert bob.is_connected


async def test_new_password_ends_all_sessions_but_the_one_that_set_it(server, alice, alice_phone, actor):
    waiting = Wire(server)
    await waiting.plain("alice")
    jid = alice.bare
    account = server.directory.online[jid]
    channel.deliver_locally(messages.PasswordChanged(user_id=account.id, jid=jid, keep=alice.full))
    await alice_phone.is_disconnected("reset")
    assert waiting.connection.is_ended
    await settled(server)
    assert alice.is_connected
    await alice.receives_nothing()


async def test_new_password_set_by_the_console(console, server, actor, alice, alice_phone):
    await console(services.set_password, await user("alice"), "another battery staple", actor=actor)
    for client in (alice, alice_phone):
        await client.is_disconnected("reset")
    assert failure("not-authorized") in await Wire(server).plain("alice")
    assert "<success" in await Wire(server).plain("alice", "another battery staple")


async def test_name_of_an_online_account(console, server, actor, alice):
    await console(services.update_user, await user("alice"), name="Alice Liddell", actor=actor)
    assert server.directory.online[alice.bare].name == "Alice Liddell"
    assert alice.is_connected


async def test_account_written_to_while_it_is_loaded(server, new_user, monkeypatch):
    """What the database said before the change is not kept."""
    import asyncio

    from xmppd.protocol.jid import JID
    from xmppd.server import directory

    await new_user("alice")
    read, calls = directory._read, []

    def slow(jid):
        loaded = read(jid)
        calls.append(jid)
        if len(calls) == 1:  # the change comes after the reading, before its result arrives
            User.objects.filter(username="alice").update(name="New")
            channel.deliver_locally(messages.UserChanged(user_id=0, jid="alice@example.org"))
        return loaded

    monkeypatch.setattr(directory, "_read", slow)
    account = await asyncio.wait_for(server.directory.load(JID.parse("alice@example.org")), 10)
    assert account.name == "New"
    assert len(calls) == 2


# -- rosters written by others


async def test_contact_added_by_the_console(console, actor, alice, bob):
    for client in (alice, bob):
        await client.asks(GET)
        await client.is_available()
    await console(roster_service.admin_add, await user("alice"), bob.bare, "Bob", ["Friends"], actor=actor)
    await alice.receives(
        push("<item jid='bob@example.org' name='Bob' subscription='both'><group>Friends</group></item>")
    )
    await bob.receives(push("<item jid='alice@example.org' subscription='both'/>"))
    await alice.receives(f"<presence from='{bob.full}'/>")
    await bob.receives(f"<presence from='{alice.full}'/>")
    await alice.receives_nothing()
    await bob.receives_nothing()


async def test_contact_removed_by_the_console(console, actor, alice, bob):
    for client in (alice, bob):
        await client.asks(GET)
        await client.is_available()
    await become_friends(alice, bob)
    await console(roster_service.admin_remove, await user("alice"), bob.bare, actor=actor)
    await alice.receives_all(
        push("<item jid='bob@example.org' subscription='remove'/>"),
        f"<presence type='unavailable' from='{bob.full}'/>",
    )
    await bob.receives_all(
        push("<item jid='alice@example.org' subscription='none'/>"),
        f"<presence type='unavailable' from='{alice.full}'/>",
    )
    await alice.receives_nothing()


async def test_roster_written_while_the_owner_is_away(console, actor, alice, log_in, server):
    await alice.disconnects()
    await console(roster_service.admin_add, await user("alice"), "bob@example.org", actor=actor)
    alice = await log_in("alice@example.org/desktop")
    assert list(roster_of(await alice.asks(GET))) == ["bob@example.org"]


async def test_console_and_client_write_at_once(console, actor, alice, server):
    """Whichever message is late, memory and clients end with what is stored, each change pushed once."""
    await alice.asks(GET)
    await alice.asks(query("<item jid='first@example.org'/>"), type="set")
    alice.forget_received()
    account = server.directory.online[alice.bare]
    held = []
    handlers = channel._subscribers[messages.RosterChanged]
    subscribers, handlers[:] = list(handlers), [held.append]  # the console's message is late
    await console(roster_service.admin_add, await user("alice"), "x@elsewhere.example", "X", actor=actor)
    handlers[:] = subscribers
    await alice.asks(query("<item jid='y@example.org' name='Y'/>"), type="set")
    for message in held:
        channel.deliver_locally(message)
    await settled(server)
    await alice.receives_all(
        push("<item jid='x@elsewhere.example' name='X' subscription='none'/>"),
        push("<item jid='y@example.org' name='Y' subscription='none'/>"),
    )
    await alice.receives_nothing()
    assert set(account.items) == {"first@example.org", "x@elsewhere.example", "y@example.org"}
    stored = await sync_to_async(roster_service.load)(account.id)
    assert stored.version == account.roster_version
    assert stored.items == account.items


async def test_messages_about_nobody_do_no_harm(server):
    for message in (
        messages.UserDeleted(user_id=99, jid="zoe@other.example"),
        messages.UserLocked(user_id=99, jid="zoe@other.example"),
        messages.PasswordChanged(user_id=99, jid="zoe@other.example"),
        messages.RosterChanged(user_id=99, jid="zoe@other.example", contact="a@b", version=3),
        messages.SharedRostersChanged(user_ids=[99]),
    ):
        channel.deliver_locally(message)
    await settled(server)
    assert server.directory.in_memory("zoe@other.example") is None
