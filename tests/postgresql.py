"""A real PostgreSQL for tests: the pgserver wheel, else the system's own binaries. `url` makes a fresh database."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
import pytest

from tests.tools import require_tool

# Nothing of it outlives the tests.
SETTINGS = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
_numbers = count(1)


@contextmanager
def running() -> Iterator[str]:
    """The URL of its database `postgres`."""
    with ExitStack() as stack:
        # Not in pytest's folder: that is closed to the user as whom PostgreSQL runs where the tests run as root.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hearth-postgresql-")))
        folder.chmod(0o755)
        start = _pgserver if importlib.util.find_spec("pgserver") else _system
        url = stack.enter_context(start(folder))
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in SETTINGS:
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@contextmanager
def _pgserver(folder: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        (folder / "run").mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))  # pgserver warns without one
        import pgserver

    server = pgserver.get_server(folder / "data")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def _system(folder: Path) -> Iterator[str]:
    """PostgreSQL refuses to run as root: there it runs as the user that its package made."""
    initdb, control = require_tool("initdb"), require_tool("pg_ctl")
    prefix: list[str] = []
    if os.geteuid() == 0:
        prefix = [require_tool("runuser"), "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

    run(initdb, "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
    run(control, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={quote(str(folder))}"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")


def new_database(url: str) -> str:
    """The URL of an empty database on that server."""
    name = f"hearth{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")
