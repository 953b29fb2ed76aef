"""The message archive, XEP-0313: ids, and the writer that commits before anything is acknowledged or delivered.

One thread per process writes. It commits at once when it is idle and gathers what arrives meanwhile (group commit),
so a message waits for one commit and not for a timer. A job is all that belongs together: both archive copies and the
offline message. While the database fails, jobs wait and are tried again; their senders' streams wait with them.

On SQLite the copies are committed to a journal and moved into the archive by hundreds (see models.JournalledMessage);
who reads, reads both.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from random import getrandbits

from django.contrib.auth import get_user_model
from django.db import DataError, IntegrityError, connection, transaction

from accounts.fields import MAX_JID_CHARS
from xmppd.models import ArchivedMessage, JournalledMessage, OfflineMessage
from xmppd.services import offline

log = logging.getLogger("hearth.archive")

EPOCH_MS = 1_577_836_800_000  # 2020-01-01: leaves ids positive and below 2**63 for two centuries
TIME_SHIFT = 20  # below the milliseconds: 6 bits for the worker, 14 for the sequence
WORKER_SHIFT = 14
FIRST_BITS, STEP_BITS = 12, 6  # random ones of the sequence: a millisecond has room for 400 ids
MAX_BATCH = 500
REST_SECONDS = 0.001  # where messages came during a commit, so that more of them share the next one
RETRY_SECONDS = 0.25
GIVE_UP_SECONDS = 10.0  # after that the senders are told, and may try again
SETTLE_ROWS = 100  # in the journal, before they are moved: messages wait for two milliseconds then
SETTLE_ROWS_BUSY = 4000  # the same while many messages come: the more at once, the less work each is
CALM = 24  # messages in a commit, up to which few come
SETTLE_SECONDS = 1.0  # without a message, before the journal is emptied


class Ids:
    """64-bit ids that only grow, also when the clock goes back; how far they grow cannot be foretold (XEP-0313 3).

    `last` is the newest of an earlier process.
    """

    __slots__ = ("_last", "_worker")

    def __init__(self, worker: int = 0, last: int = 0) -> None:
        self._worker = worker << WORKER_SHIFT
        self._last = last

    def next(self, now: float) -> int:
        """An id for this time (seconds since 1970)."""
        wanted = (int(now * 1000) - EPOCH_MS) << TIME_SHIFT | self._worker | getrandbits(FIRST_BITS)
        last = self._last
        if wanted <= last:
            wanted = last + 1 + getrandbits(STEP_BITS)
            if wanted >> WORKER_SHIFT != last >> WORKER_SHIFT:  # this millisecond is used up
                wanted = (last >> TIME_SHIFT) + 1 << TIME_SHIFT | self._worker | getrandbits(FIRST_BITS)
        self._last = wanted
        return wanted


def id_at(now: float) -> int:
    """The lowest id of this millisecond."""
    return max(0, int(now * 1000) - EPOCH_MS) << TIME_SHIFT


def is_id(text: str) -> bool:
    """Whether it may be one of ours: they are positive and have 64 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) < 2**63


def time_of(identity: int) -> float:
    """Seconds since 1970, to the millisecond."""
    return ((identity >> TIME_SHIFT) + EPOCH_MS) / 1000


