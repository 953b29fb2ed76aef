"""How long archived messages stay: the server's limits, a user's own, erasing; the archive as a file."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError
from django.utils import timezone
from lxml import etree

from accounts.audit import Actor
from accounts.models import AuditEntry, User
from tests.archived import bodies, keep
from xmppd.models import ArchivedMessage
from xmppd.services import archive, archive_export, archive_query, archive_retention
from xmppd.services.archive_query import Preferences, Query
from xmppd.services.archive_retention import Limits, Retention
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db
PEER = "romeo@example.org"
NAMES = {"m": "urn:xmpp:pie:0#mam", "r": "urn:xmpp:mam:2", "f": "urn:xmpp:forward:0", "c": "jabber:client"}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a few messages reach."""
    monkeypatch.setattr(archive_retention.KEEP_BYTES, "minimum", 0)


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet")


@pytest.fixture
def nurse(make_user: Callable[..., Any]) -> User:
    return make_user("nurse")


@pytest.fixture
def boss(make_user: Callable[..., Any]) -> Actor:
    return Actor.of(make_user("boss", role="owner"), "console", "192.0.2.1")


def as_role(make_user: Callable[..., Any], role: str) -> Actor:
    return Actor.of(make_user(f"a-{role}", role=role), "console")


def purge() -> int:
    return archive_retention.purge(time.time())


# --- the server's limits


def test_nothing_goes_without_a_limit(juliet: User) -> None:
    keep(juliet, "old", days_ago=3000)
    assert purge() == 0
    assert bodies(juliet) == ["old"]


def test_old_messages_go_in_many_small_transactions(
    juliet: User, nurse: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_retention, "CHUNK", 3)
    for user, days in itertools.product((juliet, nurse), range(10)):
        keep(user, f"day {days}", days_ago=days + 0.5)
    sizes: list[int] = []
    delete = archive_retention._delete_ids
    monkeypatch.setattr(archive_retention, "_delete_ids", lambda ids: sizes.append(len(ids)) or delete(ids))
    with overridden(archive__keep_days=4):
        assert purge() == 12
    assert sizes == [3, 3, 3, 3]
    assert bodies(juliet) == bodies(nurse) == ["day 3", "day 2", "day 1", "day 0"]


