"""What all pages of one user share: who it is, the tabs, what the viewer may do.

A further tab is one line in TABS and a view that renders with `user_page()`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts import roles
from accounts.models import Membership, User
from adminconsole.views.user_state import state_of
from xmppd.services import devices, live


@dataclass(frozen=True, slots=True)
class Tab:
    """`url` is a route that takes the user's id; `count` is asked for the number beside the title."""

    key: str
    title: str | Promise
    url: str
    permission: str = "users.view"
    count: Callable[[User], int] | None = None


def _group_count(user: User) -> int:
    return Membership.objects.filter(user=user).count()


TABS = [
    Tab("overview", _("Overview"), "user"),
    Tab("sessions", _("Sessions"), "user-sessions", "sessions.view"),
    Tab("groups", _("Groups"), "user-groups", count=_group_count),
    Tab("devices", _("Devices"), "user-devices", count=lambda user: devices.count(user.pk)),
    Tab("archive", _("Archive"), "user-archive"),
    Tab("contacts", _("Contacts"), "user-contacts"),
]


def find_user(user_id: int) -> User:
    return get_object_or_404(User, pk=user_id)


def user_crumbs(user: User) -> list[tuple[str, str]]:
    """The way to the user's page, for confirmations."""
    page = reverse("user", args=[user.pk])
    return [(str(_("People")), ""), (str(_("Users")), reverse("users")), (user.username, page)]


def may_manage(request: HttpRequest, user: User) -> bool:
    """Whether buttons that change this account are shown; the services decide for themselves."""
    viewer: User = request.user  # type: ignore[assignment]
    return viewer.can("users.change") and (roles.manages(viewer.role, user.role) or viewer.pk == user.pk)


def user_page(request: HttpRequest, user: User, tab: str, **more: Any) -> dict[str, Any]:
    """The context of a page with tabs: account, sessions (None: the service does not run), state, tabs."""
    sessions = live_sessions(user)
    counts = {"sessions": len(sessions) if sessions else None}
    tabs = [
        {
            "title": entry.title,
            "url": reverse(entry.url, args=[user.pk]),
            "current": entry.key == tab,
            "count": entry.count(user) if entry.count else counts.get(entry.key),
        }
        for entry in TABS
        if request.user.can(entry.permission)  # type: ignore[union-attr]
    ]
    return {
        "account": user,
        "sessions": sessions,
        "state": state_of(user, sessions or []),
        "tabs": tabs,
        "is_self": request.user.pk == user.pk,
        "may_manage": may_manage(request, user),
        **more,
    }


def live_sessions(user: User) -> list[dict[str, Any]] | None:
    """The rows of live.sessions(); None while the stream service does not run."""
    try:
        return live.sessions(user.jid)
    except live.NotRunningError:
        return None
