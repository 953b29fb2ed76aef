"""CSV answers: what spreadsheets would take for a formula is made text, long lists are sent as they are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from django.http import HttpRequest, HttpResponseBase

from adminconsole import downloads

Lines = Iterable[Sequence[object]]
BOM = "\ufeff"  # spreadsheets take the file for UTF-8 then
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> str:
    """A value as a spreadsheet shows it and never runs it: an apostrophe stands before the sign of a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def to_csv(rows: Lines) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def download(
    request: HttpRequest, filename: str, header: Sequence[str], chunk: Callable[[], Lines]
) -> HttpResponseBase:
    """A file that is sent while it is read. `chunk()` gives the next rows, none at the end; it may ask the
    database.
    """
    return downloads.download(request, filename, "text/csv; charset=utf-8", _parts(header, chunk))


def _parts(header: Sequence[str], chunk: Callable[[], Lines]) -> Iterator[str]:
    yield BOM + to_csv([header])
    while rows := list(chunk()):
        yield to_csv(rows)
