"""What a page of 50 messages costs in a large archive: at its start, its middle and its end, by each way to ask.

Fills an archive once per database and keeps it in var/bench; then asks the service itself, and a running server over
TCP. bench/README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import os
import random
import re
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peers.hearth import ADMIN_PASSWORD, SETTINGS
from peers.server import GENERATOR_CPU, ROOT, SERVER_CPU, STREAM_HEADER, WORK

PAGE = 50
ROUNDS = 5
DAYS = 730  # over which the messages are spread
OWNER_SHARE = 5  # every fifth message is in the archive that is read
PEERS = 400  # with whom its owner writes; the busy one has every tenth message
BUSY_SHARE = 10
BUSY, RARE = "user1@localhost", "user7@localhost"
PLACES = {
    "start": (0.0, 0.01),
    "middle": (0.495, 0.505),
    "end": (0.9, 0.91),
}  # shares of the archive, oldest first
BODY = "Neither a borrower nor a lender be; for loan oft loses both itself and friend. "
Row = tuple[int, int, str, str, str, int, int]


class Home:
    """A HEARTH_HOME with users and an archive, on the built-in SQLite or another database."""

    def __init__(self, url: str, rows: int, users: int) -> None:
        self.url, self.rows, self.users = url, rows, users
        kind = url.split(":", 1)[0] or "sqlite"
        self.folder = WORK / f"archive-{kind}-{rows}"
        self.environ = {
            "HEARTH_HOME": str(self.folder),
            "DATABASE_URL": url,
            "HEARTH_DOMAIN": "localhost",
            "HEARTH_HOSTNAME": "localhost",
            "HEARTH_ADMIN_USER": "admin",
            "HEARTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "HEARTH_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_PORT": "0",
            "HEARTH_C2S_PORT": "0",
            "HEARTH_C2S_TLS_PORT": "0",
        }

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, env=os.environ | self.environ, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def set_up(self) -> None:
        """Accounts user0 to userN with password pw, once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manage("setup", "--noinput")
        for key, value in SETTINGS.items():
            self.manage("settings", "set", key, value)
        path = self.folder / "users.csv"
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["username", "password", "name", "email", "groups"])
            rows.writerows([f"user{number}", "pw", "", "", ""] for number in range(self.users))
        self.manage("importusers", str(path), "--apply")

    def use(self) -> None:
        """Point this process's Django at it."""
        os.environ.update(self.environ, DJANGO_SETTINGS_MODULE="xmppd.settings")
        sys.path.insert(0, str(ROOT))
        import django

        django.setup()


# --- filling


def messages(ids: list[int], number: int) -> Iterator[Row]:
    """Rows as the server writes them, oldest first; user0's lie between everybody else's, as in daily life."""
    from xmppd.services.archive import id_at

    random.seed(1)
    last = time.time()
    first = last - DAYS * 86400
    step = (last - first) / number
    for i in range(number):
        identity = id_at(first + i * step) + (i & 0xFF)
        owner = 0 if i % OWNER_SHARE == 0 else 1 + i * 7919 % (len(ids) - 1)
        is_busy = i // OWNER_SHARE % BUSY_SHARE == 0
        other = 1 if is_busy else 2 + random.randrange(PEERS - 1)
        peer = f"user{other}@localhost"
        stanza = (
            f"<message from='{peer}/phone' to='user{owner}@localhost' id='m{identity:x}' type='chat'>"
            f"<body>{BODY[: 20 + i % 60]}{i}</body><origin-id xmlns='urn:xmpp:sid:0' id='m{identity:x}'/>"
            "<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/></message>"
        )
        yield identity, ids[owner], peer, "phone", stanza, len(stanza), identity * 2654435761 % 2**62


def is_filled(rows: int) -> bool:
    from xmppd.models import ArchivedMessage

    return ArchivedMessage.objects.count() >= rows


