"""Files that are sent while they are read, however long they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from xmppd.services.db import db


def download(
    request: HttpRequest, filename: str, content_type: str, parts: Iterator[str]
) -> HttpResponseBase:
    """The parts as a file. To make one may need the database; the next is made when the last is on its way."""
    content = _awaited(parts) if isinstance(request, ASGIRequest) else parts
    response = StreamingHttpResponse(content, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


async def _awaited(parts: Iterator[str]) -> AsyncIterator[str]:
    """Django would read all of a plain iterator before it sends the first byte."""
    while (part := await db(next, parts, None)) is not None:
        yield part
