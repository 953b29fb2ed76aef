"""XEP-0441: what a user wants archived; and how long it stays."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from tests.conversation import subscribe
from tests.xmpp.archive_queries import (
    NS,
    ask,
    bodies,
)
from xmppd.modules.mam import ArchiveQueries
from xmppd.services import archive_retention
from xmppd.services.properties import overridden


async def prefs(client, default, never=(), always=()):
    lists = "".join(
        f"<{name}>" + "".join(f"<jid>{jid}</jid>" for jid in jids) + f"</{name}>"
        for name, jids in (("always", always), ("never", never))
    )
    return await client.asks(f"<prefs xmlns='{NS}' default='{default}'>{lists}</prefs>", type="set")


async def test_preferences_are_always_until_set_and_are_given_back(alice, bob):
    assert (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs").get("default") == "always"
    await prefs(alice, "roster", never=[bob.full])
    got = (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs")
    assert got.get("default") == "roster"
    assert [jid.text for jid in got.find(NS, "never").elements()] == [bob.full]
    assert list(got.find(NS, "always").elements()) == []


async def test_never_keeps_nothing_of_mine_and_the_other_side_keeps_its_own(alice, bob):
    await bob.is_available()
    await prefs(alice, "never")
    await alice.sends(f"<message to='{bob.bare}' type='chat'><body>between us</body></message>")
    assert (await ask(alice))[0] == []
    assert bodies((await ask(bob))[0]) == ["between us"]


async def test_roster_keeps_contacts_only(alice, bob, stranger):
    await bob.is_available()
    await prefs(bob, "roster", always=[stranger.bare])
    for sender in (alice, stranger):
        await sender.sends(f"<message to='{bob.bare}' type='chat'><body>hi</body></message>")
    results, _fin = await ask(bob)
    assert len(results) == 1


async def test_a_listed_resource_goes_before_its_address(alice, bob, log_in):
    phone = await log_in("bob@example.org/phone")
    await prefs(alice, "never", always=[bob.bare], never=[phone.full])
    for client in (bob, phone):
        await client.sends(f"<message to='{alice.full}' type='chat'><body>{client.full}</body></message>")
    assert bodies((await ask(alice))[0]) == [bob.full]


async def test_preferences_of_another_have_no_route(alice, bob):
    for type in ("get", "set"):
        got = await alice.asks(f"<prefs xmlns='{NS}' default='never'/>", type=type, to=bob.bare)
        assert got.get("type") == "error"
    assert (await bob.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs").get("default") == "always"


async def test_preferences_hold_after_a_restart(server, alice, bob):
    await prefs(alice, "never", always=[bob.bare])
    await server.module(ArchiveQueries).start()
    got = (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs")
    assert (got.get("default"), [jid.text for jid in got.find(NS, "always").elements()]) == (
        "never",
        [bob.bare],
    )


@pytest.mark.parametrize("lists", ["always", "never"])
async def test_preferences_name_addresses(alice, lists):
    assert (await prefs(alice, "roster", **{lists: ["@@"]})).get("type") == "error"
    assert (await prefs(alice, "roster", **{lists: [f"a{n}@b" for n in range(1001)]})).get("type") == "error"
    assert (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs").get("default") == "always"


async def test_roster_means_the_bare_address_of_a_contact(alice, bob, stranger):
    await bob.is_available()
    await subscribe(bob, alice)
    await prefs(bob, "roster", never=[])
    for sender in (alice, stranger):
        await sender.sends(f"<message to='{bob.full}' type='chat'><body>{sender.bare}</body></message>")
    await bob.sends(f"<message to='{alice.full}' type='chat'><body>to a contact</body></message>")
    await bob.sends(f"<message to='{stranger.full}' type='chat'><body>to nobody</body></message>")
    assert bodies((await ask(bob))[0]) == [alice.bare, "to a contact"]


@pytest.mark.parametrize("default", ["", "sometimes"])
async def test_preferences_that_make_no_sense(alice, default):
    assert (await prefs(alice, default)).get("type") == "error"


# -- retention


async def test_old_messages_go(history, clock):
    clock.advance(days=40)
    with overridden(archive__keep_days=30):
        assert await sync_to_async(archive_retention.purge)(clock.time()) == 22  # both sides of eleven
    assert (await ask(history))[0] == []


async def test_the_oldest_go_when_it_is_too_much(history, clock, monkeypatch):
    monkeypatch.setattr(archive_retention.KEEP_BYTES, "minimum", 0)
    size = (await sync_to_async(archive_retention.usage)(history.connection.account.id)).bytes
    with overridden(archive__keep_size=size // 2):
        await sync_to_async(archive_retention.purge)(clock.time())
    assert bodies((await ask(history))[0])[-1] == "psst"
    assert (await sync_to_async(archive_retention.usage)(history.connection.account.id)).bytes <= size // 2