def fill(home: Home) -> None:
    """By the fastest way of each database; indexes that can be built afterwards are."""
    from django.db import connection

    from accounts.models import User
    from xmppd.models import ArchivedMessage

    by_name = dict(User.objects.filter(username__startswith="user").values_list("username", "id"))
    ids = [by_name[f"user{number}"] for number in range(home.users)]
    ArchivedMessage.objects.all().delete()
    found = messages(ids, home.rows)
    # MySQL needs one that begins with the user's id, for the foreign key.
    indexes = ArchivedMessage._meta.indexes[1 if connection.vendor == "mysql" else 0 :]
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.remove_index(ArchivedMessage, index)
    {"sqlite": fill_sqlite, "postgresql": fill_postgresql, "mysql": fill_mysql}[connection.vendor](found)
    with connection.schema_editor() as editor:
        for index in indexes:
            editor.add_index(ArchivedMessage, index)
    table = ArchivedMessage._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"VACUUM ANALYZE {table}")
        elif connection.vendor == "mysql":
            cursor.execute(f"ANALYZE TABLE {table}")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


COLUMNS = "(id, user_id, peer, peer_resource, stanza, size, fingerprint)"
TABLE = "xmppd_archivedmessage"


def chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    chunk = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def fill_sqlite(rows: Iterator[Row]) -> None:
    from django.db import connection, transaction

    connection.cursor().execute("PRAGMA synchronous=OFF")
    for chunk in chunks(rows, 100_000):
        with transaction.atomic():
            connection.connection.executemany(f"INSERT INTO {TABLE} {COLUMNS} VALUES (?,?,?,?,?,?,?)", chunk)
    connection.close()


