"""Column types that behave alike on SQLite, PostgreSQL and MySQL."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

# A unique key over an account id and such a column has 8 + 4 * 512 bytes at most: below the 3072 bytes of an InnoDB
# index in utf8mb4. RFC 7622 allows 2047 bytes in a bare JID; the services refuse what is longer than the column.
MAX_JID_CHARS = 512


class ExactCharField(models.CharField):
    """Text compared code point by code point. MySQL's usual collations hold "é" equal to "e" and "A" to "a"."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters
