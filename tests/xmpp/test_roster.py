"""RFC 6121 2: the roster, its pushes and its limits."""

import pytest
from asgiref.sync import sync_to_async

from accounts import registry

ROSTER = "jabber:iq:roster"
GET = f"<query xmlns='{ROSTER}'/>"


def query(*items: str) -> str:
    return f"<query xmlns='{ROSTER}'>{''.join(items)}</query>"


def push(*items: str) -> str:
    return f"<iq type='set' id='{{any}}'><query xmlns='{ROSTER}' ver='{{any}}'>{''.join(items)}</query></iq>"


def error(condition: str, type: str) -> str:
    return f"<error type='{type}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def condition(reply) -> str:
    assert reply.get("type") == "error", reply
    found = next(reply.elements())
    return next(child.name for child in found.elements() if child.name != "text")


def roster_of(reply) -> dict[str, tuple]:
    """{jid: (name, subscription, ask, approved, groups)}"""
    assert reply.get("type") == "result", reply
    return {
        item.get("jid"): (
            item.get("name"),
            item.get("subscription"),
            item.get("ask"),
            item.get("approved"),
            tuple(group.text for group in item.elements()),
        )
        for item in next(reply.elements()).elements()
    }


@pytest.fixture
def setting(actor):
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


async def test_empty_roster(alice):
    await alice.sends(f"<iq type='get' id='r1'>{GET}</iq>")
    await alice.receives(
        f"<iq type='result' id='r1' from='alice@example.org' to='alice@example.org/desktop'>{GET}</iq>"
    )


async def test_get_without_id_is_answered_without_one(alice):
    """xmpp4r sends its roster query so."""
    await alice.sends(f"<iq type='get'>{GET}</iq>")
    reply = await alice.receives(f"<iq type='result'>{GET}</iq>")
    assert "id" not in reply.attrs


async def test_set_pushes_to_every_interested_resource_and_only_those(alice, alice_phone, log_in, bob):
    tablet = await log_in("alice@example.org/tablet")
    await tablet.is_available()  # available, but not interested
    for client in (alice, alice_phone):
        await client.asks(GET)
    payload = query("<item jid='bob@example.org' name='Bob'><group>Friends</group></item>")
    await alice.sends(f"<iq type='set' id='s1'>{payload}</iq>")
    wanted = push("<item jid='bob@example.org' name='Bob' subscription='none'><group>Friends</group></item>")
    await alice.receives_all(wanted, "<iq type='result' id='s1' from='alice@example.org'/>")
    got = await alice_phone.receives(wanted)
    assert got.get("from") in ("", "alice@example.org")
    assert got.get("to") == alice_phone.full
    for client in (alice, alice_phone, tablet, bob):
        await client.receives_nothing()


async def test_pushes_have_ids_of_their_own(alice, alice_phone):
    for client in (alice, alice_phone):
        await client.asks(GET)
    ids = []
    for name in ("a", "b"):
        await alice.asks(query(f"<item jid='{name}@example.org'/>"), type="set")
        for client in (alice, alice_phone):
            ids.append(
                (await client.receives(push(f"<item jid='{name}@example.org' subscription='none'/>"))).get(
                    "id"
                )
            )
    assert len(set(ids)) == 4


async def test_what_clients_answer_to_a_push_is_ignored(alice):
    await alice.asks(GET)
    await alice.asks(query("<item jid='bob@example.org'/>"), type="set")
    got = await alice.receives(push("<item jid='bob@example.org' subscription='none'/>"))
    await alice.sends(f"<iq type='result' id='{got.get('id')}'/>")
    await alice.sends(f"<iq type='error' id='{got.get('id')}'>{error('service-unavailable', 'cancel')}</iq>")
    await alice.receives_nothing()


async def test_set_replaces_the_whole_item_and_never_the_subscription(alice):
    await alice.asks(
        query("<item jid='bob@example.org' name='Bob'><group>A</group><group>B</group></item>"), type="set"
    )
    assert roster_of(await alice.asks(GET)) == {"bob@example.org": ("Bob", "none", "", "", ("A", "B"))}
    item = "<item jid='bob@example.org' subscription='both' ask='subscribe' approved='true'><group>C</group></item>"
    assert (await alice.asks(query(item), type="set")).get("type") == "result"
    assert roster_of(await alice.asks(GET)) == {"bob@example.org": ("", "none", "", "", ("C",))}


async def test_empty_name_is_no_name(alice):
    await alice.asks(query("<item jid='bob@example.org' name='Bob'/>"), type="set")
    await alice.asks(query("<item jid='bob@example.org' name=''/>"), type="set")
    assert roster_of(await alice.asks(GET)) == {"bob@example.org": ("", "none", "", "", ())}


async def test_addresses_are_prepared_and_bare(alice):
    await alice.asks(query("<item jid='BOB@Example.ORG/laptop'/>"), type="set")
    await alice.asks(query("<item jid='Proxy.Example.ORG'/>"), type="set")
    assert list(roster_of(await alice.asks(GET))) == ["bob@example.org", "proxy.example.org"]


async def test_items_come_in_a_steady_order(alice):
    names = [f"{letter}@example.org" for letter in "qwertyuiop"]
    for name in names:
        await alice.asks(query(f"<item jid='{name}'/>"), type="set")
    assert list(roster_of(await alice.asks(GET))) == names


