"""Contact lists through groups, live: what clients see at once when members or sharing change."""

import pytest
from asgiref.sync import sync_to_async

from accounts import services
from accounts.models import Domain, Membership, User
from tests.conversation import settled
from tests.xmpp.test_roster import GET, condition, push, query, roster_of
from tests.xmpp.test_subscription import become_friends


class Groups:
    """The services as coroutines, by names."""

    def __init__(self, server, actor):
        self.server = server
        self.actor = actor

    async def _run(self, function, *args, **kwargs):
        result = await sync_to_async(function)(*args, actor=self.actor, **kwargs)
        await settled(self.server)
        return result

    async def create(self, name, *members, mode="groups", display="", shared_with=()):
        domain = await Domain.objects.aget(name="example.org")
        group = await self._run(
            services.create_group,
            name=name,
            domain=domain,
            sharing_mode=mode,
            display_name=display or name,
            shared_with=shared_with,
        )
        if members:
            await self.add(group, *members)
        return group

    async def add(self, group, *members):
        users = [user async for user in User.objects.filter(username__in=members)]
        assert len(users) == len(members)
        await self._run(services.add_members, group, users)

    async def remove(self, group, member):
        membership = await Membership.objects.aget(group=group, user__username=member)
        await self._run(services.remove_member, membership)

    async def update(self, group, **changes):
        await self._run(services.update_group, group, **changes)

    async def delete(self, group):
        await self._run(services.delete_group, group)


@pytest.fixture
def groups(server, actor):
    return Groups(server, actor)


@pytest.fixture
async def people(log_in):
    """Alice, Bob and Carol: interested and available."""
    clients = []
    for jid in ("alice@example.org/desktop", "bob@example.org/laptop", "carol@example.org/pad"):
        client = await log_in(jid)
        await client.asks(GET)
        await client.is_available()
        clients.append(client)
    return clients


def item(name: str, subscription: str = "both", *groups: str) -> str:
    inner = "".join(f"<group>{group}</group>" for group in groups or ("Staff",))
    return f"<item jid='{name}@example.org' name='{name}' subscription='{subscription}'>{inner}</item>"


async def test_member_added(groups, people):
    """Pushes first, then presence, with nobody asking for it."""
    alice, bob, carol = people
    staff = await groups.create("Staff", "alice")
    for client in people:
        await client.receives_nothing()
    await groups.add(staff, "bob")
    await alice.receives(push(item("bob")))
    await alice.receives(f"<presence from='{bob.full}'/>")
    await bob.receives(push(item("alice")))
    await bob.receives(f"<presence from='{alice.full}'/>")
    await carol.receives_nothing()
    await alice.sends("<presence><show>away</show></presence>")
    await bob.receives(f"<presence from='{alice.full}'><show>away</show></presence>")
    await bob.receives_nothing()
    assert roster_of(await alice.asks(GET))["bob@example.org"] == ("bob", "both", "", "", ("Staff",))


async def test_member_removed(groups, people):
    alice, bob, carol = people
    staff = await groups.create("Staff", "alice", "bob", "carol")
    for client in people:
        client.forget_received()
    await groups.remove(staff, "bob")
    for client in (alice, carol):
        await client.receives(push("<item jid='bob@example.org' subscription='remove'/>"))
        await client.receives(f"<presence type='unavailable' from='{bob.full}'/>")
    await bob.receives_all(
        *[push(f"<item jid='{name}@example.org' subscription='remove'/>") for name in ("alice", "carol")]
    )
    await bob.receives_all(
        *[f"<presence type='unavailable' from='{client.full}'/>" for client in (alice, carol)]
    )
    await bob.sends("<presence/>")
    await bob.receives(f"<presence from='{bob.full}'/>")
    for client in people:
        await client.receives_nothing()


async def test_group_deleted(groups, people):
    alice, bob, _ = people
    staff = await groups.create("Staff", "alice", "bob")
    for client in people:
        client.forget_received()
    await groups.delete(staff)
    await alice.receives(push("<item jid='bob@example.org' subscription='remove'/>"))
    await alice.receives(f"<presence type='unavailable' from='{bob.full}'/>")
    assert roster_of(await bob.asks(GET)) == {}


async def test_sharing_ends_and_begins(groups, people):
    alice, bob, _ = people
    staff = await groups.create("Staff", "alice", "bob", mode="nobody")
    for client in people:
        await client.receives_nothing()
    await groups.update(staff, sharing_mode="groups")
    await alice.receives(push(item("bob")))
    await alice.receives(f"<presence from='{bob.full}'/>")
    await groups.update(staff, sharing_mode="nobody")
    await alice.receives(push("<item jid='bob@example.org' subscription='remove'/>"))
    await alice.receives(f"<presence type='unavailable' from='{bob.full}'/>")


