"""Rows that may lag a second behind: gathered on the event loop, written together on a database thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError

from xmppd.services.db import db

log = logging.getLogger("hearth.writebehind")

Row = TypeVar("Row")

MAX_LAG_SECONDS = 1.0
BATCH_ROWS = 200
MAX_WAITING_ROWS = 20_000  # kept while the database is down; the oldest are given up beyond it


class WriteBehind(Generic[Row]):
    """`write` is a sync service that takes the rows in the order in which they came.

    Used from one event loop. A later row with the same key replaces one that still waits. While the database
    fails, rows are kept and tried again.
    """

    def __init__(self, name: str, write: Callable[[list[Row]], object]) -> None:
        self.name = name
        self._write = write
        self._waiting: dict[Hashable, Row] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[bool] | None = None

    def add(self, key: Hashable, row: Row) -> None:
        self._waiting.pop(key, None)
        self._waiting[key] = row
        if len(self._waiting) > MAX_WAITING_ROWS:
            del self._waiting[next(iter(self._waiting))]
        if self._flushing is not None:
            return  # it looks for more when it is done
        if len(self._waiting) >= BATCH_ROWS:
            self._begin()
        elif self._timer is None:
            self._start_timer()

    def __len__(self) -> int:
        """Rows that are not written yet, without those that are being written."""
        return len(self._waiting)

    async def flush(self) -> None:
        """Return when all has been written; at once when the database is out of reach."""
        while self._flushing is not None or self._waiting:
            if not await asyncio.shield(self._flushing or self._begin()):
                return

    async def close(self) -> None:
        """Write what waits; what cannot be written now is lost."""
        await self.flush()
        self._stop_timer()
        if self._waiting:
            log.error("%s: %d rows are lost", self.name, len(self._waiting))

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(MAX_LAG_SECONDS, self._begin)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> asyncio.Task[bool]:
        self._stop_timer()
        self._flushing = asyncio.ensure_future(self._run())
        return self._flushing

    async def _run(self) -> bool:
        """Write full batches, the first one whatever its size; False when the database is out of reach."""
        try:
            await self._write_batch()
            while len(self._waiting) >= BATCH_ROWS:
                await self._write_batch()
        except (OperationalError, InterfaceError) as problem:
            log.debug("%s: %d rows wait for the database: %s", self.name, len(self._waiting), problem)
            return False
        finally:
            self._flushing = None
            if self._waiting:
                self._start_timer()
        return True

    async def _write_batch(self) -> None:
        batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:BATCH_ROWS]}
        try:
            await db(self._write, list(batch.values()))
        except (OperationalError, InterfaceError):
            # Back to the front, except what has been replaced meanwhile.
            self._waiting = {k: row for k, row in batch.items() if k not in self._waiting} | self._waiting
            raise
        except Exception:
            log.exception("%s: %d rows are lost", self.name, len(batch))  # they would fail again
