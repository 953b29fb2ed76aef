"""Many users from a CSV file: upload, a report that changes nothing, the accounts, what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from accounts import services
from accounts.models import User
from adminconsole import imports
from adminconsole.access import actor_of, page
from adminconsole.csvfiles import download
from adminconsole.forms.users_bulk import ImportForm
from adminconsole.pages import choice, cut, searched

SAMPLE = """username,password,name,email,groups
romeo,a long sentence,Romeo Montague,romeo@example.com,Montague|Friends
juliet,another sentence,Juliet Capulet,,Capulet|Friends"""

# status -> tone, what it says before and after
LABELS: dict[services.Status, tuple[str, Any]] = {
    "new": ("info", gettext_lazy("Will be created")),
    "created": ("ok", gettext_lazy("Created")),
    "exists": ("neutral", gettext_lazy("Exists already")),
    "error": ("bad", gettext_lazy("Problem")),
}
CHUNK = 1000  # rows of the report file sent at once
SHOWS = ("new", "created", "exists", "error", "notes")


@page(permission="users.change")
def upload(request: HttpRequest) -> HttpResponse:
    is_post = request.method == "POST"
    form = ImportForm(request.POST if is_post else None, request.FILES if is_post else None)
    if is_post and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            # Longer files are not read to their end: one byte too many says enough.
            data = file.read(imports.MAX_BYTES + 1)
            job = imports.check(data, name=file.name, user=_viewer(request))
        except ValidationError as error:
            form.add_error("file", error.messages)
        else:
            return redirect("user-import-report", job.token)
    context = {
        "form": form,
        "sample": SAMPLE,
        "max_bytes": imports.MAX_BYTES,
        "max_rows": imports.MAX_ROWS,
        "running": imports.running(),
    }
    status = 422 if form.errors else 200
    return render(request, "adminconsole/users/import.html", context, status=status)


@page(permission="users.change")
def report(request: HttpRequest, token: str) -> HttpResponse:
    """What will be, is being or has been done. A POST does it, or with `discard` forgets the file."""
    job = _find(request, token)
    if job is None:
        messages.info(request, _("This import is no longer here: files and reports are kept for an hour."))
        return redirect("user-import")
    if request.method == "POST":
        return _act(request, job)
    if job.is_running:
        return render(request, "adminconsole/users/import_running.html", {"job": job})
    if request.headers.get("HX-Request") and request.headers.get("HX-Target") == "import-progress":
        # The page that watched the progress shows the result now.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return render(request, "adminconsole/users/import_report.html", _report_context(request, job))


def _act(request: HttpRequest, job: imports.Import) -> HttpResponse:
    if "discard" in request.POST:
        if not job.is_running:
            imports.discard(job)
            messages.success(request, _("The file is deleted, nothing was created."))
        return redirect("user-import")
    try:
        imports.apply(job, actor=actor_of(request))
    except imports.BusyError:
        messages.error(request, _("Another import runs at the moment. Try again when it has ended."))
    return redirect("user-import-report", job.token)


def _report_context(request: HttpRequest, job: imports.Import) -> dict[str, Any]:
    show, query = choice(request, "show", SHOWS), searched(request)
    rows = [row for row in job.rows() if _matches(row, show, query.casefold())]
    present = [(status, label) for status, (_tone, label) in LABELS.items() if job.counts.get(status)]
    page_ = cut(request, rows)
    page_.object_list = [(row, LABELS[row.status][1], LABELS[row.status][0]) for row in page_.object_list]
    return {
        "job": job,
        "page": page_,
        "tiles": _tiles(job),
        "q": query,
        "is_filtered": bool(show or query),
        "filters": [
            {
                "name": "show",
                "label": _("Show"),
                "value": show,
                "choices": [("", _("All rows")), *present, ("notes", _("Rows with remarks"))],
            }
        ],
    }


def _tiles(job: imports.Import) -> list[dict[str, Any]]:
    hidden = "created" if job.state == "checked" else "new"
    return [
        {
            "status": status,
            "label": label,
            "count": job.counts.get(status, 0),
            "tone": "bad" if status == "error" and job.counts.get(status) else "",
        }
        for status, (_tone, label) in LABELS.items()
        if status != hidden
    ]


def _matches(row: imports.ReportRow, show: str, query: str) -> bool:
    if show == "notes" and not row.has_notes:
        return False
    if show not in ("", "notes") and row.status != show:
        return False
    return query in f"{row.jid}\n{row.name}\n{' '.join(row.groups)}\n{' '.join(row.messages)}".casefold()


@page(permission="users.change")
def report_file(request: HttpRequest, token: str) -> HttpResponseBase:
    job = _find(request, token)
    if job is None:
        raise Http404
    words = {status: str(label) for status, (_tone, label) in LABELS.items()}
    rows: Iterator[list[object]] = iter(
        [row.line, row.jid, row.name, "|".join(row.groups), words[row.status], " ".join(row.messages)]
        for row in job.rows()
    )
    header = [_("Line"), _("User"), pgettext("of a person", "Name"), _("Groups"), _("Result"), _("Remarks")]
    return download(request, "hearth-import-report.csv", header, lambda: islice(rows, CHUNK))


def _find(request: HttpRequest, token: str) -> imports.Import | None:
    return imports.find(token, _viewer(request))


def _viewer(request: HttpRequest) -> User:
    user: User = request.user  # type: ignore[assignment]
    return user


urlpatterns = [
    path("users/import/", upload, name="user-import"),
    path("users/import/<str:token>/", report, name="user-import-report"),
    path("users/import/<str:token>/report.csv", report_file, name="user-import-file"),
]
