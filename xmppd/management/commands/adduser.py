"""manage.py adduser JID: create an account."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from accounts.models import User
from accounts.roles import Role
from xmppd.management.cli import (
    HearthCommand,
    add_password_options,
    cli_actor,
    policy_warnings,
    read_password,
    split_jid,
)


class Command(HearthCommand):
    help = gettext_noop("Create an account. It can log in at once.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("jid", metavar="JID", help=_("user or user@domain"))
        add_password_options(parser)
        parser.add_argument(
            "--admin", action="store_true", help=_("let the account administer Hearth in the console")
        )
        parser.add_argument("--name", default="", help=_("the person's name"))
        parser.add_argument("--email", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        username, domain = split_jid(options["jid"])
        password = read_password(options)
        for warning in policy_warnings(password, User(username=username, domain=domain)):
            self.warn(warning)
        user = services.create_user(
            username=username,
            domain=domain,
            password=password,
            name=options["name"],
            email=options["email"],
            role=Role.ADMIN if options["admin"] else Role.NONE,
            actor=cli_actor(),
            check_policy=False,
        )
        self.stdout.write(_("Created %(jid)s.") % {"jid": user.jid})
        if options["generate"]:
            self.stdout.write(_("Password: %(password)s") % {"password": password})
