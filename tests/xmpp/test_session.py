"""RFC 6120 7, 8.1, 10.1: binding, the stamp on stanzas, their order, and what happens when a handler fails."""

import asyncio
import gc

import pytest
from asgiref.sync import sync_to_async

from accounts import registry
from tests.conversation import MemoryConnection, settled
from tests.xmpp.test_roster import GET, condition, push, query, roster_of
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID
from xmppd.protocol.stream.features import Has
from xmppd.server import hooks
from xmppd.server.module import ACCOUNT, FIRST, SELF, SERVER, Module, iq_get, on
from xmppd.services.properties import overridden

PING = "<ping xmlns='urn:xmpp:ping'/>"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
HEADER = (
    "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' "
    "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
FAIL = "urn:test:fail"


class Failpoint(Module):
    """Breaks on request, or waits until the test opens the gate."""

    async def start(self):
        self.gate = asyncio.Event()

    @iq_get(FAIL, "now", to=[SERVER, ACCOUNT, SELF])
    def now(self, iq, origin):
        raise RuntimeError("broken on purpose")

    @iq_get(FAIL, "later", to=SELF)
    async def later(self, iq, origin):
        await asyncio.sleep(0)
        raise RuntimeError("broken on purpose")

    @iq_get(FAIL, "refuse", to=SELF)
    async def refuse(self, iq, origin):
        raise StanzaError("not-acceptable", "no")

    @iq_get(FAIL, "end", to=SELF)
    async def end(self, iq, origin):
        raise StreamError("undefined-condition")

    @iq_get(FAIL, "wait", to=SELF)
    async def wait(self, iq, origin):
        await self.gate.wait()
        return E(FAIL, "waited")

    @on(hooks.to_user, priority=FIRST)
    def to_user(self, stanza, account):
        if stanza.has(FAIL, "to_user"):
            raise RuntimeError("broken on purpose")
        return self._wait() if stanza.has(FAIL, "slow") else None

    async def _wait(self):
        await self.gate.wait()

    @on(hooks.from_user, priority=FIRST)
    def from_user(self, stanza, session):
        if stanza.has(FAIL, "from_user"):
            raise RuntimeError("broken on purpose")
        return hooks.STOP if stanza.has(FAIL, "stop") else None


@pytest.fixture
async def failpoint(server):
    module = server.add_module(Failpoint)
    await module.start()
    yield module
    module.gate.set()


# -- failures, one stanza's each


@pytest.mark.parametrize("to", ["", " to='example.org'", " to='alice@example.org'", " to='bob@example.org'"])
async def test_broken_handler_costs_its_stanza_only(failpoint, alice, bob, to):
    await alice.sends(f"<iq type='get' id='f'{to}><now xmlns='{FAIL}'/></iq>")
    assert condition(await alice.receives("<iq type='error' id='f'/>")) == "internal-server-error"
    await alice.receives_nothing()
    assert alice.server.metrics.counters["stanza_failures"] == 1


async def test_broken_waiting_handler_costs_its_stanza_only(failpoint, alice):
    alice.connection.receive(
        f"<iq type='get' id='f'><later xmlns='{FAIL}'/></iq><iq type='get' id='p'>{PING}</iq>".encode()
    )
    await alice.settles()
    assert condition(await alice.receives("<iq type='error' id='f'/>")) == "internal-server-error"
    await alice.receives("<iq type='result' id='p'/>")


@pytest.mark.parametrize("name", ["from_user", "to_user"])
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
async def test_broken_hook_costs_its_stanza_only(failpoint, alice, bob, name, kind):
    await bob.is_available()
    type = " type='get'" if kind == "iq" else ""
    await alice.sends(f"<{kind} id='f' to='{bob.bare}'{type}><{name} xmlns='{FAIL}'/></{kind}>")
    assert condition(await alice.receives(f"<{kind} type='error' id='f'/>")) == "internal-server-error"
    await alice.receives_nothing()
    await bob.receives_nothing()


async def test_broken_handler_of_what_is_no_stanza_ends_the_stream(server, alice):
    def fail(stanza, session):
        raise RuntimeError("broken on purpose")

    server.nonzas[f"{FAIL}\nnonza"] = fail
    await alice.sends(f"<nonza xmlns='{FAIL}'/>")
    await alice.is_disconnected("internal-server-error")


async def test_error_of_a_waiting_handler(failpoint, alice):
    await alice.sends(f"<iq type='get' id='f'><refuse xmlns='{FAIL}'/></iq>")
    reply = await alice.receives("<iq type='error' id='f'/>")
    assert condition(reply) == "not-acceptable"
    await alice.receives_nothing()


async def test_stream_error_of_a_waiting_handler(failpoint, alice, bob):
    await bob.is_available()
    alice.connection.receive(
        f"<iq type='get' id='f'><end xmlns='{FAIL}'/></iq><message to='{bob.bare}'><body/></message>".encode()
    )
    await alice.is_disconnected("undefined-condition")
    await settled(alice.server)
    await bob.receives_nothing()


async def test_failed_database_costs_its_stanza_only(alice, monkeypatch):
    """The roster in memory is the one that is stored."""
    from xmppd.services import roster

    def fail(*_):
        raise OSError("no database")

    await alice.asks(GET)
    with monkeypatch.context() as patch:
        patch.setattr(roster, "set_item", fail)
        assert (
            condition(await alice.asks(query("<item jid='bob@example.org'/>"), type="set"))
            == "internal-server-error"
        )
    assert roster_of(await alice.asks(GET)) == {}
    assert (await alice.asks(query("<item jid='bob@example.org'/>"), type="set")).get("type") == "result"
    await alice.receives(push("<item jid='bob@example.org' subscription='none'/>"))


async def test_stopped_stanza_goes_no_further(failpoint, alice, bob):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}'><stop xmlns='{FAIL}'/><body>hi</body></message>")
    await bob.receives_nothing()
    await alice.receives_nothing()


