"""What is proved on every database server alike, for test_postgresql.py and test_mariadb.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from tests.clients import Person
from tests.hearth import Hearth
from xmppd.bootstrap import ROOT

FOLDERS = ("tests/xmpp", "tests/services", "tests/accounts")


def run_suite(url: str, folders: Sequence[str] = FOLDERS) -> None:
    """The tests of these folders on a test database of this server."""
    # Set for this process by tests/conftest.py.
    ours = ("HEARTH_HOME", "DATABASE_URL", "DJANGO_SETTINGS_MODULE")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    environ["HEARTH_TEST_DATABASE_URL"] = url
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *folders]
    with tempfile.TemporaryDirectory(prefix="hearth-") as base:  # short: Unix sockets are made below it
        command += [f"--basetemp={base}/t", "-m", "not postgresql and not mariadb and not slow"]
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


def migrate_forward_and_back(hearth: Hearth) -> None:
    """Every table of ours goes when its migrations are taken back, and comes again."""

    def tables() -> set[str]:
        code = "from django.db import connection; print(*connection.introspection.table_names())"
        return set(hearth.manage("shell", "--no-imports", "-c", code).split())

    hearth.manage("migrate", "--verbosity", "0")
    forward = tables()
    assert {"accounts_user", "xmppd_archivedmessage", "xmppd_offlinemessage"} <= forward
    hearth.manage("migrate", "xmppd", "zero", "--verbosity", "0")
    hearth.manage("migrate", "accounts", "zero", "--verbosity", "0")
    assert not {name for name in tables() if name.startswith(("accounts_", "xmppd_"))}
    hearth.manage("migrate", "--verbosity", "0")
    assert tables() == forward


async def chat_and_restart(hearth: Hearth, person: Callable[..., Any]) -> None:
    """Set up; two people chat, one goes; a restart keeps contacts, what waits for him, and the archive."""
    hearth.set_up()
    for username in ("juliet", "romeo"):
        hearth.add_user(username)
    hearth.start()
    juliet, romeo = person("juliet"), person("romeo")
    await juliet.goes_online()
    await romeo.goes_online()
    await juliet.update_roster("romeo@example.org", name="Romeo 🌹", groups=["Montague", "montague"])
    juliet.says("romeo@example.org", "Wherefore art thou? 😀 漢字")
    assert (await romeo.sees("message"))["body"] == "Wherefore art thou? 😀 漢字"
    await romeo.disconnect()
    juliet.says("romeo@example.org", "Kept for later 🌹")
    juliet.register_plugin("xep_0199")
    await juliet.plugin["xep_0199"].ping("example.org")  # answered behind the message
    await juliet.disconnect()

    assert not (hearth.home / "hearth.sqlite3").exists()
    del hearth.environ["DATABASE_URL"]  # hearth.toml remembers it
    assert await asyncio.to_thread(hearth.stop) == 0
    await asyncio.to_thread(hearth.start)

    juliet, romeo = person("juliet"), person("romeo", "Phone")
    await juliet.goes_online()
    contact = juliet.client_roster["romeo@example.org"]
    assert (contact["name"], sorted(contact["groups"])) == ("Romeo 🌹", ["Montague", "montague"])
    await romeo.goes_online()
    assert (await romeo.sees("message"))["body"] == "Kept for later 🌹"
    juliet.says(romeo.boundjid.full, "To this one")
    assert (await romeo.sees("message"))["body"] == "To this one"

    everything = ["Wherefore art thou? 😀 漢字", "Kept for later 🌹", "To this one"]
    assert await archived(juliet) == everything
    assert await archived(romeo, reverse=True) == everything
    assert await archived(juliet, with_jid="romeo@example.org") == everything
    assert await archived(juliet, with_jid="romeo@example.org/Phone") == ["To this one"]
    assert await archived(juliet, with_jid="romeo@example.org/phone") == []
    assert "Traceback" not in hearth.text()


async def archived(client: Person, **query: Any) -> list[str]:
    """The bodies in the client's archive, oldest first; asked for two at a time."""
    client.register_plugin("xep_0313")
    reverse = query.pop("reverse", False)
    rsm = {"max": 2, "before": ""} if reverse else {"max": 2}
    pages = client.plugin["xep_0313"].retrieve(iterator=True, reverse=reverse, rsm=rsm, **query)
    bodies: list[str] = []
    async for page in pages:
        found = [result["mam_result"]["forwarded"]["stanza"]["body"] for result in page["mam"]["results"]]
        bodies = found + bodies if reverse else bodies + found
    return bodies
