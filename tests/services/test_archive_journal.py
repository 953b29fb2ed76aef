"""The journal: what SQLite commits first is read like the archive, moved into it, and never lost between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from accounts.models import User
from xmppd.models import ArchivedMessage, JournalledMessage
from xmppd.services import archive, archive_query, archive_retention
from xmppd.services.archive import Ids, Job, Writer
from xmppd.services.archive_query import Query

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has a journal"),
]
ROMEO = "romeo@example.org"
NOW = 1_800_000_000.0


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet")


@pytest.fixture
def job() -> Callable[..., Job]:
    ids = Ids()

    def make(
        user: User, body: str, done: Callable[[Job, Exception | None], None] = lambda job, problem: None
    ) -> Job:
        stanza = f"<message><body>{body}</body></message>".encode()
        return Job([(ids.next(NOW), user.pk, ROMEO, "")], stanza, None, done)

    return make


def counts() -> tuple[int, int]:
    """(rows in the journal, rows in the archive)."""
    return JournalledMessage.objects.count(), ArchivedMessage.objects.count()


def texts(user: User, **page: Any) -> list[str]:
    found = archive_query.page(user.pk, Query(), **{"limit": 10, **page})
    return [
        stanza.removeprefix("<message><body>").removesuffix("</body></message>") for _id, stanza in found.rows
    ]


def test_a_page_has_what_was_moved_and_what_was_not(juliet, job):
    archive.write([job(juliet, "one"), job(juliet, "two")])
    archive.settle()
    archive.write([job(juliet, "three"), job(juliet, "four")])
    assert counts() == (2, 2)
    assert texts(juliet) == ["one", "two", "three", "four"]
    assert texts(juliet, last=True, limit=3) == ["two", "three", "four"]
    assert archive_query.count(juliet.pk, Query()) == 4


def test_metadata_and_ids_are_of_both(juliet, job):
    first, last = job(juliet, "one"), job(juliet, "two")
    archive.write([first])
    archive.settle()
    archive.write([last])
    ids = (first.copies[0][0], last.copies[0][0])
    assert archive_query.bounds(juliet.pk) == ids
    archive_query.require(juliet.pk, ids)


def test_moving_keeps_every_column(juliet, job):
    archive.write([job(juliet, "one")])
    before = list(JournalledMessage.objects.values())
    archive.settle()
    assert list(ArchivedMessage.objects.values()) == before
    assert counts() == (0, 1)


def test_what_a_deleted_user_leaves_goes_from_both(juliet, job, make_user):
    nurse = make_user("nurse")
    archive.write([job(juliet, "one"), job(nurse, "hers")])
    archive.settle()
    archive.write([job(juliet, "two")])
    user_id = juliet.pk
    juliet.delete()
    assert archive_retention.forget(user_id) == 2
    assert counts() == (0, 1)
    assert texts(nurse) == ["hers"]


def test_what_cannot_be_moved_stays_and_is_read(juliet, job):
    """Half a move is none: the statements are one transaction."""
    archive.write([job(juliet, "one")])
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER full BEFORE DELETE ON xmppd_journalledmessage "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        with pytest.raises(Exception, match="disk full"):
            archive.settle()
        cursor.execute("DROP TRIGGER full")
    assert counts() == (1, 0)
    assert texts(juliet) == ["one"]


# --- the writer


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


async def commit(writer: Writer, make: Callable[..., Job], user: User, *bodies: str) -> None:
    """Submit them together; return when all are committed."""
    told: list[Exception | None] = []
    for body in bodies:
        writer.submit(make(user, body, lambda job, problem: told.append(problem)))
    await until(lambda: len(told) == len(bodies))
    assert told == [None] * len(bodies)


@pytest.fixture
def settled(monkeypatch) -> list[int]:
    """How many rows each move found."""
    moved: list[int] = []

    def settle(real: Callable[[], None] = archive.settle) -> None:
        moved.append(JournalledMessage.objects.count())
        real()

    monkeypatch.setattr(archive, "settle", settle)
    return moved


async def test_the_writer_begins_with_what_was_left_and_leaves_nothing(juliet, job, settled):
    await asyncio.to_thread(archive.write, [job(juliet, "left")])
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    await until(lambda: settled == [1])
    await commit(writer, job, juliet, "one", "two")
    await asyncio.to_thread(writer.stop)
    assert settled == [1, 2]


async def test_a_calm_moment_moves_what_is_enough(juliet, job, settled, monkeypatch):
    monkeypatch.setattr(archive, "SETTLE_ROWS", 3)
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    await commit(writer, job, juliet, "one", "two")
    await commit(writer, job, juliet, "three")
    await until(lambda: settled == [0, 3])
    await asyncio.to_thread(writer.stop)


async def test_quiet_empties_the_journal(juliet, job, settled, monkeypatch):
    monkeypatch.setattr(archive, "SETTLE_SECONDS", 0.01)
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    await commit(writer, job, juliet, "one")
    await until(lambda: settled == [0, 1])
    await asyncio.to_thread(writer.stop)


async def test_many_messages_are_moved_in_larger_parts(juliet, job, settled, monkeypatch):
    for name, value in (("SETTLE_ROWS", 1), ("SETTLE_ROWS_BUSY", 4), ("CALM", 2), ("MAX_BATCH", 3)):
        monkeypatch.setattr(archive, name, value)
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    await commit(writer, job, juliet, *"abcdefg")  # three, three and one
    await asyncio.to_thread(writer.stop)
    assert settled == [0, 6, 1, 0]


async def test_a_move_that_fails_is_a_failing_archive_and_is_tried_again(juliet, job, monkeypatch):
    monkeypatch.setattr(archive, "SETTLE_SECONDS", 0.01)
    failures = [OperationalError("database is locked")]

    def settle(real: Callable[[], None] = archive.settle) -> None:
        if JournalledMessage.objects.exists() and failures:
            raise failures[0]
        real()

    monkeypatch.setattr(archive, "settle", settle)
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    await commit(writer, job, juliet, "one")
    await until(lambda: writer.is_failing)
    assert await asyncio.to_thread(counts) == (1, 0)
    failures.clear()
    await until(lambda: not writer.is_failing)
    await asyncio.to_thread(writer.stop)
    assert await asyncio.to_thread(counts) == (0, 1)


async def test_an_archive_that_nobody_writes_to_finds_out_that_it_can_be_written(juliet, job, monkeypatch):
    """Its senders have been told and say nothing more: the warning in the console ends all the same."""
    monkeypatch.setattr(archive, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(archive, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(archive, "GIVE_UP_SECONDS", 0.02)

    def refuse(table: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'database is full'); END"
            )

    def accept() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER full")

    def fail(batch: object, real: Callable[..., int] = archive.write) -> int:
        try:
            return real(batch)
        except IntegrityError as problem:  # what a trigger raises; a full disk is an OperationalError
            raise OperationalError(str(problem)) from problem

    monkeypatch.setattr(archive, "write", fail)
    await asyncio.to_thread(refuse, "xmppd_journalledmessage")
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    told: list[Exception | None] = []
    writer.submit(job(juliet, "one", lambda job, problem: told.append(problem)))
    await until(lambda: bool(told))
    assert isinstance(told[0], OperationalError)
    assert writer.is_failing
    await asyncio.to_thread(accept)
    await until(lambda: not writer.is_failing)
    await asyncio.to_thread(writer.stop)
    assert await asyncio.to_thread(counts) == (0, 0)


async def test_a_database_that_fails_in_the_middle_is_not_asked_for_each(juliet, job, monkeypatch):
    """Three messages together, of which the first is wrong and the second finds no database: one answer for each."""
    asked: list[int] = []

    def write(batch: list[Job]) -> int:
        asked.append(len(batch))
        if len(batch) > 1 or len(asked) == 2:
            raise IntegrityError("FOREIGN KEY constraint failed")
        raise OperationalError("database is locked")

    monkeypatch.setattr(archive, "write", write)
    writer = Writer(asyncio.get_running_loop())
    writer.start()
    told: list[Exception | None] = []
    for body in ("one", "two", "three"):
        writer.submit(job(juliet, body, lambda job, problem: told.append(problem)))
    await until(lambda: len(told) == 3)
    await asyncio.to_thread(writer.stop)
    assert [type(problem) for problem in told] == [IntegrityError, OperationalError, OperationalError]
    assert asked == [3, 1, 1]