class BrokenMoments(Module):
    """Fails at every moment of a session, before all others."""

    @on(hooks.session_bound, priority=FIRST)
    @on(hooks.session_available, priority=FIRST)
    @on(hooks.session_unavailable, priority=FIRST)
    @on(hooks.session_closed, priority=FIRST)
    def fail(self, *_):
        raise RuntimeError("broken on purpose")


async def test_broken_module_keeps_no_session_from_beginning_and_ending(server, log_in, bob):
    server.add_module(BrokenMoments)
    await bob.is_available()
    alice = await log_in("alice@example.org/desktop")
    await alice.is_available()
    await alice.sends(f"<presence to='{bob.full}'/>")
    await bob.receives(f"<presence from='{alice.full}'/>")
    await alice.disconnects()
    await bob.receives(f"<presence type='unavailable' from='{alice.full}'/>")
    assert alice.bare not in server.directory.online


# -- order, RFC 6120 10.1


async def test_stanzas_stay_in_order_while_a_handler_waits(failpoint, alice, bob):
    await bob.is_available()
    alice.connection.receive(
        f"<iq type='get' id='w'><wait xmlns='{FAIL}'/></iq>"
        f"<message to='{bob.bare}' id='1'><body/></message>"
        f"<iq type='get' id='p'>{PING}</iq>"
        f"<message to='{bob.bare}' id='2'><slow xmlns='{FAIL}'/></message>"
        f"<message to='{bob.bare}' id='3'><body/></message>".encode()
    )
    alice.connection.receive(f"<message to='{bob.bare}' id='4'><body/></message>".encode())
    await asyncio.sleep(0)
    assert not alice.connection.received
    await bob.receives_nothing()  # others are not held up
    failpoint.gate.set()
    await alice.settles()
    await alice.receives(f"<iq type='result' id='w'><waited xmlns='{FAIL}'/></iq>")
    await alice.receives("<iq type='result' id='p'/>")
    for number in "1234":
        await bob.receives(f"<message id='{number}'/>")


