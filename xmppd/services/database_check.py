"""Whether a database can be used, and if not, why, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.utils import load_backend
from django.utils.translation import gettext as _

from xmppd import bootstrap
from xmppd.services.db import complete


class DatabaseProblem(Exception):
    """Why a database cannot be used, in the reader's language. `code` names the kind; `detail` is the
    driver's own text.
    """

    def __init__(self, message: str, code: str = "other", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.detail = detail


def test_database(url: str) -> None:
    """Connect, make a table and drop it; raises DatabaseProblem."""
    config = _config(url)
    if config["ENGINE"].endswith("sqlite3") and _check_sqlite_file(Path(str(config["NAME"]))):
        return
    with _connected(config) as probe, probe.cursor() as cursor:
        cursor.execute("CREATE TABLE hearth_probe (id integer)")
        cursor.execute("DROP TABLE hearth_probe")


def look_up(url: str, queryset: QuerySet[Any]) -> list[tuple[Any, ...]]:
    """The rows of a query (a `values_list`) in a database that is not in use; raises DatabaseProblem, also where it
    has no such tables.
    """
    config = _config(url)
    if config["ENGINE"].endswith("sqlite3") and not Path(str(config["NAME"])).exists():
        return []
    with _connected(config) as probe, probe.cursor() as cursor:
        cursor.execute(*queryset.query.get_compiler(connection=probe).as_sql())
        return list(cursor.fetchall())


def _config(url: str) -> dict[str, Any]:
    try:
        return bootstrap.database_config(url, settings.CONFIG.home)
    except bootstrap.ConfigurationError as error:
        raise DatabaseProblem(_("This is not a database address."), "url", str(error)) from error


@contextmanager
def _connected(config: dict[str, Any]) -> Iterator[BaseDatabaseWrapper]:
    """A connection beside the one in use; what goes wrong on it is raised as DatabaseProblem."""
    try:
        backend = load_backend(config["ENGINE"])
    except ImproperlyConfigured as error:
        raise _driver_missing(config["ENGINE"], str(error)) from error
    probe = backend.DatabaseWrapper(complete(config), alias="hearth_probe")
    try:
        yield probe
    except (Error, NotSupportedError, UnicodeError) as error:
        raise _explain(error, config) from error
    finally:
        probe.close()


def _check_sqlite_file(path: Path) -> bool:
    """True when nothing is there yet and the file can be made: connecting would leave an empty one behind."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return False
        with open(path, "xb"):
            path.unlink()
    except OSError as error:
        message = _("The file %(path)s cannot be written.") % {"path": path}
        raise DatabaseProblem(message, "file", str(error)) from error
    return True


def _driver_missing(engine: str, detail: str) -> DatabaseProblem:
    if engine.endswith("mysql"):
        package = "PyMySQL"
        message = _(
            "The driver for MySQL and MariaDB is not installed. Run: %(command)s — and start Hearth again."
        )
    else:
        package = "psycopg[binary]"
        message = _("The driver for PostgreSQL is not installed. Run: %(command)s — and start Hearth again.")
    return DatabaseProblem(message % {"command": f".venv/bin/pip install '{package}'"}, "driver", detail)


# Words of the drivers' and servers' messages, in the order of looking. PostgreSQL's come in the server's
# language where the login failed; they then fall to the last line, with the text itself.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "password",
        ("password authentication failed", "no password supplied", "access denied for user", "pg_hba.conf"),
    ),
    ("missing", ("does not exist", "unknown database")),
    ("permission", ("permission denied", "command denied", "readonly database", "read-only")),
    (
        "unreachable",
        (
            "could not translate host name",
            "name or service not known",
            "failed to resolve",
            "unknown mysql server host",
            "unknown server host",
            "connection refused",
            "can't connect",
            "timeout",
            "timed out",
            "no route to host",
            "network is unreachable",
            "no such file or directory",
            "connection failed",
        ),
    ),
    ("file", ("unable to open database file", "file is not a database", "disk i/o error")),
    ("version", ("or later is required",)),
)
_MYSQL_CODES = {
    1044: "permission",
    1045: "password",
    1049: "missing",
    1142: "permission",
    2002: "unreachable",
    2003: "unreachable",
    2005: "unreachable",
}


def _explain(error: Exception, config: dict[str, Any]) -> DatabaseProblem:
    detail = " ".join(str(error).split())
    number = error.args[0] if error.args else None
    code = _MYSQL_CODES.get(number) if isinstance(number, int) else None
    if code is None:
        lowered = detail.lower()
        role_missing = "role" in lowered and "does not exist" in lowered
        code = (
            "password"
            if role_missing
            else next((code for code, signs in _SIGNS if any(sign in lowered for sign in signs)), "other")
        )
    where = {
        "host": config.get("HOST") or "localhost",
        "user": config.get("USER", ""),
        "name": config["NAME"],
    }
    messages = {
        "password": _("The server refused the user “%(user)s” or the password."),
        "missing": _("The server has no database “%(name)s”. Create it first, owned by “%(user)s”."),
        "permission": _("The user “%(user)s” may not create tables in the database “%(name)s”."),
        "unreachable": _("No database server answers at “%(host)s”. Check host name, port and firewall."),
        "file": _("The file %(name)s cannot be opened as a database."),
        "version": _("The database server is too old."),
        "other": _("The database cannot be used."),
    }
    return DatabaseProblem(messages[code] % where, code, detail)
