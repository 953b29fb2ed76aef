"""Debian's profanity in a terminal: trust the certificate, log in, send and receive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hearth import PASSWORD, Hearth
from tests.interop.terminal import Terminal
from tests.tools import require_tool

pytestmark = pytest.mark.interop


async def log_in(terminal: Terminal, hearth: Hearth, jid: str) -> None:
    terminal.run(require_tool("profanity"))
    await terminal.shows("Profanity")
    terminal.types(f"/connect {jid} server 127.0.0.1 port {hearth.ports['c2s']}")
    await terminal.shows("Enter password")
    terminal.types(PASSWORD)
    await terminal.shows("Fingerprint", "/tls allow")  # a fresh Hearth has a self-signed certificate
    terminal.types("/tls allow")
    await terminal.shows(f"{jid}/profanity.", "logged in successfully")


async def test_log_in_send_and_receive(hearth, person, terminal):
    romeo = person("romeo")
    await romeo.goes_online()
    await log_in(terminal, hearth, "juliet@example.org")
    terminal.types("/msg romeo@example.org Wherefore art thou <Romeo> & co.")
    message = await romeo.sees("message")
    assert message["body"] == "Wherefore art thou <Romeo> & co."
    assert message["from"].bare == "juliet@example.org"
    romeo.says(message["from"], "Here, at the <balcony>")
    await terminal.shows("Here, at the <balcony>")


async def test_subscription_asked_in_profanity_is_granted(hearth, person, terminal):
    romeo = person("romeo")
    await romeo.goes_online()
    await log_in(terminal, hearth, "juliet@example.org")
    terminal.types("/sub request romeo@example.org")
    await romeo.sees("presence_subscribe", lambda p: p["from"].bare == "juliet@example.org")
    romeo.send_presence(pto="juliet@example.org", ptype="subscribed")
    await terminal.shows("romeo", "is online")


@pytest.fixture(scope="module")
def addressed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    """A Hearth whose domain is an IP address, with the accounts bjsujb and friend."""
    hearth = Hearth(tmp_path_factory.mktemp("addressed") / "home", domain="127.0.0.1")
    hearth.set_up()
    hearth.add_user("bjsujb")
    hearth.add_user("friend")
    hearth.start()
    yield hearth
    hearth.kill()


async def test_domain_that_is_an_ip_address(addressed, person, terminal):
    bot, friend = person("bjsujb", at=addressed), person("friend", at=addressed)
    await bot.goes_online()
    assert bot.boundjid.full == "bjsujb@127.0.0.1/slix"
    await bot.disconnect()
    await friend.goes_online()
    await log_in(terminal, addressed, "bjsujb@127.0.0.1")
    terminal.types("/msg friend@127.0.0.1 from the terminal")
    message = await friend.sees("message")
    assert (message["body"], message["from"].bare) == ("from the terminal", "bjsujb@127.0.0.1")
    friend.says(message["from"], "to the terminal")
    await terminal.shows("to the terminal")