async def test_reading_pauses_while_a_handler_waits(failpoint, alice):
    pauses = []
    connection = alice.connection
    connection.pause_reading = lambda: pauses.append("pause")
    connection.resume_reading = lambda: pauses.append("resume")
    connection.receive(f"<iq type='get' id='w'><wait xmlns='{FAIL}'/></iq>".encode())
    assert pauses == ["pause"]
    failpoint.gate.set()
    await alice.settles()
    assert pauses == ["pause", "resume"]


@pytest.mark.parametrize("ending", ["</stream:stream>", "lost"])
async def test_what_came_before_the_end_still_counts(failpoint, alice, bob, ending):
    """A client that says its last words and goes at once loses none of them to a slow handler."""
    await bob.is_available()
    await alice.sends(f"<presence to='{bob.full}'/>")
    await bob.receives(f"<presence from='{alice.full}'/>")
    last = f"<message to='{bob.bare}'><body>bye</body></message>"
    text = f"<iq type='get' id='w'><wait xmlns='{FAIL}'/></iq>{last}"
    if ending == "lost":
        alice.connection.receive(text.encode())
        alice.connection.lost()
    else:
        alice.connection.receive((text + ending).encode())
    failpoint.gate.set()
    await settled(alice.server)
    await bob.receives(f"<message from='{alice.full}'><body>bye</body></message>")
    await bob.receives(f"<presence type='unavailable' from='{alice.full}'/>")
    assert alice.connection.session is None
    assert alice.bare not in alice.server.directory.online


async def test_kick_while_a_handler_waits_drops_the_rest(failpoint, alice, bob):
    await bob.is_available()
    alice.connection.receive(
        f"<iq type='get' id='w'><wait xmlns='{FAIL}'/></iq><message to='{bob.bare}'><body/></message>".encode()
    )
    alice.connection.close(StreamError("policy-violation"))
    assert alice.bare not in alice.server.directory.online
    failpoint.gate.set()
    await settled(alice.server)
    await bob.receives_nothing()


@pytest.mark.parametrize(
    ("settings", "xml"),
    [
        (
            {"archive__enabled": False, "offline__policy": "bounce"},
            "<message to='carol@example.org' type='chat'><body>hi</body></message>",
        ),
        (
            {"archive__enabled": False, "offline__max_messages": 0},
            "<message to='carol@example.org' type='chat'><body>hi</body></message>",
        ),
        ({}, "<message to='nobody@example.org' type='chat'><body>hi</body></message>"),
        ({}, f"<iq type='get' id='f'><refuse xmlns='{FAIL}'/></iq>"),
        ({}, f"<iq type='get' id='f'><later xmlns='{FAIL}'/></iq>"),
    ],
)
async def test_what_was_refused_leaves_no_garbage(failpoint, alice, new_user, settings, xml):
    """An exception's traceback holds the frames it passed; one that they hold in turn, with the stanza and all, would
    stay until the garbage collector comes by."""
    await new_user("carol")

    async def refused():
        await alice.sends(xml)
        await settled(alice.server)
        assert alice.connection.received[-1].get("type") == "error"

    with overridden(**settings):
        await refused()
        alice.forget_received()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await refused()
            alice.forget_received()
            assert gc.collect() < 20
        finally:
            gc.enable()


# -- the stamp, RFC 6120 8.1


@pytest.mark.parametrize(
    "claimed", ["", "alice@example.org", "alice@example.org/desktop", "ALICE@example.org"]
)
async def test_from_is_the_full_address(alice, bob, claimed):
    await bob.is_available()
    attribute = f" from='{claimed}'" if claimed else ""
    await alice.sends(f"<message to='{bob.bare}'{attribute}><body/></message>")
    await bob.receives(f"<message from='{alice.full}'/>")


@pytest.mark.parametrize(
    "claimed",
    ["bob@example.org", "alice@example.org/phone", "example.org", "alice@example.com", "@", "alice"],
)
async def test_from_of_another_ends_the_stream(alice, bob, claimed):
    await bob.is_available()
    alice.connection.receive(
        f"<message to='{bob.bare}' from='{claimed}'><body>forged</body></message>"
        f"<message to='{bob.bare}'><body>behind it</body></message>".encode()
    )
    await alice.is_disconnected("invalid-from")
    await bob.receives_nothing()


