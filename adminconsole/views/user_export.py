"""The list of users as a CSV file, with the search and filters of the page. It can be imported elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils import timezone

from accounts import services
from accounts.models import User
from adminconsole.access import page
from adminconsole.csvfiles import download
from adminconsole.views.user_filters import filters_of

# Names of columns, not words: the import reads them in every language.
HEADER = ("username", "name", "email", "groups", "role", "locked", "created", "last_login", "last_seen")
CHUNK = 500


@page(permission="users.view")
def user_export(request: HttpRequest) -> HttpResponseBase:
    chosen = filters_of(request)
    users = services.filtered_users(chosen.query, chosen.filters).select_related("domain")
    day = timezone.localdate().isoformat()
    return download(request, f"hearth-users-{day}.csv", HEADER, _reader(users))


def _reader(users: Any) -> Callable[[], list[list[object]]]:
    """Chunks by user name: nothing is held open between them, and nobody comes twice."""
    last = ""

    def chunk() -> list[list[object]]:
        nonlocal last
        found: list[User] = list(users.filter(username__gt=last).order_by("username")[:CHUNK])
        if not found:
            return []
        last = found[-1].username
        groups = services.groups_of(found)
        return [_row(user, [group.name for group in groups[user.pk]]) for user in found]

    return chunk


def _row(user: User, groups: list[str]) -> list[object]:
    moments = [
        moment.isoformat(timespec="seconds") if moment else ""
        for moment in (user.created, user.last_login, user.last_seen)
    ]
    locked = "yes" if user.is_locked() else ""
    return [user.username, user.name, user.email, "|".join(groups), user.role, locked, *moments]


urlpatterns = [path("users/export/", user_export, name="user-export")]
