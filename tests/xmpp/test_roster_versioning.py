"""RFC 6121 2.6: roster versions; what a client missed comes as pushes, or as the whole list."""

import pytest
from asgiref.sync import sync_to_async

from accounts import services
from accounts.models import User
from tests.conversation import settled
from tests.xmpp.test_roster import GET, ROSTER, push, query, roster_of
from xmppd.services import roster as roster_service
from xmppd.services import roster_store


def get(ver: str) -> str:
    return f"<query xmlns='{ROSTER}' ver='{ver}'/>"


def version_of(reply) -> str:
    return next(reply.elements()).get("ver")


async def add(client, *names: str, **attrs: str) -> None:
    inner = "".join(f" {key}='{value}'" for key, value in attrs.items())
    for name in names:
        reply = await client.asks(query(f"<item jid='{name}@example.org'{inner}/>"), type="set")
        assert reply.get("type") == "result"


async def remove(client, name: str) -> None:
    await client.asks(query(f"<item jid='{name}@example.org' subscription='remove'/>"), type="set")


@pytest.fixture
async def filled(alice):
    """Alice with five contacts; gives her client and the version she knows."""
    await add(alice, "a", "b", "c", "d", "e")
    return alice, version_of(await alice.asks(get("")))


async def test_feature_is_announced_before_binding(alice):
    assert "<ver xmlns='urn:xmpp:features:rosterver'/>" in alice.connection.text


async def test_empty_version_gets_the_whole_list_and_its_version(alice):
    await add(alice, "a")
    reply = await alice.asks(get(""))
    assert list(roster_of(reply)) == ["a@example.org"]
    assert version_of(reply)


async def test_without_version_none_is_told(filled):
    alice, _ = filled
    reply = await alice.asks(GET)
    assert "ver" not in next(reply.elements()).attrs


async def test_known_version_gets_an_empty_result(filled):
    alice, ver = filled
    reply = await alice.asks(get(ver))
    assert reply.get("type") == "result"
    assert not list(reply.elements())
    await alice.receives_nothing()


async def test_changes_come_as_pushes_in_order_behind_an_empty_result(filled, log_in):
    alice, ver = filled
    await add(alice, "b", name="B")
    await remove(alice, "c")
    await add(alice, "f")
    await add(alice, "b", name="B again")
    phone = await log_in("alice@example.org/phone")
    await phone.sends(f"<iq type='get' id='g'>{get(ver)}</iq>")
    result = await phone.receives("<iq type='result' id='g'/>")
    assert not list(result.elements())
    got = [
        await phone.receives(push("<item jid='c@example.org' subscription='remove'/>")),
        await phone.receives(push("<item jid='f@example.org' subscription='none'/>")),
        await phone.receives(push("<item jid='b@example.org' name='B again' subscription='none'/>")),
    ]
    await phone.receives_nothing()
    versions = [int(version_of(each)) for each in got]
    assert versions == sorted(set(versions))
    assert int(ver) < versions[0]
    assert str(versions[-1]) == version_of(await alice.asks(get("")))


async def test_who_is_cut_off_between_two_pushes_gets_the_rest(filled, log_in):
    alice, ver = filled
    await add(alice, "a", name="A")
    await add(alice, "b", name="B")
    phone = await log_in("alice@example.org/phone")
    await phone.asks(get(ver))
    first = await phone.receives(push("<item jid='a@example.org' name='A' subscription='none'/>"))
    await phone.disconnects()
    phone = await log_in("alice@example.org/phone")
    await phone.asks(get(version_of(first)))
    await phone.receives(push("<item jid='b@example.org' name='B' subscription='none'/>"))
    await phone.receives_nothing()


async def test_added_and_removed_again_is_told_as_removed(filled, log_in):
    alice, ver = filled
    await add(alice, "x")
    await remove(alice, "x")
    phone = await log_in("alice@example.org/phone")
    assert not list((await phone.asks(get(ver))).elements())
    await phone.receives(push("<item jid='x@example.org' subscription='remove'/>"))
    await phone.receives_nothing()


async def test_removed_and_added_again_is_told_as_it_is(filled, log_in):
    alice, ver = filled
    await remove(alice, "a")
    await add(alice, "a", name="new")
    phone = await log_in("alice@example.org/phone")
    await phone.asks(get(ver))
    await phone.receives(push("<item jid='a@example.org' name='new' subscription='none'/>"))
    await phone.receives_nothing()


