"""manage.py status [--json]: what the running server says of itself."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from adminconsole import problems
from adminconsole.formats import date_and_time, duration
from xmppd.management.cli import ShellCommand
from xmppd.services import live
from xmppd.services.setup import is_set_up


class Command(ShellCommand):
    help = gettext_noop(
        "Show the running server: domain, uptime, ports, users online. Exit code 1 when it does not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("the whole status as one JSON object"))

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_set_up():
            raise CommandError(
                _("Hearth is not set up yet: open the console in a browser, or run manage.py setup.")
            )
        try:
            status = live.status()
        except live.NotRunningError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"running": False}))
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"running": True, **status}, indent=2))
            return
        ports = ", ".join(f"{row['port']} ({row['name']})" for row in status["listeners"])
        for label, value in (
            (_("Domain"), status["domain"]),
            (_("Running for"), duration(status["uptime_seconds"])),
            (_("Ports"), ports),
            (_("Users online"), status["users_online"]),
            (_("Sessions"), status["sessions"]),
        ):
            self.stdout.write(f"{label:<14} {value}")
        for problem in problems.found():
            self.stdout.write(
                f"{_('Problem'):<14} {problem.title} ({date_and_time(problem.since)}). {problem.text}"
            )
