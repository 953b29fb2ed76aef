"""The message archive, XEP-0313: ids, and the writer that commits before anything is acknowledged or delivered.

One thread per process writes. It commits at once when it is idle and gathers what arrives meanwhile (group commit),
so a message waits for one commit and not for a timer. A job is all that belongs together: both archive copies and the
offline message. While the database fails, jobs wait and are tried again; their senders' streams wait with them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import DatabaseError, IntegrityError, connection, transaction

from xmppd.models import ArchivedMessage, OfflineMessage
from xmppd.services import offline

log = logging.getLogger("hearth.archive")

EPOCH_MS = 1_577_836_800_000  # 2020-01-01: leaves ids positive and below 2**63 for two centuries
TIME_SHIFT = 20  # below the milliseconds: 6 bits for the worker, 14 for the sequence
WORKER_SHIFT = 14
MAX_BATCH = 500
RETRY_SECONDS = 0.25
GIVE_UP_SECONDS = 10.0  # after that the senders are told, and may try again


class Ids:
    """64-bit ids that only grow, also when the clock goes back."""

    __slots__ = ("_last", "_worker")

    def __init__(self, worker: int = 0) -> None:
        self._worker = worker << WORKER_SHIFT
        self._last = 0

    def next(self, now: float) -> int:
        """An id for this time (seconds since 1970)."""
        wanted = id_at(now) | self._worker
        if wanted <= self._last:
            wanted = self._last + 1
        self._last = wanted
        return wanted


def id_at(now: float) -> int:
    """The lowest id of this millisecond."""
    return max(0, int(now * 1000) - EPOCH_MS) << TIME_SHIFT


def time_of(identity: int) -> float:
    """Seconds since 1970, to the millisecond."""
    return ((identity >> TIME_SHIFT) + EPOCH_MS) / 1000


def fingerprint(sender: str, to: str, identity: str, letter: bytes, now: float) -> int | None:
    """The same for a message that a client sends again on the same day; None for ids too short to be unique."""
    if len(identity) < 8:
        return None
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{int(now // 86400)}\0{sender}\0{to}\0{identity}\0".encode())
    digest.update(letter)
    return int.from_bytes(digest.digest(), "big", signed=True)


@dataclass(slots=True)
class Copy:
    """A row of the archive: whose, with whom, under which id."""

    id: int
    user_id: int
    peer: str
    peer_resource: str


@dataclass(slots=True)
class Job:
    """One message. `done(job, problem)` is called on the loop: problem is None once it is committed.

    It gets the job, since a function that held it would keep the message until the garbage collector comes.
    """

    copies: list[Copy]
    stanza: str
    fingerprint: int | None
    done: Callable[[Job, Exception | None], None]
    offline_user_id: int | None = None
    sender: str = ""
    submitted: float = field(default_factory=time.monotonic)


class Writer:
    """`submit` from the loop; commits happen on a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gathered: list[Job] = []
        self._waiting: list[Job] = []
        self._wake = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="hearth-archive", daemon=True)
        self.is_failing = False  # the database does not take what is written, for the console's banner

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """All jobs of one turn of the loop go to the thread together: waking it costs more than a row."""
        if not self._gathered:
            self._loop.call_soon(self._pass_on)
        self._gathered.append(job)

    def _pass_on(self) -> None:
        with self._wake:
            self._waiting += self._gathered
            self._gathered = []
            self._wake.notify()

    def __len__(self) -> int:
        """Jobs that are not being written yet."""
        return len(self._waiting) + len(self._gathered)

    def stop(self) -> None:
        """Write what waits, then end the thread. Called from another thread than the loop's."""
        with self._wake:
            self._waiting += self._gathered
            self._gathered = []
            self._is_stopping = True
            self._wake.notify()
        self._thread.join(GIVE_UP_SECONDS + 1)

    def _run(self) -> None:
        try:
            while True:
                with self._wake:
                    while not self._waiting and not self._is_stopping:
                        self._wake.wait()
                    batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                if not batch:
                    return
                self._commit(batch)
        finally:
            connection.close()

    def _commit(self, batch: list[Job]) -> None:
        """Write the batch, again and again while the database fails; then tell the loop once."""
        while True:
            try:
                write(batch)
                problems: list[Exception | None] = [None] * len(batch)
                break
            except IntegrityError:
                problems = [_write_alone(job) for job in batch]  # an account was deleted meanwhile
                break
            except DatabaseError as problem:
                connection.close()
                if not self.is_failing:
                    log.error("the archive cannot be written: %s", problem)
                self.is_failing = True
                if self._is_stopping or time.monotonic() - batch[0].submitted > GIVE_UP_SECONDS:
                    problems = [problem] * len(batch)
                    break
                time.sleep(RETRY_SECONDS)
        if self.is_failing and problems[0] is None:
            self.is_failing = False
            log.warning("the archive can be written again")
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_tell, batch, problems)


