"""The audit log: find, read, export. Pages follow the id, nothing is counted: a million rows do not matter."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _

from adminconsole.access import page
from adminconsole.forms.audit import Entry, FilterForm, action_label
from adminconsole.pages import page_and_size
from xmppd.services import audit
from xmppd.services.audit import AuditEntry
from xmppd.services.db import db

# Searching text means reading row by row: so many ids at a time, until the page is full or the time is over.
WINDOW_IDS = 25_000
PATIENCE_SECONDS = 0.4
CLOCK_SLACK = timedelta(
    minutes=5
)  # ids and times may disagree that far: transactions overlap, clocks are set
EXPORT_ROWS = 2_000  # read at once
ACTIONS_SECONDS = 30.0  # how long the list of actions is believed
MAX_ID = 2**63 - 1


@dataclass(slots=True)
class Found:
    """A page of entries, the newest first. `older`, `newer`: ids to go on from, 0 at the end. `searched_to`: the
    text was looked for back to this entry's time, and further back it was not.
    """

    rows: list[AuditEntry] = field(default_factory=list)
    older: int = 0
    newer: int = 0
    searched_to: Any = None


@page(permission="audit.view")
def audit_list(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET, _actions())
    _number, size = page_and_size(request)
    found = find(
        form.criteria(), size, before=_id(request.GET.get("before")), after=_id(request.GET.get("after"))
    )
    context = {
        "form": form,
        "found": found,
        "entries": [Entry(row) for row in found.rows],
        "q": form.data.get("q", ""),
        "is_filtered": form.is_filtering,
        "more_filters": any(form.data.get(name) for name in ("actor", "target", "since", "until"))
        or form.errors,
        "size": size,
    }
    return render(request, "adminconsole/audit/list.html", context)


@page(permission="audit.view")
def audit_entry(request: HttpRequest, entry_id: int) -> HttpResponse:
    row = audit.search().filter(pk=entry_id).first() if entry_id <= MAX_ID else None
    if row is None:
        raise Http404
    context = {
        "entry": Entry(row),
        "newer": audit.search().filter(pk__gt=entry_id).order_by("pk").first(),
        "older": audit.search().filter(pk__lt=entry_id).first(),
    }
    return render(request, "adminconsole/audit/entry.html", context)


@page(permission="audit.view")
def audit_export(request: HttpRequest) -> HttpResponseBase:
    """What the filters find as CSV, written while it is read."""
    form = FilterForm(request.GET, _actions())
    wanted = form.criteria()
    name = f"hearth-audit-{timezone.localdate():%Y-%m-%d}.csv"
    # Django gathers an iterator of the other kind in memory first.
    is_async = isinstance(request, ASGIRequest)
    content = _async_csv(wanted) if is_async else _csv(wanted)
    return StreamingHttpResponse(
        content,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


# --- finding ---


def find(wanted: dict[str, Any], size: int, *, before: int = 0, after: int = 0) -> Found:
    """`size` entries older than the id `before`, or newer than `after`, or the newest."""
    entries = _between(wanted)
    newest = AuditEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0
    if after and not before:
        return _newer(entries, wanted, size, after, newest)
    top = min(before, newest + 1) if before else newest + 1
    found = Found()
    if wanted["query"]:
        lowest = _search_down(entries, size, top, found)
    else:
        found.rows = list(entries.filter(id__lt=top)[: size + 1])
        lowest = 0
    if len(found.rows) > size:
        found.rows = found.rows[:size]
        found.older, found.searched_to = found.rows[-1].pk, None
    elif lowest:
        found.older = lowest
    if before and before <= newest:
        found.newer = (found.rows[0].pk if found.rows else before - 1) or 0
    return found


def _newer(
    entries: QuerySet[AuditEntry], wanted: dict[str, Any], size: int, after: int, newest: int
) -> Found:
    """The page just above an id. A text search begins at the top again: going up it would find the same."""
    if wanted["query"]:
        return find(wanted, size)
    rows = list(entries.filter(id__gt=after).order_by("id")[: size + 1])
    if len(rows) <= size:
        return find(wanted, size)
    rows = rows[:size][::-1]
    return Found(rows, older=rows[-1].pk, newer=rows[0].pk if rows[0].pk < newest else 0)


def _search_down(entries: QuerySet[AuditEntry], size: int, top: int, found: Found) -> int:
    """Look through ids below `top` window by window; returns the id from which to go on, 0 when all was read."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while top > 1:
        bottom = max(top - WINDOW_IDS, 1)
        found.rows += entries.filter(id__gte=bottom, id__lt=top)[: size + 1 - len(found.rows)]
        top = bottom
        if len(found.rows) > size:
            return top
        if time.monotonic() > deadline and top > 1:
            mark = AuditEntry.objects.filter(id__gte=top).order_by("id").first()
            found.searched_to = mark.created if mark else None
            return top
    return 0


