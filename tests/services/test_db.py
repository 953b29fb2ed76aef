"""The database from the event loop, switching it, and what is said of one that cannot be used."""

import asyncio
import os
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest
from django.db import NotSupportedError, OperationalError, connection, transaction
from django.utils import translation

from tests.postgresql import running
from xmppd.bootstrap import ROOT
from xmppd.services import archive_retention, database_check, offline, private, roster, vcard
from xmppd.services import db as database
from xmppd.services.database_check import DatabaseProblem
from xmppd.services.db import db


@pytest.fixture(autouse=True)
def _stopped_pool():
    """A pool of the test's own: connections that earlier tests left in it would be asked whether they live."""
    database.stop()
    yield
    database.stop()


async def test_call_runs_on_a_pool_thread_and_returns_its_result():
    def where(a, *, b):
        return threading.current_thread().name, a + b

    name, result = await db(where, 1, b=2)
    assert name.startswith("hearth-db")
    assert result == 3


async def test_exception_reaches_the_caller():
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await db(fail)


async def test_calls_run_beside_one_another_but_no_more_than_the_pool_has():
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == database.MAX_THREADS:
                full.set()
        assert full.wait(30)  # only ends when as many as may run do run
        with lock:
            running -= 1

    await asyncio.gather(*(db(work) for _n in range(3 * database.MAX_THREADS)))
    assert most == database.MAX_THREADS


async def test_who_writes_is_in_nobodys_way_who_reads():
    """All writers wait, as for a lock; a reader gets its answer meanwhile."""
    given_back, waiting = threading.Event(), threading.Semaphore(0)

    @transaction.atomic
    def write():
        raise AssertionError("is replaced")

    def wait(self, *arguments):
        waiting.release()
        assert given_back.wait(30)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction.Atomic, "__enter__", wait)
        patch.setattr(transaction.Atomic, "__exit__", lambda self, *arguments: True)
        writers = [asyncio.ensure_future(db(write)) for _n in range(2 * database.MAX_WRITERS)]
        for _n in range(database.MAX_WRITERS):
            await asyncio.to_thread(waiting.acquire)
        assert await db(lambda: threading.current_thread().name.startswith("hearth-db_"))
        assert not any(writer.done() for writer in writers)
        given_back.set()
        await asyncio.gather(*writers)


def test_services_that_write_are_known_by_their_transaction():
    assert all(
        database.writes(service) for service in (roster.set_item, private.set, vcard.set, offline.store)
    )
    assert not any(
        database.writes(service) for service in (roster.load, private.get, vcard.get, offline.take)
    )
    assert all(database.writes(service) for service in (archive_retention.purge, offline.purge_expired))
    assert not database.writes(len)


@pytest.fixture
def outage(monkeypatch):
    fresh = database.Outage()
    monkeypatch.setattr(database, "outage", fresh)
    return fresh


async def test_outage_is_said_once_and_its_end_once(outage, caplog, monkeypatch):
    def fail():
        raise OperationalError("disk I/O\nerror")

    for _n in range(3):
        with pytest.raises(OperationalError):
            await db(fail)
        await db(len, "")  # one that works is not the end of it yet
    assert outage.is_failing
    assert [record.getMessage() for record in caplog.records] == [
        "the database cannot be used: disk I/O error"
    ]
    monkeypatch.setattr(database, "CALM_SECONDS", 0.0)
    await db(len, "")
    await db(len, "")
    assert not outage.is_failing
    assert [record.getMessage() for record in caplog.records][1:] == ["the database can be used again"]


async def test_wait_for_a_thread_is_bounded_while_the_database_fails(outage, monkeypatch):
    monkeypatch.setattr(database, "QUEUE_SECONDS", -1.0)
    assert await db(len, "xy") == 2  # busy is not failing
    outage.note(OperationalError("down"))
    with pytest.raises(database.DatabaseBusy):
        await db(len, "xy")


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("database or disk is full", "resource-constraint"),
        ('could not extend file "base/5/1": No space left on device', "resource-constraint"),
        ("database is locked", "internal-server-error"),
    ],
)
def test_clients_are_told_that_they_may_try_again(text, condition):
    problem = database.refusal(OperationalError(text))
    assert (problem.condition, problem.type) == (condition, "wait")


