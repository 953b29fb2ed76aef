"""Users from a CSV file through the console: the file waits in HEARTH_HOME/tmp until somebody applies it, at most an
hour; a thread then creates the accounts, one import at a time, whichever process serves the page.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import services
from accounts.models import User
from adminconsole.formats import bytes_, number
from xmppd.services import audit, db
from xmppd.services.audit import Actor

log = logging.getLogger("hearth.console")

MAX_BYTES = 5 * 1024 * 1024
MAX_ROWS = 20_000
KEPT_SECONDS = 3600.0

State = Literal["checked", "running", "done", "failed"]
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")


class BusyError(Exception):
    """Another import runs."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A line of the file in the report; passwords are not kept here."""

    line: int
    jid: str
    name: str
    groups: list[str]
    status: services.Status
    messages: list[str]

    @property
    def has_notes(self) -> bool:
        return bool(self.messages)


@dataclass(slots=True)
class Import:
    """A file that somebody has uploaded, and how far it is."""

    token: str
    user_id: int
    jid: str
    name: str
    state: State = "checked"
    done: int = 0
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self.state == "running" and running_token() == self.token

    @property
    def is_finished(self) -> bool:
        """Done, failed, or ended together with the server."""
        return self.state != "checked" and not self.is_running

    @property
    def is_complete(self) -> bool:
        return self.state == "done"

    def rows(self) -> list[ReportRow]:
        try:
            stored = json.loads(_path(self.token, "rows").read_text())
        except (OSError, ValueError):
            return []
        return [ReportRow(*values) for values in stored]

    def _save(self) -> None:
        _write(_path(self.token, "json"), json.dumps(asdict(self)).encode())

    def _save_rows(self, rows: Sequence[services.Row]) -> None:
        self.counts = dict(Counter(row.status for row in rows))
        stored = [(r.line, r.jid, r.name, r.groups, r.status, r.messages) for r in rows]
        _write(_path(self.token, "rows"), json.dumps(stored, ensure_ascii=False).encode())


def check(data: bytes, *, name: str, user: User) -> Import:
    """Read the file and keep it with its report; raises ValidationError when it cannot be used."""
    sweep()
    if len(data) > MAX_BYTES:
        raise ValidationError(_("The file is larger than %(limit)s.") % {"limit": bytes_(MAX_BYTES)})
    rows = services.read_users(data)
    if not rows:
        raise ValidationError(_("The file holds no users."))
    if len(rows) > MAX_ROWS:
        text = _("The file has %(rows)s rows; at most %(limit)s can be imported at once. Split it.")
        raise ValidationError(text % {"rows": number(len(rows)), "limit": number(MAX_ROWS)})
    job = Import(secrets.token_urlsafe(16), user.pk, user.jid, name[:200])
    job._save_rows(rows)
    job.total = job.counts.get("new", 0)
    _write(_path(job.token, "csv"), data)
    job._save()
    return job


def find(token: str, user: User) -> Import | None:
    """The import with this token, if this user has uploaded it and it is not too old."""
    job = _load(token)
    return job if job is not None and job.user_id == user.pk else None


def running() -> Import | None:
    """The import that runs now, whoever has started it."""
    return _load(running_token())


def apply(job: Import, *, actor: Actor) -> None:
    """Begin to create the accounts, in a thread; raises BusyError while another import runs."""
    held = _hold()
    current = _load(job.token)  # of two who press the button at once, the second finds it done
    if current is None or current.state != "checked":
        held.close()
        return
    current.state = "running"
    current._save()
    _write(_folder() / "importing", current.token.encode())
    Thread(
        target=_work,
        args=(current, actor, translation.get_language(), held),
        name="hearth-import",
        daemon=True,
    ).start()


def discard(job: Import) -> None:
    """Forget the file and its report."""
    for suffix in ("csv", "rows", "json"):
        _path(job.token, suffix).unlink(missing_ok=True)


def sweep() -> None:
    """Delete files and reports that are an hour old."""
    latest, busy = time.time() - KEPT_SECONDS, running_token()
    with suppress(OSError):
        for path in list((settings.CONFIG.home / "tmp").glob("import-*")):
            if busy and busy in path.name:
                continue
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < latest:
                    path.unlink()


def running_token() -> str:
    """Which import runs; '' when none does, also where the server ended in the middle of one."""
    folder = settings.CONFIG.home / "tmp"
    if not (folder / "importing.lock").exists():
        return ""
    try:
        with db.file_lock(folder / "importing.lock", wait=False):
            return ""
    except BlockingIOError:
        with suppress(OSError):
            return (folder / "importing").read_text()
    return ""


def _hold() -> ExitStack:
    """The lock of the import that runs; the second try is for a page that was just asking who holds it."""
    for is_last in (False, True):
        held = ExitStack()
        try:
            held.enter_context(db.file_lock(_folder() / "importing.lock", wait=False))
            return held
        except BlockingIOError as error:
            if is_last or running_token():
                raise BusyError from error
    raise BusyError


def _work(job: Import, actor: Actor, language: str | None, held: ExitStack) -> None:
    """On a thread with a database connection of its own."""
    rows: list[services.Row] = []
    new: list[services.Row] = []

    def progress(done: int, total: int) -> None:
        job.done, job.total = done, total
        job._save()

    with held, translation.override(language):
        try:
            db.use_current_database()
            rows = services.read_users(_path(job.token, "csv").read_bytes())
            new = [row for row in rows if row.status == "new"]
            services.import_users(rows, actor=actor, progress=progress)
            job.state = "done"
        except Exception:  # whatever it is, the person at the page has to learn what was done
            log.exception("the import of %s has failed", job.name)
            job.state = "failed"
            # The transaction of the rows after these was rolled back.
            for row in new[job.done :]:
                row.status = "error"
                row.messages.append(_("Not created: the import stopped before."))
        try:
            _path(job.token, "csv").unlink(missing_ok=True)  # it holds passwords
            if rows:
                job._save_rows(rows)
            job._save()
            counts = {key: job.counts.get(key, 0) for key in ("created", "exists", "error")}
            audit.record(actor, "users-imported", job.name, after=counts)
        except Exception:
            log.exception("the report of the import of %s could not be kept", job.name)
        finally:
            connections.close_all()


def _load(token: str) -> Import | None:
    if not _TOKEN.fullmatch(token):
        return None
    path = _path(token, "json")
    try:
        if path.stat().st_mtime < time.time() - KEPT_SECONDS and running_token() != token:
            return None
        stored: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return Import(**stored)


def _folder() -> Path:
    folder: Path = settings.CONFIG.home / "tmp"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _path(token: str, suffix: str) -> Path:
    return _folder() / f"import-{token}.{suffix}"


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, for the owner's eyes only."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)
