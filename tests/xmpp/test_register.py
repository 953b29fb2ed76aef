"""XEP-0077: In-Band Registration."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from accounts import registry
from accounts.models import AuditEntry, User
from tests.conversation import MemoryConnection
from xmppd.protocol.stream.features import Has

HEADER = (
    "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
FEATURE = "<register xmlns='http://jabber.org/features/iq-register'/>"
GET = "<iq type='get' id='get'><query xmlns='jabber:iq:register'/></iq>"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


@pytest.fixture
def setting(actor):
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


@pytest.fixture
async def is_open(setting):
    await setting("registration.open", True)


@pytest.fixture
async def domain_row(transactional_db):
    from accounts.models import Domain

    return await Domain.objects.acreate(name="example.org", is_primary=True)


async def has_password(username, password):
    user = await User.objects.aget(username=username)
    return await sync_to_async(user.check_password)(password)


class Stranger:
    """A stream that has not logged in."""

    def __init__(self, server, address="192.0.2.7", *, tls=True):
        self.server = server
        self.connection = MemoryConnection(server, address)
        if tls:
            self.connection.stream.has |= Has.TLS
        self.connection.receive(HEADER.encode())
        self.features = self.connection.text

    async def asks(self, xml):
        """The server's answer to one IQ, as text."""
        before = len(self.connection.text)
        self.connection.receive(xml.encode())
        while len(self.connection.text) == before:
            await asyncio.wait(
                [task for task in self.server._tasks if task.get_name() != "sweep"],
                return_when=asyncio.FIRST_COMPLETED,
            )
        return self.connection.text[before:]

    async def registers(self, username="juliet", password="a balcony at night", extra=""):
        return await self.asks(
            "<iq type='set' id='reg'><query xmlns='jabber:iq:register'>"
            f"<username>{username}</username><password>{password}</password>{extra}</query></iq>"
        )


def form(username, password, more="", form_type="jabber:iq:register"):
    return (
        "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{form_type}</value></field>"
        f"<field var='username'><value>{username}</value></field>"
        f"<field var='password'><value>{password}</value></field>{more}</x></query>"
    )


# -- closed, as it is by default


async def test_closed_by_default(server, domain_row):
    stranger = Stranger(server)
    assert FEATURE not in stranger.features
    assert "service-unavailable" in await stranger.asks(GET)
    assert "service-unavailable" in await stranger.registers()
    assert not await User.objects.aexists()


async def test_stream_that_must_encrypt_first_is_offered_nothing(server, domain_row, is_open):
    stranger = Stranger(server, tls=False)
    assert FEATURE not in stranger.features
    assert "not-authorized" in await stranger.registers()
    assert not await User.objects.aexists()


# -- open


async def test_open_server_offers_both_forms(server, domain_row, is_open):
    stranger = Stranger(server)
    assert FEATURE in stranger.features
    answer = await stranger.asks(GET)
    assert answer.startswith(
        "<iq type='result' from='example.org' id='get'><query xmlns='jabber:iq:register'>"
    )
    assert "<username/><password/>" in answer
    assert "<value>jabber:iq:register</value>" in answer
    assert "<registered/>" not in answer


async def test_registered_account_has_password(server, domain_row, is_open, log_in):
    assert await Stranger(server).registers("Juliet") == "<iq type='result' from='example.org' id='reg'/>"
    user = await User.objects.aget()
    assert user.jid == "juliet@example.org"
    assert user.role == ""
    assert await has_password("juliet", "a balcony at night")
    row = await AuditEntry.objects.aget(action="user-created")
    assert (row.actor, row.door, row.address) == ("juliet@example.org", "adhoc", "192.0.2.7")
    juliet = await log_in("juliet@example.org/balcony")
    await juliet.receives_nothing()


async def test_data_form_registers_too(server, domain_row, is_open):
    more = (
        "<field var='name'><value>Juliet C.</value></field>"
        "<field var='email'><value>j@example.org</value></field>"
    )
    answer = await Stranger(server).asks(
        f"<iq type='set' id='1'>{form('juliet', 'a balcony at night', more)}</iq>"
    )
    assert "type='result'" in answer
    user = await User.objects.aget()
    assert (user.username, user.name, user.email) == ("juliet", "Juliet C.", "j@example.org")


