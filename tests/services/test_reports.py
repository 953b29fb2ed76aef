"""Reports of spam and abuse, XEP-0377: filing, finding, closing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import services
from accounts.audit import Actor
from accounts.models import AuditEntry
from xmppd.bus.messages import ReportsChanged
from xmppd.models import Report
from xmppd.protocol.jid import JID
from xmppd.services import reports
from xmppd.services.properties import overridden
from xmppd.services.reports import Filing

pytestmark = pytest.mark.django_db

BOSS = Actor("boss@example.org", "console", "192.0.2.1")


@pytest.fixture
def alice(make_user):
    return make_user("alice")


def filing(about="pest@example.net", **kwargs):
    return Filing(JID.parse(about), **kwargs)


@pytest.fixture
def report(alice):
    reports.file(alice.pk, [filing(reason="urn:xmpp:reporting:abuse", text="Shouts at me")])
    return Report.objects.get()


def test_filing_links_local_accounts(alice, make_user):
    bob = make_user("bob")
    assert reports.file(alice.pk, [filing("bob@example.org/x"), filing(), filing("example.net")]) == 3
    rows = Report.objects.order_by("id")
    assert [row.reported for row in rows] == [bob, None, None]
    assert {row.reporter for row in rows} == {alice}


def test_what_is_too_long_is_cut(alice):
    long = "x" * 10_000
    reports.file(alice.pk, [filing(reason=long, text=long, stanza_ids=[(long, long)] * 100)])
    row = Report.objects.get()
    assert len(row.text) == reports.MAX_TEXT_CHARS
    assert len(row.reason_uri) == reports.MAX_URI_CHARS
    assert len(row.stanza_ids) == reports.MAX_STANZA_IDS
    assert all(len(mark["by"]) == 512 for mark in row.stanza_ids)


def test_limit_is_one_of_the_last_day(alice, make_user):
    with overridden(reports__max_per_day=2):
        assert reports.file(alice.pk, [filing(), filing(), filing()]) == 2
        assert reports.file(alice.pk, [filing()]) == 0
        assert reports.file(make_user("bob").pk, [filing()]) == 1
        Report.objects.filter(reporter=alice).update(created=timezone.now() - timedelta(hours=25))
        assert reports.file(alice.pk, [filing()]) == 1


def test_switched_off_nothing_is_kept(alice):
    with overridden(reports__enabled=False):
        assert reports.file(alice.pk, [filing()]) == 0
    assert not Report.objects.exists()


def test_reports_outlive_the_accounts(alice, make_user, actor):
    bob = make_user("bob")
    reports.file(alice.pk, [filing("bob@example.org")])
    services.delete_user(bob, actor=actor)
    services.delete_user(alice, actor=actor)
    make_user("bob")
    row = Report.objects.get()
    assert (row.reporter, row.reported) == (None, None)  # a new bob is not the one who was reported
    assert (row.reporter_jid, row.reported_jid) == ("alice@example.org", "bob@example.org")


def test_search_by_state_reason_and_words(alice):
    reports.file(
        alice.pk,
        [
            filing("one@spam.example", reason="urn:xmpp:reporting:spam", text="Buy pills"),
            filing("two@example.net", reason="urn:xmpp:reporting:abuse", text="Pills, and shouting"),
            filing("three@example.net"),
        ],
    )
    one = Report.objects.get(reported_jid="one@spam.example")
    reports.decide(one, "handled", actor=BOSS)

    def found(query="", **kwargs):
        return [row.reported_jid.partition("@")[0] for row in reports.search(query, **kwargs)]

    assert found() == ["three", "two", "one"]
    assert found("pills") == ["two", "one"]
    assert found("PILLS example.net") == ["two"]
    assert found("alice@", state="open") == ["three", "two"]
    assert found(reason="other") == ["three"]
    assert found("pills", state="handled", reason="spam") == ["one"]
    assert found("100%_") == []


def test_closing_and_opening_again(report, heard, django_capture_on_commit_callbacks):
    assert reports.open_count() == 1
    with django_capture_on_commit_callbacks(execute=True):
        row = reports.decide(report, "handled", note=" Spoke to them. ", actor=BOSS)
    assert (row.state, row.note, row.handled_by) == ("handled", "Spoke to them.", "boss@example.org")
    assert row.handled is not None
    assert reports.open_count() == 0
    assert ReportsChanged() in heard
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.target, entry.actor) == ("report-handled", report.reported_jid, BOSS.name)
    assert entry.before == {"state": "open", "note": ""}
    assert entry.after == {"state": "handled", "note": "Spoke to them."}

    row = reports.decide(report, "open", note=row.note, actor=BOSS)
    assert (row.state, row.handled_by, row.handled) == ("open", "", None)
    assert AuditEntry.objects.latest("id").action == "report-reopened"
    reports.decide(report, "dismissed", actor=BOSS)
    assert AuditEntry.objects.latest("id").action == "report-dismissed"


def test_deciding_the_same_again_leaves_no_trace(report):
    first = reports.decide(report, "handled", note="x", actor=BOSS)
    count = AuditEntry.objects.count()
    again = reports.decide(report, "handled", note="x", actor=Actor("other@example.org", "console"))
    assert (again.handled, again.handled_by) == (first.handled, "boss@example.org")
    assert AuditEntry.objects.count() == count


def test_bad_notes_and_states_are_refused(report):
    with pytest.raises(ValidationError):
        reports.decide(report, "handled", note="x" * 2001, actor=BOSS)
    with pytest.raises(ValueError, match="gone"):
        reports.decide(report, "gone", actor=BOSS)
    report.refresh_from_db()
    assert report.state == "open"
