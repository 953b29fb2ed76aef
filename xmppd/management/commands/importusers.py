"""manage.py importusers FILE.csv: many accounts in one go; without --apply only a report."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import services
from xmppd.management.cli import HearthCommand, cli_actor


class Command(HearthCommand):
    help = gettext_noop(
        "Create accounts from a CSV file: username,password,name,email,groups. The header is optional, "
        "';' may separate, groups are separated by '|'. Without --apply nothing is changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.csv", help=_("'-' reads standard input"))
        parser.add_argument("--apply", action="store_true", help=_("create the accounts"))
        parser.add_argument("--json", action="store_true", help=_("print the report as JSON"))

    def handle(self, *args: Any, **options: Any) -> None:
        rows = services.read_users(_read(options["file"]))
        if options["apply"]:
            services.import_users(
                rows, actor=cli_actor(), progress=None if options["json"] else self._progress
            )
        counts: Counter[services.Status] = Counter(row.status for row in rows)
        if options["json"]:
            self.stdout.write(
                json.dumps(_report(rows, counts, options["apply"]), ensure_ascii=False, indent=2)
            )
        else:
            self._print(rows, counts, options["apply"])
        if counts["error"]:
            raise CommandError(_("%(count)d rows could not be used.") % {"count": counts["error"]})

    def _progress(self, done: int, total: int) -> None:
        self.stderr.write(_("%(done)d of %(total)d") % {"done": done, "total": total})

    def _print(self, rows: list[services.Row], counts: Counter[services.Status], is_applied: bool) -> None:
        labels: dict[services.Status, str] = {
            "new": _("would be created"),
            "created": _("created"),
            "exists": _("exists"),
            "error": _("error"),
        }
        for row in rows:
            if is_applied and row.status == "created" and not row.messages:
                continue  # ten thousand lines that say nothing hide the one that does
            groups = f" [{', '.join(row.groups)}]" if row.groups else ""
            notes = f" — {' '.join(row.messages)}" if row.messages else ""
            line = _("line %(line)d: %(jid)s") % {"line": row.line, "jid": row.jid or "?"}
            self.stdout.write(f"{line}{groups}: {labels[row.status]}{notes}")
        summary = ", ".join(f"{labels[status]}: {counts[status]}" for status in labels if counts[status])
        self.stdout.write(summary or _("The file holds no users."))
        if not is_applied and counts["new"]:
            self.stdout.write(_("Nothing was changed. Run it again with --apply to create the accounts."))


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(_("The file cannot be read: %(error)s") % {"error": error}) from error


def _report(rows: list[services.Row], counts: Counter[services.Status], is_applied: bool) -> dict[str, Any]:
    return {
        "applied": is_applied,
        "counts": dict(counts),
        "rows": [
            {
                "line": row.line,
                "jid": row.jid,
                "name": row.name,
                "email": row.email,
                "groups": list(row.groups),
                "status": row.status,
                "messages": row.messages,
            }
            for row in rows
        ],
    }
