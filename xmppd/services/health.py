"""Whether the database can be used as it stands, told in one line; and what a starting server has to know of it."""

from __future__ import annotations

from pathlib import Path

from django.db import DatabaseError, connection
from django.utils.translation import gettext as _

from accounts.models import Domain
from xmppd.services.database_check import DatabaseProblem

SQLITE_MAGIC = b"SQLite format 3\0"
MAX_CHECKED_BYTES = 64 * 1024 * 1024  # a larger file is not read through at each start


def check_usable() -> None:
    """Raise DatabaseProblem for a database that is missing, damaged or not ours. Nothing is created or repaired."""
    if connection.vendor == "sqlite":
        _check_sqlite(Path(str(connection.settings_dict["NAME"])))
    try:
        if not Domain.objects.filter(is_primary=True).exists():
            raise DatabaseProblem(_("it holds no domain, so it is not the database that was set up."))
    except DatabaseError as error:
        raise DatabaseProblem(f"{error}.") from error


def _check_sqlite(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        raise DatabaseProblem(_("the file %(path)s is missing or empty.") % {"path": path})
    with path.open("rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise DatabaseProblem(_("the file %(path)s is damaged.") % {"path": path})
    if path.stat().st_size > MAX_CHECKED_BYTES:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            row = cursor.fetchone()
    except DatabaseError as error:
        raise DatabaseProblem(
            _("the file %(path)s is damaged: %(error)s.") % {"path": path, "error": error}
        ) from error
    if row is None or row[0] != "ok":
        raise DatabaseProblem(
            _("the file %(path)s is damaged: %(error)s.") % {"path": path, "error": row and row[0]}
        )


def domain_names() -> list[str]:
    """Every domain served here, the primary one first."""
    return list(Domain.objects.order_by("-is_primary", "name").values_list("name", flat=True))
