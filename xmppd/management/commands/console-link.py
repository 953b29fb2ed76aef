"""manage.py console-link: a link that opens the console once, for an owner who has lost the password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from accounts.models import User
from accounts.roles import Role
from xmppd.bootstrap import DEFAULT_PORTS
from xmppd.management.cli import HearthCommand, cli_actor, find_user
from xmppd.services import live
from xmppd.services.setup import LOCALHOST_ONLY

LINK_PATH = "/login/link/{token}/"
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  the console listens on all addresses: the host's name is one of them


class Command(HearthCommand):
    help = gettext_noop(
        "Print a link that opens the console once within fifteen minutes, without a password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "jid", metavar="JID", nargs="?", help=_("an account with a role; by default the first owner")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["jid"]) if options["jid"] else _first_owner()
        if not user.role:
            raise CommandError(_("%(jid)s has no role: it cannot open the console.") % {"jid": user.jid})
        if user.is_locked():
            raise CommandError(_("%(jid)s is locked.") % {"jid": user.jid})
        token = services.make_login_link(user, actor=cli_actor())
        self.stdout.write(_base_url() + LINK_PATH.format(token=token))
        minutes = int(services.LINK_LIFETIME.total_seconds() // 60)
        message = _("For %(jid)s, once, within %(minutes)d minutes.")
        self.stderr.write(message % {"jid": user.jid, "minutes": minutes})


def _first_owner() -> User:
    now = timezone.now()
    for owner in User.objects.filter(role=Role.OWNER).order_by("id"):
        if not owner.is_locked(now):
            return owner
    raise CommandError(_("There is no owner who may log in."))


def _base_url() -> str:
    config = settings.CONFIG
    try:
        address, port = next(
            (row["address"], row["port"]) for row in live.status()["listeners"] if row["name"] == "console"
        )
    except (live.NotRunningError, StopIteration):
        address, port = config.console_bind or "", config.ports["console"] or DEFAULT_PORTS["console"]
    if LOCALHOST_ONLY.value and address in EVERYWHERE:
        address = "127.0.0.1"
    host = (config.hostname or "127.0.0.1") if address in EVERYWHERE else address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
