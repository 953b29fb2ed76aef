"""The audit log: what a row keeps, finding rows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from xmppd.protocol.jid import JID
from xmppd.services import audit
from xmppd.services.audit import Actor

pytestmark = pytest.mark.django_db

ALICE = Actor("alice@example.org", "console", "192.0.2.1")


def test_row_says_who_from_where_what_and_the_change():
    until = datetime(2026, 1, 1, tzinfo=UTC)
    before = {"name": "a", "email": "same", "until": until, "gone": 1}
    after = {"name": "b", "email": "same", "until": None, "jid": JID.parse("x@y")}
    row = AuditEntry.objects.get(
        pk=audit.record(ALICE, "user-changed", "bob@example.org", before=before, after=after).pk
    )
    assert (row.actor, row.door, row.address) == ("alice@example.org", "console", "192.0.2.1")
    assert row.before == {
        "name": "a",
        "until": "2026-01-01T00:00:00Z",
        "gone": 1,
    }
    assert row.after == {"name": "b", "until": None, "jid": "x@y"}


def test_row_keeps_within_its_columns():
    row = audit.record(Actor("x" * 5000, "cli", "y" * 500), "a", "z" * 5000)
    row.refresh_from_db()
    assert (len(row.actor), len(row.address), len(row.target)) == (512, 64, 512)


def test_rows_are_found_by_word_and_by_column():
    audit.record(ALICE, "user-created", "bob@example.org")
    audit.record(Actor("root", "cli"), "setting-changed", "c2s.tls", detail="by script")

    def found(*args, **kwargs):
        return [row.action for row in audit.search(*args, **kwargs)]

    assert found() == ["setting-changed", "user-created"]
    assert found("ALICE bob") == ["user-created"]
    assert found("script") == ["setting-changed"]
    assert found("alice script") == []
    assert found(door="cli") == ["setting-changed"]
    assert found(action="user-created", actor="alice@example.org", target="bob@example.org") == [
        "user-created"
    ]
    assert found(since=timezone.now() + timedelta(minutes=1)) == []
    assert found(until=timezone.now() + timedelta(minutes=1)) == found()
    assert audit.actions() == ["setting-changed", "user-created"]


def test_old_rows_can_be_deleted():
    audit.record(ALICE, "old")
    AuditEntry.objects.update(created=timezone.now() - timedelta(days=31))
    audit.record(ALICE, "new")
    assert audit.prune(timedelta(days=30)) == 1
    assert audit.actions() == ["new"]