def fill_postgresql(rows: Iterator[Row]) -> None:
    from django.db import connection

    with connection.cursor() as cursor, cursor.copy(f"COPY {TABLE} {COLUMNS} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def fill_mysql(rows: Iterator[Row]) -> None:
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
        for chunk in chunks(rows, 2000):
            with transaction.atomic():
                cursor.executemany(f"INSERT INTO {TABLE} {COLUMNS} VALUES (%s,%s,%s,%s,%s,%s,%s)", chunk)
    connection.close()


# --- CPU of other processes


def run_ns(pid: int) -> int:
    """CPU time of a process in nanoseconds, its ended threads too: Linux has a clock for each."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)
    except OSError:
        return 0


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def database_pid() -> int:
    """The process of a database server on this machine; 0 for SQLite, and where it runs elsewhere."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
            stat = Path(f"/proc/{cursor.fetchone()[0]}/stat")
            return int(stat.read_text().rsplit(")", 1)[1].split()[1]) if stat.exists() else 0
        if connection.vendor == "mysql":
            cursor.execute("SELECT @@datadir, @@pid_file")
            folder, name = cursor.fetchone()
            path = Path(folder) / name
            return int(path.read_text()) if path.exists() else 0
    return 0


def tree_ns(pid: int) -> int:
    """CPU time of a process and its children."""
    return run_ns(pid) + sum(map(run_ns, children_of(pid))) if pid else 0


# --- asking the service


Choice = Callable[[list[int]], int]


def somewhere(ids: list[int], low: float, high: float, chance: random.Random) -> int:
    """One of the ids between two shares of them, each time another one: no page is asked for twice in a row."""
    return ids[int(len(ids) * chance.uniform(low, high))]


def at_places(kinds: dict[str, Callable[[Choice], Any]]) -> dict[str, Callable[[], Any]]:
    """Each kind of page at the start, the middle and the end."""
    choices = {
        name: partial(somewhere, low=low, high=high, chance=random.Random(2))
        for name, (low, high) in PLACES.items()
    }
    return {
        f"{kind} {name}": partial(call, choose)
        for kind, call in kinds.items()
        for name, choose in choices.items()
    }


def service_cases(user_id: int) -> dict[str, Callable[[], Any]]:
    """Name and call, for each way to ask."""
    from xmppd.services import archive_query
    from xmppd.services.archive import time_of
    from xmppd.services.archive_query import Query

    everything, of_busy, of_rare = (identities(user_id, peer) for peer in ("", BUSY, RARE))
    later = everything[PAGE:]

    def page(query: Query, **keywords: Any) -> Any:
        return archive_query.page(user_id, query, limit=PAGE, **keywords)

    kinds: dict[str, Callable[[Choice], Any]] = {
        "all": lambda at: page(Query(), after=at(everything)),
        "all, backwards": lambda at: page(Query(), before=at(later), last=True),
        "with": lambda at: page(Query(peer=BUSY), after=at(of_busy)),
        "with a rare one": lambda at: page(Query(peer=RARE), after=at(of_rare)),
        "with a full address": lambda at: page(Query(peer=BUSY, peer_resource="phone"), after=at(of_busy)),
        "from a time on": lambda at: page(Query(start=time_of(at(everything)))),
        "until a time": lambda at: page(Query(end=time_of(at(later))), last=True),
        "with, from a time on": lambda at: page(Query(peer=BUSY, start=time_of(at(of_busy)))),
        "after-id": lambda at: page(Query(after_id=at(everything))),
        "before-id": lambda at: page(Query(before_id=at(later)), last=True),
        "ids": lambda at: page(Query(ids=tuple({at(everything) for _ in range(PAGE)}))),
    }
    return at_places(kinds) | {
        "oldest": lambda: page(Query()),
        "newest": lambda: page(Query(), last=True),
        "newest with": lambda: page(Query(peer=BUSY), last=True),
        "metadata": lambda: archive_query.bounds(user_id),
    }


def identities(user_id: int, peer: str) -> list[int]:
    from xmppd.models import ArchivedMessage

    found = ArchivedMessage.objects.filter(user_id=user_id)
    if peer:
        found = found.filter(peer=peer)
    return list(found.order_by("id").values_list("id", flat=True))


@dataclass
class Figures:
    """Of one case: seconds of each call, and nanoseconds of the database's processes for all of them."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    database_ns: int = 0

    @property
    def milliseconds(self) -> tuple[float, float, float]:
        """Median wall, median CPU of the asking thread or the server, mean CPU of the database's processes."""
        beside = self.database_ns / len(self.walls) / 1e6
        return statistics.median(self.walls) * 1e3, statistics.median(self.cpus) * 1e3, beside


def ask_service(user_id: int, database: int, runs: int) -> None:
    """Each case some times, in several rounds: what else the machine does at a moment then hits all alike."""
    cases = service_cases(user_id)
    found = {name: Figures() for name in cases}
    for _ in range(ROUNDS):
        for name, call in cases.items():
            figures = found[name]
            before = tree_ns(database)
            for _ in range(runs // ROUNDS):
                wall, cpu = time.perf_counter(), time.thread_time()
                call()
                figures.cpus.append(time.thread_time() - cpu)
                figures.walls.append(time.perf_counter() - wall)
            figures.database_ns += tree_ns(database) - before
    print(f"{'page of 50 from the service':34}{'wall ms':>9}{'CPU ms':>9}{'database CPU ms':>17}")
    for name, figures in found.items():
        print("{:34}{:9.2f}{:9.2f}{:17.2f}".format(name, *figures.milliseconds))
    print(f"\n{'CPU of both, start : middle : end':34}")
    for kind in dict.fromkeys(name.removesuffix(" start") for name in found if name.endswith(" start")):
        start, middle, end = (sum(found[f"{kind} {place}"].milliseconds[1:]) for place in PLACES)
        print(f"{kind:34}{'1.00':>9}{middle / start:9.2f}{end / start:9.2f}")


# --- asking a running server


class Client:
    """Just enough of a client to page through its archive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def login(cls, port: int) -> Client:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        self = cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=2**24))
        header = STREAM_HEADER
        await self.ask(header, b"</stream:features>")
        proof = base64.b64encode(b"\0user0\0pw")
        sasl = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + proof + b"</auth>"
        await self.ask(sasl, b"<success")
        await self.ask(header, b"</stream:features>")
        bind = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        await self.ask(bind, b"</iq>")
        return self

    async def ask(self, text: bytes, end: bytes) -> bytes:
        self.writer.write(text)
        return await self.reader.readuntil(end)

    async def page(self, rsm: str, fields: str = "", flip: str = "") -> bytes:
        form = (
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"
            f"{fields}</x>"
        )
        query = (
            f"<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'>{form}"
            f"<set xmlns='http://jabber.org/protocol/rsm'><max>{PAGE}</max>{rsm}</set>{flip}</query></iq>"
        )
        answer = await self.ask(query.encode(), b"</iq>")
        if answer.count(b"<result ") != PAGE:
            raise AssertionError(f"{answer.count(b'<result ')} results: {answer[-500:]!r}")
        return answer


Cases = dict[str, Callable[[], dict[str, str]]]


def wire_cases(user_id: int) -> Cases:
    """Name and what gives the arguments of a page."""
    everything, of_busy = identities(user_id, ""), identities(user_id, BUSY)
    peer = f"<field var='with'><value>{BUSY}</value></field>"
    kinds: dict[str, Callable[[Choice], dict[str, str]]] = {
        "all": lambda at: {"rsm": f"<after>{at(everything)}</after>"},
        "with": lambda at: {"rsm": f"<after>{at(of_busy)}</after>", "fields": peer},
        "flipped": lambda at: {"rsm": f"<after>{at(everything)}</after>", "flip": "<flip-page/>"},
    }
    return at_places(kinds) | {"newest": lambda: {"rsm": "<before/>"}}


async def ask_server(port: int, pid: int, database: int, cases: Cases, runs: int) -> None:
    client = await Client.login(port)
    print(f"\n{'page of 50 from the server':34}{'wall ms':>9}{'CPU ms':>9}{'database CPU ms':>17}")
    found = {name: Figures() for name in cases}
    for _ in range(ROUNDS):
        for name, arguments in cases.items():
            figures = found[name]
            beside = tree_ns(database)
            for _ in range(runs // ROUNDS):
                asked = arguments()
                wall, cpu = time.perf_counter(), run_ns(pid)
                await client.page(**asked)
                figures.cpus.append((run_ns(pid) - cpu) / 1e9)
                figures.walls.append(time.perf_counter() - wall)
            figures.database_ns += tree_ns(database) - beside
    for name, figures in found.items():
        print("{:34}{:9.2f}{:9.2f}{:17.2f}".format(name, *figures.milliseconds))


def with_server(home: Home, ask: Callable[[int, int], None]) -> None:
    """Start `serve`, ask with its port and pid, end it."""
    log = home.folder / "out.log"
    command = ["taskset", "-c", SERVER_CPU, sys.executable, str(ROOT / "manage.py"), "serve", "--no-web"]
    with open(log, "w+") as output:
        process = subprocess.Popen(
            command, env=os.environ | home.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            for _ in range(600):
                if "Ctrl-C" in log.read_text() or process.poll() is not None:
                    break
                time.sleep(0.1)
            status = home.manage("status", "--json")
            port = re.search(r'"name": "c2s_tls",[^}]*?"port": (\d+)', status)
            if port is None:
                sys.exit(f"the server did not start: {log.read_text()}{status}")
            ask(int(port[1]), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="", metavar="URL", help="an empty database (default: SQLite)")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=200, help="pages of each kind")
    parser.add_argument("--no-server", action="store_true", help="ask the service alone")
    options = parser.parse_args()
    home = Home(options.database, options.rows, options.users)
    if not (home.folder / "hearth.toml").exists():
        home.set_up()
    home.use()
    from django.db import connection

    from accounts.models import User

    if not is_filled(options.rows):
        begin = time.monotonic()
        fill(home)
        print(f"{options.rows} messages in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    user_id = User.objects.get(username="user0").pk
    os.sched_setaffinity(0, {int(SERVER_CPU)})
    print(
        f"{connection.vendor}, {options.rows} messages, {options.rows // OWNER_SHARE} of them in this archive\n"
    )
    database = database_pid()
    ask_service(user_id, database, options.runs)
    if not options.no_server:
        os.sched_setaffinity(0, {int(GENERATOR_CPU)})
        cases = wire_cases(user_id)
        with_server(home, lambda port, pid: asyncio.run(ask_server(port, pid, database, cases, options.runs)))


if __name__ == "__main__":
    main()