async def test_display_name(groups, people):
    alice, bob, _ = people
    staff = await groups.create("staff", "alice", "bob", display="Staff")
    for client in people:
        client.forget_received()
    await groups.update(staff, display_name="Everyone at work")
    await alice.receives(push(item("bob", "both", "Everyone at work")))
    await bob.receives(push(item("alice", "both", "Everyone at work")))
    for client in people:
        await client.receives_nothing()  # presence stays as it is


async def test_shared_with_another_group_is_one_sided(groups, people):
    """Rule 3: support sees staff; staff does not see support, but shows it its presence."""
    alice, bob, carol = people
    support = await groups.create("Support", "bob", mode="nobody")
    await groups.create("Staff", "alice", shared_with=[support])
    await bob.receives(push(item("alice", "to")))
    await bob.receives(f"<presence from='{alice.full}'/>")
    await alice.receives_nothing()
    assert roster_of(await alice.asks(GET)) == {}
    await alice.sends("<presence><show>dnd</show></presence>")
    await bob.receives(f"<presence from='{alice.full}'><show>dnd</show></presence>")
    await bob.sends("<presence><show>dnd</show></presence>")
    await alice.receives(f"<presence from='{alice.full}'/>")
    await alice.receives_nothing()
    await carol.receives_nothing()


async def test_who_sees_us_through_a_group_still_does_when_we_list_it(groups, people):
    alice, bob, _ = people
    support = await groups.create("Support", "bob", mode="nobody")
    await groups.create("Staff", "alice", shared_with=[support])
    bob.forget_received()
    await alice.asks(query("<item jid='bob@example.org' name='Bob from support'/>"), type="set")
    alice.forget_received()
    await alice.sends("<presence><show>dnd</show></presence>")
    await bob.receives(f"<presence from='{alice.full}'><show>dnd</show></presence>")
    await alice.asks(query("<item jid='bob@example.org' subscription='remove'/>"), type="set")
    await bob.receives_nothing()
    await alice.disconnects()
    await bob.receives(f"<presence type='unavailable' from='{alice.full}'/>")


async def test_shared_with_everybody(groups, people, log_in):
    alice, bob, carol = people
    await groups.create("Helpdesk", "alice", mode="everybody")
    for client in (bob, carol):
        await client.receives(push(item("alice", "to", "Helpdesk")))
        await client.receives(f"<presence from='{alice.full}'/>")
    await alice.receives_nothing()
    dave = await log_in("dave@example.org/new")  # an account made later
    assert list(roster_of(await dave.asks(GET))) == ["alice@example.org"]
    await dave.is_available()
    await dave.receives(f"<presence from='{alice.full}'/>")
    await dave.receives_nothing()
    await alice.disconnects()
    await dave.receives(f"<presence type='unavailable' from='{alice.full}'/>")


async def test_members_see_each_other_at_login(groups, people, log_in):
    alice, bob, carol = people
    await groups.create("Staff", "alice", "bob")
    await bob.disconnects()
    await settled(alice.server)
    alice.forget_received()
    bob = await log_in("bob@example.org/laptop")
    assert roster_of(await bob.asks(GET))["alice@example.org"][1] == "both"
    await bob.is_available()
    await bob.receives(f"<presence from='{alice.full}'/>")
    await alice.receives(f"<presence from='{bob.full}'/>")


async def test_member_who_is_away_when_it_is_added(groups, people, log_in):
    alice, bob, carol = people
    staff = await groups.create("Staff", "alice")
    await bob.disconnects()
    await groups.add(staff, "bob")
    await alice.receives(push(item("bob")))
    bob = await log_in("bob@example.org/laptop")
    assert list(roster_of(await bob.asks(GET))) == ["alice@example.org"]
    await bob.is_available()
    await bob.receives(f"<presence from='{alice.full}'/>")
    await alice.receives(f"<presence from='{bob.full}'/>")


async def test_pushes_go_to_interested_resources_only(groups, people, log_in):
    alice, bob, _ = people
    phone = await log_in("alice@example.org/phone")
    await groups.create("Staff", "alice", "bob")
    await phone.receives_nothing()


async def test_own_contact_joins_the_group(groups, people):
    """Rule 4: its own groups and those of the group together, subscribed both ways."""
    alice, bob, _ = people
    await alice.asks(
        query("<item jid='bob@example.org' name='Bobby'><group>Friends</group></item>"), type="set"
    )
    alice.forget_received()
    staff = await groups.create("Staff", "alice", "bob")
    joined = (
        "<item jid='bob@example.org' name='Bobby' subscription='both'>"
        "<group>Friends</group><group>Staff</group></item>"
    )
    await alice.receives(push(joined))
    await alice.receives(f"<presence from='{bob.full}'/>")
    await groups.remove(staff, "bob")
    await alice.receives(
        push("<item jid='bob@example.org' name='Bobby' subscription='none'><group>Friends</group></item>")
    )
    await alice.receives(f"<presence type='unavailable' from='{bob.full}'/>")


