"""The bus beside a server in another process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from django.conf import settings

from xmppd.bus import channel
from xmppd.bus.messages import SettingChanged

MESSAGE = SettingChanged(name="x")


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The control socket of a server that has stopped to read."""
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, home=tmp_path))
    monkeypatch.setattr(channel, "_silent_until", {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(settings.CONFIG.control_socket))
        listener.listen()
        listener.setblocking(False)
        yield listener


def test_a_server_that_hangs_is_waited_for_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel, "ANSWER_SECONDS", 0.2)
    begun = monotonic()
    for _n in range(100):
        assert not channel.send_to_server(MESSAGE)
    assert monotonic() - begun < 5
    assert len(caplog.records) == 1
    listener.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_it_is_told_again_after_a_while(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(channel, "PAUSE_SECONDS", 0.0)
    for _n in range(2):
        assert not channel.send_to_server(MESSAGE)
        with listener.accept()[0] as connection:
            assert connection.recv(1000) == channel.encode(MESSAGE)


def test_a_server_that_has_ended_is_no_fault(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    listener.close()
    assert not channel.send_to_server(MESSAGE)
    settings.CONFIG.control_socket.unlink()
    assert not channel.send_to_server(MESSAGE)
    assert not caplog.records
