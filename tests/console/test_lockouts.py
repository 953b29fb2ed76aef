"""The page of those who have to wait before they may sign in again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services, throttle
from accounts.models import AuditEntry, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def waiting(make_user: Callable[..., Any]) -> User:
    """juliet waits at one address, a name that is no account at another, and so does that whole address."""
    juliet: User = make_user("juliet")
    for _n in range(throttle.MAX_PER_PAIR.value):
        throttle.failed("juliet@example.org", "192.0.2.7")
    for _n in range(throttle.MAX_PER_ADDRESS.value):
        throttle.failed('"><svg>@example.org', "2001:db8::1")
    return juliet


def test_nobody_waits(owner_client: Client) -> None:
    assert "Nobody has to wait" in owner_client.get(reverse("lockouts")).content.decode()


def test_who_waits_where_and_until_when(owner_client: Client, waiting: User) -> None:
    response = owner_client.get(reverse("lockouts"))
    html = response.content.decode()
    assert len(response.context["page"].object_list) == 3
    assert reverse("user", args=[waiting.pk]) in html
    assert "No such account" in html
    assert "Everybody at this address" in html
    assert "2001:db8::/64" in html
    assert '"><svg>' not in html
    assert len(owner_client.get(reverse("lockouts"), {"q": "JULIET"}).context["page"].object_list) == 1
    assert "No lock-out matches" in owner_client.get(reverse("lockouts"), {"q": "romeo"}).content.decode()


def test_ending_one_lets_try_again_and_is_audited(owner_client: Client, owner: User, waiting: User) -> None:
    with pytest.raises(services.LoginRefused):
        services.may_try(account=waiting.jid, address="192.0.2.7", mechanism="PLAIN", service="c2s")
    data = {"account": waiting.jid, "address": "192.0.2.7"}
    response = owner_client.post(reverse("lockout-end"), data, follow=True)
    assert "juliet@example.org may try to sign in again at once." in response.content.decode()
    services.may_try(account=waiting.jid, address="192.0.2.7", mechanism="PLAIN", service="c2s")
    row = AuditEntry.objects.get(action="login-unblocked")
    assert (row.actor, row.target, row.detail) == (owner.jid, waiting.jid, "192.0.2.7")
    # Once more: it is over already, and nothing is written.
    assert (
        "has ended already" in owner_client.post(reverse("lockout-end"), data, follow=True).content.decode()
    )
    assert AuditEntry.objects.filter(action="login-unblocked").count() == 1


def test_a_whole_network_can_be_let_in(owner_client: Client, waiting: User) -> None:
    owner_client.post(reverse("lockout-end"), {"account": "", "address": "2001:db8::/64"})
    assert throttle.check("romeo@example.org", "2001:db8::5") == 0
    assert AuditEntry.objects.get(action="login-unblocked").target == "2001:db8::/64"


def test_auditors_look_only(auditor_client: Client, waiting: User) -> None:
    html = auditor_client.get(reverse("lockouts")).content.decode()
    assert "192.0.2.7" in html
    assert "End now" not in html
    assert auditor_client.post(reverse("lockout-end"), {"account": waiting.jid}).status_code == 403
    assert throttle.check(waiting.jid, "192.0.2.7") > 0


def test_others_do_not_see_it(browse: Callable[..., Client], make_user: Callable[..., Any]) -> None:
    client = browse(make_user("helper", role="user_manager"))
    assert client.get(reverse("lockouts")).status_code == 403
