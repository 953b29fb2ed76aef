"""Column types that compare alike on SQLite, PostgreSQL and MySQL."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

# With the domain's id this stays below the 3072 bytes of an InnoDB index in utf8mb4 (4 bytes per character).
MAX_NAME_CHARS = 255
MAX_JID_CHARS = 512


class Exact(models.Field):
    """Text compared code point by code point. MySQL's usual collations hold "é" and "E" equal to "e", and its older
    binary one "e " too.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            is_mariadb = getattr(connection, "mysql_is_mariadb", False)
            parameters["collation"] = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        return parameters


class ExactCharField(Exact, models.CharField):
    pass


class ExactTextField(Exact, models.TextField):
    pass


class RowIdField(models.BigIntegerField):
    """A primary key of 64 bits that we choose. SQLite keeps rows in its order only if the type is called INTEGER."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)
