"""The console's WebSocket and what is announced on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client as Browser

from accounts import registry, services
from adminconsole import events
from adminconsole.consumers import is_same_origin
from adminconsole.samples import history
from xmppd.asgi import application
from xmppd.bus import channel, messages
from xmppd.services import setup

pytestmark = pytest.mark.django_db(transaction=True)


class Versions:
    """The server's counter of session changes."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        return self.number


@pytest_asyncio.fixture
async def versions(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Versions]:
    """Announcements run, fifty times as fast."""
    monkeypatch.setattr(events, "INTERVAL_SECONDS", 0.02)
    versions = Versions()
    stop = events.start(versions)
    yield versions
    stop()


def handshake(
    browser: Browser | None,
    *,
    origin: str = "http://localhost:9090",
    host: str = "localhost:9090",
    path: str = "/ws/console/",
) -> WebsocketCommunicator:
    headers = [(b"host", host.encode())]
    if origin:
        headers.append((b"origin", origin.encode()))
    if browser is not None:
        cookie = browser.cookies[settings.SESSION_COOKIE_NAME].value
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode()))
    communicator = WebsocketCommunicator(application, path, headers=headers)
    communicator.scope["client"] = ["127.0.0.1", 40000]
    return communicator


async def opened(browser: Browser) -> WebsocketCommunicator:
    socket = handshake(browser)
    is_open, _protocol = await socket.connect()
    assert is_open
    return socket


async def is_refused(socket: WebsocketCommunicator) -> bool:
    is_open, _code = await socket.connect()
    await socket.disconnect()
    return not is_open


async def test_hears_what_changed(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    events.notify("rooms")
    assert await socket.receive_json_from() == {"changed": ["rooms"]}
    await socket.disconnect()


async def test_sessions_that_changed_are_announced_once(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    versions.number += 5
    assert await socket.receive_json_from() == {"changed": ["sessions"]}
    events.notify("barrier")
    assert await socket.receive_json_from() == {"changed": ["barrier"]}
    await socket.disconnect()


async def test_topics_gather_between_two_messages(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    for topic in ("b", "a", "b", "c"):
        events.notify(topic)
    assert await socket.receive_json_from() == {"changed": ["a", "b", "c"]}
    await socket.disconnect()


async def test_notify_from_another_thread(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    await asyncio.to_thread(events.notify, "users", "groups")
    assert await socket.receive_json_from() == {"changed": ["groups", "users"]}
    await socket.disconnect()


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (messages.UserCreated(1, "a@example.org"), "users"),
        (messages.UserDeleted(1, "a@example.org"), "users"),
        (messages.UserLocked(1, "a@example.org"), "users"),
        (messages.SharedRostersChanged([1]), "groups"),
        (messages.ReportsChanged(), "reports"),
        (messages.SettingChanged("c2s.tls"), "settings"),
        (messages.RosterChanged(1, "a@example.org", "b@example.org", 2), "rosters"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, messages.Message) else value,
)
async def test_bus_messages_become_topics(
    owner_client: Browser, versions: Versions, message: messages.Message, topic: str
) -> None:
    socket = await opened(owner_client)
    await asyncio.to_thread(channel.deliver_locally, message)
    assert topic in (await socket.receive_json_from())["changed"]
    await socket.disconnect()


async def test_a_write_in_the_console_is_announced(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    save = sync_to_async(owner_client.post)
    await save("/settings/c2s.login_timeout/", {"value_0": "90", "value_1": "1"})
    assert set((await socket.receive_json_from())["changed"]) == {"audit", "settings"}
    await socket.disconnect()


async def test_after_stop_nothing_is_sent(owner_client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = events.start()
    stop()
    socket = await opened(owner_client)
    events.notify("users")
    assert await socket.receive_nothing(timeout=0.05)
    await socket.disconnect()


async def test_what_the_browser_says_is_ignored(owner_client: Browser, versions: Versions) -> None:
    socket = await opened(owner_client)
    await socket.send_to(text_data="{nonsense")
    await socket.send_to(bytes_data=b"\x00")
    events.notify("users")
    assert await socket.receive_json_from() == {"changed": ["users"]}
    await socket.disconnect()


async def lock(user: Any, actor: Any) -> None:
    await sync_to_async(services.lock_user)(user, actor=actor)


async def set_password(user: Any, actor: Any) -> None:
    await sync_to_async(services.set_password)(user, "another horse", actor=actor)


async def take_role(user: Any, actor: Any) -> None:
    await sync_to_async(services.set_role)(user, "", actor=actor)


@pytest.mark.parametrize("loss", [lock, set_password, take_role])
async def test_who_may_no_longer_is_cut_off(
    auditor_client: Browser,
    owner_client: Browser,
    auditor: Any,
    actor: Any,
    versions: Versions,
    loss: Callable[..., Any],
) -> None:
    socket, other = await opened(auditor_client), await opened(owner_client)
    await loss(auditor, actor)
    assert (await socket.receive_output())["type"] == "websocket.close"
    assert "users" in (await other.receive_json_from())["changed"]
    await other.disconnect()


async def test_a_stranger_is_refused(stranger_client: Browser) -> None:
    assert await is_refused(handshake(None))


async def test_an_account_without_a_role_is_refused(
    browse: Callable[..., Browser], make_user: Callable[..., Any]
) -> None:
    browser = await sync_to_async(lambda: browse(make_user("juliet")))()
    assert await is_refused(handshake(browser))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:9091"},
        {"origin": ""},
        {"origin": "null"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"path": "/ws/other/"},
    ],
)
async def test_foreign_pages_hosts_and_paths_are_refused(
    owner_client: Browser, headers: dict[str, str]
) -> None:
    assert await is_refused(handshake(owner_client, **headers))


async def test_before_set_up_there_is_nothing_to_hear(
    owner_client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "is_set_up", lambda: False)
    monkeypatch.setattr("adminconsole.consumers.is_set_up", lambda: False)
    assert await is_refused(handshake(owner_client))


async def test_a_console_for_this_machine_refuses_others(owner_client: Browser) -> None:
    socket = handshake(owner_client)
    socket.scope["client"] = ["192.0.2.9", 40000]
    with registry.overridden(console__localhost_only=True):
        assert await is_refused(socket)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:9090", "localhost:9090", True),
        ("https://chat.example.org", "chat.example.org", True),
        ("https://chat.example.org", "chat.example.org:443", True),
        ("http://[::1]:9090", "[::1]:9090", True),
        ("http://CHAT.example.org", "chat.example.org", True),
        ("https://chat.example.org", "chat.example.org:80", False),
        ("http://chat.example.org.evil.example", "chat.example.org", False),
        ("http://chat.example.org@evil.example", "chat.example.org", False),
        ("http://evil.example", "evil.example@chat.example.org", False),
        ("file://", "chat.example.org", False),
        ("null", "chat.example.org", False),
        ("", "", False),
        ("http://localhost:x", "localhost", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    assert is_same_origin(origin, host) is same


async def test_figures_of_the_last_hour_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    from xmppd.services import live

    history.clear()
    sampled = asyncio.Event()

    def status() -> dict[str, Any]:
        sampled.set()
        return {"users_online": 3, "sessions": 4, "counters": {"logins": 9}}

    live.register({"status": status}, asyncio.get_running_loop())
    stop = events.start()
    try:
        await asyncio.wait_for(sampled.wait(), 5)
        assert history.series()["sessions"] == [4]
    finally:
        stop()
        live.register({}, None)
        history.clear()
