"""manage.py deluser JID: delete an account."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from xmppd.management.cli import HearthCommand, cli_actor, find_user


class Command(HearthCommand):
    help = gettext_noop("Delete an account with all that belongs to it. Its sessions end at once.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("jid", metavar="JID", help=_("user or user@domain"))
        parser.add_argument("--yes", action="store_true", help=_("do not ask"))

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["jid"])
        if not options["yes"] and sys.stdin.isatty():
            question = _("Delete %(jid)s with contact list and stored messages? Type the user name: ")
            if input(question % {"jid": user.jid}).strip() != user.username:
                raise CommandError(_("Nothing was deleted."))
        jid = user.jid
        services.delete_user(user, actor=cli_actor())
        self.stdout.write(_("Deleted %(jid)s.") % {"jid": jid})