def fingerprint(sender: str, to: str, identity: str, letter: bytes) -> int | None:
    """The same for a message that a client sends again; None for ids too short to be unique."""
    if len(identity) < 8:
        return None
    digest = hashlib.blake2b(f"{sender}\0{to}\0{identity}\0".encode() + letter, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# A message in one archive: its id there, the user's id, bare JID and resource of the other side.
Copy = tuple[int, int, str, str]


@dataclass(slots=True)
class Job:
    """One message. `done(job, problem)` is called on the loop: problem is None once it is committed.

    It gets the job, since a function that held it would keep the message until the garbage collector comes.
    `stanza_id` is the element that the recipient gets with the message, now or out of the offline store.
    `is_refused`: nothing was kept, because the recipient wants no archive and the offline store is full.
    """

    copies: Sequence[Copy]
    stanza: bytes
    fingerprint: int | None
    done: Callable[[Job, Exception | None], None]
    offline_user_id: int | None = None
    stanza_id: bytes = b""
    sender: str = ""
    submitted: float = 0.0
    is_refused: bool = False


class Writer:
    """`submit` from the loop; commits happen on a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gathered: list[Job] = []
        self._queue: SimpleQueue[list[Job]] = SimpleQueue()  # an empty list ends the thread
        self._waiting: list[Job] = []  # taken from the queue; the thread's own
        self._unsettled = 0  # rows in the journal
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="hearth-archive", daemon=True)
        self.is_failing = False  # the database does not take what is written, for the console's banner

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """All jobs of one turn of the loop go to the thread together: waking it costs more than a row."""
        if not self._gathered:
            self._loop.call_soon(self._pass_on)
        job.submitted = time.monotonic()
        self._gathered.append(job)

    def _pass_on(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def stop(self) -> None:
        """Write what waits, then end the thread. Called from another thread than the loop's."""
        self._pass_on()
        self._is_stopping = True
        self._queue.put([])
        self._thread.join(GIVE_UP_SECONDS + 1)

    def _run(self) -> None:
        try:
            self._settle()  # what an earlier process left
            while batch := self._next_batch():
                self._commit(batch)
                if self._unsettled >= (SETTLE_ROWS if len(batch) < CALM else SETTLE_ROWS_BUSY):
                    self._settle()
            self._settle()
        finally:
            connection.close()

    def _next_batch(self) -> list[Job]:
        """What waits, once something does; nothing at the end. A quiet moment empties the journal."""
        if not self._queue.empty():
            time.sleep(REST_SECONDS)
        self._gather()
        while not self._waiting and not self._is_stopping:
            has_work = self._unsettled or self.is_failing
            try:
                self._waiting = self._queue.get(timeout=SETTLE_SECONDS if has_work else None)
            except Empty:
                if self.is_failing:
                    self._try_again()
                else:
                    self._settle()
        self._gather()
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        return batch

    def _gather(self) -> None:
        """Take what has come meanwhile."""
        while not self._queue.empty():
            self._waiting += self._queue.get()

    def _commit(self, batch: list[Job]) -> None:
        """Write the batch, again and again while the database fails; then tell the loop once."""
        problems: list[Exception | None] = [None] * len(batch)
        while True:
            try:
                self._unsettled += write(batch)
                self._note(None)
                break
            except (IntegrityError, DataError):  # of one of them: an account was deleted meanwhile
                problems = self._write_each(batch)
                break
            except Exception as problem:  # whatever it is, these messages wait for an answer
                self._note(problem)
                if self._is_stopping or time.monotonic() - batch[0].submitted > GIVE_UP_SECONDS:
                    problems = [problem] * len(batch)
                    break
                time.sleep(RETRY_SECONDS)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_tell, batch, problems)

    def _write_each(self, batch: list[Job]) -> list[Exception | None]:
        """Each in a transaction of its own. A database that fails in the middle is not asked for all the others."""
        problems: list[Exception | None] = []
        for job in batch:
            problem: Exception | None = None
            try:
                if not is_written(job):  # by a commit whose answer was lost
                    self._unsettled += write([job])
            except (IntegrityError, DataError) as wrong:
                problem = wrong
            except Exception as failure:
                self._note(failure)
                return problems + [failure] * (len(batch) - len(problems))
            problems.append(problem)
        return problems

    def _settle(self) -> None:
        """Later, when it fails now: the journal keeps as well as the archive, and is read with it."""
        try:
            settle()
            self._unsettled = 0
        except Exception as problem:
            self._note(problem)

    def _try_again(self) -> None:
        """Nobody writes: see for ourselves whether the database takes anything again."""
        try:
            probe()
        except Exception as problem:
            self._note(problem)
        else:
            self._note(None)
            self._settle()

    def _note(self, problem: Exception | None) -> None:
        """Say once that the database fails, and once that it does no more."""
        if problem is not None:
            connection.close()
            if not self.is_failing:
                log.error("the archive cannot be written: %s", problem)
        elif self.is_failing:
            log.warning("the archive can be written again")
        self.is_failing = problem is not None


def _tell(batch: list[Job], problems: list[Exception | None]) -> None:
    for job, problem in zip(batch, problems, strict=True):
        try:
            job.done(job, problem)
        except Exception:
            log.exception("after a commit")


_ARCHIVE = ArchivedMessage._meta.db_table
_JOURNAL = JournalledMessage._meta.db_table
_COLUMNS = ("id", "user_id", "peer", "peer_resource", "stanza", "size", "fingerprint")
# Rows in one statement; few sizes, so that statements are prepared once.
_CHUNKS = (128, 64, 32, 16, 8, 4, 2, 1)
# Bytes of stanzas in one statement: MariaDB takes 16 MiB, and escaping may double them.
_MAX_STATEMENT = 4 * 1024 * 1024
_OFFLINE_CHUNK = 16