def _tell(batch: list[Job], problems: list[Exception | None]) -> None:
    for job, problem in zip(batch, problems, strict=True):
        try:
            job.done(job, problem)
        except Exception:
            log.exception("after a commit")


_TABLE = ArchivedMessage._meta.db_table
_COLUMNS = ("id", "user_id", "peer", "peer_resource", "stanza", "size", "fingerprint")
_CHUNKS = (
    128,
    64,
    32,
    16,
    8,
    4,
    2,
    1,
)  # rows in one statement; few sizes, so that statements are prepared once

Row = tuple[int, int, str, str, str, int, int | None]


def _insert(rows: int, mark: str) -> str:
    values = ", ".join(["(" + ", ".join([mark] * len(_COLUMNS)) + ")"] * rows)
    return f"INSERT INTO {_TABLE} ({', '.join(_COLUMNS)}) VALUES {values}"  # noqa: S608


_SQLITE = {size: _insert(size, "?") for size in _CHUNKS}
_OTHERS = {size: _insert(size, "%s") for size in _CHUNKS}


def write(batch: list[Job]) -> None:
    """Both archive copies and the offline message of every job, in one transaction."""
    rows = [
        (
            copy.id,
            copy.user_id,
            copy.peer,
            copy.peer_resource,
            job.stanza,
            len(job.stanza.encode()),
            job.fingerprint,
        )
        for job in batch
        for copy in job.copies
    ]
    with transaction.atomic():
        _write_rows(rows)
        _store_offline(batch)


def _write_rows(rows: list[Row]) -> None:
    """Many rows in one statement: SQLite then works without Python's lock, and PostgreSQL without a round trip each."""
    connection.ensure_connection()
    is_sqlite = connection.vendor == "sqlite"
    statements = _SQLITE if is_sqlite else _OTHERS
    # Django would search the long statement for its own marks each time.
    execute = connection.connection.execute if is_sqlite else connection.cursor().execute
    with connection.wrap_database_errors:
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                execute(statements[size], values)
                start += size


def recent(since: float, limit: int) -> list[int]:
    """Fingerprints of the newest messages since this time, so that a repetition is known after a restart too."""
    rows = ArchivedMessage.objects.filter(id__gte=id_at(since), fingerprint__isnull=False).order_by("-id")
    return [mark for mark in rows.values_list("fingerprint", flat=True)[:limit] if mark is not None]


def _store_offline(batch: list[Job]) -> None:
    full = {
        user_id
        for user_id in {job.offline_user_id for job in batch}
        if user_id and not offline.has_room(user_id)
    }
    kept = [
        OfflineMessage(
            user_id=job.offline_user_id,
            stanza=job.stanza,
            size=len(job.stanza.encode()),
            sender=job.sender[:512],
        )
        for job in batch
        if job.offline_user_id is not None and job.offline_user_id not in full
    ]
    if kept:
        OfflineMessage.objects.bulk_create(kept)


def _write_alone(job: Job) -> Exception | None:
    try:
        write([job])
    except DatabaseError as problem:
        return problem
    return None