@pytest.mark.django_db(transaction=True)
async def test_waits_of_the_pool_are_bounded_by_the_database():
    def bound():
        with connection.cursor() as cursor:
            asked = {"sqlite": "PRAGMA busy_timeout", "postgresql": "SHOW lock_timeout"}
            cursor.execute(asked.get(connection.vendor, "SELECT @@innodb_lock_wait_timeout"))
            return str(cursor.fetchone()[0])

    seconds = str(database.LOCK_SECONDS)
    assert await db(bound) in (seconds, f"{seconds}s", f"{seconds}000")


async def test_language_of_the_caller_holds_on_the_thread():
    with translation.override("zh-hans"):
        assert await db(translation.get_language) == "zh-hans"


@pytest.mark.django_db(transaction=True)
async def test_threads_keep_their_connection_and_stop_closes_it():
    def connected():
        connection.ensure_connection()
        return connection.connection

    executor = database.start()
    raw = {id(await db(connected)) for _n in range(3)}
    assert len(raw) <= len(executor._threads)
    held = set(database._pool_connections)
    assert held
    await asyncio.to_thread(database.stop)
    assert all(each.connection is None for each in held)


@pytest.mark.django_db
def test_schema_of_the_tests_is_up_to_date():
    assert not database.needs_migration()


def test_schema_that_was_up_to_date_is_not_looked_at_again(monkeypatch):
    monkeypatch.setattr(database, "_up_to_date_generation", None)
    answers = [True, True, False]
    monkeypatch.setattr(database, "needs_migration", lambda: answers.pop(0))
    assert [database.is_up_to_date() for _n in range(5)] == [False, False, True, True, True]
    assert not answers
    monkeypatch.setattr(database, "_generation", database._generation + 1)  # another database is in use
    answers.append(True)
    assert not database.is_up_to_date()


SWITCH = """
import asyncio, sys, threading
import django
django.setup()
from django.core.signals import request_started
from django.db import Error, NotSupportedError, connection
from accounts.models import Domain
from accounts.registry import Setting
from xmppd.services import db as database
from xmppd.services import offline, private, roster, vcard

setting = Setting("test.x", int, 1, "help")
database.migrate()
Domain.objects.create(name="first.example", is_primary=True)
names = lambda: [d.name for d in Domain.objects.all()]

async def main():
    assert await database.db(names) == ["first.example"]
    turn, done = threading.Event(), threading.Event()
    seen = []
    def other():
        seen.append(names())
        done.set()
        turn.wait(30)
        request_started.send(sender=None)
        seen.append(names())
    thread = threading.Thread(target=other)
    thread.start()
    done.wait(30)
    def switch():
        database.use_database(sys.argv[1])
        database.migrate()
        Domain.objects.create(name="second.example", is_primary=True)
    await database.db(switch)
    for n in range(20):
        assert await database.db(names) == ["second.example"]
    turn.set()
    thread.join()
    assert seen == [["first.example"], ["second.example"]], seen
    await database.db(database.use_database, "")
    assert await database.db(names) == ["first.example"]

asyncio.run(main())
database.stop()
print("switched")
"""


BREAK = """
import asyncio
import django
django.setup()
from django.db import Error, connection
from xmppd.services import db as database
from xmppd.services import offline, private, roster, vcard

def one():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]

def cut():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

async def main():
    assert await database.db(one) == 1
    try:
        await database.db(cut)
    except Error:
        print("cut")
    print([await database.db(one) for _n in range(20)] == [1] * 20)

asyncio.run(main())
database.stop()
"""


def run(script, home, *args, **variables):
    """Run a script in a process of its own, where everything is as in production."""
    environ = {**os.environ, "HEARTH_HOME": str(home), "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(
        command, env=environ | variables, cwd=home, capture_output=True, text=True, timeout=120
    )


def test_running_process_switches_to_another_database(tmp_path):
    finished = run(SWITCH, tmp_path, f"sqlite://{quote(str(tmp_path / 'other.sqlite3'))}")
    assert finished.stdout == "switched\n", finished.stderr


# --- is it usable? ---


def problem(url):
    with translation.override("en"), pytest.raises(DatabaseProblem) as error:
        database_check.test_database(url)
    return error.value


