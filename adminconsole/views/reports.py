"""Reports: what users said of spam and abuse when they blocked somebody (XEP-0377)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from adminconsole import pages
from adminconsole.access import actor_of, page
from adminconsole.forms.reports import DecisionForm
from adminconsole.views.user_tabs import may_manage
from xmppd.services import reports
from xmppd.services.reports import MAX_ID, Reason, Report, State

EVERY_STATE = "all"
REASON_TONES = {Reason.SPAM: "warn", Reason.ABUSE: "bad", Reason.OTHER: "neutral"}
STATE_TONES = {State.OPEN: "info", State.HANDLED: "ok", State.DISMISSED: "neutral"}
CONSENTS: dict[str, str | Promise] = {
    "report-origin": gettext_lazy("the operator of the reported address"),
    "third-party": gettext_lazy("others who fight spam"),
}
WHY_MISSING: dict[str, str | Promise] = {
    "foreign": gettext_lazy("Not an id of the reporter's archive, so nothing was looked up."),
    "gone": gettext_lazy("The reporter's archive did not hold this message when it was reported."),
    "other-sender": gettext_lazy(
        "Somebody else than the reported address sent this message, so it is not shown."
    ),
}
DONE: dict[str, str | Promise] = {
    State.HANDLED: gettext_lazy("The report about %(jid)s is handled."),
    State.DISMISSED: gettext_lazy("The report about %(jid)s is dismissed."),
    State.OPEN: gettext_lazy("The report about %(jid)s is open again."),
}


@dataclass(frozen=True)
class Row:
    """A report with what a page makes of it."""

    report: Report

    @property
    def reason_tone(self) -> str:
        return REASON_TONES.get(self.report.reason, "neutral")  # type: ignore[call-overload]

    @property
    def state_tone(self) -> str:
        return STATE_TONES.get(self.report.state, "neutral")  # type: ignore[call-overload]

    def marks(self, *, may_read: bool) -> list[dict[str, Any]]:
        """The reported messages; `sent` is a time, where the message was still there to be read; `text` what it said,
        or `why` it is not shown.
        """
        return [
            {
                "by": mark["by"],
                "id": mark["id"],
                "sent": datetime.fromisoformat(mark["sent"]) if "sent" in mark else None,
                **_text_of(mark, may_read),
            }
            for mark in self.report.stanza_ids
        ]

    @property
    def consents(self) -> list[str]:
        return [str(CONSENTS[name]) for name in self.report.may_go_to if name in CONSENTS]


def _text_of(mark: dict[str, str], may_read: bool) -> dict[str, Any]:
    if "sent" not in mark:
        return {"why": WHY_MISSING.get(mark.get("missing", ""), WHY_MISSING["gone"])}
    if not may_read:
        return {"why": _("Your role reads no messages.")}
    return {"text": mark["text"]} if mark.get("text") else {"why": _("The message has no readable text.")}


@page(permission="users.view")
def report_list(request: HttpRequest) -> HttpResponse:
    q = pages.searched(request)
    state = pages.choice(request, "state", (*State.values, EVERY_STATE), State.OPEN)
    reason = pages.choice(request, "reason", Reason.values)
    found = pages.cut(request, reports.search(q, state="" if state == EVERY_STATE else state, reason=reason))
    context = {
        "page": found,
        "rows": [Row(report) for report in found],
        "q": q,
        "state": state,
        "is_filtered": bool(q or reason or state != State.OPEN),
        "is_enabled": reports.ENABLED.value,
        "filters": [
            {
                "name": "state",
                "label": _("State"),
                "value": state,
                "choices": [*_labels(State.choices), (EVERY_STATE, _("Any state"))],
            },
            {
                "name": "reason",
                "label": _("Reason"),
                "value": reason,
                "choices": [("", _("Any reason")), *_labels(Reason.choices)],
            },
        ],
    }
    return render(request, "adminconsole/reports/list.html", context)


def _labels(choices: Any) -> list[tuple[str, str]]:
    return [(value, str(label)) for value, label in choices]


@page(permission="users.view")
def report_details(request: HttpRequest, report_id: int) -> HttpResponse:
    """POST, for those who may change users: handle it, dismiss it, or open it again."""
    report = reports.find(report_id) if report_id <= MAX_ID else None
    if report is None:
        raise Http404
    form = DecisionForm(request.POST if request.method == "POST" else None, initial={"note": report.note})
    if request.method == "POST" and form.is_valid():
        state = form.cleaned_data["state"]
        try:
            reports.decide(report, state, note=form.cleaned_data["note"], actor=actor_of(request))
        except ValidationError as error:
            pages.show_errors(form, error)
        else:
            messages.success(request, DONE[state] % {"jid": report.reported_jid})
            return redirect("report", report.pk) if state == State.OPEN else redirect("reports")
    viewer: User = request.user  # type: ignore[assignment]
    reported = report.reported
    about_same, by_same = reports.others(report)
    row, may_change = Row(report), viewer.can("users.change")
    context = {
        "row": row,
        "marks": row.marks(may_read=may_change),
        "report": report,
        "form": form,
        "is_open": report.state == State.OPEN,
        "may_change": may_change,
        "may_message": viewer.can("sessions.change"),
        "may_lock": reported is not None and not reported.is_locked() and may_manage(request, reported),
        "reported_query": urlencode({"jid": report.reported_jid}),
        "reporter_query": urlencode({"jid": report.reporter_jid}),
        "about_same": about_same,
        "by_same": by_same,
    }
    status = 422 if form.errors else 200
    return render(request, "adminconsole/reports/details.html", context, status=status)


urlpatterns = [
    path("reports/", report_list, name="reports"),
    path("reports/<int:report_id>/", report_details, name="report"),
]
