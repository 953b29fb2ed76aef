"""A real MariaDB for tests, from the system's own binaries. `new_database` makes a fresh database on it."""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pymysql

from tests.tools import require_tool

# Nothing of it outlives the tests. Character set and collation are those that MariaDB comes with, which hold neither
# "漢" nor a difference between "é" and "E".
OPTIONS = (
    "--skip-networking",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=64M",
    "--character-set-server=latin1",
    "--collation-server=latin1_swedish_ci",
)
START_SECONDS = 30.0
_numbers = count(1)


@contextmanager
def running() -> Iterator[str]:
    """The URL of its database `mysql`."""
    install, daemon = require_tool("mariadb-install-db"), require_tool("mariadbd")
    user = f"--user={getpass.getuser()}"
    with TemporaryDirectory(prefix="hearth-mariadb-") as folder:  # short: the socket lies in it
        data, socket = f"--datadir={folder}/data", Path(folder) / "socket"
        subprocess.run(
            [
                install,
                "--no-defaults",
                data,
                user,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        with open(f"{folder}/log", "w+") as log:
            process = subprocess.Popen(
                [daemon, "--no-defaults", data, user, f"--socket={socket}", *OPTIONS],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                _wait(process, Path(log.name))
                yield f"mysql://root@/mysql?host={quote(str(socket))}"
            finally:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server says that it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while "ready for connections" not in log.read_text():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        if process.returncode is not None or time.monotonic() > deadline:
            raise AssertionError(f"mariadbd did not start: {log.read_text()}")


@contextmanager
def connected(url: str) -> Iterator[pymysql.connections.Connection]:
    """A connection of the driver's own to a database that `running` or `new_database` named."""
    from xmppd import bootstrap

    config = bootstrap.database_config(url, Path())
    connection = pymysql.connect(
        unix_socket=config["HOST"],
        user=config["USER"],
        database=config["NAME"],
        charset="utf8mb4",
        autocommit=True,
    )
    with connection:
        yield connection


def new_database(url: str) -> str:
    """The URL of an empty database on that server."""
    name = f"hearth{next(_numbers)}"
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    return url.replace("/mysql?", f"/{name}?")