_END_TAG = b"</message>"

Row = tuple[int, int, str, str, str, int, int | None]


def _insert(table: str, rows: int, mark: str) -> str:
    values = ", ".join(["(" + ", ".join([mark] * len(_COLUMNS)) + ")"] * rows)
    return f"INSERT INTO {table} ({', '.join(_COLUMNS)}) VALUES {values}"  # noqa: S608


_SQLITE = {size: _insert(_JOURNAL, size, "?") for size in _CHUNKS}
_OTHERS = {size: _insert(_ARCHIVE, size, "%s") for size in _CHUNKS}


def write(batch: Sequence[Job]) -> int:
    """Both archive copies and the offline message of every job, in one transaction; the rows added to the journal."""
    rows: list[Row] = []
    with transaction.atomic():
        _store_offline(batch)
        for job in batch:
            if not job.is_refused:
                letter = (job.stanza.decode(), len(job.stanza), job.fingerprint)
                rows += [copy + letter for copy in job.copies]
        _write_rows(rows)
    return len(rows) if connection.vendor == "sqlite" else 0


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
                part = rows[start : start + size]
                if not is_sqlite and size > 1 and sum(row[5] for row in part) > _MAX_STATEMENT:
                    break
                execute(statements[size], [value for row in part for value in row])
                start += size


def is_written(job: Job) -> bool:
    """Whether it was committed already; its copies are there together or not at all."""
    identity, user_id, _peer, _resource = job.copies[0]
    tables = (JournalledMessage, ArchivedMessage)
    return any(table._default_manager.filter(id=identity, user_id=user_id).exists() for table in tables)


def settle() -> None:
    """Move what the journal holds into the archive."""
    if connection.vendor != "sqlite" or not JournalledMessage.objects.exists():
        return
    columns = ", ".join(_COLUMNS)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {_ARCHIVE} ({columns}) SELECT {columns} FROM {_JOURNAL}")  # noqa: S608
        cursor.execute(f"DELETE FROM {_JOURNAL}")  # noqa: S608


@transaction.atomic
def probe() -> None:
    """Write a row and delete it: raises django.db.Error while the database takes nothing, for a full disk as well."""
    user_id = get_user_model().objects.values_list("id", flat=True).first()
    if user_id is not None:
        row = JournalledMessage(id=0, user_id=user_id, peer="", stanza="", size=0)
        row.save(force_insert=True)
        row.delete()


def recent(since: float, limit: int) -> list[int]:
    """Fingerprints of the newest messages since this time, so that a repetition is known after a restart too."""
    settle()
    rows = ArchivedMessage.objects.filter(id__gte=id_at(since), fingerprint__isnull=False).order_by("-id")
    return [mark for mark in rows.values_list("fingerprint", flat=True)[:limit] if mark is not None]


def newest(until: float) -> int:
    """The newest id, so that those behind a restart go on from it; 0 where there is none.

    One beyond `until` (seconds since 1970) is of a clock that was wrong for long, whose times are not kept up.
    """
    settle()
    ids = ArchivedMessage.objects.filter(id__lt=id_at(until)).order_by("-id").values_list("id", flat=True)
    return ids.first() or 0


def _store_offline(batch: Sequence[Job]) -> None:
    wanted = [(job.offline_user_id, job) for job in batch if job.offline_user_id is not None]
    if not wanted:
        return
    full = {user_id for user_id in {user_id for user_id, _job in wanted} if not offline.has_room(user_id)}
    is_told = offline.WHEN_FULL.value == "bounce"
    for user_id, job in wanted:
        job.is_refused = is_told and user_id in full and not job.stanza_id
    kept = [
        OfflineMessage(
            user_id=user_id,
            stanza=_delivered(job).decode(),
            size=len(job.stanza) + len(job.stanza_id),
            sender=job.sender[:MAX_JID_CHARS],
        )
        for user_id, job in wanted
        if user_id not in full
    ]
    if kept:
        OfflineMessage.objects.bulk_create(kept, batch_size=_OFFLINE_CHUNK)


def _delivered(job: Job) -> bytes:
    """The message as the recipient gets it. One that is kept has a child, so it has an end tag."""
    return job.stanza.removesuffix(_END_TAG) + job.stanza_id + _END_TAG
