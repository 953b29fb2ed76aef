"""RFC 6121 3: presence subscriptions and all their side effects. The states have a table test in tests/protocol."""

import pytest
from asgiref.sync import sync_to_async

from accounts import registry, services
from accounts.models import User
from tests.conversation import settled
from tests.xmpp.test_roster import GET, condition, push, query, roster_of


def presence(type: str, from_: str, to: str) -> str:
    return f"<presence type='{type}' from='{from_}' to='{to}'/>"


async def subscriptions(*clients) -> list[str]:
    """subscription and ask of the contact, as each client's roster tells: 'to', 'none?', '' for no item"""
    found = []
    for client in clients:
        items = roster_of(await client.asks(GET))
        assert len(items) <= 1
        found.append("".join(item[1] + ("?" if item[2] else "") for item in items.values()))
    return found


@pytest.fixture
async def both(alice, bob):
    """Alice and Bob: available, interested, not yet contacts."""
    for client in (alice, bob):
        await client.asks(GET)
        await client.is_available()
    return alice, bob


async def become_friends(alice, bob) -> None:
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await bob.sends(f"<presence type='subscribe' to='{alice.bare}'/>")
    await alice.sends(f"<presence type='subscribed' to='{bob.bare}'/>")
    await settled(alice.server)
    alice.forget_received()
    bob.forget_received()


@pytest.fixture
async def friends(both):
    """The same with a mutual subscription."""
    await become_friends(*both)
    return both


# -- the way to a subscription


async def test_subscribe_then_subscribed(both):
    alice, bob = both
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}' id='s1'><status>hi</status></presence>")
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='none' ask='subscribe'/>"))
    await bob.receives(
        f"<presence type='subscribe' from='{alice.bare}' to='{bob.bare}' id='s1'><status>hi</status></presence>"
    )
    await bob.receives_nothing()
    assert await subscriptions(alice, bob) == ["none?", ""]

    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='from'/>"))
    # 3.1.6: first the answer, then the push, then the presence
    await alice.receives(presence("subscribed", bob.bare, alice.bare))
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='to'/>"))
    await alice.receives(f"<presence from='{bob.full}' to='{alice.bare}'/>")
    await alice.receives_nothing()
    await bob.receives_nothing()
    assert await subscriptions(alice, bob) == ["to", "from"]


async def test_presence_of_every_resource_follows_an_approval(both, log_in):
    alice, bob = both
    phone = await log_in("bob@example.org/phone")
    await phone.is_available(extra="<show>away</show>")
    deaf = await log_in("bob@example.org/connected")
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='none' ask='subscribe'/>"))
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await alice.receives(presence("subscribed", bob.bare, alice.bare))
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='to'/>"))
    await alice.receives_all(
        f"<presence from='{bob.full}'/>", f"<presence from='{phone.full}'><show>away</show></presence>"
    )
    await alice.receives_nothing()
    await deaf.receives_nothing()


async def test_addresses_of_subscription_stanzas_are_bare(both):
    alice, bob = both
    await alice.sends(f"<presence type='subscribe' from='{alice.full}' to='{bob.full}'/>")
    await bob.receives(presence("subscribe", alice.bare, bob.bare))


async def test_mutual_subscription_joins_to_both(both):
    alice, bob = both
    await become_friends(alice, bob)
    assert await subscriptions(alice, bob) == ["both", "both"]
    await alice.sends("<presence><show>dnd</show></presence>")
    await bob.receives(f"<presence from='{alice.full}' to='{bob.bare}'><show>dnd</show></presence>")


async def test_refusal(both):
    alice, bob = both
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    alice.forget_received()
    bob.forget_received()
    await bob.sends(f"<presence type='unsubscribed' to='{alice.bare}'/>")
    await alice.receives(presence("unsubscribed", bob.bare, alice.bare))
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='none'/>"))
    await alice.receives_nothing()
    await bob.receives_nothing()
    assert await subscriptions(alice, bob) == ["none", ""]


