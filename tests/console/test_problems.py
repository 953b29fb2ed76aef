"""The banner of every page while the archive cannot be written, and where else it is told. The table is really gone."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client as Browser

from adminconsole import events
from tests.console.service import Service
from tests.conversation import Client, settled
from xmppd.models import ArchivedMessage, JournalledMessage
from xmppd.server.control import ControlSocket
from xmppd.services import archive, db, live

pytestmark = pytest.mark.django_db(transaction=True)
TITLE = "Messages cannot be kept since"


@pytest.fixture
def service(installed: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A stream service that tells senders at once that their messages could not be kept."""
    monkeypatch.setattr(archive, "GIVE_UP_SECONDS", 0.0)
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def juliet(service: Service, make_user: Callable[..., Any]) -> Client:
    make_user("juliet")
    return service.log_in("juliet@example.org/phone", presence="<presence/>")


@pytest.fixture
def romeo(service: Service, make_user: Callable[..., Any]) -> Client:
    make_user("romeo")
    return service.log_in("romeo@example.org/home", presence="<presence/>")


@contextmanager
def no_table() -> Iterator[None]:
    """What the writer writes into is not there, as after a restore that went wrong."""
    model = JournalledMessage if connection.vendor == "sqlite" else ArchivedMessage
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")


def message_from(service: Service, sender: Client) -> None:
    service.run(sender.sends("<message to='romeo@example.org' type='chat'><body>hi</body></message>"))


def fails(service: Service, sender: Client) -> None:
    """A message that cannot be kept: its sender has been told."""
    message_from(service, sender)
    assert service.run(sender.next()).get("type") == "error"


def test_banner_comes_and_goes_by_itself(
    owner_client: Browser, service: Service, juliet: Client, romeo: Client
) -> None:
    assert TITLE not in owner_client.get("/").content.decode()
    with no_table():
        fails(service, juliet)
        for address in ("/", "/users/", "/users/create/", "/settings/", "/problems/"):
            text = " ".join(owner_client.get(address).content.decode().split())
            assert text.count(TITLE) == 1, address
            assert "Make room on the disk or see that the database runs" in text
        since = datetime.fromisoformat(live.problems()[0]["since"])
        assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)
        fails(service, juliet)
        assert datetime.fromisoformat(live.problems()[0]["since"]) == since
    message_from(service, juliet)
    assert service.run(romeo.next()).name == "message"
    assert live.problems() == []
    for address in ("/", "/problems/"):
        assert TITLE not in owner_client.get(address).content.decode()


def test_auditors_see_it_and_strangers_do_not(
    auditor_client: Browser, stranger_client: Browser, service: Service, juliet: Client, romeo: Client
) -> None:
    with no_table():
        fails(service, juliet)
        assert TITLE in auditor_client.get("/users/").content.decode()
        assert TITLE not in stranger_client.get("/login/").content.decode()
        assert stranger_client.get("/problems/").status_code == 302


def test_open_pages_are_told(
    service: Service, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "INTERVAL_SECONDS", 0.02)

    async def listen() -> tuple[Callable[[], None], Any, str]:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(events.GROUP, channel)
        return events.start(), layer, channel

    async def heard(layer: Any, channel: str) -> None:
        while "problems" not in (await asyncio.wait_for(layer.receive(channel), 20))["changed"]:
            pass

    stop, layer, channel = service.run(listen())
    try:
        with no_table():
            fails(service, juliet)
            service.run(heard(layer, channel))
        message_from(service, juliet)
        service.run(heard(layer, channel))
    finally:
        service.loop.call_soon_threadsafe(stop)


def test_status_tells_it(
    service: Service, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(*arguments: str) -> str:
        out = StringIO()
        call_command("status", *arguments, stdout=out)
        return out.getvalue()

    assert json.loads(status("--json"))["problems"] == []
    assert "Problem" not in status()
    with no_table():
        fails(service, juliet)
        (problem,) = json.loads(status("--json"))["problems"]
        assert problem["name"] == "archive"
        assert datetime.fromisoformat(problem["since"]).tzinfo is not None
        assert "Messages cannot be kept (" in status()


def test_a_server_that_keeps_no_messages_is_not_ready(
    stranger_client: Browser, service: Service, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = dict.fromkeys(settings.CONFIG.ports) | {"c2s": 5222}
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, ports=ports))
    assert stranger_client.get("/readyz").json() == {"ready": True, "reasons": {}}
    assert "archive" not in doctor()
    with no_table():
        fails(service, juliet)
        answer = stranger_client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reasons": {"archive": "cannot be written"}}
        finding = doctor()["archive"]
        assert finding["level"] == "bad"
        assert finding["text"].startswith("Messages cannot be kept (")
        assert "Make room on the disk" in finding["remedy"]
    message_from(service, juliet)
    assert service.run(romeo.next()).name == "message"
    assert stranger_client.get("/readyz").status_code == 200
    assert "archive" not in doctor()


def doctor() -> dict[str, Any]:
    """Findings by check; the exit code says whether one is bad."""
    out = StringIO()
    with suppress(SystemExit):
        call_command("doctor", "--json", stdout=out)
    return {finding["check"]: finding for finding in json.loads(out.getvalue())}


def test_a_database_that_fails_is_told_until_it_answers(
    owner_client: Browser, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(work: Callable[[], object]) -> None:
        with suppress(OperationalError):
            await db.db(work)

    async def sweep() -> None:
        service.server.sweep()
        await settled(service.server)

    def fail() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(db, "CALM_SECONDS", 3600.0)
    service.run(ask(fail))
    try:
        service.run(sweep())
        assert [row["name"] for row in live.problems()] == ["database"]
        assert owner_client.get("/readyz").json()["reasons"]["database"] == "does not answer"
        assert "The database does not answer since" in " ".join(
            owner_client.get("/").content.decode().split()
        )
        monkeypatch.setattr(db, "CALM_SECONDS", 0.0)
        service.run(sweep())  # without anybody who wants something of it
        assert live.problems() == []
    finally:
        db.outage.is_failing = False
    assert "database" not in owner_client.get("/readyz").json()["reasons"]


def test_it_is_told_through_the_control_socket(
    owner_client: Browser, service: Service, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A console in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        control = ControlSocket(Path(folder) / "control.sock")
        service.run(control.start())
        monkeypatch.setattr(live, "_loop", None)
        monkeypatch.setattr(type(settings.CONFIG), "control_socket", control.path)
        with no_table():
            fails(service, juliet)
            assert [row["name"] for row in live.problems()] == ["archive"]
            assert TITLE in owner_client.get("/users/").content.decode()
        service.run(control.stop())
        assert live.problems() == []  # nobody answers
        assert owner_client.get("/users/").status_code == 200
