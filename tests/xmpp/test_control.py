"""The control socket: what commands beside a running server say to it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from accounts import registry
from xmppd.bus import channel
from xmppd.bus.messages import SettingChanged
from xmppd.server.control import ControlSocket
from xmppd.services import db

Ask = Callable[[bytes], Any]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """await ask(line): the answer of a control socket."""
    folder = tempfile.TemporaryDirectory()  # a path of a Unix socket is short, pytest's need not be
    control = ControlSocket(Path(folder.name) / "control.sock")
    await control.start()
    reader, writer = await asyncio.open_unix_connection(str(control.path))

    async def ask(line: bytes) -> Any:
        writer.write(line)
        return json.loads(await asyncio.wait_for(reader.readline(), 20))

    yield ask
    writer.close()
    await writer.wait_closed()
    await control.stop()
    await asyncio.to_thread(db.stop)
    folder.cleanup()


async def test_settings_are_read_again_off_the_loop(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, goes_on = asyncio.get_running_loop(), threading.Event()

    def read() -> dict[str, Any]:
        # Only a loop that is not waiting for this can say so.
        loop.call_soon_threadsafe(goes_on.set)
        assert goes_on.wait(5)
        return {"test.read": 7}

    monkeypatch.setattr(registry, "_read_rows", read)
    assert await ask(channel.encode(SettingChanged(name="test.read"))) == {"ok": None}
    assert goes_on.is_set()
    assert registry._store.rows == {"test.read": 7}


@pytest.mark.parametrize(
    "line", [b"{\n", b"[]\n", b'{"bus": "Nothing", "data": {}}\n', b'{"call": "nothing"}\n']
)
async def test_nonsense_is_answered(ask: Ask, line: bytes) -> None:
    assert list(await ask(line)) == ["error"]
