"""The list of devices: who comes into it, signing one out, and what a user does with it from a client."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from django.utils.formats import date_format

from accounts.models import AuditEntry, User
from tests.conversation import settled
from tests.xmpp.test_bind2 import OTHER_AGENT, bind
from tests.xmpp.test_fast import comes_back, fast, token_in, wants
from tests.xmpp.test_login import _iterations  # noqa: F401
from tests.xmpp.test_sasl2 import AGENT, BIND, PLAIN, USER_AGENT, Wire2, _alice  # noqa: F401
from xmppd.modules.devices import NS, Devices
from xmppd.services import devices

COMMANDS = "http://jabber.org/protocol/commands"
X = "jabber:x:data"


async def known(server):
    await settled(server)
    await server.module(Devices)._rows.flush()
    user = await User.objects.aget(username="alice")
    return await sync_to_async(devices.list_devices)(user.pk)


async def comes(server, agent=USER_AGENT, tag="Awesome"):
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, agent, bind(tag))
    assert "<bound" in answer
    return wire


# -- who comes into the list


async def test_login_makes_a_device(server, clock):
    wire = await comes(server)
    (entry,) = await known(server)
    assert (entry.software, entry.device, entry.mechanism) == ("AwesomeXMPP", "Kiva's Phone", "PLAIN")
    assert entry.resource == wire.connection.session.jid.resource
    assert entry.address == "192.0.2.1"
    assert entry.first_seen == entry.last_seen == clock.now()
    assert AGENT not in repr(entry)
    clock.advance(hours=1)
    wire.connection.lost()
    (entry,) = await known(server)
    assert entry.last_seen - entry.first_seen == timedelta(hours=1)


async def test_binding_by_an_iq_does_too(server):
    wire = Wire2(server)
    await wire.logs_in(PLAIN, USER_AGENT)
    assert await known(server) == []
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r</resource></bind></iq>")
    assert [entry.resource for entry in await known(server)] == ["r"]


async def test_clients_without_an_id_are_not_kept(server, alice):
    wire = await comes(server, "")
    wire.connection.lost()
    assert await known(server) == []


async def test_one_row_for_a_client(server, clock):
    for _ in range(3):
        clock.advance(minutes=1)
        await comes(server)
    await comes(server, OTHER_AGENT)
    assert len(await known(server)) == 2


# -- signing out


async def revoke(server, entry, actor):
    user = await User.objects.aget(username="alice")
    assert await sync_to_async(devices.revoke)(user, entry.id, actor=actor)
    await settled(server)


async def test_sessions_of_a_revoked_device_end(server, actor):
    phone = await comes(server)
    laptop = await comes(server, OTHER_AGENT)
    entry = next(entry for entry in await known(server) if entry.device)
    await revoke(server, entry, actor)
    assert phone.connection.is_ended
    assert "<not-authorized " in phone.rest()
    assert not laptop.connection.is_ended
    # the end of its session does not bring it back
    assert [entry.agent for entry in await known(server)] == [
        devices.agent_key("0ba7bb7a-8d0c-4a55-9d1f-29b5d3f22a11")
    ]


async def test_not_bound_yet(server, actor):
    await comes(server)
    (entry,) = await known(server)
    wire = Wire2(server)
    await wire.logs_in(PLAIN, USER_AGENT)
    await revoke(server, entry, actor)
    assert wire.connection.is_ended


async def test_device_that_was_just_seen_stays_away(server, actor, clock):
    """What was seen a moment before is still to be written when the device is signed out, or is being written."""
    await comes(server)
    (entry,) = await known(server)
    again = await comes(server)  # its row waits
    await revoke(server, entry, actor)
    assert again.connection.is_ended
    assert await known(server) == []
    clock.advance(seconds=1)
    await comes(server)
    assert len(await known(server)) == 1


async def test_row_that_is_being_written(server, actor, monkeypatch):
    """The transaction that signs out comes between the reading of what was seen and its writing."""
    await comes(server)
    (entry,) = await known(server)
    user = await User.objects.aget(username="alice")
    record = devices.record

    def slow(rows):
        assert devices.revoke(user, entry.id, actor=actor)
        record(rows)

    monkeypatch.setattr(server.module(Devices)._rows, "_write", slow)
    await comes(server)
    await server.module(Devices)._rows.flush()
    monkeypatch.setattr(server.module(Devices)._rows, "_write", record)
    await settled(server)
    assert await known(server) == []


async def test_about_to_log_in_by_a_token(server, actor, monkeypatch):
    """Signed out between the look at the token and the session."""
    wire = Wire2(server)
    token = token_in(await wire.logs_in(PLAIN, USER_AGENT, bind(), wants()))
    assert "<success" in await comes_back(server, token, fast(), bind())
    (entry,) = await known(server)
    user = await User.objects.aget(username="alice")
    found = devices.tokens

    def then_signed_out(*arguments):
        rows = found(*arguments)
        assert devices.revoke(user, entry.id, actor=actor)
        return rows

    monkeypatch.setattr(devices, "tokens", then_signed_out)
    answer = await comes_back(server, token, fast(), bind())
    assert "<success" not in answer
    assert "this device was signed out" in answer
    assert not server.sessions()


async def test_all_at_once(server, actor, alice):
    wires = [await comes(server), await comes(server, OTHER_AGENT), await comes(server, "")]
    await known(server)
    user = await User.objects.aget(username="alice")
    assert await sync_to_async(devices.revoke_all)(user, actor=actor) == 2
    await settled(server)
    assert [wire.connection.is_ended for wire in wires] == [True, True, False]
    assert alice.is_connected  # who has no id is no device


# -- from a client, XEP-0050


async def command(client, node, *, sessionid="", form=""):
    session = f" sessionid='{sessionid}' action='complete'" if sessionid else ""
    answer = await client.asks(
        f"<command xmlns='{COMMANDS}' node='{NS}#{node}'{session}>{form}</command>", type="set"
    )
    found = answer.find(COMMANDS, "command")
    assert found is not None, answer
    return found


def filled(**values):
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    return f"<x xmlns='{X}' type='submit'>{fields}</x>"


def note(found):
    return found.text_of(COMMANDS, "note")


def texts(form):
    return [value.text for field in form.findall(X, "field") for value in field.findall(X, "value")]


async def test_list(server, alice):
    listed = (await command(alice, "list")).find(X, "x")
    assert texts(listed) == [NS, "desktop · 192.0.2.1"]  # that has said no id
    assert "zone UTC" in listed.text_of(X, "instructions")
    wire = await comes(server)
    listed = (await command(alice, "list")).find(X, "x")
    said = "Kiva's Phone · AwesomeXMPP · 192.0.2.1 · online · logs in with the password"
    assert texts(listed) == [NS, said, "desktop · 192.0.2.1"]
    wire.connection.lost()
    await settled(server)
    (device,) = [text for text in texts((await command(alice, "list")).find(X, "x")) if "Kiva" in text]
    assert "online" not in device


async def test_list_tells_who_has_a_token(server, alice):
    wire = Wire2(server)
    token_in(await wire.logs_in(PLAIN, USER_AGENT, bind(), wants()))
    (entry,) = await known(server)
    day = date_format(timezone.localtime(entry.token_expires), "SHORT_DATE_FORMAT")
    (device,) = [text for text in texts((await command(alice, "list")).find(X, "x")) if "Kiva" in text]
    assert device.endswith(f"online · logs in by a token, until {day}")


async def test_sign_out(server, alice):
    wire = await comes(server)
    asked = await command(alice, "sign-out")
    fields = asked.find(X, "x").findall(X, "field")
    (option,) = [option for field in fields for option in field.findall(X, "option")]
    device = option.text_of(X, "value")
    done = await command(alice, "sign-out", sessionid=asked.get("sessionid"), form=filled(device=device))
    assert done.get("status") == "completed"
    await settled(server)
    assert wire.connection.is_ended
    assert await known(server) == []
    row = await AuditEntry.objects.aget(action="device-signed-out")
    assert (row.actor, row.door, row.target) == ("alice@example.org", "adhoc", "alice@example.org")


async def test_rename(server, alice):
    await comes(server)
    asked = await command(alice, "rename")
    (entry,) = await known(server)
    form = filled(device=entry.id, label="My phone")
    await command(alice, "rename", sessionid=asked.get("sessionid"), form=form)
    (entry,) = await known(server)
    assert entry.name == "My phone"


@pytest.mark.parametrize("node", ["sign-out", "rename"])
async def test_nobody_reaches_the_devices_of_another(server, alice, bob, node):
    """A number that was not offered is refused by the form."""
    await comes(server)
    (entry,) = await known(server)
    assert note(await command(bob, node)) == "No device is known."
    await comes(server, OTHER_AGENT)
    asked = await command(alice, node)
    answer = await alice.asks(
        f"<command xmlns='{COMMANDS}' node='{NS}#{node}' sessionid='{asked.get('sessionid')}' action='complete'>"
        f"{filled(device=entry.id + 1000)}</command>",
        type="set",
    )
    assert answer.get("type") == "error"
    assert len(await known(server)) == 2
