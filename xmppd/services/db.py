"""The database from the event loop; which database that is, and its schema.

`await db(service, ...)` runs a sync service on one of a few threads: twenty calls of 50 ms take 0.16 s so,
and 1.0 s on the single thread of asgiref's sync_to_async.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.core.management import call_command
from django.core.signals import request_started
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.migrations.executor import MigrationExecutor
from django.db.transaction import Atomic
from django.utils import translation

from accounts import registry
from xmppd import bootstrap
from xmppd.protocol.errors import StanzaError

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("hearth.database")

# Threads, and so at most as many database connections. Who writes may wait for a lock: not in the way of who reads.
MAX_THREADS = 8
MAX_WRITERS = 4
CHECK_SECONDS = 10.0  # an idle connection is asked whether it lives; a busy one shows it
LOCK_SECONDS = 10  # the longest wait for a lock
STATEMENT_SECONDS = 60  # the longest statement
QUEUE_SECONDS = 15.0  # the longest wait for a thread while the database fails
CALM_SECONDS = 5.0  # without a failure, before the database is said to work again

# What a database raises that is down, locked, full or broken.
OUT_OF_REACH = (OperationalError, InterfaceError)

_readers: ThreadPoolExecutor | None = None
_writers: ThreadPoolExecutor | None = None
_executor_lock = threading.Lock()
_pool_connections: set[BaseDatabaseWrapper] = set()
_local = threading.local()


class DatabaseBusy(OperationalError):
    """The database fails, and no thread was free within QUEUE_SECONDS: nothing has been done."""


async def db(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function on a database thread, in the caller's language, and return its result.

    It raises one of OUT_OF_REACH, within bounded time, while the database cannot be used.
    """
    is_writing = writes(function)
    call = partial(
        _call, partial(function, *args, **kwargs), translation.get_language(), is_writing, time.monotonic()
    )
    start()
    executor = _writers if is_writing else _readers
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def writing(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a service that writes in many transactions: it is not run again where a connection breaks."""
    function.is_writing = True  # type: ignore[attr-defined]
    return function


def writes(function: Callable[..., object]) -> bool:
    """Whether it is `@transaction.atomic`, as nearly every service that writes, or marked by `writing`."""
    if getattr(function, "is_writing", False):
        return True
    closure = getattr(function, "__closure__", None)
    return closure is not None and any(isinstance(cell.cell_contents, Atomic) for cell in closure)


def start() -> ThreadPoolExecutor:
    """The pool, made at first use; returns the part that reads."""
    global _readers, _writers
    with _executor_lock:
        if _readers is None:
            _readers = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="hearth-db")
            _writers = ThreadPoolExecutor(MAX_WRITERS, thread_name_prefix="hearth-db-write")
        return _readers


def stop() -> None:
    """Wait for what is running, then close every connection of the pool."""
    global _readers, _writers
    with _executor_lock:
        executors, _readers, _writers = (_readers, _writers), None, None
    for executor in executors:
        if executor is not None:
            executor.shutdown(wait=True)
    while _pool_connections:
        _pool_connections.pop().close()


def is_stopping() -> bool:
    """Whether this thread is waited for: asked by what goes on for long and can be ended between two steps."""
    return getattr(_local, "is_pooled", False) and _readers is None


def _call(function: Callable[[], R], language: str | None, is_writing: bool, submitted: float) -> R:
    """On a pool thread: with a connection that lives, to the database in use."""
    try:
        if outage.is_failing and time.monotonic() - submitted > QUEUE_SECONDS:
            # A storm of logins, on the other hand, only takes its time.
            raise DatabaseBusy("no thread was free")
        _local.is_pooled = True
        use_current_database()
        held = connections["default"]
        if held not in _pool_connections:
            held.inc_thread_sharing()  # stop() closes it from another thread
            _pool_connections.add(held)
        _check(held)
        try:
            result = _in_language(function, language)
        except OUT_OF_REACH:
            if is_writing or not _is_broken(held):
                raise
            result = _in_language(function, language)  # to read again does no harm
    except OUT_OF_REACH as problem:
        outage.note(problem)
        raise
    if outage.is_failing:
        outage.note(None)
    return result


def _in_language(function: Callable[[], R], language: str | None) -> R:
    if language in (None, settings.LANGUAGE_CODE):
        return function()
    with translation.override(language):
        return function()


def _check(held: BaseDatabaseWrapper) -> None:
    """Ask a connection whether it lives: now and then, and when anybody's failed."""
    now = time.monotonic()
    if (
        held.errors_occurred
        or getattr(_local, "failures", 0) != outage.failures
        or now - getattr(_local, "checked", 0.0) > CHECK_SECONDS
    ):
        _local.checked = now
        _local.failures = outage.failures
        held.close_if_unusable_or_obsolete()


def _is_broken(held: BaseDatabaseWrapper) -> bool:
    """Whether the connection ended; it is given up then."""
    if held.vendor == "sqlite" or held.connection is None or held.is_usable():
        return False
    held.close()
    outage.failures += 1  # others may have ended with it
    return True


def refusal(problem: Exception) -> StanzaError:
    """How a client is told of one of OUT_OF_REACH: it may try again."""
    text = str(problem).lower()
    condition = "resource-constraint" if any(sign in text for sign in _FULL) else "internal-server-error"
    return StanzaError(condition, "the database cannot be used", type="wait")


class Outage:
    """Says once that the database fails, and once that it works again. `failures` counts them."""

    def __init__(self) -> None:
        self.is_failing = False
        self.failures = 0
        self._last = 0.0
        self._lock = threading.Lock()

    def note(self, problem: Exception | None) -> None:
        now = time.monotonic()
        with self._lock:
            if problem is not None:
                self.failures += 1
                self._last = now
                if not self.is_failing:
                    self.is_failing = True
                    log.error("the database cannot be used: %s", " ".join(str(problem).split()))
            elif self.is_failing and now - self._last > CALM_SECONDS:
                # Not at the first success: one table may be locked and others not.
                self.is_failing = False
                log.warning("the database can be used again")


outage = Outage()

# SQLite's words for a full disk, and PostgreSQL's and MySQL's, which are the system's.
_FULL = ("disk is full", "no space left", "file too large", "the table is full")

_BOUNDS = {
    "sqlite": (f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}",),
    "postgresql": (
        f"SET lock_timeout = '{LOCK_SECONDS}s'",
        f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
    ),
    "mysql": (f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}, innodb_lock_wait_timeout = {LOCK_SECONDS}",),
}


def _bound_waits(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """A thread of the stream service comes back, from a lock too, by an error. (A migration may take long.)"""
    if connection.alias == "default" and threading.current_thread().name.startswith("hearth-"):
        with connection.cursor() as cursor:
            for statement in _BOUNDS.get(connection.vendor, ()):
                cursor.execute(statement)


connection_created.connect(_bound_waits)


# --- which database ---

_generation = 0
_url: str | None = None  # None: what the configuration said at the start


def use_database(url: str) -> None:
    """Switch the running process to this database (an empty URL: the built-in SQLite file).

    Django holds a connection per thread. This thread's is closed here, those of others when they begin their
    next request or call.
    """
    global _generation, _url
    if url == (settings.CONFIG.database_url if _url is None else _url):
        return
    config = bootstrap.database_config(url, settings.CONFIG.home)
    settings.DATABASES = {"default": config}
    connections.settings["default"] = complete(config)
    _url = url
    _generation += 1
    use_current_database()
    registry.forget()


def use_current_database(**_signal: Any) -> None:
    """Drop this thread's connection if it leads to a database that is no longer in use."""
    if getattr(_local, "generation", 0) != _generation:
        _local.generation = _generation
        held = connections["default"]
        held.close()
        _pool_connections.discard(held)
        del connections["default"]


request_started.connect(use_current_database)


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Django's defaults filled in."""
    completed: dict[str, Any] = connections.configure_settings({"default": dict(config)})["default"]
    return completed


# --- schema ---


def migrate(verbosity: int = 0) -> None:
    """Bring the schema up to date; of several processes that start at once, one does it, others wait."""
    with _migration_lock():
        if connection.vendor == "sqlite":
            _keep_private(Path(str(connection.settings_dict["NAME"])))
        elif connection.vendor == "mysql":
            _take_all_characters()
        call_command("migrate", interactive=False, verbosity=verbosity)
    registry.forget()


def needs_migration() -> bool:
    """Whether the schema is older than the program; raises django.db.Error without an answer."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


_up_to_date_generation: int | None = None


def is_up_to_date() -> bool:
    """`not needs_migration()`, for those who ask every few seconds: once true, it stays so for this process and
    this database.
    """
    global _up_to_date_generation
    if _up_to_date_generation != _generation and not needs_migration():
        _up_to_date_generation = _generation
    return _up_to_date_generation == _generation


def _keep_private(path: Path) -> None:
    """Make the file so that only the owner may read it, whatever the folder allows; its journals follow."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    if not connection.introspection.table_names():  # made by a mere question, with the usual mode
        path.chmod(0o600)


def _take_all_characters() -> None:
    """MySQL's tables have the character set of their database, and MariaDB makes databases in Latin 1."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@character_set_database")
        if cursor.fetchone() != ("utf8mb4",) and not connection.introspection.table_names(cursor):
            cursor.execute("ALTER DATABASE CHARACTER SET utf8mb4")


MIGRATION_LOCK = 0x48656172  # any number, the same in every process
# Processes on other machines share the database only. (MySQL knows no lock without a time-out: a day.)
_LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)"),
    "mysql": ("SELECT GET_LOCK(CONCAT('hearth-', %s), 86400)", "SELECT RELEASE_LOCK(CONCAT('hearth-', %s))"),
}


@contextmanager
def _migration_lock() -> Iterator[None]:
    with file_lock(settings.CONFIG.home / "migrate.lock"):
        if connection.vendor not in _LOCKS:
            yield
            return
        lock, unlock = _LOCKS[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(lock, [MIGRATION_LOCK])
            try:
                yield
            finally:
                cursor.execute(unlock, [MIGRATION_LOCK])


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock between processes; BlockingIOError at once when somebody else does, unless
    `wait`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