async def test_who_sees_what(both, log_in):
    """Requests go to available resources, answers to interested ones, pushes to interested ones."""
    alice, bob = both
    interested = await log_in("bob@example.org/interested")
    await interested.asks(GET)
    connected = await log_in("bob@example.org/connected")
    available = await log_in("bob@example.org/available")
    await available.is_available()
    for client in (available, bob):
        await settled(alice.server)
        client.forget_received()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    for client in (bob, available):
        await client.receives(presence("subscribe", alice.bare, bob.bare))
    for client in (interested, connected):
        await client.receives_nothing()
    await become_friends(alice, bob)
    for client in (interested, available):
        client.forget_received()
    await alice.sends(f"<presence type='unsubscribe' to='{bob.bare}'/>")
    for client in (bob, interested):
        await client.receives(presence("unsubscribe", alice.bare, bob.bare))
        await client.receives(push(f"<item jid='{alice.bare}' subscription='to'/>"))
        await client.receives_nothing()
    for client in (available, connected):
        await client.receives_nothing()


# -- requests that wait


async def test_request_is_shown_at_every_initial_presence_until_answered(alice, log_in, new_user):
    await new_user("bob")
    await alice.sends(
        "<presence type='subscribe' to='bob@example.org'><nick xmlns='urn:x'>Al</nick></presence>"
    )
    request = (
        "<presence type='subscribe' from='alice@example.org' to='bob@example.org'>"
        "<nick xmlns='urn:x'>Al</nick></presence>"
    )
    for _ in range(2):
        bob = await log_in("bob@example.org/laptop")
        assert roster_of(await bob.asks(GET)) == {}
        await bob.is_available()
        await bob.receives(request)
        await bob.receives_nothing()
        await bob.sends("<presence><show>away</show></presence>")  # an update shows it no second time
        await bob.receives(f"<presence from='{bob.full}'/>")
        await bob.receives_nothing()
        await bob.disconnects()
    bob = await log_in("bob@example.org/laptop")
    await bob.sends("<presence type='unsubscribed' to='alice@example.org'/>")
    await bob.is_available()
    await bob.receives_nothing()


