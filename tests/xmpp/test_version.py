"""XEP-0092: Software Version."""

from __future__ import annotations

import asyncio
import platform

from asgiref.sync import sync_to_async

import xmppd
from xmppd.modules.version import NS, Version, described
from xmppd.protocol.element import E
from xmppd.services import properties

QUERY = f"<query xmlns='{NS}'/>"


async def set_value(name, value, actor):
    await sync_to_async(properties.set_value)(name, value, actor=actor)


async def asked(server, clock, client):
    """Let the time pass after which a client is asked; the question's id."""
    clock.advance(seconds=6)
    server.sweep()
    question = await client.receives(f"<iq type='get' from='example.org'>{QUERY}</iq>")
    return question.get("id")


async def test_server_tells_name_and_version(alice):
    await alice.sends(f"<iq type='get' id='version1' to='example.org'>{QUERY}</iq>")
    await alice.receives(f"""
        <iq type='result' id='version1' from='example.org' to='{alice.full}'>
          <query xmlns='{NS}'><name>Hearth</name><version>{xmppd.__version__}</version></query></iq>""")


async def test_operating_system_is_told_only_when_allowed(alice, actor):
    await set_value("server.show_operating_system", True, actor)
    answer = await alice.asks(QUERY, to="example.org")
    assert answer.find(NS, "query").text_of(NS, "os") == platform.system()


async def test_accounts_have_no_version(alice, bob):
    for to in (bob.bare, "nobody@example.org"):
        assert "service-unavailable" in str(await alice.asks(QUERY, to=to))


async def test_available_client_is_asked_once_and_shown(server, clock, alice):
    await alice.is_available()
    identity = await asked(server, clock, alice)
    await alice.sends(
        f"<iq type='result' id='{identity}' to='example.org'><query xmlns='{NS}'>"
        "<name>Exodus</name><version>0.7.0.4</version><os>Windows-XP 5.01.2600</os></query></iq>"
    )
    await asyncio.sleep(0)  # the future's callback comes one turn later
    assert alice.session.software == "Exodus 0.7.0.4 (Windows-XP 5.01.2600)"
    await alice.sends("<presence type='unavailable'/>")
    await alice.sends("<presence/>")
    alice.forget_received()
    clock.advance(seconds=6)
    server.sweep()
    await alice.receives_nothing()


async def test_client_is_not_asked_at_once_nor_when_that_is_off(server, clock, alice, actor):
    await alice.is_available()
    server.sweep()
    await alice.receives_nothing()
    await set_value("sessions.ask_client_version", False, actor)
    clock.advance(seconds=6)
    server.sweep()
    await alice.receives_nothing()


async def test_refusal_and_nonsense_leave_it_unknown(server, clock, alice, bob):
    for client, answer in (
        (alice, "type='error'><error type='cancel'/>"),
        (bob, "type='result'><query xmlns='urn:example:other'><name>x</name></query>"),
    ):
        await client.is_available()
        identity = await asked(server, clock, client)
        await client.sends(f"<iq id='{identity}' to='example.org' {answer}</iq>")
        await asyncio.sleep(0)
        assert client.session.software == ""


async def test_session_that_ended_is_not_asked(server, clock, alice):
    await alice.is_available()
    session = alice.session
    await alice.disconnects()
    clock.advance(seconds=6)
    server.sweep()
    assert session.stanzas_out == 1  # its own presence
    assert not server.module(Version)._known


def test_what_a_client_says_is_one_short_visible_line():
    assert described(E(NS, "query")) == ""
    assert described(E(NS, "query", E(NS, "name", "Psi"))) == "Psi"
    assert described(E(NS, "query", E(NS, "os", "Haiku"))) == "(Haiku)"
    hidden = E(NS, "query", E(NS, "name", "a\u202eb\n\tc\u0000"), E(NS, "version", "1\u200b"))
    assert described(hidden) == "a b c 1"
    assert len(described(E(NS, "query", E(NS, "name", "x" * 5000)))) == 200
