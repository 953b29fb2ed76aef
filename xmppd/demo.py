"""`make demo`: example.org with an administrator and three users who know each other, for this machine only."""

from __future__ import annotations

import os
from pathlib import Path

from accounts import services as accounts
from accounts.audit import Actor
from accounts.models import User
from xmppd import bootstrap
from xmppd.management.cli import shell_gettext as _
from xmppd.services import roster

DOMAIN = "example.org"
PASSWORD = "hearth-demo"  # noqa: S105  shown to everybody; the ports are on loopback
USERS = {"jane": "Jane Doe", "john": "John Doe", "juan": "Juan Pérez"}
ENVIRONMENT = {
    "HEARTH_DEMO": "1",
    "HEARTH_BIND": "127.0.0.1",
    "HEARTH_CONSOLE_BIND": "127.0.0.1",
    "HEARTH_DOMAIN": DOMAIN,
    "HEARTH_ADMIN_USER": "admin",
    "HEARTH_ADMIN_PASSWORD": PASSWORD,
}


def environment() -> dict[str, str]:
    """What the process of a demo runs with; its data stand apart from those of `make run`."""
    home = os.environ.get("HEARTH_HOME") or str(Path(bootstrap.ROOT) / "var" / "demo")
    return {**os.environ, **ENVIRONMENT, "HEARTH_HOME": home, "DATABASE_URL": "", "REDIS_URL": ""}


def is_demo(config: bootstrap.Config) -> bool:
    """Whether this home was made by a demo: no other one may get users with a known password."""
    return _marker(config).exists()


def _marker(config: bootstrap.Config) -> Path:
    return config.home / "demo"


def fill(config: bootstrap.Config) -> None:
    """Make the users, once."""
    _marker(config).touch()
    actor = Actor("demo", "system")
    if User.objects.by_jid(f"jane@{DOMAIN}") is not None:
        return
    domain = accounts.primary_domain()
    people = [
        accounts.create_user(domain=domain, username=username, name=name, password=PASSWORD, actor=actor)
        for username, name in USERS.items()
    ]
    administrator = User.objects.by_jid(f"admin@{DOMAIN}")
    if administrator is not None:
        people.append(administrator)
    for position, user in enumerate(people):
        for contact in people[position + 1 :]:
            roster.admin_add(user, contact.jid, name=contact.name, subscription="both", actor=actor)
    friends = accounts.create_group(
        name="Friends",
        description=_("Its members stand in each other's contact lists."),
        sharing_mode="groups",
        display_name="Friends",
        actor=actor,
    )
    accounts.add_members(friends, people, actor=actor)
    accounts.create_group(name="Staff", description=_("A group that shares no contacts."), actor=actor)


def banner() -> list[str]:
    names = ", ".join(["admin", *USERS])
    return [
        _("  Demo             reachable from this machine only; users %(names)s, password %(password)s")
        % {"names": names, "password": PASSWORD}
    ]
