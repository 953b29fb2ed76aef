"""What the address of the user list asks for: search, status, role, group. List and export read it alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts import roles, services
from accounts.models import Group, User
from accounts.services.search import ANY_ROLE, primary_id
from adminconsole.pages import choice, searched, to_ids
from adminconsole.views.user_state import online_jids

GROUP_CHOICES = 200  # more in a <select> help nobody
NAMES_AT_ONCE = 500  # below every database's limit of parameters


@dataclass(frozen=True, slots=True)
class Chosen:
    query: str
    status: str
    role: str
    group: Group | None
    online: set[str]
    is_running: bool

    @property
    def is_filtered(self) -> bool:
        return bool(self.query or self.status or self.role or self.group)

    @property
    def filters(self) -> services.UserFilters:
        """As services.search_users takes them."""
        return services.UserFilters(
            group_id=self.group.pk if self.group else None,
            role="" if self.role == "none" else self.role or None,
            is_locked={"locked": True, "unlocked": False}.get(self.status),
            ids=user_ids(self.online) if self.status in ("online", "offline") else None,
            excluded=self.status == "offline",
        )


def filters_of(request: HttpRequest) -> Chosen:
    online, is_running = online_jids()
    return Chosen(
        query=searched(request),
        status=choice(request, "status", ("online", "offline", "locked", "unlocked")),
        role=choice(request, "role", (ANY_ROLE, "none", *filter(None, roles.Role.values))),
        group=Group.objects.filter(pk__in=to_ids([request.GET.get("group", "")])).first(),
        online=online,
        is_running=is_running,
    )


def user_ids(jids: Iterable[str]) -> list[int]:
    """The ids of these accounts of the primary domain."""
    names = [jid.partition("@")[0] for jid in jids]
    ids: list[int] = []
    for start in range(0, len(names), NAMES_AT_ONCE):
        users = User.objects.filter(domain_id=primary_id(), username__in=names[start : start + NAMES_AT_ONCE])
        ids += users.values_list("id", flat=True)
    return ids


def _role_choices(chosen: str) -> list[tuple[str, Any]]:
    """Without the moderators of rooms while nobody is one: the server has no rooms."""
    moderator = roles.Role.ROOM_MODERATOR
    is_used = chosen == moderator or User.objects.filter(role=moderator).exists()
    return [
        (value, label) for value, label in roles.Role.choices if value and (value != moderator or is_used)
    ]


def toolbar(chosen: Chosen) -> list[dict[str, Any]]:
    """The selects of partials/toolbar.html."""
    groups = list(Group.objects.filter(domain_id=primary_id()).order_by("name")[:GROUP_CHOICES])
    if chosen.group is not None and chosen.group not in groups:
        groups.insert(0, chosen.group)
    selects: list[dict[str, Any]] = [
        {
            "name": "status",
            "label": _("Status"),
            "value": chosen.status,
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
            "value": chosen.role,
            "choices": [
                ("", _("Everyone")),
                (ANY_ROLE, _("Any role")),
                *_role_choices(chosen.role),
                ("none", _("No role")),
            ],
        },
    ]
    if groups:
        selects.append(
            {
                "name": "group",
                "label": _("Group"),
                "value": str(chosen.group.pk) if chosen.group else "",
                "choices": [("", _("Any group")), *((str(g.pk), g.name) for g in groups)],
            }
        )
    return selects
