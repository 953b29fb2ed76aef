"""Debian's mcabber in a terminal: log in over STARTTLS with the certificate as its authority, send and receive."""

from __future__ import annotations

import pytest

from tests.hearth import PASSWORD, Hearth
from tests.interop.terminal import Terminal
from tests.tools import require_tool

pytestmark = pytest.mark.interop


def configure(terminal: Terminal, hearth: Hearth) -> None:
    folder = terminal.home / ".mcabber"
    folder.mkdir(mode=0o700)
    (folder / "mcabberrc").write_text(
        "\n".join(
            f"set {line}"
            for line in (
                "jid = juliet@example.org",
                f"password = {PASSWORD}",
                "server = 127.0.0.1",
                f"port = {hearth.ports['c2s']}",
                "resource = balcony",
                "disable_random_resource = 1",
                "tls = 1",
                f"ssl_ca = {hearth.home}/certificates/server.crt",
                "beep_on_message = 0",
            )
        )
    )
    (folder / "mcabberrc").chmod(0o600)


async def test_log_in_send_and_receive(hearth, person, terminal):
    romeo = person("romeo")
    await romeo.goes_online()
    configure(terminal, hearth)
    terminal.run(require_tool("mcabber"))
    await terminal.shows("Your status has been set: [_>o]")
    terminal.types("/say_to romeo@example.org Wherefore art thou <Romeo>?")
    message = await romeo.sees("message")
    assert message["body"] == "Wherefore art thou <Romeo>?"
    assert message["from"].full == "juliet@example.org/balcony"
    romeo.says(message["from"], "Here, at the <balcony>")
    await terminal.shows("romeo")
    terminal.types("/roster search romeo")
    terminal.presses("Enter")
    await terminal.shows("Here, at the <balcony>")
