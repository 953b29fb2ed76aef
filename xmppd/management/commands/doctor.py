"""manage.py doctor [--json]: look for what is wrong with this installation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from adminconsole import problems
from adminconsole.formats import date_and_time
from xmppd.management.cli import ShellCommand
from xmppd.services import doctor

SIGNS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


class Command(ShellCommand):
    help = gettext_noop(
        "Look for mistakes in the set-up of this server. Exit code 1 when something is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help=_("one JSON array of check, level, text, remedy")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from xmppd.server.loader import module_classes

        module_classes()  # their settings are part of what is looked at
        findings = doctor.examine()
        # What the running server cannot do at the moment; it tries again by itself.
        findings += [
            doctor.Finding(
                problem.name, "bad", f"{problem.title} ({date_and_time(problem.since)}).", problem.text
            )
            for problem in problems.found()
        ]
        if options["json"]:
            self.stdout.write(
                json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)
            )
        else:
            for finding in findings:
                self.stdout.write(f"{SIGNS[finding.level]}  {finding.text}")
                if finding.remedy:
                    self.stdout.write(f"      → {finding.remedy}")
        if any(finding.level == "bad" for finding in findings):
            sys.exit(1)
