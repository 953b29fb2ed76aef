"""Shared groups in contact lists: each rule of Openfire's sharing, seen from both ends."""

import pytest

from accounts import services, sharing

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(make_user):
    return {name: make_user(name) for name in ("alice", "bob", "carol", "dave")}


@pytest.fixture
def make_group(domain, actor, people):
    def make(name, members="", *, mode="nobody", shared_with=(), admins=""):
        group = services.create_group(
            name=name,
            sharing_mode=mode,
            display_name=name.title() if mode != "nobody" else "",
            shared_with=shared_with,
            actor=actor,
        )
        for member in members.split():
            services.add_member(group, people.get(member, member), is_admin=member in admins, actor=actor)
        return group

    return make


@pytest.fixture
def sees(people):
    """sees("alice") -> {"bob": "both"}"""

    def look(name):
        contacts = sharing.shared_contacts(people[name].pk)
        return {jid.removesuffix("@example.org"): contact.subscription for jid, contact in contacts.items()}

    return look


def test_members_of_a_group_shared_with_its_members_see_each_other(make_group, sees):
    make_group("team", "alice bob", mode="groups")
    assert sees("alice") == {"bob": "both"}
    assert sees("bob") == {"alice": "both"}
    assert sees("carol") == {}


def test_group_that_is_not_shared_shows_nobody(make_group, sees):
    make_group("team", "alice bob")
    assert sees("alice") == {}


def test_all_users_see_the_members_of_a_public_group(make_group, sees):
    make_group("help", "alice", mode="everybody")
    assert sees("bob") == {"alice": "to"}
    assert sees("alice") == {"bob": "from", "carol": "from", "dave": "from"}


def test_admin_of_a_group_counts_as_a_member(make_group, sees):
    make_group("team", "alice bob", mode="groups", admins="bob")
    assert sees("bob") == {"alice": "both"}
    assert sees("alice") == {"bob": "both"}


def test_members_of_a_listed_group_see_the_group(make_group, sees):
    staff = make_group("staff", "carol")
    make_group("team", "alice bob", mode="groups", shared_with=[staff])
    assert sees("carol") == {"alice": "to", "bob": "to"}
    assert sees("alice") == {"bob": "both", "carol": "from"}


def test_listing_is_one_level_deep(make_group, sees):
    top = make_group("top", "dave")
    staff = make_group("staff", "carol", mode="groups", shared_with=[top])
    make_group("team", "alice", mode="groups", shared_with=[staff])
    assert sees("carol") == {"alice": "to", "dave": "from"}
    assert sees("dave") == {"carol": "to"}


def test_both_when_the_groups_of_two_contacts_are_public(make_group, sees):
    make_group("help", "alice", mode="everybody")
    make_group("sales", "bob", mode="everybody")
    assert sees("alice")["bob"] == "both"
    assert sees("bob")["alice"] == "both"


def test_both_when_each_group_lists_the_other(make_group, sees, actor):
    left = make_group("left", "alice", mode="groups")
    right = make_group("right", "bob", mode="groups", shared_with=[left])
    services.update_group(left, shared_with=[right], actor=actor)
    assert sees("alice") == {"bob": "both"}
    assert sees("bob") == {"alice": "both"}


def test_both_when_each_lists_some_group_the_other_is_in(make_group, sees):
    of_alice, of_bob = make_group("a", "alice"), make_group("b", "bob")
    make_group("left", "alice", mode="groups", shared_with=[of_bob])
    make_group("right", "bob", mode="groups", shared_with=[of_alice])
    assert sees("alice") == {"bob": "both"}
    assert sees("bob") == {"alice": "both"}


def test_both_when_one_group_is_public_and_the_other_lists_it(make_group, sees):
    help_ = make_group("help", "alice", mode="everybody")
    make_group("team", "bob", mode="groups", shared_with=[help_])
    assert sees("alice")["bob"] == "both"
    assert sees("bob")["alice"] == "both"


def test_implicit_contacts_stand_in_no_group(make_group, people):
    staff = make_group("staff", "carol")
    make_group("team", "alice", mode="groups", shared_with=[staff])
    watcher = sharing.shared_contacts(people["alice"].pk)["carol@example.org"]
    assert watcher.implicit
    assert watcher.groups == ()
    shown = sharing.shared_contacts(people["carol"].pk)["alice@example.org"]
    assert not shown.implicit
    assert shown.groups == ("Team",)


def test_contact_in_two_visible_groups_stands_in_both(make_group, people):
    make_group("team", "alice bob", mode="groups")
    make_group("friends", "alice bob", mode="groups")
    contact = sharing.shared_contacts(people["alice"].pk)["bob@example.org"]
    assert contact.groups == ("Friends", "Team")


def test_nickname_is_the_name_of_the_user_or_the_user_name(make_group, people, actor):
    make_group("team", "alice bob carol", mode="groups")
    services.update_user(people["bob"], name="Bob B.", actor=actor)
    contacts = sharing.shared_contacts(people["alice"].pk)
    assert contacts["bob@example.org"].name == "Bob B."
    assert contacts["carol@example.org"].name == "carol"


def test_remote_member_is_a_contact_of_the_members(make_group, sees):
    make_group("team", "alice eve@elsewhere.example", mode="groups")
    assert sees("alice") == {"eve@elsewhere.example": "both"}


def test_remote_member_of_a_public_group_watches_those_of_another(make_group, sees):
    make_group("help", "alice", mode="everybody")
    make_group("partners", "eve@elsewhere.example", mode="everybody")
    assert sees("alice")["eve@elsewhere.example"] == "both"
    assert sees("bob")["eve@elsewhere.example"] == "to"


def test_without_everybody_the_domain_is_not_listed_but_mutual_contacts_stay(make_group, people):
    make_group("help", "alice bob", mode="everybody")
    contacts = sharing.shared_contacts(people["alice"].pk, everybody=False)
    assert {jid: c.subscription for jid, c in contacts.items()} == {"bob@example.org": "both"}
    assert sharing.is_public(people["alice"].pk)
    assert not sharing.is_public(people["carol"].pk)


def test_account_that_does_not_exist_has_no_contacts(domain):
    assert sharing.shared_contacts(4711) == {}


def test_number_of_queries_does_not_grow_with_the_groups(make_group, people, django_assert_max_num_queries):
    for number in range(20):
        make_group(f"team{number}", "alice bob carol", mode="groups")
    with django_assert_max_num_queries(6):
        sharing.shared_contacts(people["alice"].pk)


# --- whom a change concerns ---


def ids(people, names):
    return {people[name].pk for name in names.split()}


def test_a_group_that_is_not_shared_concerns_nobody(make_group):
    assert sharing.affected_users(make_group("team", "alice bob")) == set()


def test_a_group_concerns_its_members_and_those_of_listed_groups(make_group, people):
    staff = make_group("staff", "carol")
    team = make_group("team", "alice", mode="groups", shared_with=[staff])
    assert sharing.affected_users(team) == ids(people, "alice carol")


def test_a_public_group_concerns_all_users(make_group, people):
    team = make_group("team", "alice", mode="everybody")
    assert sharing.affected_users(team) == ids(people, "alice bob carol dave")


def test_joining_a_listed_group_concerns_the_members_of_the_group_that_lists_it(make_group, people):
    staff = make_group("staff", "carol")
    make_group("team", "alice", mode="groups", shared_with=[staff])
    assert sharing.affected_by_members(staff, [people["carol"].pk]) == ids(people, "alice carol")
    assert sharing.affected_by_members(staff, [people["dave"].pk]) == ids(people, "alice dave")
