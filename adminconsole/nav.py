"""The menu of the console as one table; a page appears to those whose role may see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from xmppd.services import reports


@dataclass(frozen=True, slots=True)
class Item:
    """`key`: pressed after g. `count`: a number beside the title, computed for each page."""

    section: str | Promise
    title: str | Promise
    url_name: str
    icon: str
    permission: str
    key: str
    count: Callable[[], int | None] | None = None


ITEMS = (
    Item("", _("Overview"), "dashboard", "home", "dashboard.view", "o"),
    Item(_("People"), _("Users"), "users", "users", "users.view", "u"),
    Item(_("People"), _("Groups"), "groups", "group", "groups.view", "g"),
    Item(
        _("People"),
        _("Reports"),
        "reports",
        "warning",
        "users.view",
        "r",
        lambda: reports.open_count() or None,
    ),
    Item(_("Live"), _("Sessions"), "sessions", "session", "sessions.view", "s"),
    Item(_("Server"), _("Settings"), "settings", "settings", "settings.view", "e"),
    Item(_("Server"), _("Lock-outs"), "lockouts", "shield", "security.view", "l"),
    Item(_("Server"), _("Audit log"), "audit", "audit", "audit.view", "a"),
)


def build(request: HttpRequest) -> list[dict[str, Any]]:
    """[{title, items: [{title, url, icon, count, current, key}]}] for partials/nav.html."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return []
    sections: dict[str, list[dict[str, Any]]] = {}
    for item in ITEMS:
        if not user.can(item.permission):
            continue
        url = reverse(item.url_name)
        entry = {
            "title": item.title,
            "url": url,
            "icon": item.icon,
            "count": item.count() if item.count else None,
            "current": request.path == url or (url != "/" and request.path.startswith(url)),
            "key": item.key,
        }
        sections.setdefault(str(item.section), []).append(entry)
    return [{"title": title, "items": items} for title, items in sections.items()]