def test_file_that_can_be_made_is_usable_and_not_left_behind(tmp_path):
    path = tmp_path / "new" / "hearth.sqlite3"
    database_check.test_database(f"sqlite://{path}")
    assert path.parent.is_dir()
    assert not path.exists()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    found = problem(f"sqlite://{tmp_path}/file/hearth.sqlite3")
    assert found.code == "file"
    assert str(tmp_path) in found.message


@pytest.mark.django_db
def test_file_that_is_no_database_is_told(tmp_path):
    path = tmp_path / "hearth.sqlite3"
    path.write_bytes(b"no database" * 100)
    assert problem(f"sqlite://{path}").code == "file"


@pytest.mark.parametrize("url", ["oracle://x/y", "postgresql://u@h:port/d", "nonsense"])
def test_address_that_is_none_is_told(url):
    assert problem(url).code == "url"


@pytest.mark.django_db
def test_server_that_is_not_there_is_told():
    found = problem("postgresql://hearth:secret@127.0.0.1:1/hearth")
    assert found.code == "unreachable"
    assert "127.0.0.1" in found.message
    assert "secret" not in found.message + found.detail


@pytest.mark.django_db
def test_host_that_has_no_address_is_told():
    assert problem("postgresql://hearth@no-such-host.invalid/hearth").code == "unreachable"


@pytest.mark.django_db
def test_mysql_needs_no_driver_of_its_own():
    assert problem("mysql://hearth@127.0.0.1:1/hearth").code == "unreachable"


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_missing_driver_says_what_to_install(kind):
    """Without the installed packages, as in an environment of the administrator's own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import django; from django.conf import settings;"
        "sys.modules |= dict.fromkeys(['MySQLdb', 'pymysql', 'psycopg', 'psycopg2']);"
        "django.setup(); from xmppd.services import database_check\n"
        "try: database_check.test_database(sys.argv[2])\n"
        "except database_check.DatabaseProblem as problem: print(problem.code, problem.message)"
    )
    command = [sys.executable, "-c", code, str(ROOT), f"{kind}://hearth@127.0.0.1/hearth"]
    environ = os.environ | {"DATABASE_URL": ""}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("driver ")
    assert {"mysql": "PyMySQL", "postgresql": "psycopg[binary]"}[kind] in done.stdout


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('FATAL: password authentication failed for user "hearth"', "password"),
        ('FATAL: role "hearth" does not exist', "password"),
        ("(1045, \"Access denied for user 'hearth'@'localhost'\")", "password"),
        ('FATAL: database "hearth" does not exist', "missing"),
        ("permission denied for schema public", "permission"),
        ("PostgreSQL 14 or later is required (found 12.2).", "version"),
        ("FEHLER: was auch immer", "other"),
    ],
)
def test_reasons_are_read_from_what_drivers_say(text, code):
    found = database_check._explain(NotSupportedError(text), {"NAME": "hearth", "USER": "hearth", "HOST": ""})
    assert found.code == code
    assert found.detail == text


@pytest.fixture(scope="module")
def postgresql():
    """Address of a real PostgreSQL, with a role `weak` that may create nothing."""
    import psycopg

    with running() as url:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("CREATE ROLE weak LOGIN")
            session.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        yield url


@pytest.mark.postgresql
@pytest.mark.django_db
def test_usable_postgresql_is_left_as_it_was(postgresql):
    database_check.test_database(postgresql)
    database_check.test_database(postgresql)


@pytest.mark.postgresql
@pytest.mark.django_db
def test_reasons_of_a_real_postgresql(postgresql):
    assert problem(postgresql.replace("/postgres?", "/nothing?")).code == "missing"
    assert problem(postgresql.replace("postgres:@", "weak:@")).code == "permission"
    assert problem(postgresql.replace("postgres:@", "nobody:@")).code == "password"


@pytest.mark.postgresql
def test_running_process_switches_to_postgresql(postgresql, tmp_path):
    finished = run(SWITCH, tmp_path, postgresql)
    assert finished.stdout == "switched\n", finished.stderr


@pytest.mark.postgresql
def test_connection_that_the_server_cut_is_replaced(postgresql, tmp_path):
    finished = run(BREAK, tmp_path, DATABASE_URL=postgresql)
    assert finished.stdout == "cut\nTrue\n", finished.stderr
