"""The list of users: searched, filtered, sorted, paged."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.models import User
from accounts.services import UserFilters, search_users

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def users(make_user, actor):
    now = timezone.now()
    make_user("anna", name="Änne Müller", email="am@mail.example", role="admin")
    make_user("bert", name="Bert Meier")
    carla = make_user("carla", name="Carla Müller")
    make_user("50%_off", name="")
    services.lock_user(carla, actor=actor)
    for days, name in enumerate(("carla", "anna", "bert")):
        User.objects.filter(username=name).update(
            last_seen=now - timedelta(days=days), created=now - timedelta(days=10 - days)
        )


def found(*args, **kwargs):
    return [user.username for user in search_users(*args, **kwargs).users]


def test_all_by_user_name():
    assert found() == ["50%_off", "anna", "bert", "carla"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("ann", ["anna"]),
        ("MÜLLER", ["anna", "carla"]),
        ("müller carla", ["carla"]),
        ("mail.example", ["anna"]),
        ("%", ["50%_off"]),
        ("_", ["50%_off"]),
        ("nobody", []),
        ("änne", ["anna"]),
    ],
)
def test_words_are_found_in_every_script_and_case(query, names):
    assert found(query) == names


def test_changed_name_is_found_and_the_old_one_not(actor):
    services.update_user(User.objects.get(username="bert"), name="Berta Schulz", actor=actor)
    assert found("schulz") == ["bert"]
    assert found("meier") == []


def test_filters(actor, domain):
    group = services.create_group(name="team", actor=actor)
    services.add_member(group, "bert", actor=actor)
    assert found("", UserFilters(group_id=group.pk)) == ["bert"]
    assert found("", UserFilters(role="admin")) == ["anna"]
    assert found("", UserFilters(role="any")) == ["anna"]
    assert found("", UserFilters(role="")) == ["50%_off", "bert", "carla"]
    assert found("", UserFilters(is_locked=True)) == ["carla"]
    assert found("", UserFilters(is_locked=False)) == ["50%_off", "anna", "bert"]
    assert found("müller", UserFilters(is_locked=True, role="")) == ["carla"]
    ids = list(User.objects.filter(username__in=["anna", "carla"]).values_list("pk", flat=True))
    assert found("", UserFilters(ids=ids)) == ["anna", "carla"]
    assert found("", UserFilters(ids=[])) == []


def test_lock_that_has_ended_or_not_begun_does_not_count(actor):
    now = timezone.now()
    User.objects.filter(username="carla").update(
        locked_from=now - timedelta(2), locked_until=now - timedelta(1)
    )
    User.objects.filter(username="bert").update(locked_from=now + timedelta(1))
    assert found("", UserFilters(is_locked=True)) == []


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("-username", ["carla", "bert", "anna", "50%_off"]),
        ("-last_seen", ["carla", "anna", "bert", "50%_off"]),
        ("last_seen", ["50%_off", "bert", "anna", "carla"]),
        ("created", ["carla", "anna", "bert", "50%_off"]),
        ("no such column", ["50%_off", "anna", "bert", "carla"]),
    ],
)
def test_order(sort, names):
    assert found(sort=sort) == names


def test_pages():
    page = search_users(per_page=3, page=2)
    assert [user.username for user in page.users] == ["carla"]
    assert (page.number, page.pages, page.total, page.first, page.last) == (2, 2, 4, 4, 4)
    assert search_users(per_page=3, page=99).number == 2
    assert search_users(per_page=3, page=-1).number == 1
    nothing = search_users("nobody")
    assert (nothing.pages, nothing.first, nothing.last) == (1, 0, 0)


def test_users_of_another_domain_are_apart(make_user, actor):
    other = services.create_domain(name="example.net", actor=actor)
    make_user("zoe", domain=other)
    assert found("zoe") == []
    assert found("zoe", domain=other) == ["zoe"]


def test_a_page_costs_three_queries(django_assert_num_queries):
    with django_assert_num_queries(3):  # primary domain, count, page
        [user.jid for user in search_users("müller").users]
