"""A dictionary bot in Ruby with xmpp4r, whose roster query carries no id: a slixmpp user asks it for a word."""

from __future__ import annotations

import asyncio
import os
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients import PATIENCE
from tests.hearth import PASSWORD
from tests.tools import missing, require_tool

pytestmark = pytest.mark.interop
SCRIPT = Path(__file__).parent / "bots" / "dictionary_bot.rb"


@pytest.fixture(scope="module")
def ruby() -> str:
    ruby = require_tool("ruby")
    if subprocess.run([ruby, "-e", "require 'xmpp4r'"], capture_output=True, check=False).returncode:
        missing("Ruby's xmpp4r is not installed")
    return ruby


@pytest_asyncio.fixture
async def bot(hearth, ruby) -> AsyncIterator[str]:
    """What the bot, logged in as nurse, says of itself: "online JID contacts..."."""
    process = await asyncio.create_subprocess_exec(
        ruby,
        str(SCRIPT),
        f"nurse@{hearth.domain}/bot",
        PASSWORD,
        "127.0.0.1",
        str(hearth.ports["c2s"]),
        str(hearth.home / "certificates" / "server.crt"),
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    lines: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while not (lines and lines[-1].startswith("online ")):
                line = await process.stdout.readline()
                assert line, f"the bot ended: {''.join(lines)}"
                lines.append(line.decode())
        yield lines[-1].strip()
    finally:
        process.kill()
        await process.communicate()


async def test_bot_logs_in_and_gives_a_definition(bot, person):
    assert bot.startswith("online nurse@example.org/bot")  # its roster has come
    juliet = person("juliet")
    await juliet.goes_online()
    juliet.says("nurse@example.org", "Hearth")
    reply = await juliet.sees("message")
    assert reply["body"] == "the floor of a fireplace; the home"
    assert reply["from"].full == "nurse@example.org/bot"
    juliet.says(reply["from"], "<wherefore> & why")
    assert (await juliet.sees("message"))["body"] == "<wherefore> & why: no such word"


async def test_bot_accepts_a_contact_and_is_seen(bot, person):
    juliet = person("juliet")
    await juliet.goes_online()
    juliet.send_presence_subscription(pto="nurse@example.org")
    presence = await juliet.sees("presence_available", lambda p: p["from"].bare == "nurse@example.org")
    assert presence["status"] == "Ask me a word"
