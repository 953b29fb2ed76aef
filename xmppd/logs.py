"""Logging of a running server: one line per event, UTC, to stderr and to HEARTH_HOME/logs/hearth.log.

HEARTH_LOG=json writes JSON lines. Control characters are escaped and long lines cut, since names and addresses in
them come from strangers (reliability row 37).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_MESSAGE_CHARS = 1024
MAX_FILE_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5
# What strangers can bring about at will: in the file for fail2ban, not over the terminal.
FILE_ONLY = frozenset({"django.request", "hearth.auth"})


class LineFormatter(logging.Formatter):
    """2026-11-20T12:00:00.123Z WARNING hearth.auth auth-failed user=..."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_stamp(record)} {record.levelname} {record.name} {_message(record)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": _stamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=False)


class LogFile(RotatingFileHandler):
    """Its size is asked of the system; the base class formats each record once more for that."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        return self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self.maxBytes


def lower_refusals(record: logging.LogRecord) -> bool:
    """Filter of Django's loggers: a page that is not there or a form with a mistake is its visitor's business, not a
    warning to who runs the server. Failed logins have a line of their own.
    """
    if record.levelno == logging.WARNING and 400 <= getattr(record, "status_code", 500) < 500:
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _stamp(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[:MAX_MESSAGE_CHARS] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def configure(home: Path, *, debug: bool = False) -> None:
    """Called once by `serve`. The file is left out when the folder cannot be written."""
    formatter = JSONFormatter() if os.environ.get("HEARTH_LOG") == "json" else LineFormatter()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    try:
        folder = home / "logs"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handlers.append(
            LogFile(folder / "hearth.log", maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
        )
    except OSError as error:
        print(f"hearth: no log file: {error}", file=sys.stderr)
    for handler in handlers:
        handler.setFormatter(formatter)
    # stderr is for people: only what they should look at, unless they debug.
    handlers[0].setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        handlers[0].addFilter(lambda record: record.name not in FILE_ONLY or record.levelno >= logging.ERROR)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.INFO)
    logging.getLogger("hearth").setLevel(logging.DEBUG if debug else logging.INFO)
    for answers in ("django.request", "django.security.csrf"):
        logging.getLogger(answers).addFilter(lower_refusals)
    # Nothing of this is in a line, and a login writes one: see "Optimization" in Python's logging HOWTO.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for noisy in ("daphne", "asyncio", "twisted", "django.channels.server"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
