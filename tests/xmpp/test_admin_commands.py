"""XEP-0133: Service Administration."""

import pytest
from asgiref.sync import sync_to_async

from accounts.models import AuditEntry, User
from accounts.services import lock_user
from xmppd.services import roster

ADMIN = "http://jabber.org/protocol/admin"
NS = "http://jabber.org/protocol/commands"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
X = "jabber:x:data"
SUCCESS = "Operation finished successfully."

WRITING = [
    "add-user",
    "delete-user",
    "disable-user",
    "reenable-user",
    "change-user-password",
    "end-user-session",
    "announce",
]
READING = ["get-user-roster", "get-user-lastlogin", "user-stats"]
NUMBERS = [f"get-{kind}-users-num" for kind in ("registered", "disabled", "online", "active", "idle")]
LISTS = [
    "get-registered-users-list",
    "get-disabled-users-list",
    "get-online-users-list",
    "get-active-users",
    "get-idle-users",
]


@pytest.fixture
async def admin(new_user, log_in):
    await new_user("admin", role="owner")
    return await log_in("admin@example.org/desk")


async def send(client, node, body="", sessionid=""):
    session = f" sessionid='{sessionid}'" if sessionid else ""
    command = f"<command xmlns='{NS}' node='{ADMIN}#{node}'{session}>{body}</command>"
    answer = await client.asks(command, type="set", to="example.org")
    return answer.find(NS, "command") or answer.find("jabber:client", "error")


async def run(client, node, **answers):
    """Both steps of a command with one form; `foo_bar` answers the field foo-bar."""
    form = await send(client, node)
    assert form.get("status") == "executing", str(form)
    fields = f"<field var='FORM_TYPE'><value>{ADMIN}</value></field>"
    for var, value in answers.items():
        values = value if isinstance(value, list) else [value]
        name = "password-verify" if var == "password_verify" else var
        fields += f"<field var='{name}'>{''.join(f'<value>{v}</value>' for v in values)}</field>"
    return await send(client, node, f"<x xmlns='{X}' type='submit'>{fields}</x>", form.get("sessionid"))


def note(command):
    assert command.name == "command", str(command)
    assert command.get("status") == "completed"
    element = command.find(NS, "note")
    return element.get("type"), element.text


def succeeded(command):
    return note(command) == ("info", SUCCESS)


def fields(command):
    x = command.find(X, "x")
    return {
        field.get("var"): [value.text for value in field.findall(X, "value")]
        for field in x.findall(X, "field")
    }


def is_error(error, condition):
    return error.name == "error" and error.find(STANZAS, condition) is not None


async def last_audit(action):
    return await AuditEntry.objects.filter(action=action).order_by("-id").afirst()


# -- who may


@pytest.mark.parametrize("node", WRITING + READING + NUMBERS + LISTS)
async def test_users_without_a_role_are_forbidden(alice, node):
    assert is_error(await send(alice, node), "forbidden")


@pytest.mark.parametrize(
    ("role", "node", "may"),
    [
        ("auditor", "get-registered-users-num", True),
        ("auditor", "get-online-users-num", True),
        ("auditor", "delete-user", False),
        ("auditor", "announce", False),
        ("user_manager", "add-user", True),
        ("user_manager", "end-user-session", True),
        ("room_moderator", "get-online-users-num", True),
        ("room_moderator", "get-registered-users-num", False),
        ("admin", "announce", True),
    ],
)
async def test_role_decides(new_user, log_in, role, node, may):
    await new_user("boss", role=role)
    boss = await log_in("boss@example.org/desk")
    answer = await send(boss, node)
    assert (answer.name == "command") == may
    if not may:
        assert is_error(answer, "forbidden")


async def test_list_of_commands_by_role(admin, alice, new_user, log_in):
    await new_user("auditor", role="auditor")
    auditor = await log_in("auditor@example.org/desk")
    items = "http://jabber.org/protocol/disco#items"

    async def listed(client):
        answer = await client.asks(f"<query xmlns='{items}' node='{NS}'/>", to="example.org")
        nodes = {item.get("node") for item in answer.find(items, "query").elements()}
        return {node.removeprefix(f"{ADMIN}#") for node in nodes if node.startswith(ADMIN)}

    assert await listed(admin) == {*WRITING, *READING, *NUMBERS, *LISTS}
    assert await listed(auditor) == {*READING, *NUMBERS, *LISTS}
    assert await listed(alice) == set()


