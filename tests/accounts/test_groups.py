"""Groups: create, change, members, and that exactly the affected accounts are told."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from accounts import services
from accounts.audit import Actor
from accounts.models import AuditEntry, Group, Membership
from xmppd.bus.messages import SharedRostersChanged

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(make_user):
    return {name: make_user(name) for name in ("alice", "bob", "carol", "dave")}


@pytest.fixture
def told(heard, people, django_capture_on_commit_callbacks):
    """told(change) -> names of the accounts that were told to compute their shared contacts again."""
    names = {user.pk: name for name, user in people.items()}

    def run(change):
        heard.clear()
        with django_capture_on_commit_callbacks(execute=True):
            change()
        shared = [message for message in heard if isinstance(message, SharedRostersChanged)]
        assert len(shared) <= 1
        return " ".join(names[user_id] for message in shared for user_id in message.user_ids)

    return run


@pytest.fixture
def team(people, actor):
    group = services.create_group(name="team", sharing_mode="groups", display_name="Team", actor=actor)
    services.set_members(group, [people["alice"], people["bob"]], actor=actor)
    return group


def test_created_group_is_audited(domain, actor):
    group = services.create_group(name="  Büro  ", description="a\r\nb", actor=actor)
    assert (group.name, group.description) == ("Büro", "a\nb")
    assert AuditEntry.objects.get().after["name"] == "Büro"


@pytest.mark.parametrize("role", ["", "auditor", "room_moderator"])
def test_the_actor_needs_a_role_that_changes_groups(make_user, people, team, role):
    actor = Actor.of(make_user("eve", role=role), "console")
    membership = team.memberships.first()
    for write in (
        lambda: services.create_group(name="mine", actor=actor),
        lambda: services.update_group(team, name="mine", actor=actor),
        lambda: services.delete_group(team, actor=actor),
        lambda: services.add_member(team, people["carol"], actor=actor),
        lambda: services.add_members(team, [people["carol"]], actor=actor),
        lambda: services.remove_member(membership, actor=actor),
        lambda: services.set_admin(membership, True, actor=actor),
        lambda: services.set_members(team, [people["carol"]], actor=actor),
    ):
        with pytest.raises(PermissionDenied):
            write()
    team.refresh_from_db()
    assert (team.name, team.memberships.count()) == ("team", 2)
    assert Group.objects.count() == 1


def test_user_managers_change_groups(make_user, team, people):
    actor = Actor.of(make_user("max", role="user_manager"), "console")
    services.set_members(team, [people["carol"]], admins=[people["carol"]], actor=actor)
    services.add_member(team, people["dave"], is_admin=True, actor=actor)
    services.delete_group(services.create_group(name="mine", actor=actor), actor=actor)
    assert team.memberships.filter(is_admin=True).count() == 2


def test_name_is_needed_and_unique_in_the_domain(domain, actor):
    services.create_group(name="team", actor=actor)
    for name, code in (("", "required"), ("team", "taken")):
        with pytest.raises(ValidationError) as error:
            services.create_group(name=name, actor=actor)
        assert error.value.error_dict["name"][0].code == code
    other = services.create_group(name="other", actor=actor)
    with pytest.raises(ValidationError):
        services.update_group(other, name="team", actor=actor)


def test_shared_group_needs_a_name_for_contact_lists(domain, actor):
    with pytest.raises(ValidationError) as error:
        services.create_group(name="team", sharing_mode="everybody", actor=actor)
    assert list(error.value.error_dict) == ["display_name"]


def test_groups_of_another_domain_cannot_be_partners(domain, actor):
    other = services.create_domain(name="example.net", actor=actor)
    foreign = services.create_group(name="foreign", domain=other, actor=actor)
    with pytest.raises(ValidationError):
        services.create_group(
            name="team", sharing_mode="groups", display_name="T", shared_with=[foreign], actor=actor
        )


def test_member_by_user_name_or_jid_is_the_account(team, people, actor):
    services.add_member(team, "carol", actor=actor)
    services.add_member(team, "Dave@Example.org/phone", actor=actor)
    services.add_member(team, people["dave"], actor=actor)
    assert [m.user.username for m in team.memberships.order_by("id")] == ["alice", "bob", "carol", "dave"]


def test_remote_member_is_kept_by_its_bare_jid_once(team, actor):
    for text in ("Eve@Elsewhere.example/x", "eve@elsewhere.example"):
        services.add_member(team, text, actor=actor)
    assert team.memberships.get(user=None).remote_jid == "eve@elsewhere.example"


@pytest.mark.parametrize("text", ["nobody@example.org", "no body", "", "nobody"])
def test_member_that_does_not_exist_is_refused(team, actor, text):
    with pytest.raises(ValidationError) as error:
        services.add_member(team, text, actor=actor)
    assert list(error.value.error_dict) == ["member"]


def test_database_keeps_members_to_one_kind(team, people):
    from django.db import IntegrityError, transaction

    for wrong in (
        {"user": None, "remote_jid": ""},
        {"user": people["carol"], "remote_jid": "x@y"},
        {"user": people["alice"]},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Membership.objects.create(group=team, **wrong)


def test_joining_tells_those_who_see_the_group(team, people, actor, told):
    assert told(lambda: services.add_member(team, people["carol"], actor=actor)) == "alice bob carol"


def test_leaving_tells_those_who_stay_and_who_leaves(team, people, actor, told):
    membership = team.memberships.get(user=people["bob"])
    assert told(lambda: services.remove_member(membership, actor=actor)) == "alice bob"


def test_joining_a_group_that_is_not_shared_tells_nobody(people, actor, told):
    group = services.create_group(name="quiet", actor=actor)
    assert told(lambda: services.add_member(group, people["carol"], actor=actor)) == ""


def test_joining_a_listed_group_tells_both_sides(team, people, actor, told):
    staff = services.create_group(name="staff", actor=actor)
    services.update_group(team, shared_with=[staff], actor=actor)
    assert told(lambda: services.add_member(staff, people["carol"], actor=actor)) == "alice bob carol"


def test_making_somebody_admin_changes_no_contact_list(team, people, actor, told):
    membership = team.memberships.get(user=people["bob"])
    assert told(lambda: services.set_admin(membership, True, actor=actor)) == ""
    assert team.memberships.get(user=people["bob"]).is_admin


def test_sharing_tells_those_before_and_after(team, people, actor, told):
    assert (
        told(lambda: services.update_group(team, sharing_mode="everybody", actor=actor))
        == "alice bob carol dave"
    )
    assert (
        told(lambda: services.update_group(team, sharing_mode="nobody", actor=actor))
        == "alice bob carol dave"
    )


def test_new_display_name_tells_who_sees_it_and_a_description_nobody(team, actor, told):
    assert told(lambda: services.update_group(team, display_name="The Team", actor=actor)) == "alice bob"
    assert told(lambda: services.update_group(team, description="we", actor=actor)) == ""
    assert told(lambda: services.update_group(team, name="crew", actor=actor)) == ""


def test_deleting_tells_who_saw_it(team, actor, told):
    assert told(lambda: services.delete_group(team, actor=actor)) == "alice bob"
    assert not Group.objects.exists()
    assert not Membership.objects.exists()


def test_members_are_set_exactly(team, people, actor, told):
    def change():
        services.set_members(
            team, [people["bob"], "eve@elsewhere.example"], admins=[people["carol"]], actor=actor
        )

    assert told(change) == "alice bob carol"
    assert {(m.jid, m.is_admin) for m in team.memberships.all()} == {
        ("bob@example.org", False),
        ("carol@example.org", True),
        ("eve@elsewhere.example", False),
    }
    entry = AuditEntry.objects.filter(action="group-members-changed").latest("id")
    assert entry.before == {"removed": ["alice@example.org"]}
    assert entry.after == {"added": ["carol@example.org", "eve@elsewhere.example"]}
    assert told(change) == ""


def test_many_join_at_once(team, people, actor, told):
    everybody = list(people.values())
    assert told(lambda: services.add_members(team, everybody, actor=actor)) == "alice bob carol dave"
    assert services.add_members(team, everybody, actor=actor) == 0


def test_groups_are_found_with_their_counts(team, people, actor):
    services.add_member(team, people["carol"], is_admin=True, actor=actor)
    services.create_group(name="empty", description="nothing here", actor=actor)
    found = {group.name: (group.member_count, group.admin_count) for group in services.search_groups()}
    assert found == {"empty": (0, 0), "team": (3, 1)}
    assert [group.name for group in services.search_groups("NOTHING")] == ["empty"]
    assert [group.name for group in services.search_groups(user=people["bob"])] == ["team"]
    assert services.search_groups(user=people["bob"])[0].member_count == 3
