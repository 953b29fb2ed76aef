"""Hearth on a real PostgreSQL: set up, chat, restart; and the tests that touch the database, again on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import psycopg
import pytest

from tests import postgresql
from tests.hearth import Hearth
from xmppd.bootstrap import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.postgresql]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql.running() as url:
        yield url


@pytest.fixture
def hearth(server: str, tmp_path) -> Iterator[Hearth]:
    hearth = Hearth(tmp_path / "home", environ={"DATABASE_URL": postgresql.new_database(server)})
    hearth.set_up()
    for username in ("juliet", "romeo"):
        hearth.add_user(username)
    hearth.start()
    yield hearth
    hearth.kill()


async def test_two_people_chat_and_a_restart_keeps_what_was_said(hearth, person):
    juliet, romeo = person("juliet"), person("romeo")
    await juliet.goes_online()
    await romeo.goes_online()
    await juliet.update_roster("romeo@example.org", name="Romeo 🌹", groups=["Montague"])
    juliet.says("romeo@example.org", "Wherefore art thou?")
    assert (await romeo.sees("message"))["body"] == "Wherefore art thou?"
    await romeo.disconnect()
    juliet.says("romeo@example.org", "Kept for later")
    juliet.register_plugin("xep_0199")
    await juliet.plugin["xep_0199"].ping("example.org")  # answered behind the message
    await juliet.disconnect()

    with psycopg.connect(hearth.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM accounts_user").fetchone() == (3,)
    assert not (hearth.home / "hearth.sqlite3").exists()
    del hearth.environ["DATABASE_URL"]  # hearth.toml remembers it
    assert await asyncio.to_thread(hearth.stop) == 0
    await asyncio.to_thread(hearth.start)

    juliet, romeo = person("juliet"), person("romeo")
    await juliet.goes_online()
    assert juliet.client_roster["romeo@example.org"]["name"] == "Romeo 🌹"
    await romeo.goes_online()
    assert (await romeo.sees("message"))["body"] == "Kept for later"
    assert "Traceback" not in hearth.text()


@pytest.mark.slow
def test_conversations_services_and_accounts_on_it(server):
    """CONTRIBUTING.md names this command."""
    ours = (
        "HEARTH_HOME",
        "DATABASE_URL",
        "DJANGO_SETTINGS_MODULE",
    )  # set for this process by tests/conftest.py
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    environ["HEARTH_TEST_DATABASE_URL"] = server
    folders = ("tests/xmpp", "tests/services", "tests/accounts")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *folders]
    with tempfile.TemporaryDirectory(prefix="hearth-") as base:  # short: Unix sockets are made below it
        command += [f"--basetemp={base}/t", "-m", "not postgresql and not slow"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout
