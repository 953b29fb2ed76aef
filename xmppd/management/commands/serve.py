"""`manage.py serve`: run the console and the XMPP service."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from xmppd import demo
from xmppd.bootstrap import ConfigurationError
from xmppd.management.cli import ShellCommand


class Command(ShellCommand):
    help = gettext_noop("Run the web console and the XMPP service until Ctrl-C or SIGTERM.")

    def add_arguments(self, parser: CommandParser) -> None:
        parts = parser.add_mutually_exclusive_group()
        parts.add_argument("--no-web", action="store_true", help=_("without the console"))
        parts.add_argument("--no-xmpp", action="store_true", help=_("without the XMPP service"))
        parser.add_argument(
            "--demo", action="store_true", help=_("example.org with four users, on loopback only")
        )
        parser.add_argument("--reload", action="store_true", help=_("start over when the code changes"))
        parser.add_argument("--debug", action="store_true", help=_("debug pages and a talkative log"))

    def handle(self, *args: Any, **options: Any) -> None:
        self._adopt_environment(options)
        from xmppd.serve import Options, StartError, run

        try:
            # What is sent to clients and written to logs follows them, not the shell.
            with translation.override(settings.LANGUAGE_CODE):
                code = run(
                    Options(
                        web=not options["no_web"],
                        xmpp=not options["no_xmpp"],
                        demo=options["demo"],
                        reload=options["reload"],
                        debug=options["debug"],
                    )
                )
        except (StartError, ConfigurationError) as error:
            raise CommandError(str(error), returncode=getattr(error, "code", 1)) from error
        sys.exit(code)

    def _adopt_environment(self, options: dict[str, Any]) -> None:
        """Settings are read already: what changes them needs the process to begin again."""
        wanted = dict(os.environ)
        if options["demo"] and wanted.get("HEARTH_DEMO") != "1":
            wanted = demo.environment()
        if options["debug"]:
            wanted["HEARTH_DEBUG"] = "1"
        if wanted != dict(os.environ):
            os.execve(sys.executable, [sys.executable, *sys.argv], wanted)  # noqa: S606
