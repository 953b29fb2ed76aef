"""manage.py passwd JID: give an account a new password."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from xmppd.management.cli import (
    HearthCommand,
    add_password_options,
    cli_actor,
    find_user,
    policy_warnings,
    read_password,
)


class Command(HearthCommand):
    help = gettext_noop("Give an account a new password. Its sessions end.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("jid", metavar="JID", help=_("user or user@domain"))
        add_password_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["jid"])
        password = read_password(options)
        for warning in policy_warnings(password, user):
            self.warn(warning)
        services.set_password(user, password, actor=cli_actor(), check_policy=False)
        self.stdout.write(_("Changed the password of %(jid)s.") % {"jid": user.jid})
        if options["generate"]:
            self.stdout.write(_("Password: %(password)s") % {"password": password})
