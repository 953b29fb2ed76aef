# ruff: noqa: F401, F811 - fixtures of tests/xmpp are imported, and then are arguments
"""A handler of ours that breaks (F20): only its stanza suffers, the stream goes on, the failure is counted under a
fingerprint, nothing is half changed. Every handler that modules have registered is broken in turn.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from tests.conversation import Client, authenticate, settled, subscribe
from tests.xmpp.conftest import alice, bob, clock, log_in, new_user, server
from tests.xmpp.test_login import _iterations
from tests.xmpp.test_sasl2 import Wire2, encode
from xmppd.protocol.errors import StanzaError
from xmppd.server import hooks
from xmppd.server.metrics import MAX_FAILURES, Metrics
from xmppd.server.server import Server
from xmppd.services import db as database
from xmppd.services.properties import overridden

SM = "urn:xmpp:sm:3"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
BODY = "<body>hi</body>"
_REGISTRY = Server("example.org")
ROUTES = sorted(_REGISTRY.iq_routes)
HANDLERS = [
    (hook.name, f"{type(handler.__self__).__name__}.{handler.__name__}")  # type: ignore[attr-defined]
    for hook in hooks.ALL
    for handler in _REGISTRY.handlers[hook]
]
SWEEPS = 4  # at least so many modules look at the time


class Broken:
    """Stands where a handler stood, and raises; `is_later` makes it raise after it waited."""

    def __init__(self, *, is_later: bool = False) -> None:
        self.is_later = is_later
        self.calls = 0

    def __call__(self, *arguments: Any) -> Awaitable[None] | None:
        self.calls += 1
        if self.is_later:
            return self._fail()
        raise RuntimeError("broken on purpose")

    async def _fail(self) -> None:
        raise RuntimeError("broken on purpose")


def failures(server: Server) -> int:
    return server.metrics.counters["failures"]


def condition(stanza: Any) -> str:
    error = stanza.find("jabber:client", "error")
    return next(child.name for child in error.elements() if child.ns == STANZAS) if error else ""


async def control(
    server: Server, alice: Client, bob: Client, log_in: Callable[..., Awaitable[Client]]
) -> None:
    """All is as ever: a message there and back, a ping, the roster, somebody who logs in and out."""
    await settled(server)
    for client in (alice, bob):
        client.forget_received()
    await alice.sends(f"<message to='{bob.full}' type='chat' id='c1'>{BODY}</message>")
    await bob.receives(f"<message id='c1' from='{alice.full}'/>")
    await bob.sends(f"<message to='{alice.full}' type='chat' id='c2'>{BODY}</message>")
    await alice.receives(f"<message id='c2' from='{bob.full}'/>")
    assert (await alice.asks("<query xmlns='jabber:iq:roster'/>")).get("type") == "result"
    carol = await log_in("carol@example.org/home")
    await carol.is_available()
    await carol.sends(f"<message to='{bob.full}' type='chat' id='c3'>{BODY}</message>")
    await bob.receives(f"<message id='c3' from='{carol.full}'/>")
    await carol.sends("</stream:stream>")
    await settled(server)
    assert carol.connection.is_ended
    for client in (alice, bob):
        await client.receives_nothing()
        assert client.is_connected


# -- requests


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route).replace("\n", " "))
async def test_request_whose_handler_breaks(server, alice, bob, log_in, caplog, route, is_later):
    type, target, tag = route
    ns, _, name = tag.rpartition("\n")
    handler = server.iq_routes[route]
    server.iq_routes[route] = broken = Broken(is_later=is_later)
    to = {
        "self": "",
        "server": " to='example.org'",
        "account": f" to='{bob.bare}'",
        "nobody": " to='nobody@example.org'",
    }[target]
    await alice.sends(f"<iq type='{type}' id='f'{to}><{name} xmlns='{ns}'/></iq>")
    answer = await alice.receives("<iq type='error' id='f'/>")
    assert condition(answer) == "internal-server-error"
    assert broken.calls == 1
    assert server.metrics.counters["stanza_failures"] == failures(server) == 1
    ((fingerprint, where),) = server.metrics.failures
    assert where.startswith("RuntimeError > ")
    assert f"fingerprint={fingerprint}" in caplog.text
    assert "broken on purpose" in caplog.text
    server.iq_routes[route] = handler
    await control(server, alice, bob, log_in)
    assert failures(server) == 1


# -- hooks: for each, what makes the server ask it


async def _undelivered(alice: Client, bob: Client, log_in: Any) -> None:
    with overridden(archive__enabled=False):
        await log_in("dave@example.org/home")
        await alice.sends(f"<message to='dave@example.org' type='chat' id='f'>{BODY}</message>")


async def _carbons(client: Client) -> None:
    await client.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")


async def _message_sent(alice: Client, bob: Client, log_in: Any) -> None:
    await _carbons(await log_in("alice@example.org/phone"))
    await alice.sends(f"<message to='{bob.full}' type='chat' id='f'>{BODY}</message>")


async def _message_delivered(alice: Client, bob: Client, log_in: Any) -> None:
    phone = await log_in("bob@example.org/phone")
    await _carbons(phone)
    await alice.sends(f"<message to='{bob.full}' type='chat' id='f'>{BODY}</message>")


async def _message_refused(alice: Client, bob: Client, log_in: Any) -> None:
    await _carbons(await log_in("alice@example.org/phone"))
    await alice.sends(f"<message to='nobody@example.org' type='chat' id='f'>{BODY}</message>")


async def _own_presence(alice: Client, bob: Client, log_in: Any) -> None:
    await alice.sends("<presence id='f'/>")


async def _subscribe(alice: Client, bob: Client, log_in: Any) -> None:
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}' id='f'/>")


async def _probe(alice: Client, bob: Client, log_in: Any) -> None:
    await alice.sends(f"<presence type='probe' to='{bob.bare}' id='f'/>")


async def _login(alice: Client, bob: Client, log_in: Any) -> None:
    await (await log_in("dave@example.org/home")).is_available()


async def _priority(alice: Client, bob: Client, log_in: Any) -> None:
    dave = await log_in("dave@example.org/home")
    await dave.is_available(-1)
    await dave.sends("<presence><priority>1</priority></presence>")


async def _logout(alice: Client, bob: Client, log_in: Any) -> None:
    dave = await log_in("dave@example.org/home")
    await dave.is_available()
    await dave.sends("</stream:stream>")
    await settled(alice.server)
    assert dave.connection.is_ended
    assert dave.bare not in alice.server.directory.online


async def _break_the_wire(alice: Client, bob: Client, log_in: Any) -> None:
    dave = await log_in("dave@example.org/home")
    await dave.sends(f"<enable xmlns='{SM}' resume='true'/>")
    previd = (await dave.next()).get("id")
    await dave.disconnects()
    back = await authenticate(alice.server, dave.full)
    back.receive(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>".encode())
    await settled(alice.server)
    assert "<resumed " in back.text
    back.close()


async def _block(alice: Client, bob: Client, log_in: Any) -> None:
    item = "<item jid='spam@example.org'><report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/></item>"
    answer = await alice.asks(f"<block xmlns='urn:xmpp:blocking'>{item}</block>", type="set")
    assert answer.get("type") == "result"


async def _roster(alice: Client, bob: Client, log_in: Any) -> None:
    alice.server.ask(hooks.roster_written, alice.session.account, 99)


async def _shared(alice: Client, bob: Client, log_in: Any) -> None:
    alice.server.ask(hooks.shared_rosters_written, [alice.session.account])


# What makes the server ask a hook, and whether its failure is that of the stanza `f` of alice's.
TRIGGERS: dict[str, tuple[Callable[[Client, Client, Any], Awaitable[None]], bool]] = {
    "undelivered": (_undelivered, True),
    "message_sent": (_message_sent, False),
    "message_delivered": (_message_delivered, False),
    "message_refused": (_message_refused, False),
    "own_presence": (_own_presence, True),
    "subscription_out": (_subscribe, True),
    "subscription_in": (_subscribe, True),
    "probe_in": (_probe, True),
    "session_bound": (_login, False),
    "session_available": (_login, False),
    "priority_raised": (_priority, False),
    "session_unavailable": (_logout, False),
    "session_detached": (_break_the_wire, False),
    "session_resumed": (_break_the_wire, False),
    "session_closed": (_logout, False),
    "contacts_blocked": (_block, False),
    "roster_written": (_roster, False),
    "shared_rosters_written": (_shared, False),
}


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(("name", "label"), HANDLERS)
async def test_hook_whose_handler_breaks(server, alice, bob, log_in, caplog, name, label, is_later):
    """Of a hook that decides over a stanza, the sender is told; of any other nobody hears, and its other handlers are
    asked as ever."""
    trigger, is_of_stanza = TRIGGERS[name]
    for client in (alice, bob):
        await client.is_available()
        client.forget_received()
    hook = next(hook for hook in hooks.ALL if hook.name == name)
    handlers = server.handlers[hook]
    broken = Broken(is_later=is_later)
    server.handlers[hook] = tuple(
        broken if f"{type(handler.__self__).__name__}.{handler.__name__}" == label else handler
        for handler in handlers
    )
    await trigger(alice, bob, log_in)
    await settled(server)
    assert broken.calls
    assert failures(server) == broken.calls
    ((fingerprint, _),) = server.metrics.failures
    assert f"fingerprint={fingerprint}" in caplog.text
    answers = [stanza for stanza in alice.connection.received if stanza.get("type") == "error"]
    if is_of_stanza:
        assert [(answer.get("id"), condition(answer)) for answer in answers] == [
            ("f", "internal-server-error")
        ]
    else:
        assert not [answer for answer in answers if condition(answer) == "internal-server-error"]
    server.handlers[hook] = handlers
    await control(server, alice, bob, log_in)
    assert failures(server) == broken.calls


# -- elements inside of a login (XEP-0388, XEP-0386)

ENABLE = f"<enable xmlns='{SM}' resume='true'/>"
INLINE = {
    ("login", ("urn:xmpp:bind:0", "bind")): "<bind xmlns='urn:xmpp:bind:0'/>",
    (
        "login",
        ("urn:xmpp:fast:0", "request-token"),
    ): "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>",
    ("login", ("urn:xmpp:fast:0", "fast")): "<fast xmlns='urn:xmpp:fast:0'/>",
    ("login", (SM, "resume")): f"<resume xmlns='{SM}' previd='x' h='0'/>",
    ("session", (SM, "resume")): f"<resume xmlns='{SM}' previd='x' h='0'/>",
    ("session", ("urn:xmpp:bind:0", "bind")): "<bind xmlns='urn:xmpp:bind:0'/>",
    ("bind", ("urn:xmpp:carbons:2", "enable")): "<enable xmlns='urn:xmpp:carbons:2'/>",
    ("bind", ("urn:xmpp:csi:0", "inactive")): "<inactive xmlns='urn:xmpp:csi:0'/>",
    ("bind", (SM, "enable")): ENABLE,
}


@pytest.mark.parametrize(("stage", "tag"), INLINE, ids=str)
async def test_inline_element_whose_handler_breaks(server, alice, bob, log_in, new_user, caplog, stage, tag):
    """Nobody is kept from logging in by it."""
    await new_user("dave")
    broken = Broken()
    if stage == "session":
        server.inline_session = [
            (name, broken if name == tag else handler) for name, handler in server.inline_session
        ]
    else:
        getattr(server, f"inline_{stage}")[tag] = broken
    xml = INLINE[stage, tag]
    if stage == "bind":
        xml = f"<bind xmlns='urn:xmpp:bind:0'>{xml}</bind>"
    dave = Wire2(server, from_="dave@example.org")
    answer = await dave.logs_in(encode("\0dave\0correct horse"), xml)
    assert "<success " in answer
    assert broken.calls == failures(server) == 1
    assert "fingerprint=" in caplog.text
    assert not dave.connection.is_ended
    if dave.connection.session is None:
        dave.says("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert dave.connection.session is not None
    await control(server, alice, bob, log_in)


def test_every_inline_element_is_broken_once():
    assert {("login", tag) for tag in _REGISTRY.inline_login} <= INLINE.keys()
    assert {("session", tag) for tag, _ in _REGISTRY.inline_session} <= INLINE.keys()
    assert {("bind", tag) for tag in _REGISTRY.inline_bind} <= INLINE.keys()


def test_every_hook_that_has_a_handler_is_broken_once():
    assert {name for name, _ in HANDLERS} <= TRIGGERS.keys()
    assert len(HANDLERS) > 20
    assert len(ROUTES) > 40


async def test_sweep_that_breaks(server, alice, bob, log_in, clock, caplog):
    """The others are asked all the same, now and at the next time."""
    assert len(server.sweeps) >= SWEEPS
    calls: list[str] = []
    server.sweeps[:0] = [Broken()]
    server.sweeps.append(lambda: calls.append("last"))
    for _ in range(2):
        clock.advance(seconds=1)
        server.sweep()
    assert calls == ["last", "last"]
    assert failures(server) == 2
    assert len(server.metrics.failures) == 1
    assert caplog.text.count("sweep failed fingerprint=") == 2
    del server.sweeps[0]
    await control(server, alice, bob, log_in)


# -- the database fails inside of a handler: nothing is half changed

FORM = (
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field></x>"
)
# type, payload: requests whose handlers write and read
REQUESTS = [
    (
        "set",
        "<query xmlns='jabber:iq:roster'><item jid='carol@example.org' name='C'><group>G</group></item></query>",
    ),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='bob@example.org' name='Bobby'/></query>"),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='bob@example.org' subscription='remove'/></query>"),
    ("set", "<block xmlns='urn:xmpp:blocking'><item jid='carol@example.org'/></block>"),
    ("set", "<unblock xmlns='urn:xmpp:blocking'><item jid='spam@example.org'/></unblock>"),
    ("set", "<unblock xmlns='urn:xmpp:blocking'/>"),
    ("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
    ("get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
    ("set", "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>"),
    ("get", "<vCard xmlns='vcard-temp'/>"),
    ("set", "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>"),
    ("set", f"<query xmlns='urn:xmpp:mam:2' queryid='q'>{FORM}</query>"),
    ("get", "<metadata xmlns='urn:xmpp:mam:2'/>"),
]


def state_of(client: Client) -> dict[str, Any]:
    """What the server knows of the account and the session, apart from what counts stanzas."""
    account, session = client.session.account, client.session
    return {
        "items": dict(account.items),
        "contacts": dict(account.contacts),
        "pending": dict(account.pending),
        "version": account.roster_version,
        "subscribers": account.subscribers,
        "subscribed_to": account.subscribed_to,
        "blocked": account.blocked,
        "carbons": account.carbons,
        "available": tuple(account.available),
        "is_locked": account.lock.locked(),
        "interests": session.interests,
        "presence": session.presence,
        "directed": session.directed,
    }


@pytest.mark.parametrize(("type", "payload"), REQUESTS)
async def test_database_that_fails_in_a_request(server, alice, bob, log_in, monkeypatch, type, payload):
    for client in (alice, bob):
        await client.is_available()
    await subscribe(alice, bob)
    await alice.asks("<query xmlns='jabber:iq:roster'/>")
    await alice.asks("<block xmlns='urn:xmpp:blocking'><item jid='spam@example.org'/></block>", type="set")
    await settled(server)
    before = state_of(alice), state_of(bob)
    for client in (alice, bob):
        client.forget_received()

    def fail(*arguments: Any) -> Any:
        raise OperationalError("the server has gone away")

    with monkeypatch.context() as patch:
        patch.setattr(database, "_call", fail)
        answer = await alice.asks(payload, type=type)
        assert answer.get("type") == "error"
        assert condition(answer) == "internal-server-error"
        await settled(server)
    assert (state_of(alice), state_of(bob)) == before
    for client in (alice, bob):
        await client.receives_nothing()  # no push of what did not happen
    assert (await alice.asks(payload, type=type)).get("type") == "result"
    await settled(server)
    assert not alice.session.account.lock.locked()


@pytest.mark.parametrize(
    "xml",
    [
        "<presence type='subscribe' to='carol@example.org' id='f'/>",
        "<presence type='unsubscribe' to='bob@example.org' id='f'/>",
        "<presence type='unsubscribed' to='bob@example.org' id='f'/>",
    ],
)
async def test_database_that_fails_in_a_subscription(server, alice, bob, log_in, new_user, monkeypatch, xml):
    await new_user("carol")
    for client in (alice, bob):
        await client.is_available()
    await subscribe(alice, bob)
    await subscribe(bob, alice)
    await settled(server)
    before = state_of(alice), state_of(bob)
    for client in (alice, bob):
        client.forget_received()

    def fail(*arguments: Any) -> Any:
        raise OperationalError("the server has gone away")

    with monkeypatch.context() as patch:
        patch.setattr(database, "_call", fail)
        await alice.sends(xml)
        await settled(server)
    answer = await alice.receives("<presence type='error' id='f'/>")
    assert condition(answer) == "internal-server-error"
    assert (state_of(alice), state_of(bob)) == before
    for client in (alice, bob):
        await client.receives_nothing()
    await alice.sends(xml)
    await settled(server)
    assert not alice.session.account.lock.locked()
    assert alice.is_connected


# -- fingerprints


def broken_here(text: str) -> None:
    raise ValueError(text)


def broken_there(text: str) -> None:
    raise ValueError(text)


def caught(function: Callable[[str], None], text: str) -> Exception:
    try:
        function(text)
    except ValueError as problem:
        return problem
    raise AssertionError


def test_fingerprint_names_the_place_and_not_the_data():
    metrics = Metrics()
    one = metrics.failed(caught(broken_here, "one"))
    assert metrics.failed(caught(broken_here, "two")) == one
    assert metrics.failed(caught(broken_there, "one")) != one
    assert metrics.failed(KeyError("never raised")) != one
    counts = {where: count for (_, where), count in metrics.failures.items()}
    assert counts == {
        "ValueError > test_handlers.caught > test_handlers.broken_here": 2,
        "ValueError > test_handlers.caught > test_handlers.broken_there": 1,
        "KeyError": 1,
    }
    assert metrics.counters["failures"] == 4


def test_kinds_of_failures_are_bounded():
    metrics = Metrics()
    for number in range(MAX_FAILURES + 50):
        metrics.failed(type(f"Error{number}", (Exception,), {})())
    assert len(metrics.failures) == MAX_FAILURES
    assert metrics.counters["failures"] == MAX_FAILURES + 50