async def test_friends_stay_friends_without_the_group(groups, people):
    alice, bob, _ = people
    await become_friends(alice, bob)
    staff = await groups.create("Staff", "alice", "bob")
    await alice.receives(
        push("<item jid='bob@example.org' subscription='both' name='bob'><group>Staff</group></item>")
    )
    await alice.receives_nothing()  # he was seen before
    await groups.delete(staff)
    await alice.receives(push("<item jid='bob@example.org' subscription='both'/>"))
    await alice.receives_nothing()  # and is after


async def test_client_renames_a_shared_contact(groups, people):
    """Rule 5: it becomes an item of its own that keeps the shared groups."""
    alice, bob, _ = people
    staff = await groups.create("Staff", "alice", "bob")
    alice.forget_received()
    payload = query("<item jid='bob@example.org' name='Bobby'><group>Staff</group><group>Mine</group></item>")
    assert (await alice.asks(payload, type="set")).get("type") == "result"
    await alice.receives(
        push(
            "<item jid='bob@example.org' name='Bobby' subscription='both'>"
            "<group>Mine</group><group>Staff</group></item>"
        )
    )
    await groups.delete(staff)
    assert roster_of(await alice.asks(GET))["bob@example.org"] == ("Bobby", "none", "", "", ("Mine",))


async def test_client_cannot_remove_a_shared_contact(groups, people):
    """Rule 6."""
    alice, bob, _ = people
    await groups.create("Staff", "alice", "bob")
    alice.forget_received()
    bob.forget_received()
    payload = query("<item jid='bob@example.org' subscription='remove'/>")
    assert condition(await alice.asks(payload, type="set")) == "not-allowed"
    await alice.receives_nothing()
    await bob.receives_nothing()
    assert list(roster_of(await alice.asks(GET))) == ["bob@example.org"]


@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
async def test_subscription_stanzas_to_shared_contacts_have_no_effect(groups, people, type):
    """Rule 6."""
    alice, bob, _ = people
    await groups.create("Staff", "alice", "bob")
    alice.forget_received()
    bob.forget_received()
    await alice.sends(f"<presence type='{type}' to='{bob.bare}'/>")
    await settled(alice.server)
    await alice.receives_nothing()
    await bob.receives_nothing()
    assert roster_of(await alice.asks(GET))["bob@example.org"][1] == "both"


async def test_requests_between_members_reach_resources(groups, people):
    alice, bob, carol = people
    await groups.create("Staff", "alice", "bob")
    bob.forget_received()
    await alice.sends(f"<iq type='get' id='q' to='{bob.full}'><query xmlns='urn:x'/></iq>")
    await bob.receives(f"<iq type='get' id='q' from='{alice.full}'/>")
    await carol.sends(f"<iq type='get' id='q' to='{bob.full}'><query xmlns='urn:x'/></iq>")
    await bob.receives_nothing()


async def test_renamed_user_is_pushed(groups, people):
    alice, bob, _ = people
    await groups.create("Staff", "alice", "bob")
    alice.forget_received()
    user = await User.objects.aget(username="bob")
    await groups._run(services.update_user, user, name="Robert")
    await alice.receives(
        push("<item jid='bob@example.org' name='Robert' subscription='both'><group>Staff</group></item>")
    )
    await alice.receives_nothing()


async def test_deleted_member_disappears(groups, people):
    alice, bob, _ = people
    await groups.create("Staff", "alice", "bob")
    alice.forget_received()
    user = await User.objects.aget(username="bob")
    await groups._run(services.delete_user, user)
    await bob.is_disconnected("not-authorized")
    await alice.receives_all(
        f"<presence type='unavailable' from='{bob.full}'/>",
        push("<item jid='bob@example.org' subscription='remove'/>"),
    )
    await alice.receives_nothing()


async def test_several_changes_at_once_end_in_the_truth(server, groups, people, actor):
    """Services run on threads: whatever order the messages come in, memory is what is stored."""
    alice, bob, carol = people
    staff = await groups.create("Staff", "alice", mode="nobody")

    @sync_to_async
    def change():
        users = {user.username: user for user in User.objects.all()}
        services.update_group(staff, sharing_mode="groups", actor=actor)
        services.add_members(staff, [users["bob"], users["carol"]], actor=actor)
        services.remove_member(Membership.objects.get(group=staff, user=users["bob"]), actor=actor)
        services.update_group(staff, display_name="Team", actor=actor)

    await change()
    await settled(server)
    for client in people:
        client.forget_received()
    assert roster_of(await alice.asks(GET)) == {"carol@example.org": ("carol", "both", "", "", ("Team",))}
    assert roster_of(await bob.asks(GET)) == {}
    await carol.sends("<presence><show>away</show></presence>")
    await alice.receives(f"<presence from='{carol.full}'/>")
    await bob.receives_nothing()
