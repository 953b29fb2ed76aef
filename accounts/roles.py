"""Who may do what: roles, the table of their permissions, and who may manage whom."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Administrator")
    USER_MANAGER = "user_manager", _("User manager")
    ROOM_MODERATOR = "room_moderator", _("Room moderator")
    AUDITOR = "auditor", _("Auditor (read only)")
    NONE = "", _("None")


# An area has `.view` and `.change`. Owners have all of them, auditors every `.view`.
AREAS = (
    "dashboard",
    "users",
    "groups",
    "sessions",
    "rooms",
    "settings",
    "certificates",
    "security",
    "audit",
    "logs",
)
VIEWS = frozenset(f"{area}.view" for area in AREAS)
# To read what people wrote to each other is no part of looking after a server: owners and administrators alone. (What
# a user reports is read by those who deal with reports: users.change.)
CONTENTS = frozenset({"archive.read"})
PERMISSIONS = VIEWS | CONTENTS | {f"{area}.change" for area in AREAS}

ROLE_PERMISSIONS: dict[str, frozenset[str]] = {
    Role.OWNER: PERMISSIONS,
    Role.ADMIN: PERMISSIONS,
    Role.USER_MANAGER: frozenset(
        {
            "dashboard.view",
            "users.view",
            "users.change",
            "groups.view",
            "groups.change",
            "sessions.view",
            "sessions.change",
        }
    ),
    Role.ROOM_MODERATOR: frozenset({"dashboard.view", "rooms.view", "rooms.change", "sessions.view"}),
    Role.AUDITOR: VIEWS,
    Role.NONE: frozenset(),
}

# Whose accounts a role may change, lock, delete or give a password to, and which roles it may give and take.
# Changing an account is as good as being it, so nobody manages an account of more power than his own.
MANAGES: dict[str, frozenset[str]] = {
    Role.OWNER: frozenset(Role.values),
    Role.ADMIN: frozenset({Role.USER_MANAGER, Role.ROOM_MODERATOR, Role.AUDITOR, Role.NONE}),
    Role.USER_MANAGER: frozenset({Role.NONE}),
}


def allows(role: str, permission: str) -> bool:
    """Whether the role has the permission; raises ValueError for a permission that does not exist."""
    if permission not in PERMISSIONS:
        raise ValueError(f"no permission {permission!r}")
    return permission in ROLE_PERMISSIONS.get(role, frozenset())


def manages(role: str, other: str) -> bool:
    """Whether an account with `role` may manage accounts with the role `other`, or give that role."""
    return other in MANAGES.get(role, frozenset())


def assignable(role: str) -> list[tuple[str, str]]:
    """The (value, label) choices of roles that `role` may give."""
    return [(value, str(label)) for value, label in Role.choices if manages(role, value)]