# -- accounts


async def test_add_user(admin, log_in):
    form = await send(admin, "add-user")
    shown = {field.get("var"): field for field in form.find(X, "x").findall(X, "field")}
    assert list(shown) == [
        "FORM_TYPE",
        "accountjid",
        "password",
        "password-verify",
        "email",
        "given_name",
        "surname",
    ]
    assert shown["accountjid"].get("type") == "jid-single"
    assert shown["accountjid"].find(X, "required") is not None
    assert succeeded(
        await run(
            admin,
            "add-user",
            accountjid="Juliet@example.org",
            password="a balcony at night",
            password_verify="a balcony at night",
            email="juliet@example.net",
            given_name="Juliet",
            surname="Capulet",
        )
    )
    user = await User.objects.aget(username="juliet")
    assert (user.name, user.email, user.role) == ("Juliet Capulet", "juliet@example.net", "")
    assert await sync_to_async(user.check_password)("a balcony at night")
    row = await last_audit("user-created")
    assert (row.actor, row.door, row.address) == (admin.bare, "adhoc", "192.0.2.1")
    assert "balcony" not in str(row.after)
    await log_in("juliet@example.org/balcony")


SECRET = "a balcony at night"


@pytest.mark.parametrize(
    ("jid", "password", "verify", "words"),
    [
        ("juliet@elsewhere.example", SECRET, SECRET, "Cannot create remote user"),
        ("example.org", SECRET, SECRET, "Cannot create remote user"),
        ("juliet@example.org", SECRET, "another", "Passwords do not match"),
        ("juliet@example.org", SECRET, "", "Passwords do not match"),
        ("a@@b", SECRET, SECRET, "valid JID"),
        ("juliet@example.org", "short", "short", "at least 8"),
    ],
)
async def test_add_user_refused(admin, jid, password, verify, words):
    kind, text = note(await run(admin, "add-user", accountjid=jid, password=password, password_verify=verify))
    assert kind == "error"
    assert words in text
    assert await User.objects.acount() == 1


async def test_add_user_that_exists_is_a_conflict(admin, alice):
    answer = await run(
        admin, "add-user", accountjid=alice.bare, password="something new", password_verify="something new"
    )
    assert is_error(answer, "conflict")


async def test_add_user_without_address_is_a_bad_payload(admin):
    answer = await run(admin, "add-user", password="x")
    assert is_error(answer, "bad-request")
    assert answer.find(NS, "bad-payload") is not None


async def test_deleted_user_is_disconnected(admin, alice, bob):
    assert succeeded(await run(admin, "delete-user", accountjids=[f"{alice.bare}/any", bob.bare]))
    await alice.is_disconnected("not-authorized")
    await bob.is_disconnected("not-authorized")
    assert await User.objects.acount() == 1
    assert (await last_audit("user-deleted")).door == "adhoc"


async def test_disabled_user_is_disconnected_and_keeps_its_data(admin, alice):
    assert succeeded(await run(admin, "disable-user", accountjids=alice.bare))
    await alice.is_disconnected("not-authorized")
    user = await User.objects.aget(username="alice")
    assert user.is_locked()
    assert succeeded(await run(admin, "reenable-user", accountjids=alice.bare))
    user = await User.objects.aget(username="alice")
    assert not user.is_locked()
    assert (await last_audit("user-locked")).actor == admin.bare
    assert (await last_audit("user-unlocked")).actor == admin.bare


async def test_reenabling_who_is_not_disabled_is_fine(admin, alice):
    assert succeeded(await run(admin, "reenable-user", accountjids=alice.bare))