async def test_form_goes_before_other_fields(server, domain_row, is_open):
    query = form("juliet", "a balcony at night").replace("<x ", "<username>romeo</username><x ")
    await Stranger(server).asks(f"<iq type='set' id='1'>{query}</iq>")
    assert (await User.objects.aget()).username == "juliet"


async def test_taken_name_is_a_conflict(server, new_user, is_open):
    await new_user("juliet")
    for spelling in ("juliet", "JULIET"):
        assert f"<conflict xmlns='{STANZAS}'/>" in await Stranger(server).registers(spelling)
    assert await User.objects.acount() == 1


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("", "a balcony at night"),
        ("juliet", ""),
        ("two words", "a balcony at night"),
        ("ju@liet", "a balcony at night"),
        ("x" * 2500, "a balcony at night"),
        ("juliet", "short"),
        ("juliet", "password123"),
        ("juliet", "x" * 5000),
        ("admin", "a balcony at night"),
        ("ADMIN", "a balcony at night"),
        ("ａｄｍｉｎ", "a balcony at night"),
    ],
)
async def test_refused_values(server, domain_row, is_open, username, password):
    answer = await Stranger(server).registers(username, password)
    assert f"<not-acceptable xmlns='{STANZAS}'/>" in answer
    assert not await User.objects.aexists()
    assert not password or password not in answer


async def test_reserved_names_are_a_setting(server, domain_row, is_open, setting):
    await setting("registration.reserved_names", ["juliet"])
    assert "not-acceptable" in await Stranger(server).registers("juliet")
    assert "type='result'" in await Stranger(server).registers("admin")


async def test_missing_field_of_a_form_is_not_acceptable(server, domain_row, is_open):
    query = form("juliet", "")
    assert "not-acceptable" in await Stranger(server).asks(f"<iq type='set' id='1'>{query}</iq>")


async def test_form_of_another_kind_is_refused(server, domain_row, is_open):
    query = form("juliet", "a balcony at night", form_type="jabber:iq:search")
    assert "bad-request" in await Stranger(server).asks(f"<iq type='set' id='1'>{query}</iq>")


async def test_removal_without_login_is_unexpected(server, domain_row, is_open):
    query = "<query xmlns='jabber:iq:register'><remove/></query>"
    assert "unexpected-request" in await Stranger(server).asks(f"<iq type='set' id='1'>{query}</iq>")


async def test_registrations_of_an_address_are_limited_for_an_hour(
    server, clock, domain_row, is_open, setting
):
    await setting("registration.max_per_address_and_hour", 2)
    for name in ("one", "two"):
        assert "type='result'" in await Stranger(server).registers(name)
    assert "resource-constraint" in await Stranger(server).registers("three")
    assert "type='result'" in await Stranger(server, "198.51.100.1").registers("elsewhere")
    clock.advance(minutes=61)
    assert "type='result'" in await Stranger(server).registers("three")


async def test_one_ipv6_network_is_one_address(server, domain_row, is_open, setting):
    await setting("registration.max_per_address_and_hour", 1)
    assert "type='result'" in await Stranger(server, "2001:db8::1").registers("one")
    assert "resource-constraint" in await Stranger(server, "2001:db8::2").registers("two")


async def test_attempts_at_the_same_moment_are_counted(server, domain_row, is_open, setting):
    await setting("registration.max_per_address_and_hour", 2)
    answers = await asyncio.gather(*(Stranger(server).registers(f"user{number}") for number in range(6)))
    assert sum("type='result'" in answer for answer in answers) == 2
    assert await User.objects.acount() == 2


async def test_names_cannot_be_tried_out_at_length(server, new_user, is_open, setting):
    await new_user("juliet")
    await setting("registration.max_failures_per_address_and_hour", 3)
    for _ in range(3):
        assert "conflict" in await Stranger(server).registers("juliet")
    assert "resource-constraint" in await Stranger(server).registers("juliet")


async def test_loopback_is_not_limited(server, domain_row, is_open, setting):
    await setting("registration.max_per_address_and_hour", 1)
    for name in ("one", "two", "three"):
        assert "type='result'" in await Stranger(server, "127.0.0.1").registers(name)


async def test_address_book_of_the_limit_is_bounded(clock, monkeypatch):
    from xmppd.modules import register

    monkeypatch.setattr(register, "MAX_ADDRESSES", 10)
    count = register.HourlyCount(clock.monotonic)
    for number in range(50):
        count.add(f"192.0.2.{number}")
    assert len(count._times) == 10
    assert count.of("192.0.2.49") == 1


