"""Databases that fail on demand: each is real, and its faults are the real thing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from tests import postgresql
from tests.hearth import PASSWORD, Hearth

CHUNK = 65536
START_SECONDS = 60


class SQLite:
    """The file in HEARTH_HOME."""

    name = "sqlite"
    url = ""

    def __init__(self, home: Path) -> None:
        self.path = home / "hearth.sqlite3"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes; readers go on, as WAL lets them."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA busy_timeout = 20000")
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")

    def check(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class PostgreSQL:
    """A database of its own on a running server, which the Hearth reaches through a proxy."""

    name = "postgresql"

    def __init__(self, server: str, tablespace: str = "") -> None:
        self.direct = postgresql.new_database(server)
        database = urlsplit(self.direct).path.lstrip("/")
        with psycopg.connect(server, autocommit=True) as connection:
            # What was committed survives the end of the process, as on a server in use.
            connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = on")
            if tablespace:
                connection.execute(f"ALTER DATABASE {database} SET TABLESPACE {tablespace}")
            self.data = Path(connection.execute("SHOW data_directory").fetchone()[0])
            folder = parse_qs(urlsplit(self.direct).query)["host"][0]
            port = connection.execute("SHOW port").fetchone()[0]
        user = urlsplit(self.direct).username
        self.proxy = Proxy(Path(folder) / f".s.PGSQL.{port}")
        self.url = f"postgresql://{user}@127.0.0.1:{self.proxy.port}/{database}"

    @contextlib.contextmanager
    def locked(self, mode: str = "EXCLUSIVE", tables: str = "xmppd") -> Iterator[None]:
        """LOCK TABLE on every table whose name begins so. EXCLUSIVE leaves readers alone, ACCESS EXCLUSIVE does not."""
        with psycopg.connect(self.direct) as connection:
            rows = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE starts_with(tablename, %s)", [tables]
            )
            names = ", ".join(name for (name,) in rows)
            assert names
            connection.execute(f"LOCK TABLE {names} IN {mode} MODE")
            yield
            connection.rollback()

    def stop(self) -> Callable[[], None]:
        """What `pg_ctl stop -m immediate` does; returns what starts the server again, as the same user."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        process = Path(f"/proc/{pid}")
        command = (process / "cmdline").read_text().split("\0")[:-1]
        program = os.readlink(process / "exe")
        owner = self.data.stat()
        os.kill(pid, signal.SIGQUIT)
        _wait_for_end(pid)
        control = str(Path(program).with_name("pg_ctl"))
        options = " ".join(f"'{argument}'" if argument == "" else argument for argument in command[3:])
        log = str(self.data / "restarts.log")

        def start() -> None:
            command = [control, "-D", str(self.data), "-o", options, "-l", log, "-w", "start"]
            as_user = (
                {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
            )
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=self.data,
                timeout=START_SECONDS,
                **as_user,
            )

        return start

    def check(self) -> None:
        """Every row can be read."""
        with psycopg.connect(self.direct) as connection:
            rows = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            for (name,) in rows:
                connection.execute(f"SELECT count(t::text) FROM {name} t").fetchone()


def _wait_for_end(pid: int) -> None:
    """Of a process that may be no child of ours."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(START_SECONDS * 1000), f"process {pid} does not end"
    finally:
        os.close(descriptor)


class Proxy:
    """A TCP port before a Unix socket, on a thread of its own: it can be slow, stand still, or cut connections."""

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.delay = 0.0  # seconds that everything a client sends is held back
        self.cut_after: bytes | None = None  # what is sent with this text arrives; its answer does not
        self.cuts = 0
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: list[tuple[asyncio.StreamWriter, ...]] = []
        ready = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._listen(ready)))
        self._thread.start()
        assert ready.wait(10)

    def _run(self) -> None:
        self._loop.run_forever()

    async def _listen(self, ready: threading.Event) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        ready.set()

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        self.delay = seconds
        try:
            yield
        finally:
            self.delay = 0.0

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """What comes is taken and not passed on until the end."""
        self._call(self._open.clear)
        try:
            yield
        finally:
            self._call(self._open.set)

    def _call(self, function: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (function(), done.set()))
        assert done.wait(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self.upstream))
        except OSError:
            writer.close()
            return
        ends = (writer, up_writer)
        self._connections.append(ends)
        is_cut = asyncio.Event()
        self._spawn(self._pass_statements(reader, up_writer, ends, is_cut))
        self._spawn(self._pass_answers(up_reader, writer, ends, is_cut))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_statements(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: Any, is_cut: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    is_cut.set()
                writer.write(data)
                await writer.drain()
        _close(ends)

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: Any, is_cut: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if is_cut.is_set():
                    self.cuts += 1  # the server has done it, since it answers
                    break
                writer.write(data)
                await writer.drain()
        _close(ends)

    def drop_all(self) -> None:
        """Every connection ends; new ones are taken."""
        self._call(lambda: [_close(ends) for ends in self._connections])
        self._connections.clear()

    def close(self) -> None:
        self._call(lambda: [task.cancel() for task in self._tasks])
        self._call(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def _close(ends: tuple[asyncio.StreamWriter, ...]) -> None:
    for end in ends:
        end.close()


Database = SQLite | PostgreSQL


@contextlib.contextmanager
def tablespace(server: str, folder: Path) -> Iterator[str]:
    """A place for databases of this server; they go with it."""
    name = f"on_{folder.name}"
    with psycopg.connect(server, autocommit=True) as connection:
        data = Path(connection.execute("SHOW data_directory").fetchone()[0])
        place = folder / "tablespace"
        place.mkdir(mode=0o700)
        os.chown(place, data.stat().st_uid, data.stat().st_gid)
        for parent in place.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o111)  # PostgreSQL is another user and has to get there
        connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        yield name
        rows = connection.execute(
            "SELECT datname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE spcname = %s",
            [name],
        ).fetchall()
        for (database,) in rows:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        connection.execute(f"DROP TABLESPACE {name}")


@contextlib.contextmanager
def installation(
    folder: Path, server: str | None, *, tablespace: str = ""
) -> Iterator[tuple[Hearth, Database]]:
    """A Hearth with its accounts, not started."""
    home = folder / "home"
    database: Database = SQLite(home) if server is None else PostgreSQL(server, tablespace)
    hearth = Hearth(home, environ={"DATABASE_URL": getattr(database, "direct", "")})
    hearth.set_up()
    accounts = "".join(f"{username},{PASSWORD}\n" for username in ACCOUNTS)
    hearth.manage("importusers", "-", "--apply", stdin=accounts)
    hearth.environ["DATABASE_URL"] = database.url
    try:
        yield hearth, database
    finally:
        hearth.kill()
        if isinstance(database, PostgreSQL):
            database.proxy.close()


def control(hearth: Hearth, operation: str, **arguments: Any) -> Any:
    """Ask the running server, without its database."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(START_SECONDS)
        connection.connect(str(hearth.home / "control.sock"))
        connection.sendall(json.dumps({"call": operation, "args": arguments}).encode() + b"\n")
        with connection.makefile("rb") as reader:
            return json.loads(reader.readline())["ok"]


LATE_COMERS = tuple(f"late{number}" for number in range(12))
ACCOUNTS = (
    "juliet",
    "romeo",
    "nurse",
    "friar",
    "benvolio",
    "paris",
    *(f"guest{number}" for number in range(20)),
    *LATE_COMERS,
)