@pytest.mark.parametrize("node", ["delete-user", "disable-user", "reenable-user", "end-user-session"])
@pytest.mark.parametrize(
    ("jid", "words"),
    [
        ("nobody@example.org", "User does not exist: nobody@example.org"),
        ("bob@elsewhere.example", "no user of this server: bob@elsewhere.example"),
        ("example.org", "no user of this server: example.org"),
    ],
)
async def test_nothing_is_done_when_one_of_them_does_not_exist(admin, alice, node, jid, words):
    kind, text = note(await run(admin, node, accountjids=[alice.bare, jid]))
    assert kind == "error"
    assert words in text
    user = await User.objects.aget(username="alice")
    assert not user.is_locked()
    await alice.receives_nothing()


async def test_too_many_accounts_at_once(admin):
    jids = [f"user{number}@example.org" for number in range(101)]
    answer = await run(admin, "delete-user", accountjids=jids)
    assert answer.find(NS, "bad-payload") is not None


@pytest.mark.parametrize("node", ["delete-user", "disable-user"])
async def test_user_manager_does_not_touch_administrators(admin, alice, new_user, log_in, node):
    await new_user("manager", role="user_manager")
    manager = await log_in("manager@example.org/desk")
    assert is_error(await run(manager, node, accountjids=[alice.bare, admin.bare]), "forbidden")
    await alice.receives_nothing()  # all or nothing
    await admin.receives_nothing()
    assert not await User.objects.filter(locked_from__isnull=False).aexists()


async def test_last_owner_stays(admin):
    assert is_error(await run(admin, "delete-user", accountjids=admin.bare), "not-allowed")
    await admin.receives_nothing()


async def test_change_password_ends_sessions(admin, alice):
    changed = await run(admin, "change-user-password", accountjid=alice.bare, password="a new secret")
    assert succeeded(changed)
    await alice.is_disconnected("reset")
    user = await User.objects.aget(username="alice")
    assert await sync_to_async(user.check_password)("a new secret")
    row = await last_audit("password-changed")
    assert (row.actor, row.target) == (admin.bare, "alice@example.org")


@pytest.mark.parametrize(
    ("jid", "password"),
    [("alice@example.org", "short"), ("nobody@example.org", SECRET), ("a@elsewhere.example", SECRET)],
)
async def test_change_password_refused(admin, alice, jid, password):
    kind, _text = note(await run(admin, "change-user-password", accountjid=jid, password=password))
    assert kind == "error"
    await alice.receives_nothing()


# -- sessions


async def test_end_all_sessions_of_a_user(admin, alice, alice_phone, bob):
    assert succeeded(await run(admin, "end-user-session", accountjids=alice.bare))
    await alice.is_disconnected("policy-violation")
    await alice_phone.is_disconnected("policy-violation")
    await bob.receives_nothing()
    row = await last_audit("sessions-closed")
    assert (row.actor, row.target, row.door) == (admin.bare, alice.bare, "adhoc")


async def test_end_one_session(admin, alice, alice_phone):
    assert succeeded(await run(admin, "end-user-session", accountjids=alice.full))
    await alice.is_disconnected("policy-violation")
    await alice_phone.receives_nothing()
    assert (await last_audit("session-closed")).target == alice.full


async def test_user_manager_does_not_end_sessions_of_administrators(admin, alice, new_user, log_in):
    await new_user("manager", role="user_manager")
    manager = await log_in("manager@example.org/desk")
    for jid in (admin.bare, admin.full):
        refused = await run(manager, "end-user-session", accountjids=[alice.bare, jid])
        assert is_error(refused, "forbidden")
    await alice.receives_nothing()  # all or nothing
    await admin.receives_nothing()
    assert succeeded(await run(manager, "end-user-session", accountjids=alice.bare))
    await alice.is_disconnected("policy-violation")


async def test_announcement_reaches_every_session(admin, alice, bob):
    assert succeeded(
        await run(admin, "announce", announcement=["Down for maintenance", "in 2 &lt;minutes&gt;"])
    )
    for client in (alice, bob):
        await client.receives(
            f"<message from='example.org' to='{client.full}' type='headline'>"
            "<body>Down for maintenance\nin 2 &lt;minutes&gt;</body></message>"
        )
    assert (await last_audit("message-sent")).actor == admin.bare


