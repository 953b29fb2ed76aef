"""The search of the header: what it finds for whom, and where an address leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import User
from tests.console.test_users import session_row
from xmppd.services import live

pytestmark = pytest.mark.django_db


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet", name="Juliet Capulet", email="juliet@example.com")


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """juliet@example.org/phone is connected."""
    rows = [session_row("juliet@example.org/phone")]

    def call(operation: str, **arguments: Any) -> Any:
        if operation == "session_table":
            words = arguments["query"].casefold().split()
            found = [row for row in rows if all(word in row["jid"] for word in words)]
            return {"rows": found[: arguments["limit"]], "found": len(found)}
        jid = arguments.get("jid", "")
        return [row for row in rows if jid in ("", row["user"])] if operation == "sessions" else []

    monkeypatch.setattr(live, "call", call)


def found(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return {
        str(section.title): [hit.title for hit in section.hits] for section in response.context["sections"]
    }


def ask(client: Client, query: str) -> dict[str, list[str]]:
    return found(client.get(reverse("search"), {"q": query}))


def test_every_page_has_the_field(owner_client: Client) -> None:
    html = owner_client.get(reverse("groups")).content.decode()
    assert f'action="{reverse("search")}"' in html
    assert "data-global-search" in html


def test_everything_is_searched(owner_client: Client, juliet: User, connected: None, actor: Any) -> None:
    services.create_group(name="Capulet", description="Verona", actor=actor)
    assert ask(owner_client, "capulet") == {"Users": ["Juliet Capulet"], "Groups": ["Capulet"]}
    assert ask(owner_client, "phone juliet")["Sessions"] == ["juliet@example.org/phone"]
    assert ask(owner_client, "allowed_hosts")["Settings"] == ["Host names of the console"]
    assert "Import users" in ask(owner_client, "csv")["Pages"]
    assert "Audit log" in ask(owner_client, "audit")["Pages"]


def test_without_a_query_it_says_what_it_can_do(owner_client: Client) -> None:
    assert (
        "Users, groups, sessions, settings and pages." in owner_client.get(reverse("search")).content.decode()
    )


def test_nothing_found(owner_client: Client) -> None:
    html = owner_client.get(reverse("search"), {"q": "<b>zzz"}).content.decode()
    assert "Nothing found" in html
    assert "<b>zzz" not in html


@pytest.mark.parametrize(
    "query",
    ["juliet@example.org", "xmpp:juliet@example.org", "JULIET@Example.ORG", "juliet@example.org/gone"],
)
def test_an_address_goes_straight_to_the_user(
    owner_client: Client, juliet: User, connected: None, query: str
) -> None:
    response = owner_client.get(reverse("search"), {"q": query})
    assert response.headers["Location"] == reverse("user", args=[juliet.pk])


def test_a_connected_full_address_goes_to_the_session(
    owner_client: Client, juliet: User, connected: None
) -> None:
    response = owner_client.get(reverse("search"), {"q": "juliet@example.org/phone"})
    assert response.headers["Location"] == reverse("session") + "?jid=juliet%40example.org%2Fphone"


def test_more_than_fit_are_one_click_away(owner_client: Client, make_user: Callable[..., Any]) -> None:
    for n in range(10):
        make_user(f"guard{n}")
    response = owner_client.get(reverse("search"), {"q": "guard"})
    assert len(found(response)["Users"]) == 8
    html = response.content.decode()
    assert "Show all 10" in html
    assert f"{reverse('users')}?q=guard" in html


def test_each_role_finds_what_it_may_see(
    browse: Callable[..., Client], make_user: Callable[..., Any], juliet: User, connected: None
) -> None:
    moderator = browse(make_user("mod", role="room_moderator"))
    assert ask(moderator, "juliet") == {"Sessions": ["juliet@example.org/phone"]}
    assert ask(moderator, "juliet@example.org") == {"Sessions": ["juliet@example.org/phone"]}
    assert ask(moderator, "settings") == {}
    assert "Pages" not in ask(browse(make_user("helper", role="user_manager")), "audit")


@pytest.mark.parametrize("query", ["\0", "@", "a@b@c", "/", "x" * 5000, "%", "'; --", "@example.org/"])
def test_any_text_is_borne(owner_client: Client, query: str) -> None:
    assert owner_client.get(reverse("search"), {"q": query}).status_code == 200