# -- logged in


async def test_registered_user_sees_what_is_on_file(alice):
    for to in (None, "example.org"):
        answer = await alice.asks("<query xmlns='jabber:iq:register'/>", to=to)
        query = answer.find("jabber:iq:register", "query")
        assert query.find("jabber:iq:register", "registered") is not None
        assert query.text_of("jabber:iq:register", "username") == "alice"
        assert query.text_of("jabber:iq:register", "password") == ""


def change(password, username="alice"):
    return (
        "<query xmlns='jabber:iq:register'>"
        f"<username>{username}</username><password>{password}</password></query>"
    )


@pytest.mark.parametrize("to", [None, "example.org"])
async def test_password_change_ends_the_other_sessions(alice, alice_phone, to):
    answer = await alice.asks(change("a new secret"), type="set", to=to)
    assert answer.get("type") == "result"
    await alice_phone.is_disconnected("reset")
    await alice.receives_nothing()
    assert await has_password("alice", "a new secret")
    row = await AuditEntry.objects.aget(action="password-changed")
    assert (row.actor, row.door, row.address, row.target) == (alice.bare, "adhoc", "192.0.2.1", alice.bare)


async def test_password_change_by_form(alice):
    query = form("alice", "a new secret", form_type="jabber:iq:register:changepassword")
    assert (await alice.asks(query, type="set", to="example.org")).get("type") == "result"
    assert await has_password("alice", "a new secret")


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        (change(""), "bad-request"),
        (change("short"), "not-acceptable"),
        (change("a new secret", "bob"), "not-allowed"),
        ("<query xmlns='jabber:iq:register'/>", "bad-request"),
    ],
)
async def test_refused_password_change(alice, alice_phone, bob, payload, condition):
    answer = await alice.asks(payload, type="set", to="example.org")
    assert answer.find("jabber:client", "error").find(STANZAS, condition) is not None
    assert "short" not in str(answer)
    await alice_phone.receives_nothing()
    await bob.receives_nothing()


async def test_password_change_can_be_forbidden(alice, setting):
    await setting("registration.allow_password_change", False)
    answer = await alice.asks(change("a new secret"), type="set")
    assert answer.find("jabber:client", "error").find(STANZAS, "not-allowed") is not None
    assert not await AuditEntry.objects.filter(action="password-changed").aexists()


async def test_nobody_changes_the_password_of_another(alice, bob):
    answer = await alice.asks(change("a new secret", "bob"), type="set", to=bob.bare)
    assert answer.find("jabber:client", "error").find(STANZAS, "service-unavailable") is not None


REMOVE = "<query xmlns='jabber:iq:register'><remove/></query>"


@pytest.mark.parametrize("to", ["", " to='example.org'"])
async def test_removal_is_acknowledged_then_every_session_ends(server, alice, alice_phone, to):
    await alice.sends(f"<iq type='set' id='bye'{to}>{REMOVE}</iq>")
    got = await alice.receives("<iq type='result' id='bye'/>")
    assert list(got.elements()) == []
    await alice.is_disconnected("not-authorized")
    await alice_phone.is_disconnected("not-authorized")
    assert not await User.objects.filter(username="alice").aexists()
    assert alice.connection.text.endswith("</stream:stream>")
    row = await AuditEntry.objects.aget(action="user-deleted")
    assert (row.actor, row.door) == (alice.bare, "adhoc")


async def test_removal_can_be_forbidden(alice, setting):
    await setting("registration.allow_removal", False)
    answer = await alice.asks(REMOVE, type="set")
    assert answer.find("jabber:client", "error").find(STANZAS, "not-allowed") is not None
    assert await User.objects.filter(username="alice").aexists()


async def test_removal_stands_alone(alice):
    answer = await alice.asks(REMOVE.replace("<remove/>", "<remove/><username>x</username>"), type="set")
    assert answer.find("jabber:client", "error").find(STANZAS, "bad-request") is not None
    assert await User.objects.filter(username="alice").aexists()


async def test_last_owner_cannot_leave(new_user, log_in):
    await new_user("owner", role="owner")
    owner = await log_in("owner@example.org/desk")
    answer = await owner.asks(REMOVE, type="set")
    assert answer.find("jabber:client", "error").find(STANZAS, "not-allowed") is not None
    assert await User.objects.filter(username="owner").aexists()