def test_the_oldest_go_where_there_is_too_much(
    juliet: User, nurse: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_retention, "CHUNK", 2)
    for number in range(10):
        keep(juliet, f"{number}", days_ago=10 - number)
    keep(nurse, "short", days_ago=100)
    size = archive_retention.usage(juliet.pk).bytes
    with overridden(archive__keep_size=size // 2):
        assert purge() == 5
    assert bodies(juliet) == ["5", "6", "7", "8", "9"]
    assert bodies(nurse) == ["short"]


def test_what_a_limit_would_delete_is_told_before(juliet: User, nurse: User, actor: Actor) -> None:
    """The very messages that the sweep deletes then; a user's own limit counts instead."""
    for number in range(10):
        keep(juliet, f"{number}", days_ago=10.5 - number)
        keep(nurse, f"{number}", days_ago=10.5 - number)
    keep(nurse, "long " * 50, days_ago=0.1)
    size = archive_retention.usage(juliet.pk).bytes // 2
    assert archive_retention.count_older(5, time.time()) == (12, 2)
    number, users = archive_retention.count_beyond(size)
    assert users == 2
    archive_retention.set_retention(nurse, days=None, bytes=0, actor=actor)
    assert archive_retention.count_beyond(size) == (5, 1)
    archive_retention.set_retention(nurse, days=None, bytes=None, actor=actor)
    with overridden(archive__keep_size=size):
        assert purge() == number
    archive_retention.set_retention(juliet, days=0, bytes=None, actor=actor)
    left = len(bodies(nurse))
    assert left > 1
    assert archive_retention.count_older(1, time.time()) == (left - 1, 1)
    with overridden(archive__keep_days=1):
        assert purge() == left - 1


@pytest.mark.parametrize(
    ("old", "new", "is_lower"), [(0, 5, True), (30, 5, True), (5, 5, False), (3, 5, False), (5, 0, False)]
)
def test_only_a_lower_limit_deletes(juliet: User, old: int, new: int, is_lower: bool) -> None:
    keep(juliet, "old", days_ago=100)
    wanted = "Within a day, 1 message of 1 user will be deleted for good." if is_lower else ""
    for setting, unit in ((archive_retention.KEEP_DAYS, 1), (archive_retention.KEEP_BYTES, 10)):
        with overridden(**{setting.name.replace(".", "__"): old * unit}):
            assert setting.warning(new * unit) == wanted
            assert setting.warning(1000) == ""  # keeps all there is


def test_a_sweep_that_deletes_is_in_log_and_audit(
    juliet: User, nurse: User, actor: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hearth.archive")
    for user, days in itertools.product((juliet, nurse), (40, 2, 1)):
        keep(user, "x", days_ago=days)
    size = archive_retention.usage(nurse.pk).bytes
    archive_retention.set_retention(nurse, days=None, bytes=size // 3, actor=actor)
    keep(juliet, "y", days_ago=50)
    caplog.clear()
    AuditEntry.objects.all().delete()
    with overridden(archive__keep_days=30):
        assert purge() == 2
        assert purge() == 0
    (line,) = caplog.messages
    assert line == "archive-purged messages=2 users=1 reason=too_old:2"
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.door, entry.action) == ("server", "system", "archive-purged")
    assert entry.after == {"messages": 2, "users": 1, "too_old": 2}
    for days in (40, 0.5):
        keep(nurse, "z", days_ago=days)
    with overridden(archive__keep_days=30):
        assert purge() == 2
    assert caplog.messages[-1] == "archive-purged messages=2 users=1 reason=too_old:1,too_much:1"


def test_a_sweep_that_breaks_off_tells_what_it_deleted(juliet: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_retention, "CHUNK", 2)
    for days in (40, 41, 42):
        keep(juliet, "x", days_ago=days)
    delete = archive_retention._delete_ids

    def once(ids: list[int]) -> int:
        if len(ids) < 2:
            raise OperationalError("database or disk is full")
        return delete(ids)

    monkeypatch.setattr(archive_retention, "_delete_ids", once)
    with overridden(archive__keep_days=30), pytest.raises(OperationalError):
        purge()
    assert AuditEntry.objects.get(action="archive-purged").after["messages"] == 2


# --- a user's own limits


def test_a_user_who_keeps_for_ever_is_left_alone(juliet: User, nurse: User, actor: Actor) -> None:
    for user in (juliet, nurse):
        keep(user, "old", days_ago=50)
    archive_retention.set_retention(juliet, days=0, bytes=0, actor=actor)
    with overridden(archive__keep_days=30, archive__keep_size=1):
        assert archive_retention.retention(juliet.pk).effective == Limits(0, 0)
        assert purge() == 1
    assert (bodies(juliet), bodies(nurse)) == (["old"], [])


def test_a_longer_time_of_ones_own_holds(juliet: User, actor: Actor) -> None:
    for days in (400, 50, 5):
        keep(juliet, f"{days}", days_ago=days)
    archive_retention.set_retention(juliet, days=300, bytes=None, actor=actor)
    with overridden(archive__keep_days=30):
        purge()
    assert bodies(juliet) == ["50", "5"]


def test_a_size_of_ones_own_holds_where_the_server_has_none(juliet: User, nurse: User, actor: Actor) -> None:
    archive_retention.set_retention(juliet, days=None, bytes=1, actor=actor)
    for user in (juliet, nurse):
        keep(user, "x", days_ago=1)
    assert purge() == 1
    assert (bodies(juliet), bodies(nurse)) == ([], ["x"])


def test_a_time_of_ones_own_leaves_the_servers_size(juliet: User, actor: Actor) -> None:
    archive_retention.set_retention(juliet, days=0, bytes=None, actor=actor)
    keep(juliet, "x", days_ago=1)
    with overridden(archive__keep_size=1):
        assert purge() == 1


def test_lower_limits_take_effect_at_once(juliet: User, nurse: User, boss: Actor) -> None:
    for user, days in itertools.product((juliet, nurse), (50, 5)):
        keep(user, f"{days}", days_ago=days)
    assert archive_retention.count_excess(juliet.pk, Limits(30, 0), time.time()) == 1
    assert archive_retention.count_excess(juliet.pk, Limits(30, 1), time.time()) == 2
    assert archive_retention.count_excess(juliet.pk, Limits(0, 0), time.time()) == 0
    assert archive_retention.set_retention(juliet, days=30, bytes=None, actor=boss) == 1
    assert (bodies(juliet), bodies(nurse)) == (["5"], ["50", "5"])
    row = AuditEntry.objects.get(action="archive-retention-changed")
    assert (row.target, row.before, row.after) == (juliet.jid, {"keep_days": None}, {"keep_days": 30})


def test_the_same_limits_again_are_no_change(juliet: User, boss: Actor) -> None:
    for _again in range(2):
        archive_retention.set_retention(juliet, days=30, bytes=2**40, actor=boss)
    assert archive_retention.retention(juliet.pk) == Retention(30, 2**40)
    assert AuditEntry.objects.filter(action="archive-retention-changed").count() == 1
    archive_retention.set_retention(juliet, days=None, bytes=None, actor=boss)
    assert archive_retention.retention(juliet.pk) == Retention()


def test_preferences_and_retention_leave_each_other_alone(juliet: User, boss: Actor) -> None:
    archive_query.set_preferences(juliet.pk, Preferences("roster", never=frozenset({PEER})))
    archive_retention.set_retention(juliet, days=7, bytes=None, actor=boss)
    assert archive_query.all_preferences()[juliet.pk].default == "roster"
    archive_query.set_preferences(juliet.pk, Preferences("never"))
    assert archive_retention.retention(juliet.pk) == Retention(7)


@pytest.mark.parametrize(
    ("days", "size", "field"),
    [(-1, None, "days"), (36_501, None, "days"), (1, -1, "bytes"), (1, 2**63, "bytes")],
)
def test_limits_that_make_no_sense(
    juliet: User, boss: Actor, days: int, size: int | None, field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        archive_retention.set_retention(juliet, days=days, bytes=size, actor=boss)
    assert list(refused.value.error_dict) == [field]


@pytest.mark.parametrize("role", ["auditor", "room_moderator", "admin"])
def test_who_does_not_manage_the_account_changes_nothing(make_user: Any, role: str) -> None:
    chief = make_user("chief", role="admin")
    keep(chief, "mine", days_ago=1)
    other = as_role(make_user, role)
    for change in (
        lambda: archive_retention.set_retention(chief, days=0, bytes=None, actor=other),
        lambda: archive_retention.erase(chief, actor=other),
        lambda: archive_export.export(chief, actor=other, format="xml"),
    ):
        with pytest.raises(PermissionDenied):
            change()
    assert bodies(chief) == ["mine"]


# --- erasing


@pytest.fixture
def past(juliet: User, nurse: User) -> User:
    """Messages with romeo and paris on three days, and one of somebody else."""
    for days in (30, 20, 10):
        for peer in (PEER, "paris@example.org"):
            keep(juliet, f"{peer[:5]} {days}", days_ago=days, peer=peer)
    keep(nurse, "other", days_ago=30)
    return juliet


def day(days_ago: float) -> date:
    return timezone.localdate(timezone.now() - timedelta(days=days_ago))


def test_erase_all(past: User, nurse: User, boss: Actor) -> None:
    assert archive_retention.erase(past, actor=boss) == 6
    assert (bodies(past), bodies(nurse)) == ([], ["other"])
    row = AuditEntry.objects.get(action="archive-erased")
    assert (row.actor, row.target, row.after) == ("boss@example.org", past.jid, {"messages": 6})


def test_erase_before_a_day(past: User, boss: Actor) -> None:
    assert archive_retention.erase(past, actor=boss, before=day(20)) == 2
    assert bodies(past)[0] == "romeo 20"
    assert AuditEntry.objects.get(action="archive-erased").after == {
        "messages": 2,
        "before": day(20).isoformat(),
    }


def test_erase_one_contact(past: User, boss: Actor) -> None:
    assert archive_retention.erase(past, actor=boss, before=day(15), peer=PEER) == 2
    assert bodies(past) == ["paris 30", "paris 20", "romeo 10", "paris 10"]


def test_erasing_nothing_leaves_no_trace(past: User, boss: Actor) -> None:
    assert archive_retention.erase(past, actor=boss, peer="nobody@example.org") == 0
    assert not AuditEntry.objects.filter(action="archive-erased").exists()


def test_a_failure_half_way_is_audited_with_what_went(
    past: User, boss: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_retention, "CHUNK", 2)
    delete = archive_retention._delete_ids

    def fail_at_the_third(ids: list[int]) -> int:
        if ArchivedMessage.objects.filter(user=past).count() == 2:
            raise OSError("disk")
        return delete(ids)

    monkeypatch.setattr(archive_retention, "_delete_ids", fail_at_the_third)
    with pytest.raises(OSError, match="disk"):
        archive_retention.erase(past, actor=boss)
    assert AuditEntry.objects.get(action="archive-erased").after == {"messages": 4}


def test_usage_of_all_and_of_a_part(past: User, nurse: User) -> None:
    used = archive_retention.usage(past.pk)
    assert used.messages == 6
    assert used.bytes == sum(len(row.stanza.encode()) for row in ArchivedMessage.objects.filter(user=past))
    assert used.first is not None
    assert used.last is not None
    assert (used.last - used.first).days in (19, 20)
    part = archive_retention.usage(past.pk, archive_retention.between(before=day(15), peer=PEER))
    assert part.messages == 2
    assert archive_retention.usage(nurse.pk, Query(peer=PEER)).messages == 1
    assert archive_retention.usage(0).first is None


def test_usage_is_known_while_nothing_can_be_written(past: User, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.settle()

    def settle() -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(archive_retention, "settle", settle)
    assert archive_retention.usage(past.pk).messages == 6
    with pytest.raises(OperationalError):
        purge()


# --- the file


def text_of(parts: Any) -> str:
    return "".join(parts)


def test_xml_is_that_of_other_servers(past: User, boss: Actor) -> None:
    keep(past, "ünï <b> & 'x' 💬", days_ago=1)
    root = etree.fromstring(text_of(archive_export.export(past, actor=boss, format="xml")).encode())
    assert root.tag == "{urn:xmpp:pie:0}server-data"
    assert root.find("{urn:xmpp:pie:0}host").get("jid") == "example.org"
    assert root.find(".//{urn:xmpp:pie:0}user").get("name") == "juliet"
    results = root.findall(".//m:archive/r:result", NAMES)
    assert len(results) == 7
    last = results[-1]
    assert last.find("f:forwarded/c:message/c:body", NAMES).text == "ünï <b> & 'x' 💬"
    identity = ArchivedMessage.objects.filter(user=past).latest("id").id
    assert last.get("id") == str(identity)
    stamp = last.find("f:forwarded/{urn:xmpp:delay}delay", NAMES).get("stamp")
    assert abs(datetime.now(UTC) - timedelta(days=1) - datetime.fromisoformat(stamp)) < timedelta(minutes=1)


def test_json_lines(past: User, boss: Actor) -> None:
    lines = text_of(archive_export.export(past, actor=boss, format="jsonl")).splitlines()
    found = [json.loads(line) for line in lines]
    assert [message["body"] for message in found] == bodies(past)
    assert found[0]["with"] == PEER
    assert (found[0]["from"], found[0]["to"], found[0]["type"]) == (f"{PEER}/balcony", past.jid, "chat")
    assert found[0]["stanza"].startswith("<message ")
    assert found[0]["time"].endswith("Z")


def test_a_damaged_row_spoils_no_file(past: User, boss: Actor) -> None:
    archive.settle()
    ArchivedMessage.objects.filter(user=past, peer=PEER).update(stanza="<message from='a'><body>half")
    lines = text_of(archive_export.export(past, actor=boss, format="jsonl")).splitlines()
    assert len(lines) == 6
    assert "body" not in json.loads(lines[0])


def test_a_part_of_the_archive(past: User, boss: Actor) -> None:
    parts = archive_export.export(
        past, actor=boss, format="jsonl", since=day(20), until=day(20), peer="paris@example.org"
    )
    assert [json.loads(line)["body"] for line in text_of(parts).splitlines()] == ["paris 20"]
    row = AuditEntry.objects.get(action="archive-exported")
    assert row.after == {
        "messages": 1,
        "format": "jsonl",
        "since": day(20).isoformat(),
        "until": day(20).isoformat(),
        "peer": "paris@example.org",
    }


def test_pages_and_what_comes_meanwhile(past: User, boss: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the file for each page; messages of after the start are not in it."""
    monkeypatch.setattr(archive_export, "CHUNK", 2)
    parts = archive_export.export(past, actor=boss, format="jsonl")
    first = next(parts)
    keep(past, "later", days_ago=0)
    others = list(parts)
    assert len(first.splitlines()) == 2
    assert [len(part.splitlines()) for part in others] == [2, 2]
    assert "later" not in text_of(others)


@pytest.mark.parametrize(
    ("role", "may"),
    [("owner", True), ("admin", True), ("user_manager", False), ("auditor", False), ("", False)],
)
def test_who_may_read_messages(past: User, make_user: Any, role: str, may: bool) -> None:
    other = as_role(make_user, role)
    if may:
        assert text_of(archive_export.export(past, actor=other, format="xml"))
        return
    with pytest.raises(PermissionDenied):
        archive_export.export(past, actor=other, format="xml")
    assert not AuditEntry.objects.filter(action="archive-exported").exists()
