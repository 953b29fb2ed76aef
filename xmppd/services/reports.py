"""Reports of spam and abuse, XEP-0377: users file them with a block, administrators close them in the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.audit import Actor, record
from accounts.fields import MAX_JID_CHARS
from accounts.models import User
from accounts.services.checks import clean_text
from xmppd.bus import channel
from xmppd.bus.messages import ReportsChanged
from xmppd.models import Report
from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.protocol.parser import parse_element
from xmppd.services import archive_query
from xmppd.services.archive import is_id, time_of
from xmppd.services.properties import Setting

__all__ = ["Report"]

ENABLED = Setting(
    "reports.enabled",
    bool,
    True,
    _("Whether users may report spam and abuse when they block somebody."),
    label=_("Reports of spam and abuse"),
)
MAX_PER_DAY = Setting(
    "reports.max_per_day",
    int,
    50,
    _("Number of reports taken from one user within 24 hours. Further ones are ignored; the block is not."),
    label=_("Reports per user and day"),
    minimum=1,
)
MAX_TEXT_CHARS = 4000  # of the reporter's text; what is longer is cut
MAX_NOTE_CHARS = 2000
MAX_MESSAGE_CHARS = 2000  # of each message that is reported
MAX_STANZA_IDS = 50
MAX_URI_CHARS = 255
# Why a message is not kept with its report: the id is not one of the reporter's archive; it is not there (any more);
# somebody else than the reported address sent it.
MISSING = ("foreign", "gone", "other-sender")
DAY = timedelta(days=1)
MAX_ID = 2**63 - 1
State, Reason = Report.State, Report.Reason

_REASONS = {"urn:xmpp:reporting:spam": Reason.SPAM, "urn:xmpp:reporting:abuse": Reason.ABUSE}
_ACTIONS = {
    State.HANDLED: "report-handled",
    State.DISMISSED: "report-dismissed",
    State.OPEN: "report-reopened",
}


@dataclass(frozen=True, slots=True)
class Filing:
    """A report as a client sends it. `reason` is a URI, '' when it names none; `stanza_ids` are (by, id)."""

    about: JID
    reason: str = ""
    text: str = ""
    stanza_ids: Sequence[tuple[str, str]] = field(default_factory=tuple)
    may_go_to: Sequence[str] = field(default_factory=tuple)


@transaction.atomic
def file(reporter_id: int, filings: Sequence[Filing]) -> int:
    """Keep the reports of one block; the number kept: those over the limit are ignored, for the block stands
    whatever becomes of them (XEP-0377 4).
    """
    if not ENABLED.value:
        return 0
    reporter = User.objects.select_related("domain").get(pk=reporter_id)
    since = timezone.now() - DAY
    left = MAX_PER_DAY.value - Report.objects.filter(reporter=reporter, created__gt=since).count()
    rows = [_row(reporter, filing) for filing in filings[: max(0, left)]]
    for row in rows:
        row.save(force_insert=True)
    if rows:
        channel.publish(ReportsChanged())
    return len(rows)


def _row(reporter: User, filing: Filing) -> Report:
    about = filing.about
    reported = User.objects.filter(domain__name=about.domain, username=about.local).first()
    return Report(
        reporter=reporter,
        reporter_jid=reporter.jid,
        reported=reported if about.local else None,
        reported_jid=about.full_str[:MAX_JID_CHARS],
        reason=_REASONS.get(filing.reason, Reason.OTHER),
        reason_uri=filing.reason[:MAX_URI_CHARS],
        text=filing.text.strip()[:MAX_TEXT_CHARS],
        stanza_ids=_evidence(reporter, filing),
        may_go_to=list(filing.may_go_to),
    )


def _evidence(reporter: User, filing: Filing) -> list[dict[str, str]]:
    """The messages that the reporter wants to be read: {by, id}, with {sent, text} where the reporter's archive holds
    them, else with {missing}: one of MISSING. Only what the reported address sent: nobody else is to be read because
    of a report.
    """
    marks = [
        {"by": by[:MAX_JID_CHARS], "id": identity[:MAX_URI_CHARS], "missing": "foreign"}
        for by, identity in filing.stanza_ids[:MAX_STANZA_IDS]
    ]
    own = [mark for mark in marks if mark["by"] == reporter.jid and is_id(mark["id"])]
    stanzas = archive_query.by_ids(reporter.pk, (int(mark["id"]) for mark in own)) if own else {}
    for mark in own:
        message = parse_element(stanzas[int(mark["id"])].encode()) if int(mark["id"]) in stanzas else None
        if message is None:
            mark["missing"] = "gone"
        elif not _is_from(message, filing.about):
            mark["missing"] = "other-sender"
        else:
            del mark["missing"]
            mark["sent"] = datetime.fromtimestamp(time_of(int(mark["id"])), UTC).isoformat()
            mark["text"] = _text_of(message)[:MAX_MESSAGE_CHARS]
    return marks


def _is_from(message: Element, about: JID) -> bool:
    sender = JID.parse(message.get("from"))
    return about in (sender, sender.bare) or (not about.local and about.domain == sender.domain)


def _text_of(message: Element) -> str:
    return next((child.text for child in message.elements() if child.name == "body"), "")


def search(query: str = "", *, state: str = "", reason: str = "") -> QuerySet[Report]:
    """The newest first. Each word of the query is somewhere in the addresses or the text."""
    found = Report.objects.order_by("-id")
    if state:
        found = found.filter(state=state)
    if reason:
        found = found.filter(reason=reason)
    for word in query.split():
        found = found.filter(
            Q(reported_jid__icontains=word) | Q(reporter_jid__icontains=word) | Q(text__icontains=word)
        )
    return found


def find(report_id: int) -> Report | None:
    return Report.objects.select_related("reporter__domain", "reported__domain").filter(pk=report_id).first()


def others(report: Report) -> tuple[int, int]:
    """How many more are about the same address, and by the same reporter."""
    rest = Report.objects.exclude(pk=report.pk)
    about = rest.filter(reported_jid=report.reported_jid)
    return about.count(), rest.filter(reporter_jid=report.reporter_jid).count()


def open_count() -> int:
    return Report.objects.filter(state=State.OPEN).count()


@transaction.atomic
def decide(report: Report, state: str, *, note: str = "", actor: Actor) -> Report:
    """Close the report as handled or dismissed, or open it again; `note` replaces the one that is there."""
    row = Report.objects.select_for_update().get(pk=report.pk)
    before = {"state": row.state, "note": row.note}
    row.state = State(state)
    row.note = clean_text("note", note, MAX_NOTE_CHARS, lines=True)
    after = {"state": str(row.state), "note": row.note}
    if before == after:
        return row
    action = "report-noted"
    if before["state"] != row.state:
        action = _ACTIONS[State(state)]
        is_open = row.state == State.OPEN
        row.handled_by = "" if is_open else actor.name[:MAX_JID_CHARS]
        row.handled = None if is_open else timezone.now()
    row.save(update_fields=["state", "note", "handled_by", "handled"])
    record(actor, action, row.reported_jid, before=before, after=after)
    channel.publish(ReportsChanged())
    return row
