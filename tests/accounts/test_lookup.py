"""Accounts and domains by id, JID and name."""

import pytest

from accounts import services
from accounts.models import Domain

pytestmark = pytest.mark.django_db


def test_accounts_are_found_by_what_others_know_of_them(make_user):
    alice = make_user("alice")
    assert services.user_by_id(alice.pk) == alice
    assert services.user_by_jid("Alice@EXAMPLE.org/phone") == alice
    assert services.user_by_username(" Alice ") == alice
    assert services.user_by_id(alice.pk + 1) is None
    for text in ("bob@example.org", "alice@elsewhere.example", "@@", "alice", ""):
        assert services.user_by_jid(text) is None
    assert services.user_by_username("a@b") is None


def test_ids_of_many(make_user):
    alice, bob = make_user("alice"), make_user("bob")
    jids = ["bob@example.org", "alice@elsewhere.example", "example.org", "alice@example.org", ""]
    assert services.user_ids_by_jid(jids) == {"bob@example.org": bob.pk, "alice@example.org": alice.pk}


def test_groups_of_many_in_one_query(make_user, actor, django_assert_num_queries):
    people = [make_user(name) for name in ("alice", "bob", "carol")]
    for name in ("zoo", "ark"):
        group = services.create_group(name=name, actor=actor)
        services.add_members(group, people[:2] if name == "zoo" else people[:1], actor=actor)
        services.add_member(group, "stranger@elsewhere.example", actor=actor)
    with django_assert_num_queries(1):
        found = services.groups_of(people)
        assert [[group.name for group in found[user.pk]] for user in people] == [["ark", "zoo"], ["zoo"], []]


def test_domains(domain):
    Domain.objects.create(name="a.example")
    assert services.domain_named("example.org") == domain
    assert services.domain_named("b.example") is None
    assert services.domain_names() == ["example.org", "a.example"]
