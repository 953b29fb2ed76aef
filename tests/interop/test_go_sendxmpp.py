"""go-sendxmpp: a message from a shell script, and a listener that prints what comes."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

from tests.clients import PATIENCE
from tests.hearth import PASSWORD
from tests.tools import require_tool

pytestmark = pytest.mark.interop
Start = Callable[..., Coroutine[Any, Any, Process]]


@pytest_asyncio.fixture
async def sendxmpp(hearth, tmp_path) -> AsyncIterator[Start]:
    """sendxmpp("juliet", "-l"): the program, logged in as juliet, trusting the server's certificate."""
    program = require_tool("go-sendxmpp")
    started: list[Process] = []

    async def start(username: str, *arguments: str, port: str = "c2s") -> Process:
        server = f"127.0.0.1:{hearth.ports[port]}"
        account = ("-u", f"{username}@{hearth.domain}", "-p", PASSWORD, "-j", server)
        certificate = hearth.home / "certificates" / "server.crt"
        process = await asyncio.create_subprocess_exec(
            program,
            *account,
            *arguments,
            env={"HOME": str(tmp_path), "SSL_CERT_FILE": str(certificate), "PATH": "/usr/bin:/bin"},
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def send(process: Process, text: str) -> None:
    output, _ = await asyncio.wait_for(process.communicate(text.encode()), PATIENCE)
    assert (process.returncode, output) == (0, b"")


async def test_message_from_the_standard_input(sendxmpp, person):
    romeo = person("romeo")
    await romeo.goes_online()
    await send(await sendxmpp("juliet", "romeo@example.org"), "disk <full> & burning\n")
    message = await romeo.sees("message")
    assert message["body"].rstrip("\n") == "disk <full> & burning"
    assert message["from"].bare == "juliet@example.org"


async def test_message_over_direct_tls(sendxmpp, person):
    romeo = person("romeo")
    await romeo.goes_online()
    await send(await sendxmpp("juliet", "--tls", "romeo@example.org", port="c2s_tls"), "direct\n")
    assert (await romeo.sees("message"))["body"].rstrip("\n") == "direct"


async def test_listener_prints_what_comes(sendxmpp, person):
    listener = await sendxmpp("juliet", "-l")
    romeo = person("romeo")
    await romeo.goes_online()
    romeo.says("juliet@example.org", "from romeo")  # kept for juliet when she is not online yet
    async with asyncio.timeout(PATIENCE):
        line = await listener.stdout.readline()
    assert "romeo@example.org" in line.decode()
    assert line.decode().rstrip().endswith("from romeo")


async def test_wrong_password_is_told(sendxmpp):
    process = await sendxmpp("juliet", "-p", "wrong password", "romeo@example.org")
    output, _ = await asyncio.wait_for(process.communicate(b"lost\n"), PATIENCE)
    assert process.returncode != 0
    assert b"not-authorized" in output
