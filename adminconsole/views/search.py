"""The search of the header: users, groups, sessions, settings and pages on one page; an address goes straight there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy

from accounts import services
from accounts.services.search import primary_id
from adminconsole import nav
from adminconsole.access import page
from adminconsole.pages import searched
from adminconsole.views.sessions import Row as SessionRow
from adminconsole.views.settings import search_settings
from xmppd.services import live

SHOWN = 8  # of each kind; the section's own page has the others


@dataclass(frozen=True, slots=True)
class Hit:
    """`name` is a person or group whose avatar is shown, where there is no icon."""

    title: str
    text: str
    url: str
    icon: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str | Promise
    hits: list[Hit]
    total: int = 0
    more_url: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A page that no menu row leads to. `words`: what else people call it."""

    title: str | Promise
    url_name: str
    icon: str
    permission: str
    words: str | Promise = ""


PLACES = (
    Place(
        gettext_lazy("Create user"),
        "user-create",
        "user-plus",
        "users.change",
        gettext_lazy("new account add"),
    ),
    Place(
        gettext_lazy("Import users"), "user-import", "upload", "users.change", gettext_lazy("CSV file upload")
    ),
    Place(
        gettext_lazy("Create group"), "group-create", "plus", "groups.change", gettext_lazy("new group add")
    ),
    Place(
        gettext_lazy("Send a message"),
        "message",
        "send",
        "sessions.change",
        gettext_lazy("broadcast announcement everybody"),
    ),
)


@page(permission="dashboard.view")
def search(request: HttpRequest) -> HttpResponse:
    query = searched(request)
    if query and (target := _direct(request, query)):
        return redirect(target)
    finders: list[Callable[[HttpRequest, str], Section | None]] = [
        _pages,
        _users,
        _groups,
        _sessions,
        _settings,
    ]
    found = [finder(request, query) for finder in finders] if query else []
    sections = [section for section in found if section is not None and section.hits]
    return render(request, "adminconsole/search.html", {"q": query, "sections": sections})


def _direct(request: HttpRequest, query: str) -> str:
    """The page of this account, or of this session where a full JID is connected; '' otherwise."""
    text = query.removeprefix("xmpp:")
    if "@" not in text or not _may(request, "users.view"):
        return ""
    user = services.user_by_jid(text)
    if user is None:
        return ""
    if "/" in text and _may(request, "sessions.view"):
        resource = text.partition("/")[2]
        for row in _live(user.jid):
            if row["resource"] == resource:
                return reverse("session") + "?" + urlencode({"jid": row["jid"]})
    return reverse("user", args=[user.pk])


def _may(request: HttpRequest, permission: str) -> bool:
    return bool(request.user.can(permission))  # type: ignore[union-attr]


def _pages(request: HttpRequest, query: str) -> Section:
    menu = [Place(item.title, item.url_name, item.icon, item.permission) for item in nav.ITEMS]
    hits = [
        Hit(str(place.title), "", reverse(place.url_name), place.icon)
        for place in (*menu, *PLACES)
        if _may(request, place.permission) and _has_words(f"{place.title} {place.words}", query)
    ]
    return Section(gettext_lazy("Pages"), hits, len(hits))


def _users(request: HttpRequest, query: str) -> Section | None:
    if not _may(request, "users.view"):
        return None
    found = services.search_users(query, per_page=SHOWN)
    hits = [
        Hit(user.display_name, user.jid, reverse("user", args=[user.pk]), name=user.display_name)
        for user in found.users
    ]
    return Section(gettext_lazy("Users"), hits, found.total, _all("users", query))


def _groups(request: HttpRequest, query: str) -> Section | None:
    if not _may(request, "groups.view"):
        return None
    groups = services.search_groups(query).filter(domain_id=primary_id())
    hits = [
        Hit(group.name, group.description, reverse("group", args=[group.pk]), "group")
        for group in groups[:SHOWN]
    ]
    return Section(gettext_lazy("Groups"), hits, groups.count(), _all("groups", query))


def _sessions(request: HttpRequest, query: str) -> Section | None:
    if not _may(request, "sessions.view"):
        return None
    try:
        table = live.session_table(query=query, limit=SHOWN)
    except live.NotRunningError:
        return None
    hits = [
        Hit(
            row.jid,
            " · ".join(filter(None, (row.client, row.address))),
            f"{reverse('session')}?{row.query}",
            "session",
        )
        for row in map(SessionRow, table["rows"])
    ]
    return Section(gettext_lazy("Sessions"), hits, table["found"], _all("sessions", query))


def _settings(request: HttpRequest, query: str) -> Section | None:
    if not _may(request, "settings.view"):
        return None
    rows = search_settings(query)
    hits = [
        Hit(
            row.setting.label,
            f"{row.setting.name} · {row.setting.help}",
            reverse("setting", args=[row.setting.name]),
            "settings",
        )
        for row in rows[:SHOWN]
    ]
    return Section(gettext_lazy("Settings"), hits, len(rows), _all("settings", query))


def _live(jid: str) -> list[dict[str, Any]]:
    try:
        return live.sessions(jid)
    except live.NotRunningError:
        return []


def _has_words(text: str, query: str) -> bool:
    text = text.casefold()
    return all(word in text for word in query.casefold().split())


def _all(url_name: str, query: str) -> str:
    return reverse(url_name) + "?" + urlencode({"q": query})


urlpatterns = [path("search/", search, name="search")]