async def test_whole_list_where_it_is_the_shorter_answer(filled, log_in):
    alice, ver = filled
    for name in "abcde":
        await add(alice, name, name=name.upper())
    phone = await log_in("alice@example.org/phone")
    reply = await phone.asks(get(ver))
    assert [item[0] for item in roster_of(reply).values()] == ["A", "B", "C", "D", "E"]
    await phone.receives_nothing()


@pytest.mark.parametrize(
    "ver", ["0", "1", "99999999999", "9" * 40, "-1", "abc", "1-2-3", "&#x661;", "{ver}-feedbeef", "-"]
)
async def test_unknown_version_gets_the_whole_list(filled, ver):
    alice, known = filled
    reply = await alice.asks(get(ver.replace("{ver}", known)))
    assert len(roster_of(reply)) == 5
    assert version_of(reply) == known


async def test_version_older_than_the_log_of_removals(filled, log_in, monkeypatch):
    monkeypatch.setattr(roster_store, "KEPT_TOMBSTONES", 2)
    alice, ver = filled
    for name in ("a", "b", "c", "d"):
        await remove(alice, name)
    assert list(roster_of(await alice.asks(get(ver)))) == ["e@example.org"]


async def test_pushes_carry_growing_versions(filled):
    alice, ver = filled
    await add(alice, "a", name="A")
    await remove(alice, "b")
    first = await alice.receives(push("<item jid='a@example.org' name='A' subscription='none'/>"))
    second = await alice.receives(push("<item jid='b@example.org' subscription='remove'/>"))
    assert int(ver) < int(version_of(first)) < int(version_of(second))
    assert version_of(await alice.asks(get(""))) == version_of(second)


async def test_account_made_anew_does_not_know_versions_of_the_former_one(filled, new_user, actor, log_in):
    alice, ver = filled
    user = await User.objects.aget(username="alice")
    await sync_to_async(services.delete_user)(user, actor=actor)
    await alice.is_disconnected("not-authorized")
    alice = await log_in("alice@example.org/desktop")
    assert roster_of(await alice.asks(get(ver))) == {}


# -- contacts that groups share have no numbers; a fingerprint of them is part of the version


@pytest.fixture
async def shared(alice, new_user, actor):
    """Alice in a group with bob; gives the group, its membership services as coroutines."""
    bob = await new_user("bob", name="Bob")

    @sync_to_async
    def make():
        user = User.objects.get(username="alice")
        group = services.create_group(
            domain=user.domain, name="Staff", sharing_mode="groups", display_name="Staff", actor=actor
        )
        services.add_members(group, [user, bob], actor=actor)
        return group

    return await make()


async def test_shared_part_changes_the_version(server, shared, alice, actor):
    await settled(server)
    ver = version_of(await alice.asks(get("")))
    assert not list((await alice.asks(get(ver))).elements())
    await sync_to_async(services.delete_group)(shared, actor=actor)
    await settled(server)
    alice.forget_received()
    reply = await alice.asks(get(ver))
    assert roster_of(reply) == {}
    assert version_of(reply) != ver


async def test_own_changes_are_found_beside_the_shared_part(server, shared, alice):
    await settled(server)
    await add(alice, "a", "b", "c")
    ver = version_of(await alice.asks(get("")))
    await add(alice, "a", name="A")
    alice.forget_received()
    assert not list((await alice.asks(get(ver))).elements())
    got = await alice.receives(push("<item jid='a@example.org' name='A' subscription='none'/>"))
    assert version_of(got) != ver
    assert not list((await alice.asks(get(version_of(got)))).elements())


async def test_only_the_last_of_several_shared_pushes_says_the_new_version(
    server, alice, shared, new_user, actor
):
    await settled(server)
    ver = version_of(await alice.asks(get("")))
    users = [await new_user(name) for name in ("carol", "dave")]
    await sync_to_async(services.add_members)(shared, users, actor=actor)
    await settled(server)
    pushes = [await alice.next(), await alice.next()]
    assert version_of(pushes[0]) == ver
    assert version_of(pushes[1]) == version_of(await alice.asks(get(""))) != ver


async def test_console_write_is_part_of_the_versions(server, filled, actor):
    alice, ver = filled
    user = await User.objects.aget(username="alice")
    await sync_to_async(roster_service.admin_edit)(user, "a@example.org", "Console", [], None, actor=actor)
    await settled(server)
    got = await alice.receives(push("<item jid='a@example.org' name='Console' subscription='none'/>"))
    assert version_of(got) == version_of(await alice.asks(get("")))
    await alice.receives_nothing()