async def test_empty_announcement(admin, alice):
    kind, _text = note(await run(admin, "announce", announcement="  "))
    assert kind == "error"
    await alice.receives_nothing()


# -- what is known


async def test_roster_of_a_user(admin, alice):
    user = await User.objects.aget(username="alice")
    await sync_to_async(roster.set_item)(user.pk, "bob@example.net", "Bob", ["Friends"])
    command = await run(admin, "get-user-roster", accountjids=alice.bare)
    assert fields(command)["accountjids"] == [alice.bare]
    item = next(command.find(X, "x").find("jabber:iq:roster", "query").elements())
    assert item.attrs == {"jid": "bob@example.net", "name": "Bob", "subscription": "none"}
    assert item.text_of("jabber:iq:roster", "group") == "Friends"


async def test_last_login(admin, alice, new_user):
    await new_user("never")
    command = await run(admin, "get-user-lastlogin", accountjids=[alice.bare, "never@example.org"])
    assert fields(command)["accountjids"] == [alice.bare, "never@example.org"]
    assert fields(command)["lastlogin"] == ["2026-01-01T12:00:00Z", ""]


async def test_statistics(admin, alice, alice_phone):
    command = await run(admin, "user-stats", accountjid=alice.bare)
    found = fields(command)
    assert found["ipaddresses"] == ["192.0.2.1"]
    assert found["rostersize"] == ["0"]
    assert found["onlineresources"] == ["desktop", "phone"]


@pytest.mark.parametrize("node", ["get-user-roster", "get-user-lastlogin"])
@pytest.mark.parametrize("jid", ["nobody@example.org", "bob@elsewhere.example"])
async def test_nothing_is_known_of_others(admin, node, jid):
    assert note(await run(admin, node, accountjids=jid))[0] == "error"


async def test_no_statistics_of_others(admin):
    assert note(await run(admin, "user-stats", accountjid="nobody@example.org"))[0] == "error"


# -- numbers and lists


async def number(admin, kind):
    command = await send(admin, f"get-{kind}-users-num")
    assert command.get("status") == "completed"
    assert fields(command)["FORM_TYPE"] == [ADMIN]
    return int(fields(command)[f"{kind}usersnum"][0])


async def test_numbers_and_lists(admin, alice, bob, new_user, actor):
    gone = await new_user("gone")
    await sync_to_async(lock_user)(gone, actor=actor)
    await alice.is_available()
    await bob.sends("<presence><show>away</show></presence>")
    assert await number(admin, "registered") == 4
    assert await number(admin, "disabled") == 1
    assert await number(admin, "online") == 3
    assert await number(admin, "active") == 1
    assert await number(admin, "idle") == 2
    everybody = [f"{name}@example.org" for name in ("admin", "alice", "bob", "gone")]
    for node, var, expected in (
        ("get-registered-users-list", "registereduserjids", everybody),
        ("get-disabled-users-list", "disableduserjids", everybody[3:]),
        ("get-online-users-list", "onlineuserjids", everybody[:3]),
        ("get-active-users", "activeuserjids", [alice.bare]),
        ("get-idle-users", "activeuserjids", [admin.bare, bob.bare]),
    ):
        assert fields(await run(admin, node, max_items="25"))[var] == expected
        assert fields(await run(admin, node))[var] == expected
        assert fields(await run(admin, node, max_items="none"))[var] == expected


async def test_long_lists_are_cut_and_say_so(admin, alice, bob, monkeypatch):
    from xmppd.modules import admin_commands

    monkeypatch.setattr(admin_commands, "MAX_LISTED", 2)
    for node, var in (
        ("get-registered-users-list", "registereduserjids"),
        ("get-online-users-list", "onlineuserjids"),
    ):
        command = await run(admin, node)
        assert fields(command)[var] == ["admin@example.org", "alice@example.org"]
        assert note(command) == ("info", "The first 2 of 3.")


async def test_unknown_length_is_refused(admin):
    answer = await run(admin, "get-online-users-list", max_items="1000000")
    assert answer.find(NS, "bad-payload") is not None
