"""Rows gathered and written together."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import DataError, OperationalError

from xmppd.services import writebehind
from xmppd.services.writebehind import WriteBehind

pytestmark = pytest.mark.django_db(transaction=True)


async def test_rows_are_written_together_in_order():
    written = []
    rows = WriteBehind("test", written.append)
    for number in range(3):
        rows.add(number, f"row {number}")
    assert len(rows) == 3
    await rows.flush()
    assert written == [["row 0", "row 1", "row 2"]]
    assert len(rows) == 0


async def test_they_are_written_after_a_while_without_being_asked(monkeypatch):
    monkeypatch.setattr(writebehind, "MAX_LAG_SECONDS", 0.01)
    written = asyncio.Event()
    loop = asyncio.get_running_loop()
    rows = WriteBehind("test", lambda batch: loop.call_soon_threadsafe(written.set))
    rows.add(1, "one")
    await asyncio.wait_for(written.wait(), 10)


async def test_full_batch_is_written_at_once_and_later_rows_form_the_next(monkeypatch):
    monkeypatch.setattr(writebehind, "BATCH_ROWS", 2)
    first, go_on, written = threading.Event(), threading.Event(), []

    def write(batch):
        written.append(batch)
        first.set()
        assert go_on.wait(10)

    rows = WriteBehind("test", write)
    rows.add(1, "one")
    rows.add(2, "two")
    await asyncio.to_thread(first.wait, 10)
    for key in (3, 4, 5):
        rows.add(key, key)
    go_on.set()
    await rows.flush()
    assert written == [["one", "two"], [3, 4], [5]]


async def test_later_row_replaces_the_one_that_waits():
    written = []
    rows = WriteBehind("test", written.append)
    rows.add("a", 1)
    rows.add("b", 2)
    rows.add("a", 3)
    await rows.flush()
    assert written == [[2, 3]]


async def test_rows_stay_while_the_database_is_away():
    written, is_away = [], [True]

    def write(batch):
        if is_away[0]:
            raise OperationalError("no connection")
        written.append(batch)

    rows = WriteBehind("test", write)
    rows.add("a", 1)
    rows.add("b", 2)
    await rows.flush()
    assert len(rows) == 2
    rows.add("a", 3)
    is_away[0] = False
    await rows.close()
    assert written == [[2, 3]]


async def test_rows_that_no_database_takes_are_given_up(caplog):
    def write(batch):
        raise DataError("too long")

    rows = WriteBehind("test", write)
    rows.add(1, 1)
    await rows.close()
    assert len(rows) == 0
    assert "1 rows are lost" in caplog.text


async def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(writebehind, "MAX_WAITING_ROWS", 3)
    written = []
    rows = WriteBehind("test", written.append)
    for number in range(5):
        rows.add(number, number)
    await rows.close()
    assert written == [[2, 3, 4]]