async def test_language_of_the_stream_is_added(log_in, bob):
    await bob.is_available()
    alice = await log_in("alice@example.org/desktop", lang="de")
    await alice.sends(f"<message to='{bob.bare}'><body>hallo</body></message>")
    assert (await bob.next()).get("xml:lang") == "de"
    await alice.sends(f"<message to='{bob.bare}' xml:lang='fr'><body>salut</body></message>")
    assert (await bob.next()).get("xml:lang") == "fr"


async def test_no_language_is_made_up(alice, bob):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}'><body>hi</body></message>")
    assert "xml:lang" not in (await bob.next()).attrs


# -- the stream after binding


async def test_unknown_first_level_element_ends_the_stream(alice):
    await alice.sends("<hello xmlns='urn:x'/>")
    await alice.is_disconnected("unsupported-stanza-type")


async def test_white_space_is_no_stanza(alice):
    for _ in range(3):
        alice.connection.receive(b" \n")
    await alice.receives_nothing()


async def test_closing_is_answered(alice):
    alice.connection.receive(b"</stream:stream>")
    await alice.is_disconnected()
    assert alice.connection.text.endswith("</stream:stream>")
    assert alice.connection.text.count("</stream:stream>") == 1


async def test_legacy_session(alice):
    """RFC 3921 3; Spark and others wait for it."""
    assert (
        "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>" in alice.connection.text
    )
    for to in ("", " to='example.org'"):
        await alice.sends(
            f"<iq type='set' id='s'{to}><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
        )
        reply = await alice.receives("<iq type='result' id='s'/>")
        assert not list(reply.elements())


# -- binding, RFC 6120 7


@pytest.fixture
def authenticated(server, new_user):
    """await authenticated(name): a connection that is logged in and may bind."""

    async def make(name="alice"):
        from accounts.models import User

        if not await User.objects.filter(username=name).aexists():
            await new_user(name)
        account = await server.directory.load(JID.parse(f"{name}@example.org"))
        connection = MemoryConnection(server)
        connection.stream.has |= Has.TLS
        connection.receive(HEADER.encode())
        connection.account = account
        connection.stream.auth_succeeded(account.jid)
        connection.after_verb()
        connection.receive(HEADER.encode())
        return connection

    return make


def bind(connection, resource="") -> str:
    """Bind; the text of the answer."""
    start = len(connection.text)
    inner = f"<resource>{resource}</resource>" if resource else ""
    connection.receive(f"<iq type='set' id='b'><bind xmlns='{BIND}'>{inner}</bind></iq>".encode())
    return connection.text[start:]


@pytest.fixture
def setting(actor):
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


async def test_wanted_resource_is_kept(authenticated):
    connection = await authenticated()
    answer = bind(connection, "Ünder the tree")
    assert answer == (
        f"<iq type='result' id='b'><bind xmlns='{BIND}'><jid>alice@example.org/Ünder the tree</jid></bind></iq>"
    )


async def test_resource_is_made_up_and_not_to_be_guessed(authenticated):
    names = set()
    for _ in range(5):
        connection = await authenticated()
        bind(connection)
        names.add(connection.session.jid.resource)
    assert len(names) == 5
    assert all(len(name) >= 12 for name in names)


@pytest.mark.parametrize("resource", ["x" * 1024, "a&#x9;b", "&#xAD;&#x378;"])
async def test_bad_resource(authenticated, resource):
    connection = await authenticated()
    assert "<bad-request " in bind(connection, resource)
    assert connection.session is None
    assert "<jid>alice@example.org/fine</jid>" in bind(connection, "fine")


async def test_conflict_replaces_the_older_by_default(authenticated):
    old, new = await authenticated(), await authenticated()
    bind(old, "phone")
    assert "<jid>alice@example.org/phone</jid>" in bind(new, "phone")
    assert old.is_ended
    assert "<conflict " in old.text
    assert old.server.directory.online["alice@example.org"].sessions["phone"] is new.session


