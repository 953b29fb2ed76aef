"""Users: the list, and new ones. What concerns one user is in user*.py; all routes are gathered here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from accounts import roles, services
from accounts.models import Group, Membership, User
from accounts.services.search import ANY_ROLE, SORTS, primary_id
from adminconsole.access import actor_of, confirm_password, page
from adminconsole.forms.users import CreateUserForm
from adminconsole.pages import choice, counted, page_and_size, searched, show_errors, to_ids
from adminconsole.views import user, user_groups, user_roster, user_sessions
from adminconsole.views.user_state import State, online_jids, state_of
from adminconsole.views.user_tabs import may_manage
from xmppd.services import live

GROUP_CHOICES = 200  # more in a <select> help nobody
NAMES_AT_ONCE = 500  # below every database's limit of parameters


@dataclass(frozen=True, slots=True)
class UserRow:
    user: User
    state: State
    groups: list[Group]
    devices: int
    may_manage: bool

    @property
    def role_title(self) -> str:
        return str(self.user.get_role_display()) if self.user.role else ""


@page(permission="users.view")
def user_list(request: HttpRequest) -> HttpResponse:
    query = searched(request)
    status = choice(request, "status", ("online", "offline", "locked", "unlocked"))
    role = choice(request, "role", (ANY_ROLE, "none", *filter(None, roles.Role.values)))
    group = _group(request.GET.get("group", ""))
    sort = choice(request, "sort", SORTS, "username")
    number, size = page_and_size(request)
    online, is_running = online_jids()
    found = services.search_users(
        query,
        services.UserFilters(
            group_id=group.pk if group else None,
            role="" if role == "none" else role or None,
            is_locked={"locked": True, "unlocked": False}.get(status),
            ids=user_ids(online) if status in ("online", "offline") else None,
            excluded=status == "offline",
        ),
        sort=sort,
        page=number,
        per_page=size,
    )
    rows = make_rows(request, found.users, online)
    context = {
        "page": counted(rows, total=found.total, number=found.number, size=size),
        "q": query,
        "sort": sort,
        "is_running": is_running,
        "is_filtered": bool(query or status or role or group),
        "filters": _filters(status, role, group),
        "may_create": request.user.can("users.change"),  # type: ignore[union-attr]
    }
    return render(request, "adminconsole/users/list.html", context)


def user_ids(jids: Iterable[str]) -> list[int]:
    """The ids of these accounts of the primary domain."""
    names = [jid.partition("@")[0] for jid in jids]
    ids: list[int] = []
    for start in range(0, len(names), NAMES_AT_ONCE):
        users = User.objects.filter(domain_id=primary_id(), username__in=names[start : start + NAMES_AT_ONCE])
        ids += users.values_list("id", flat=True)
    return ids


def make_rows(request: HttpRequest, users: list[User], online: set[str]) -> list[UserRow]:
    """With groups in one query, and the devices of those online."""
    groups: dict[int, list[Group]] = defaultdict(list)
    memberships = Membership.objects.filter(user_id__in=[user.pk for user in users])
    for membership in memberships.select_related("group").order_by("group__name"):
        groups[membership.user_id].append(membership.group)  # type: ignore[index]
    rows = []
    for user_ in users:
        sessions = _sessions(user_.jid) if user_.jid in online else []
        rows.append(
            UserRow(
                user_, state_of(user_, sessions), groups[user_.pk], len(sessions), may_manage(request, user_)
            )
        )
    return rows


def _sessions(jid: str) -> list[dict[str, Any]]:
    try:
        return live.sessions(jid)
    except live.NotRunningError:
        return []


def _group(text: str) -> Group | None:
    return Group.objects.filter(pk__in=to_ids([text])).first()


def _filters(status: str, role: str, group: Group | None) -> list[dict[str, Any]]:
    groups = list(Group.objects.filter(domain_id=primary_id()).order_by("name")[:GROUP_CHOICES])
    if group is not None and group not in groups:
        groups.insert(0, group)
    filters: list[dict[str, Any]] = [
        {
            "name": "status",
            "label": _("Status"),
            "value": status,
            "choices": [
                ("", _("Any status")),
                ("online", _("Online")),
                ("offline", _("Offline")),
                ("locked", _("Locked")),
                ("unlocked", _("Not locked")),
            ],
        },
        {
            "name": "role",
            "label": _("Role"),
            "value": role,
            "choices": [
                ("", _("Any role")),
                (ANY_ROLE, _("Some role")),
                *((value, label) for value, label in roles.Role.choices if value),
                ("none", _("No role")),
            ],
        },
    ]
    if groups:
        choices = [("", _("Any group")), *((str(g.pk), g.name) for g in groups)]
        filters.append(
            {
                "name": "group",
                "label": _("Group"),
                "value": str(group.pk) if group else "",
                "choices": choices,
            }
        )
    return filters


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
            {"account": created, "password": password, "is_new": True, "another": another},
        )
    messages.success(request, text)
    return redirect("user-create") if another else redirect("user", created.pk)


urlpatterns = [
    path("users/", user_list, name="users"),
    path("users/create/", user_create, name="user-create"),
    *user.urlpatterns,
    *user_sessions.urlpatterns,
    *user_groups.urlpatterns,
    *user_roster.urlpatterns,
]
