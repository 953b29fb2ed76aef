"""Two processes write to one archive and settle its journal while a third reads: nothing is missing, nothing twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import mariadb, postgresql
from tests.hearth import Hearth
from xmppd.bootstrap import ROOT

pytestmark = pytest.mark.interop
BATCHES, JOBS = 60, 20

WRITE = f"""
import sys, time
from accounts.models import User
from xmppd.services import archive
user_id, number = User.objects.get(username="juliet").pk, int(sys.argv[1])
ids = archive.Ids(number)
for batch in range({BATCHES}):
    jobs = [
        archive.Job(
            [(ids.next(time.time()), user_id, f"peer{{number}}@example.net", "")],
            f"<message><body>{{number}} {{batch * {JOBS} + job}}</body></message>".encode(),
            None,
            lambda job, problem: None,
            offline_user_id=user_id,
        )
        for job in range({JOBS})
    ]
    archive.write(jobs)
    archive.settle()
"""

READ = f"""
from accounts.models import User
from xmppd.services import archive_query
from xmppd.services.archive_query import Query
user_id = User.objects.get(username="juliet").pk
seen = set()
while len(seen) < {2 * BATCHES * JOBS}:
    rows, last = [], None
    while True:
        page = archive_query.page(user_id, Query(), limit=250, after=last)
        rows += page.rows
        if page.is_complete:
            break
        last = rows[-1][0]
    assert [row[0] for row in rows] == sorted({{row[0] for row in rows}}), "twice, or out of order"
    assert seen <= {{row[1] for row in rows}}, "what was there is gone"
    seen = {{row[1] for row in rows}}
"""

CHECK = f"""
from accounts.models import User
from xmppd.models import ArchivedMessage, JournalledMessage
from xmppd.services import archive_query, offline
from xmppd.services.archive_query import Query
user_id = User.objects.get(username="juliet").pk
assert ArchivedMessage.objects.count() == {2 * BATCHES * JOBS}, ArchivedMessage.objects.count()
assert JournalledMessage.objects.count() == 0
assert offline.count(user_id) == {2 * BATCHES * JOBS}, offline.count(user_id)
for number in (1, 2):
    query = Query(peer=f"peer{{number}}@example.net")
    assert archive_query.count(user_id, query) == {BATCHES * JOBS}
    rows = archive_query.page(user_id, query, limit={BATCHES * JOBS}, max_bytes=2**30).rows
    texts = [f"<message><body>{{number}} {{n}}</body></message>" for n in range({BATCHES * JOBS})]
    assert [row[1] for row in rows] == texts, "out of order"
"""

SERVERS = {"postgresql": postgresql, "mariadb": mariadb}


@pytest.fixture(
    params=["sqlite", *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in SERVERS)]
)
def hearth(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hearth]:
    with contextlib.ExitStack() as stack:
        environ = {}
        if request.param != "sqlite":
            server = SERVERS[request.param]
            environ["DATABASE_URL"] = server.new_database(stack.enter_context(server.running()))
        hearth = Hearth(tmp_path / "home", environ=environ)
        hearth.set_up()
        hearth.add_user("juliet")
        hearth.manage("settings", "set", "offline.max_messages", "1000000")
        hearth.manage("settings", "set", "offline.quota", "1000000000")
        yield hearth


def started(hearth: Hearth, code: str, *arguments: str) -> subprocess.Popen[str]:
    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import django; django.setup()\n"
    return subprocess.Popen(
        [sys.executable, "-c", setup + code, *arguments],
        env={**hearth.environ, "DJANGO_SETTINGS_MODULE": "xmppd.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_write_and_settle_while_a_third_reads(hearth):
    processes = [started(hearth, READ), *(started(hearth, WRITE, str(number)) for number in (1, 2))]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], "".join(outputs)
    check = started(hearth, CHECK)
    output = check.communicate(timeout=60)[0]
    assert check.returncode == 0, output
