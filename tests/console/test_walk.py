"""Every address of the console as stranger, auditor and owner see it. New pages are found by themselves."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from accounts import roles
from accounts.models import AuditEntry, User
from adminconsole import access, nav
from tests.console.routes import ROUTES

pytestmark = pytest.mark.django_db

# All that a stranger may see. A name is added here knowingly or not at all.
PUBLIC = {"healthz", "readyz", "login/", "login/link/<str:token>/", "logout/", "language/"}


def test_the_walk_finds_the_pages() -> None:
    assert len(ROUTES) > 25
    assert {"", "users/", "groups/", "sessions/", "settings/", "audit/", "welcome/"} <= ROUTES.keys()


def test_every_view_says_who_may_see_it() -> None:
    unmarked = [route for route, entry in ROUTES.items() if access.access_of(entry.callback) is None]
    assert not unmarked
    public = {route for route, entry in ROUTES.items() if access.access_of(entry.callback).public}  # type: ignore[union-attr]
    assert public == PUBLIC


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - PUBLIC))
def test_strangers_are_sent_to_sign_in(
    stranger_client: Client, filled: Callable[[str], str], route: str
) -> None:
    address = filled(route)
    before = AuditEntry.objects.count()
    for response in (
        stranger_client.get(address),
        stranger_client.post(address),
        stranger_client.put(address),
    ):
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/login/?next=")
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - PUBLIC))
def test_auditors_look_and_change_nothing(
    auditor_client: Client, filled: Callable[[str], str], route: str
) -> None:
    address = filled(route)
    entry = ROUTES[route]
    needed = access.access_of(entry.callback)
    assert needed is not None
    before = AuditEntry.objects.count()
    response = auditor_client.get(address)
    if not roles.allows(roles.Role.AUDITOR, needed.permission):
        assert response.status_code == 403
    else:
        assert response.status_code in (200, 302, 400, 404, 405)
    assert auditor_client.post(address).status_code in (403, 405)
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("route", sorted(ROUTES.keys() - PUBLIC))
def test_owners_see_every_page(owner_client: Client, filled: Callable[[str], str], route: str) -> None:
    response = owner_client.get(filled(route))
    # 404: no such session while nobody is online; 405: a page that only takes a POST.
    assert response.status_code in (200, 302, 404, 405)
    if response.status_code == 200 and response.headers["Content-Type"].startswith("text/html"):
        page = response.content.decode()
        assert '<main class="' in page
        assert "<h1" in page
        assert loose_controls(page) == []


def loose_controls(page: str) -> list[str]:
    """Names of inputs and buttons that stand in no form and name none: what is typed there goes nowhere."""
    reader = Controls()
    reader.feed(page)
    return [name for name, form in reader.found if form is None or form not in {*reader.ids, ""}]


class Controls(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []  # name, the id of its form ("": the one around it)
        self.ids: set[str] = set()
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.depth += 1
            self.ids.add(given.get("id") or "")
        elif tag in ("input", "select", "textarea", "button") and given.get("name"):
            self.found.append((given["name"] or "", given.get("form") or ("" if self.depth else None)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.depth -= 1


def test_accounts_without_a_role_are_nobody(
    browse: Callable[..., Client], filled: Callable[[str], str]
) -> None:
    client = browse(User.objects.get(username="alice"))
    for route in sorted(ROUTES.keys() - PUBLIC):
        assert client.get(filled(route)).status_code == 302, route


def test_the_menu_shows_what_the_role_may_see(
    browse: Callable[..., Client], make_user: Callable[..., Any], owner_client: Client
) -> None:
    def titles(client: Client) -> list[str]:
        sections = client.get("/").context["nav"]
        return [str(item["title"]) for section in sections for item in section["items"]]

    assert titles(owner_client) == [str(item.title) for item in nav.ITEMS]
    assert titles(browse(make_user("mod", role="room_moderator"))) == ["Overview", "Sessions"]
    assert titles(browse(make_user("helper", role="user_manager"))) == [
        "Overview",
        "Users",
        "Groups",
        "Reports",
        "Sessions",
    ]
