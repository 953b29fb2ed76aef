"""CSV answers: what spreadsheets would take for a formula is made text, long lists are sent as they are read."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from xmppd.services.db import db

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
    is_async = isinstance(request, ASGIRequest)
    content = _async_parts(header, chunk) if is_async else _parts(header, chunk)
    response = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _parts(header: Sequence[str], chunk: Callable[[], Lines]) -> Iterator[str]:
    yield BOM + to_csv([header])
    while rows := list(chunk()):
        yield to_csv(rows)


async def _async_parts(header: Sequence[str], chunk: Callable[[], Lines]) -> AsyncIterator[str]:
    """Django would read all of a plain iterator before it sends the first byte."""
    yield BOM + to_csv([header])
    while rows := await db(lambda: list(chunk())):
        yield to_csv(rows)
