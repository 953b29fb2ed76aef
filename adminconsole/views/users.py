"""Users: the list, and new ones. What concerns one user is in user*.py; all routes are gathered here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from accounts import services
from accounts.models import Group, User
from accounts.services.search import SORTS
from adminconsole import connecting
from adminconsole.access import actor_of, confirm_password, page
from adminconsole.forms.users import CreateUserForm
from adminconsole.pages import choice, counted, page_and_size, show_errors
from adminconsole.views import (
    user,
    user_archive,
    user_devices,
    user_export,
    user_groups,
    user_import,
    user_roster,
    user_sessions,
    users_bulk,
)
from adminconsole.views.user_filters import filters_of, toolbar
from adminconsole.views.user_state import State, state_of
from adminconsole.views.user_tabs import may_manage
from xmppd.services import live


@dataclass(frozen=True, slots=True)
class UserRow:
    user: User
    state: State
    groups: list[Group]
    devices: int
    may_manage: bool
    is_self: bool = False

    @property
    def may_tick(self) -> bool:
        """Nobody locks or deletes himself."""
        return self.may_manage and not self.is_self

    @property
    def role_title(self) -> str:
        return str(self.user.get_role_display()) if self.user.role else ""


@page(permission="users.view")
def user_list(request: HttpRequest) -> HttpResponse:
    chosen = filters_of(request)
    sort = choice(request, "sort", SORTS, "username")
    number, size = page_and_size(request)
    found = services.search_users(chosen.query, chosen.filters, sort=sort, page=number, per_page=size)
    rows = make_rows(request, found.users, chosen.online)
    context = {
        "page": counted(rows, total=found.total, number=found.number, size=size),
        "q": chosen.query,
        "sort": sort,
        "is_running": chosen.is_running,
        "is_filtered": chosen.is_filtered,
        "filters": toolbar(chosen),
        "may_create": request.user.can("users.change"),  # type: ignore[union-attr]
        "may_group": request.user.can("groups.change"),  # type: ignore[union-attr]
        "may_tick": any(row.may_tick for row in rows),
        "is_all_ticked": request.GET.get("tick") == "page",
    }
    return render(request, "adminconsole/users/list.html", context)


def make_rows(request: HttpRequest, users: list[User], online: set[str]) -> list[UserRow]:
    """With groups in one query, and the devices of those online."""
    groups = services.groups_of(users)
    live_sessions = _sessions([user.jid for user in users if user.jid in online])
    rows = []
    for user_ in users:
        sessions = live_sessions.get(user_.jid, [])
        rows.append(
            UserRow(
                user_,
                state_of(user_, sessions),
                groups[user_.pk],
                len(sessions),
                may_manage(request, user_),
                request.user.pk == user_.pk,
            )
        )
    return rows


def _sessions(jids: list[str]) -> dict[str, list[dict[str, Any]]]:
    try:
        return live.sessions_of(jids)
    except live.NotRunningError:
        return {}


@page(permission="users.change")
def user_create(request: HttpRequest) -> HttpResponse:
    viewer: User = request.user  # type: ignore[assignment]
    initial = {"groups": request.GET.getlist("group")}
    form = CreateUserForm(request.POST or None, viewer=viewer, initial=initial)
    if request.method == "POST" and form.is_valid():
        password = form.chosen()
        try:
            created = _create(request, form, password)
        except ValidationError as error:
            show_errors(form, error)
        else:
            return _after_create(request, created, password, is_typed=form.is_typed)
    return render(
        request,
        "adminconsole/users/create.html",
        {"form": form, "cancel_url": reverse("users")},
        status=422 if form.errors else 200,
    )


def _create(request: HttpRequest, form: CreateUserForm, password: str) -> User:
    actor, data = actor_of(request), form.cleaned_data
    if form.role_changes:
        confirm_password(request, data["current_password"])
    created = services.create_user(
        username=data["username"],
        password=password,
        name=data["name"],
        email=data["email"],
        role=data.get("role", ""),
        actor=actor,
    )
    for group in data.get("groups", ()):
        services.add_member(group, created, actor=actor)
    return created


def _after_create(request: HttpRequest, created: User, password: str, *, is_typed: bool) -> HttpResponse:
    another = "another" in request.POST
    text = format_html(
        _("Created {}. The account can sign in now."),
        format_html('<a href="{}">{}</a>', reverse("user", args=[created.pk]), created.jid),
    )
    if not is_typed:
        # Straight into the answer: a redirect would have to keep the password somewhere.
        return render(
            request,
            "adminconsole/users/password_once.html",
            {
                "account": created,
                "password": password,
                "is_new": True,
                "another": another,
                **connecting.facts(request, created),
            },
        )
    messages.success(request, text)
    return redirect("user-create") if another else redirect("user-connect", created.pk)


urlpatterns = [
    path("users/", user_list, name="users"),
    path("users/create/", user_create, name="user-create"),
    *user_import.urlpatterns,
    *user_export.urlpatterns,
    *users_bulk.urlpatterns,
    *user.urlpatterns,
    *user_sessions.urlpatterns,
    *user_devices.urlpatterns,
    *user_archive.urlpatterns,
    *user_groups.urlpatterns,
    *user_roster.urlpatterns,
]
