"""Many users at once: who may tick whom, the page that asks, what is done, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import AuditEntry, Group, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(owner: User, make_user: Callable[..., Any]) -> list[User]:
    return [make_user(name) for name in ("anna", "berta", "carl")]


def address(action: str, users: list[User], **more: str) -> str:
    ticks = "&".join([f"users={user.pk}" for user in users] + [f"{k}={v}" for k, v in more.items()])
    return reverse("users-bulk", args=[action]) + "?" + ticks


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def ticks(response: Any) -> list[str]:
    return re.findall(r'name="users" value="(\d+)"', response.content.decode())


def test_the_list_has_a_tick_for_everybody_but_oneself(
    owner_client: Client, owner: User, people: list[User]
) -> None:
    response = owner_client.get(reverse("users"))
    assert ticks(response) == [str(user.pk) for user in people]
    html = response.content.decode()
    for action in ("lock", "unlock", "group", "delete"):
        assert f'formaction="{reverse("users-bulk", args=[action])}"' in html
    assert html.count(' form="bulk" checked') == 0
    everything = owner_client.get(reverse("users"), {"tick": "page"}).content.decode()
    assert everything.count(' form="bulk" checked') == len(people)


def test_auditors_see_no_ticks(auditor_client: Client, people: list[User]) -> None:
    response = auditor_client.get(reverse("users"))
    assert ticks(response) == []
    assert 'id="bulk"' not in response.content.decode()
    assert auditor_client.get(address("lock", people)).status_code == 403
    assert auditor_client.post(address("lock", people)).status_code == 403


def test_user_managers_tick_only_whom_they_manage(
    browse: Callable[..., Client], make_user: Callable[..., Any], people: list[User], owner: User
) -> None:
    client = browse(make_user("helper", role="user_manager"))
    assert ticks(client.get(reverse("users"))) == [str(user.pk) for user in people]
    response = client.get(address("delete", [owner, *people]))
    assert "1 ticked user is left out" in response.content.decode()
    client.post(address("delete", [owner, *people]), {"confirm": "3"})
    assert User.objects.filter(pk=owner.pk).exists()
    assert not User.objects.filter(username="anna").exists()


def test_nothing_happens_before_the_question_is_answered(owner_client: Client, people: list[User]) -> None:
    before = AuditEntry.objects.count()
    for action in ("lock", "unlock", "group", "delete"):
        response = owner_client.get(address(action, people))
        assert response.status_code == 200
        assert "anna@example.org" in response.content.decode()
    assert AuditEntry.objects.count() == before


def test_locking_and_unlocking(owner_client: Client, people: list[User]) -> None:
    back = address("lock", people[:2], back="status%3Dlocked")
    response = owner_client.post(back, {"duration": "1d", "reason": "spam"}, follow=True)
    assert "2 users are locked." in said(response)
    assert response.request["QUERY_STRING"] == "status=locked"
    anna = User.objects.get(username="anna")
    assert anna.is_locked()
    assert anna.locked_until
    assert anna.lock_reason == "spam"
    response = owner_client.post(address("unlock", people), follow=True)
    assert "2 users can sign in again." in said(response)
    assert "1 user did not need a change." in said(response)
    assert not User.objects.get(username="anna").is_locked()
    assert AuditEntry.objects.filter(action="user-unlocked").count() == 2


def test_adding_to_a_group(owner_client: Client, people: list[User], actor: Any) -> None:
    group = services.create_group(name="Design", actor=actor)
    services.add_member(group, people[0], actor=actor)
    response = owner_client.post(address("group", people), {"group": group.pk}, follow=True)
    assert "Added 2 members." in said(response)
    assert "1 user did not need a change." in said(response)
    assert group.memberships.count() == 3
    response = owner_client.post(address("group", people), {"group": "0"})
    assert "Choose a group." in response.content.decode()


def test_adding_to_a_group_needs_the_right_to_change_groups(
    owner_client: Client, people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    can = User.can
    monkeypatch.setattr(User, "can", lambda user, name: name != "groups.change" and can(user, name))
    assert owner_client.get(address("group", people)).status_code == 403
    assert "Add to a group" not in owner_client.get(reverse("users")).content.decode()


def test_deleting_asks_for_the_count(owner_client: Client, people: list[User]) -> None:
    response = owner_client.post(address("delete", people), {"confirm": "2"})
    assert response.status_code == 422
    assert User.objects.filter(username="anna").exists()
    response = owner_client.post(address("delete", people), {"confirm": "3"}, follow=True)
    assert "3 users are deleted." in said(response)
    assert not User.objects.filter(username__in=["anna", "berta", "carl"]).exists()
    assert AuditEntry.objects.filter(action="user-deleted").count() == 3


def test_what_is_refused_for_one_is_told_and_does_not_hinder_the_others(
    owner_client: Client, people: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core.exceptions import ValidationError

    lock = services.lock_user

    def refuse_berta(user: User, **kwargs: Any) -> User:
        if user.username == "berta":
            raise ValidationError("She is <needed>.")
        return lock(user, **kwargs)

    monkeypatch.setattr(services, "lock_user", refuse_berta)
    response = owner_client.post(address("lock", people), {"duration": "forever", "reason": ""}, follow=True)
    assert "2 users are locked." in said(response)
    assert "Refused for 1 user: berta@example.org: She is &lt;needed&gt;." in said(response)


def test_oneself_is_left_out(owner_client: Client, owner: User) -> None:
    response = owner_client.post(address("lock", [owner]), {"duration": "forever"}, follow=True)
    assert "Tick the users first." in said(response)
    assert not User.objects.get(pk=owner.pk).is_locked()


@pytest.mark.parametrize(
    "query", ["users=x", "users=999999999999999999999", "users=0", "", "back=%0d%0aX: y"]
)
def test_odd_addresses_lead_back(owner_client: Client, query: str) -> None:
    response = owner_client.get(reverse("users-bulk", args=["lock"]) + "?" + query)
    assert response.status_code == 302
    assert response.headers["Location"].startswith(reverse("users"))
    assert owner_client.get(reverse("users-bulk", args=["explode"])).status_code == 404
    assert Group.objects.count() == 0
