"""The contact list of a user in the console: own and shared contacts, written on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import AuditEntry, User
from xmppd.bus.messages import RosterChanged
from xmppd.services import roster

pytestmark = pytest.mark.django_db


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet", name="Juliet")


@pytest.fixture
def romeo(make_user: Callable[..., Any]) -> User:
    return make_user("romeo", name="Romeo")


def items(user: User) -> dict[str, Any]:
    return roster.load(user.pk).items


def page(client: Client, user: User, **query: Any) -> Any:
    return client.get(reverse("user-contacts", args=[user.pk]), query)


def shown(response: Any) -> list[str]:
    return [entry.item.jid for entry, _known in response.context["rows"]]


def test_add_by_user_name_gives_both_sides_and_a_push(
    owner_client: Client, juliet: User, romeo: User, heard: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    data = {"contact": "romeo", "name": "Romy", "groups": "Friends, Verona, Friends", "subscription": ""}
    with django_capture_on_commit_callbacks(execute=True):
        response = owner_client.post(reverse("user-contact-add", args=[juliet.pk]), data)
    assert response.headers["Location"] == reverse("user-contacts", args=[juliet.pk])
    item = items(juliet)[romeo.jid]
    assert (item.name, item.groups, item.subscription) == ("Romy", ("Friends", "Verona"), "both")
    assert items(romeo)[juliet.jid].subscription == "both"
    assert {m.user_id for m in heard if isinstance(m, RosterChanged)} == {juliet.pk, romeo.pk}
    assert AuditEntry.objects.get(action="roster-item-added").actor == "boss@example.org"


def test_add_an_address_elsewhere(owner_client: Client, juliet: User) -> None:
    data = {"contact": "romeo@montague.example", "subscription": "", "another": "1"}
    response = owner_client.post(reverse("user-contact-add", args=[juliet.pk]), data)
    assert response.headers["Location"] == reverse("user-contact-add", args=[juliet.pk])
    assert items(juliet)["romeo@montague.example"].subscription == "none"


@pytest.mark.parametrize("contact", ["", "@", "juliet@example.org", "romeo@example.org"])
def test_what_add_refuses(owner_client: Client, juliet: User, romeo: User, actor: Any, contact: str) -> None:
    roster.admin_add(juliet, romeo.jid, actor=actor)
    response = owner_client.post(
        reverse("user-contact-add", args=[juliet.pk]), {"contact": contact, "subscription": ""}
    )
    assert response.status_code == 422
    assert "contact" in response.context["form"].errors
    assert list(items(juliet)) == [romeo.jid]


def test_edit_writes_both_sides(owner_client: Client, juliet: User, romeo: User, actor: Any) -> None:
    roster.admin_add(juliet, romeo.jid, "Romy", ["Verona"], actor=actor)
    url = reverse("user-contact-edit", args=[juliet.pk]) + f"?jid={romeo.jid}"
    assert 'value="Romy"' in owner_client.get(url).content.decode()
    owner_client.post(url, {"name": "", "groups": "", "subscription": "to"})
    item = items(juliet)[romeo.jid]
    assert (item.name, item.groups, item.subscription) == ("", (), "to")
    assert items(romeo)[juliet.jid].subscription == "from"


def test_a_waiting_request_survives_a_new_nickname(owner_client: Client, juliet: User) -> None:
    contact = "romeo@montague.example"
    roster.set_item(juliet.pk, contact, "", [])
    roster.outgoing(juliet.pk, contact, "subscribe")
    url = reverse("user-contact-edit", args=[juliet.pk]) + f"?jid={contact}"
    owner_client.post(url, {"name": "Romy", "groups": "", "subscription": "none"})
    item = items(juliet)[contact]
    assert (item.name, item.ask) == ("Romy", True)


def test_remove(owner_client: Client, juliet: User, romeo: User, actor: Any) -> None:
    roster.admin_add(juliet, romeo.jid, actor=actor)
    url = reverse("user-contact-remove", args=[juliet.pk]) + f"?jid={romeo.jid}"
    assert owner_client.get(url).status_code == 200
    assert romeo.jid in items(juliet)
    owner_client.post(url)
    assert items(juliet) == {}
    assert items(romeo)[juliet.jid].subscription == "none"
    assert owner_client.get(url).status_code == 404


def test_shared_contacts_are_shown_and_locked(
    owner_client: Client, juliet: User, romeo: User, domain: Any, actor: Any, make_user: Any
) -> None:
    own = make_user("nurse")
    roster.admin_add(juliet, own.jid, actor=actor)
    group = services.create_group(
        name="House", domain=domain, sharing_mode="groups", display_name="The house", actor=actor
    )
    services.add_members(group, [juliet, romeo], actor=actor)
    response = page(owner_client, juliet)
    assert shown(response) == [own.jid, romeo.jid]
    html = response.content.decode()
    assert "The house" in html
    assert f"edit/?jid={own.jid.replace('@', '%40')}" in html
    assert f"jid={romeo.jid.replace('@', '%40')}" not in html
    for name in ("user-contact-edit", "user-contact-remove"):
        url = reverse(name, args=[juliet.pk]) + f"?jid={romeo.jid}"
        assert owner_client.get(url).status_code == 404
        owner_client.post(url, {"name": "x", "subscription": "none"})
    assert romeo.jid in shown(page(owner_client, juliet))


def test_search_and_kind(owner_client: Client, juliet: User, actor: Any, make_user: Any) -> None:
    for number in range(60):
        roster.admin_add(
            juliet, f"friend{number:02}@elsewhere.example", f"Nick{number}", ["Far"], actor=actor
        )
    assert len(shown(page(owner_client, juliet))) == 50
    assert shown(page(owner_client, juliet, q="nick7 far")) == ["friend07@elsewhere.example"]
    assert shown(page(owner_client, juliet, kind="shared")) == []
    assert len(shown(page(owner_client, juliet, kind="own", page=2))) == 10


def test_auditors_read_contact_lists(auditor_client: Client, juliet: User, romeo: User, actor: Any) -> None:
    roster.admin_add(juliet, romeo.jid, actor=actor)
    assert shown(page(auditor_client, juliet)) == [romeo.jid]
    for name in ("user-contact-add", "user-contact-edit", "user-contact-remove"):
        url = reverse(name, args=[juliet.pk]) + f"?jid={romeo.jid}"
        assert auditor_client.get(url).status_code == 403
        assert auditor_client.post(url, {"contact": "x"}).status_code == 403
    assert list(items(juliet)) == [romeo.jid]


def test_user_managers_leave_rosters_of_administrators_alone(
    browse: Callable[..., Client], make_user: Any, owner: User, juliet: User
) -> None:
    client = browse(make_user("max", role="user_manager"))
    assert client.post(reverse("user-contact-add", args=[owner.pk]), {"contact": "juliet"}).status_code == 403
    assert items(owner) == {}
