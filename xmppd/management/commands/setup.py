"""manage.py setup: the first set-up without a browser."""

from __future__ import annotations

import os
from dataclasses import replace
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from xmppd.management.cli import HearthCommand, cli_actor, readable_errors
from xmppd.services import setup
from xmppd.services.database_check import DatabaseProblem


class Command(HearthCommand):
    help = gettext_noop(
        "Set Hearth up. With --noinput the answers come from HEARTH_DOMAIN, HEARTH_ADMIN_USER, "
        "HEARTH_ADMIN_PASSWORD or HEARTH_ADMIN_PASSWORD_FILE, HEARTH_HOSTNAME and DATABASE_URL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--noinput", "--no-input", action="store_true", help=_("take the answers from the environment")
        )

    def require_setup(self) -> None:
        """The one command that runs before."""

    def handle(self, *args: Any, **options: Any) -> None:
        if setup.is_set_up():
            domain = services.primary_domain()
            self.stdout.write(_("Hearth is set up already for %(domain)s.") % {"domain": domain or "?"})
            return
        answers = setup.from_environment(os.environ)
        if answers is None:
            if options["noinput"]:
                raise CommandError(
                    _("Set HEARTH_DOMAIN and HEARTH_ADMIN_PASSWORD (or HEARTH_ADMIN_PASSWORD_FILE).")
                )
            answers = _ask()
        try:
            with readable_errors():
                owner = setup.finish(answers, cli_actor())
        except (setup.SetupConflict, DatabaseProblem) as error:
            detail = getattr(error, "detail", "")
            raise CommandError(f"{error} ({detail})" if detail else str(error)) from error
        self.stdout.write(_("Hearth is set up for %(domain)s.") % {"domain": owner.domain.name})
        self.stdout.write(_("Its owner is %(jid)s.") % {"jid": owner.jid})


def _ask() -> setup.SetupAnswers:
    try:
        answers = setup.SetupAnswers(
            domain=input(_("XMPP domain (the part of addresses after the @): ")),
            hostname=input(_("Host name of this machine (empty: the domain): ")),
            admin_username=input(_("Administrator's user name [admin]: ")) or "admin",
            admin_password=getpass(_("Administrator's password: ")),
            database_url=os.environ.get("DATABASE_URL", ""),
        )
        if getpass(_("Password again: ")) != answers.admin_password:
            raise CommandError(_("The two passwords differ."))
        return replace(answers, admin_email=input(_("Administrator's e-mail (may be empty): ")))
    except EOFError as error:
        raise CommandError(_("There is nobody to ask: use --noinput and the environment.")) from error