async def test_conflict_refuses_the_newer(authenticated, setting):
    await setting("c2s.resource_conflict", "refuse")
    old, new = await authenticated(), await authenticated()
    bind(old, "phone")
    assert "<conflict " in bind(new, "phone")
    assert not old.is_ended
    assert "<jid>" in bind(new, "tablet")


@pytest.mark.parametrize("resource", ["phone", "ü" * 511])
async def test_conflict_renames_the_newer(authenticated, setting, resource):
    await setting("c2s.resource_conflict", "rename")
    old, new = await authenticated(), await authenticated()
    bind(old, resource)
    bind(new, resource)
    assert new.session.jid.resource.startswith(resource[:400])
    assert new.session.jid != old.session.jid
    assert JID.parse(new.session.jid.full_str) == new.session.jid
    assert not old.is_ended


async def test_too_many_sessions(authenticated, setting):
    await setting("c2s.max_sessions_per_user", 2)
    connections = [await authenticated() for _ in range(3)]
    for connection in connections[:2]:
        bind(connection)
    assert "<resource-constraint " in bind(connections[2])
    connections[0].lost()
    assert "<jid>" in bind(connections[2])


async def test_session_that_waits_for_its_client_makes_room(authenticated, setting):
    await setting("c2s.max_sessions_per_user", 2)
    connections = [await authenticated() for _ in range(3)]
    for connection, resource in zip(connections[:2], ("phone", "laptop"), strict=True):
        bind(connection, resource)
    connections[0].receive(b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    left = connections[0].session
    connections[0].lost()
    assert not left.is_closed
    assert "<jid>" in bind(connections[2])
    assert left.is_closed
    assert not connections[1].session.is_closed


async def test_replaced_session_needs_no_further_room(authenticated, setting):
    await setting("c2s.max_sessions_per_user", 1)
    old, new = await authenticated(), await authenticated()
    bind(old, "phone")
    assert "<jid>alice@example.org/phone</jid>" in bind(new, "phone")


async def test_stanzas_sent_along_with_the_binding_are_handled(authenticated):
    """XEP-0305: clients do not wait for our answer."""
    connection = await authenticated()
    connection.receive(
        f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq><iq type='get' id='p'>{PING}</iq><presence/>".encode()
    )
    assert connection.session.presence is not None
    assert "<iq type='result' from='alice@example.org'" in connection.text


async def test_stanza_before_binding_ends_the_stream(authenticated, bob):
    await bob.is_available()
    connection = await authenticated()
    connection.receive(f"<message to='{bob.bare}'><body/></message>".encode())
    assert connection.is_ended
    assert "<not-authorized " in connection.text
    await bob.receives_nothing()


async def test_second_binding_is_refused(alice):
    assert condition(await alice.asks(f"<bind xmlns='{BIND}'/>", type="set")) == "service-unavailable"
    await alice.receives_nothing()


async def test_who_never_binds_is_timed_out(authenticated, clock, server):
    connection = await authenticated()
    clock.advance(seconds=61)
    server.sweep()
    assert connection.is_ended
    assert "<connection-timeout " in connection.text


async def test_account_forgotten_between_login_and_binding_is_one_object_afterwards(authenticated, server):
    """Shared rosters changed meanwhile, or memory was short: never two objects of one account online."""
    first = await authenticated()
    server.directory.forget_idle_of({first.account.id})
    second = await authenticated()
    assert first.account is not second.account
    bind(second, "second")
    bind(first, "first")
    await settled(server)
    assert first.session.account is second.session.account
    assert set(server.directory.online["alice@example.org"].sessions) == {"first", "second"}


async def test_account_deleted_and_made_anew_between_login_and_binding(
    authenticated, server, new_user, actor
):
    from accounts import services
    from accounts.models import User

    connection = await authenticated()
    server.directory.forget_idle_of({connection.account.id})
    await sync_to_async(services.delete_user)(await User.objects.aget(username="alice"), actor=actor)
    await new_user("alice")
    bind(connection)
    await settled(server)
    assert connection.is_ended
    assert connection.session is None
    assert "alice@example.org" not in server.directory.online