async def test_special_characters_survive(alice):
    await alice.asks(
        query("<item jid='bob@example.org' name='&lt;&apos;&quot;&amp;'><group>R&amp;D ü</group></item>"),
        type="set",
    )
    assert roster_of(await alice.asks(GET)) == {"bob@example.org": ("<'\"&", "none", "", "", ("R&D ü",))}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (query(), "bad-request"),
        (query("<item jid='a@example.org'/>", "<item jid='b@example.org'/>"), "bad-request"),
        (query("<thing jid='a@example.org'/>"), "bad-request"),
        (query("<item xmlns='urn:other' jid='a@example.org'/>"), "bad-request"),
        (query("<item name='nobody'/>"), "bad-request"),
        (query("<item jid=''/>"), "bad-request"),
        (query("<item jid='a@example.org'><group>X</group><group>X</group></item>"), "bad-request"),
        (query("<item jid='a@@example.org'/>"), "jid-malformed"),
        (query("<item jid='@example.org'/>"), "jid-malformed"),
        (query(f"<item jid='{'a' * 1024}@example.org'/>"), "jid-malformed"),
        (query("<item jid='a@example.org'><group/></item>"), "not-acceptable"),
        (query(f"<item jid='a@example.org' name='{'n' * 1024}'/>"), "not-acceptable"),
        (query(f"<item jid='a@example.org'><group>{'g' * 1024}</group></item>"), "not-acceptable"),
        (query("<item jid='alice@example.org'/>"), "not-allowed"),
        (query("<item jid='Alice@example.org/phone'/>"), "not-allowed"),
        (query("<item jid='a@example.org' subscription='remove'/>"), "item-not-found"),
    ],
)
async def test_refused_sets(alice, payload, expected):
    await alice.asks(GET)
    assert condition(await alice.asks(payload, type="set")) == expected
    await alice.receives_nothing()
    assert roster_of(await alice.asks(GET)) == {}


async def test_number_of_items_is_limited(alice, setting):
    await setting("roster.max_items", 2)
    for name in ("a", "b"):
        assert (await alice.asks(query(f"<item jid='{name}@example.org'/>"), type="set")).get(
            "type"
        ) == "result"
    assert condition(await alice.asks(query("<item jid='c@example.org'/>"), type="set")) == "policy-violation"
    assert (await alice.asks(query("<item jid='b@example.org' name='B'/>"), type="set")).get(
        "type"
    ) == "result"
    assert list(roster_of(await alice.asks(GET))) == ["a@example.org", "b@example.org"]


async def test_number_of_groups_is_limited(alice, setting):
    await setting("roster.max_groups", 2)
    item = "<item jid='a@example.org'><group>1</group><group>2</group><group>3</group></item>"
    assert condition(await alice.asks(query(item), type="set")) == "not-acceptable"


@pytest.mark.parametrize("to", ["bob@example.org", "nobody@example.org"])
@pytest.mark.parametrize("type", ["get", "set"])
async def test_roster_of_another_is_forbidden(alice, bob, to, type):
    """RFC 6121 2.3.3; who exists is not told by it."""
    payload = GET if type == "get" else query("<item jid='mallory@example.org'/>")
    assert condition(await alice.asks(payload, type=type, to=to)) == "forbidden"
    assert roster_of(await bob.asks(GET)) == {}


async def test_own_bare_address_is_the_same_as_none(alice):
    assert (await alice.asks(query("<item jid='bob@example.org'/>"), type="set", to=alice.bare)).get(
        "type"
    ) == "result"
    assert list(roster_of(await alice.asks(GET, to=alice.bare))) == ["bob@example.org"]


async def test_the_domain_has_no_roster(alice):
    assert condition(await alice.asks(GET, to="example.org")) == "service-unavailable"


async def test_removal_is_pushed(alice, alice_phone):
    await alice.asks(query("<item jid='bob@example.org' name='Bob'/>"), type="set")
    for client in (alice, alice_phone):
        await client.asks(GET)
    reply = await alice.asks(query("<item jid='bob@example.org' subscription='remove'/>"), type="set")
    assert reply.get("type") == "result"
    for client in (alice, alice_phone):
        await client.receives(push("<item jid='bob@example.org' subscription='remove'/>"))
        await client.receives_nothing()
    assert roster_of(await alice.asks(GET)) == {}


async def test_a_forged_push_is_no_push(alice, bob):
    """CVE-2015-8688 and its family: clients trust `from`, so it is always the true one."""
    await alice.asks(GET)
    payload = query("<item jid='mallory@example.org' subscription='both'/>")
    assert condition(await bob.asks(payload, type="set", to=alice.full)) == "service-unavailable"
    await alice.receives_nothing()


async def test_requests_are_never_items(alice, bob):
    await alice.asks(GET)
    await bob.sends("<presence type='subscribe' to='alice@example.org'/>")
    assert roster_of(await alice.asks(GET)) == {}


async def test_writes_of_two_resources_at_once_all_arrive_in_one_order(alice, alice_phone):
    for client in (alice, alice_phone):
        await client.asks(GET)
    for number in range(5):
        for client in (alice, alice_phone):
            name = f"{client.jid.resource}{number}@example.org"
            payload = query(f"<item jid='{name}'/>")
            client.connection.receive(f"<iq type='set' id='w{number}'>{payload}</iq>".encode())
    for client in (alice, alice_phone):
        await client.settles()
    orders, versions = [], []
    for client in (alice, alice_phone):
        pushes = [got for got in client.connection.received if got.get("type") == "set"]
        orders.append([next(next(got.elements()).elements()).get("jid") for got in pushes])
        versions.append([int(next(got.elements()).get("ver")) for got in pushes])
        client.forget_received()
    assert orders[0] == orders[1]
    assert len(orders[0]) == 10
    assert versions[0] == versions[1] == sorted(set(versions[0]))
    assert len(roster_of(await alice.asks(GET))) == 10