async def test_repeated_request_is_kept_once(alice, log_in, new_user):
    await new_user("bob")
    for _ in range(3):
        await alice.sends("<presence type='subscribe' to='bob@example.org'/>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    await bob.receives(presence("subscribe", alice.bare, bob.bare))
    await bob.receives_nothing()
    await alice.sends("<presence type='subscribe' to='bob@example.org'/>")
    await bob.receives_nothing()


async def test_withdrawn_request_is_not_shown(alice, log_in, new_user):
    await new_user("bob")
    await alice.sends("<presence type='subscribe' to='bob@example.org'/>")
    await alice.sends("<presence type='unsubscribe' to='bob@example.org'/>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    await bob.receives_nothing()


async def test_number_of_kept_requests_is_limited(log_in, new_user, actor):
    await new_user("bob")
    await sync_to_async(registry.set_value)("roster.max_requests", 2, actor=actor)
    for name in ("x1", "x2", "x3"):
        asker = await log_in(f"{name}@example.org/home")
        await asker.sends("<presence type='subscribe' to='bob@example.org'/>")
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    await bob.receives_all(*[presence("subscribe", f"{name}@example.org", bob.bare) for name in ("x1", "x2")])
    await bob.receives_nothing()


async def test_large_request_is_kept_without_its_letter(alice, log_in, new_user):
    await new_user("bob")
    await alice.sends(
        f"<presence type='subscribe' to='bob@example.org'><status>{'x' * 20_000}</status></presence>"
    )
    bob = await log_in("bob@example.org/laptop")
    await bob.is_available()
    got = await bob.receives(presence("subscribe", alice.bare, bob.bare))
    assert not list(got.elements())


async def test_answer_reaches_an_asker_who_was_away(alice, bob, log_in):
    await bob.is_available()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await alice.disconnects()
    await bob.receives(presence("subscribe", alice.bare, bob.bare))
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    alice = await log_in("alice@example.org/desktop")
    assert await subscriptions(alice, bob) == ["to", "from"]
    await alice.is_available()
    await alice.receives(f"<presence from='{bob.full}'/>")


# -- the way out


async def test_unsubscribe(friends):
    alice, bob = friends
    await alice.sends(f"<presence type='unsubscribe' to='{bob.bare}'/>")
    # 3.3.3: bob hears of it before the push; his presence goes from alice
    await bob.receives(presence("unsubscribe", alice.bare, bob.bare))
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='to'/>"))
    await bob.receives_nothing()
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='from'/>"))
    await alice.receives(presence("unavailable", bob.full, alice.bare))
    await alice.receives_nothing()
    await bob.sends("<presence><show>away</show></presence>")
    await bob.receives(f"<presence from='{bob.full}'/>")
    await alice.receives_nothing()
    assert await subscriptions(alice, bob) == ["from", "to"]


async def test_unsubscribed(friends, log_in):
    alice, bob = friends
    phone = await log_in("bob@example.org/phone")
    await phone.is_available()
    for client in friends:
        await settled(bob.server)
        client.forget_received()
    await bob.sends(f"<presence type='unsubscribed' to='{alice.bare}'/>")
    # 3.2.2: unavailable of every resource, then the reason
    await alice.receives_all(
        presence("unavailable", bob.full, alice.bare), presence("unavailable", phone.full, alice.bare)
    )
    await alice.receives(presence("unsubscribed", bob.bare, alice.bare))
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='from'/>"))
    await alice.receives_nothing()
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='to'/>"))
    assert await subscriptions(alice, bob) == ["from", "to"]


async def test_removing_an_item_cancels_both_ways(friends):
    alice, bob = friends
    payload = query(f"<item jid='{bob.bare}' subscription='remove'/>")
    await alice.sends(f"<iq type='set' id='rm'>{payload}</iq>")
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='remove'/>"))
    await bob.receives(presence("unavailable", alice.full, bob.bare))
    await bob.receives(presence("unsubscribe", alice.bare, bob.bare))
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='to'/>"))
    await bob.receives(presence("unsubscribed", alice.bare, bob.bare))
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='none'/>"))
    await bob.receives_nothing()
    await alice.receives_all("<iq type='result' id='rm'/>", presence("unavailable", bob.full, alice.bare))
    await alice.receives_nothing()
    assert await subscriptions(alice, bob) == ["", "none"]


async def test_removing_an_item_withdraws_a_request(both):
    alice, bob = both
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    bob.forget_received()
    await alice.asks(query(f"<item jid='{bob.bare}' subscription='remove'/>"), type="set")
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await settled(alice.server)
    assert (await subscriptions(alice))[0] == ""


async def test_removing_nothing_but_a_request_refuses_it(both):
    alice, bob = both
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    alice.forget_received()
    assert (await bob.asks(query(f"<item jid='{alice.bare}' subscription='remove'/>"), type="set")).get(
        "type"
    ) == ("result")
    await alice.receives(presence("unsubscribed", bob.bare, alice.bare))


# -- pre-approval, 3.4


async def test_pre_approval(both):
    alice, bob = both
    assert "<sub xmlns='urn:xmpp:features:pre-approval'/>" in bob.connection.text
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='none' approved='true'/>"))
    await alice.receives_nothing()  # the approval is not sent
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='none' ask='subscribe'/>"))
    await alice.receives(presence("subscribed", bob.bare, alice.bare))
    await alice.receives(push(f"<item jid='{bob.bare}' subscription='to'/>"))
    await alice.receives(f"<presence from='{bob.full}' to='{alice.bare}'/>")
    await alice.receives_nothing()
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='from' approved='true'/>"))
    await bob.receives_nothing()  # the request is not shown


async def test_pre_approval_is_cancelled(both):
    alice, bob = both
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await bob.sends(f"<presence type='unsubscribed' to='{alice.bare}'/>")
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='none' approved='true'/>"))
    await bob.receives(push(f"<item jid='{alice.bare}' subscription='none'/>"))
    await alice.receives_nothing()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await bob.receives(presence("subscribe", alice.bare, bob.bare))


async def test_probe_does_not_cancel_a_pre_approval(both):
    alice, bob = both
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await alice.sends(f"<presence type='probe' to='{bob.bare}'/>")
    await settled(bob.server)
    assert roster_of(await bob.asks(GET))[alice.bare][3] == "true"


# -- the odd ones


async def test_request_of_who_is_subscribed_already_is_answered_at_once(friends, log_in):
    alice, bob = friends
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await bob.receives_nothing()
    assert await subscriptions(alice, bob) == ["both", "both"]


async def test_subscribe_to_a_missing_account_looks_like_one_that_does_not_answer(alice):
    await alice.asks(GET)
    await alice.sends("<presence type='subscribe' to='nobody@example.org'/>")
    await alice.receives(push("<item jid='nobody@example.org' subscription='none' ask='subscribe'/>"))
    await alice.receives_nothing()


@pytest.mark.parametrize("exists", [True, False])
async def test_probe_during_a_request_tells_nothing_of_existence(alice, new_user, exists):
    if exists:
        await new_user("bob")
    await alice.asks(GET)
    await alice.sends("<presence type='subscribe' to='bob@example.org'/>")
    await alice.receives(push("<item jid='bob@example.org' subscription='none' ask='subscribe'/>"))
    await alice.sends("<presence type='probe' to='bob@example.org'/>")
    await settled(alice.server)
    await alice.receives(presence("unsubscribed", "bob@example.org", alice.bare))
    await alice.receives(push("<item jid='bob@example.org' subscription='none'/>"))
    await alice.receives_nothing()


async def test_subscribe_elsewhere_is_refused_with_the_reason(alice):
    await alice.sends("<presence type='subscribe' to='romeo@elsewhere.example' id='e1'/>")
    reply = await alice.receives("<presence type='error' id='e1' from='romeo@elsewhere.example'/>")
    assert condition(reply) == "remote-server-not-found"


@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
async def test_subscription_to_oneself_is_refused(alice, alice_phone, type):
    for client in (alice, alice_phone):
        await client.asks(GET)
    await alice.sends(f"<presence type='{type}' to='{alice_phone.full}'/>")
    assert condition(await alice.receives("<presence type='error'/>")) == "not-allowed"
    await alice.receives_nothing()
    await alice_phone.receives_nothing()


@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
async def test_subscription_stanza_without_address(alice, type):
    await alice.sends(f"<presence type='{type}'/>")
    assert condition(await alice.receives("<presence type='error'/>")) == "bad-request"


@pytest.mark.parametrize("type", ["unsubscribe", "unsubscribed"])
async def test_without_a_subscription_nothing_is_changed(both, type):
    alice, bob = both
    await alice.sends(f"<presence type='{type}' to='{bob.bare}'/>")
    await settled(alice.server)
    await bob.receives_nothing()
    assert await subscriptions(alice, bob) == ["", ""]


async def test_nobody_is_subscribed_by_an_unasked_approval(both):
    """A forged `subscribed` puts nobody into a list."""
    alice, bob = both
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await settled(bob.server)
    await alice.receives_nothing()
    assert await subscriptions(alice) == [""]


async def test_two_who_ask_each_other_at_once(both):
    alice, bob = both
    for round_ in range(2):
        type = ("subscribe", "subscribed")[round_]
        alice.connection.receive(f"<presence type='{type}' to='{bob.bare}'/>".encode())
        bob.connection.receive(f"<presence type='{type}' to='{alice.bare}'/>".encode())
        await alice.settles()
        await bob.settles()
    await settled(alice.server)
    alice.forget_received()
    bob.forget_received()
    assert await subscriptions(alice, bob) == ["both", "both"]


async def test_full_contact_list_refuses_a_request(both, actor):
    alice, bob = both
    await sync_to_async(registry.set_value)("roster.max_items", 1, actor=actor)
    await alice.asks(query("<item jid='x@example.org'/>"), type="set")
    alice.forget_received()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    assert condition(await alice.receives("<presence type='error'/>")) == "policy-violation"
    await bob.receives_nothing()


async def test_contact_that_is_deleted_leaves_without_subscription(friends, actor):
    alice, bob = friends
    user = await User.objects.aget(username="bob")
    await sync_to_async(services.delete_user)(user, actor=actor)
    await bob.is_disconnected("not-authorized")
    await settled(alice.server)
    await alice.receives_all(
        f"<presence type='unavailable' from='{bob.full}'/>",
        push(f"<item jid='{bob.bare}' subscription='none'/>"),
    )
    await alice.receives_nothing()