def _between(wanted: dict[str, Any]) -> QuerySet[AuditEntry]:
    """The filters, with the days as bounds of the id too: the list is read in its order, so that a far-off day
    would else be reached only by reading everything newer.
    """
    entries = audit.search(**wanted)
    if wanted["since"]:
        first = _edge(wanted["since"] - CLOCK_SLACK)
        entries = entries.filter(id__gte=first or MAX_ID)
    if wanted["until"] and (last := _edge(wanted["until"] + CLOCK_SLACK)):
        entries = entries.filter(id__lte=last)
    return entries


def _edge(moment: Any) -> int:
    """The id of the first entry written at or after a moment; 0 when there is none."""
    first = AuditEntry.objects.filter(created__gte=moment).order_by("created").values_list("id", flat=True)
    return first.first() or 0


_known_actions: list[str] = []
_known_until = 0.0


def _actions() -> list[str]:
    """The kinds of action for the filter; listing them reads the whole index, so not for every page."""
    global _known_actions, _known_until
    now = time.monotonic()
    if now >= _known_until:
        _known_actions = audit.actions()
        _known_until = now + ACTIONS_SECONDS
    return _known_actions


def forget_actions() -> None:
    """Read them again at the next page."""
    global _known_until
    _known_until = 0.0


def _id(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else 0


# --- export ---


def _csv(wanted: dict[str, Any]) -> Iterator[str]:
    yield _header()
    last = MAX_ID
    while last:
        text, last = _part(wanted, last)
        yield text


async def _async_csv(wanted: dict[str, Any]) -> AsyncIterator[str]:
    yield _header()
    last = MAX_ID
    while last:
        text, last = await db(_part, wanted, last)
        yield text


def _header() -> str:
    columns = (
        _("Time"), _("Who"), _("Through"), _("Address"), _("Action"), _("What"), _("To what"), _("Details"),
        _("Before"), _("After"),
    )  # fmt: skip
    return "\ufeff" + _lines([list(columns)])  # spreadsheets take UTF-8 only with the mark


def _part(wanted: dict[str, Any], before: int) -> tuple[str, int]:
    """The next rows below an id as text, and the id to go on from; 0 after the last."""
    rows = list(_between(wanted).filter(id__lt=before)[:EXPORT_ROWS])
    text = _lines(
        [
            row.created.isoformat(timespec="seconds"),
            row.actor,
            row.door,
            row.address,
            row.action,
            action_label(row.action),
            row.target,
            row.detail,
            _json(row.before),
            _json(row.after),
        ]
        for row in rows
    )
    return text, rows[-1].pk if len(rows) == EXPORT_ROWS else 0


def _lines(rows: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([_cell(cell) for cell in row])
    return out.getvalue()


def _cell(text: str) -> str:
    """A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


urlpatterns = [
    path("audit/", audit_list, name="audit"),
    path("audit/<int:entry_id>/", audit_entry, name="audit-entry"),
    path("audit/export/", audit_export, name="audit-export"),
]
