"""XEP-0388: the Extensible SASL Profile over whole streams, with real exchanges of PLAIN and SCRAM."""

import asyncio
import base64

import pytest
import scramp
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts import registry, services, throttle
from accounts.audit import SYSTEM
from accounts.models import User
from tests.conversation import MemoryConnection, settled
from tests.xmpp.test_login import HEADER, PASSWORD, Wire, _iterations  # noqa: F401
from xmppd.protocol.element import E, Element
from xmppd.protocol.namespaces import SASL2
from xmppd.protocol.stream.features import Has
from xmppd.server import authentication
from xmppd.server.module import FIRST, Module, inline_login, inline_session

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
AGENT = "d4565fa7-4d72-4749-b3d3-740edbf87770"
USER_AGENT = (
    f"<user-agent id='{AGENT}'><software>AwesomeXMPP</software><device>Kiva's Phone</device></user-agent>"
)
PLAIN = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
FEATURES_START = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"


def encode(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def header(from_="alice@example.org"):
    return HEADER.replace("<stream:stream ", f"<stream:stream from='{from_}' ")


def failure(condition):
    return f"<failure xmlns='{SASL2}'><{condition} xmlns='{SASL}'/>"


def authenticate(data=PLAIN, *inline, mechanism="PLAIN"):
    initial = "" if data is None else f"<initial-response>{data}</initial-response>"
    return f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'>{initial}{''.join(inline)}</authenticate>"


def text_of(xml, name):
    """What stands in the first element of this name, decoded."""
    start = xml.index(f"<{name}")
    return base64.b64decode(xml[xml.index(">", start) + 1 : xml.index(f"</{name}>", start)]).decode()


class Wire2(Wire):
    """Says where it comes from, and logs in by the newer profile."""

    def __init__(self, server, *, from_="alice@example.org", **kwargs):
        self.header = header(from_)
        super().__init__(server, **kwargs)

    def says(self, xml):
        super().says(self.header if xml == HEADER else xml)

    async def logs_in(self, data=PLAIN, *inline, mechanism="PLAIN"):
        self.says(authenticate(data, *inline, mechanism=mechanism))
        return await self.answer()

    async def scram2(self, mechanism, username="alice", password=PASSWORD, *inline, binding=None):
        client = scramp.ScramClient([mechanism], username, password, channel_binding=binding)
        challenge = await self.logs_in(encode(client.get_client_first()), *inline, mechanism=mechanism)
        if "<challenge" not in challenge:
            return challenge
        assert challenge.startswith(f"<challenge xmlns='{SASL2}'>")
        client.set_server_first(text_of(challenge, "challenge"))
        self.says(f"<response xmlns='{SASL2}'>{encode(client.get_client_final())}</response>")
        answer = await self.answer()
        if "<success" in answer:
            client.set_server_final(text_of(answer, "additional-data"))
        return answer


@pytest.fixture(autouse=True)
async def _alice(_iterations, new_user):  # noqa: F811
    return await new_user("alice")


# -- what is offered


async def test_offer(server):
    names = "".join(
        f"<mechanism>{name}</mechanism>"
        for name in ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    )
    features = Wire2(server).features
    assert f"<mechanisms xmlns='{SASL}'>{names}</mechanisms>" in features
    assert f"<authentication xmlns='{SASL2}'>{names}<inline>" in features


async def test_only_inside_tls(server, actor):
    await sync_to_async(registry.set_value)("c2s.tls", "optional", actor=actor)
    wire = Wire2(server, tls=False)
    assert f"<mechanisms xmlns='{SASL}'>" in wire.features
    assert SASL2 not in wire.features
    assert failure("encryption-required") in await wire.logs_in(mechanism="SCRAM-SHA-256")


async def test_encryption_is_required(server):
    server.has_tls = True
    wire = Wire2(server, tls=False)
    assert SASL2 not in wire.features
    assert failure("encryption-required") in await wire.logs_in()


# -- what works


async def test_plain(server):
    """XEP-0388 5.1: success, then features, on the same stream."""
    wire = Wire2(server)
    answer = await wire.logs_in()
    assert answer.startswith(
        f"<success xmlns='{SASL2}'><authorization-identifier>alice@example.org</authorization-identifier>"
        f"</success>{FEATURES_START}"
    )
    assert "mechanism" not in answer
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r</resource></bind></iq>")
    assert "<jid>alice@example.org/r</jid>" in wire.rest()
    assert wire.connection.mechanism == "PLAIN"
    wire.says("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert "type='result'" in await wire.answer()


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_scram(server, name):
    """XEP-0388 2.5, 2.6.1: the server's signature comes as additional data, and the client checks it."""
    for _ in range(2):
        assert "<success" in await Wire2(server).scram2(name)


async def test_scram_with_channel_binding(server):
    bindings = {"tls-server-end-point": b"the certificate"}
    wire = Wire2(server, bindings=bindings)
    answer = await wire.scram2("SCRAM-SHA-256-PLUS", binding=("tls-server-end-point", b"the certificate"))
    assert "<success" in answer
    wire = Wire2(server, bindings=bindings)
    answer = await wire.scram2("SCRAM-SHA-256-PLUS", binding=("tls-server-end-point", b"another"))
    assert failure("not-authorized") in answer


async def test_without_initial_response(server):
    wire = Wire2(server)
    assert await wire.logs_in(None) == f"<challenge xmlns='{SASL2}'></challenge>"
    wire.says(f"<response xmlns='{SASL2}'>{PLAIN}</response>")
    assert "<success" in await wire.answer()


async def test_base64_with_white_space_around_it(server):
    """As the examples of the specification are written."""
    assert "<success" in await Wire2(server).logs_in(f"\n    {PLAIN}\n  ")


async def test_all_sent_at_once(server):
    """Header, login, binding and the first stanza in one packet."""
    wire = Wire2(server, from_="alice@example.org")
    wire.connection = MemoryConnection(server)
    wire.connection.stream.has |= Has.TLS
    wire.read = 0
    wire.says(
        header()
        + authenticate()
        + f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r</resource></bind></iq>"
        + "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    answer = await wire.answer()
    assert "<jid>alice@example.org/r</jid>" in answer
    assert answer.index("</stream:features>") < answer.index("<jid>") < answer.index("id='p'")


async def test_older_profile_still_works_beside_it(server):
    wire = Wire2(server)
    assert failure("not-authorized") in await wire.logs_in(encode("\0alice\0wrong"))
    assert await wire.plain("alice") == f"<success xmlns='{SASL}'></success>"


async def test_user_agent_is_remembered_and_never_shown(server):
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, USER_AGENT)
    agent = wire.connection.user_agent
    assert (agent.id, agent.software, agent.device) == (AGENT, "AwesomeXMPP", "Kiva's Phone")
    assert AGENT not in answer


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<user-agent/>", ""),
        ("<user-agent id='1'/>", ""),  # another installation may well have the same
        (f"<user-agent id='{AGENT.upper()}'/>", AGENT),
        ("", ""),
    ],
)
async def test_ids_that_tell_nothing(server, text, wanted):
    wire = Wire2(server)
    assert "<success" in await wire.logs_in(PLAIN, text)
    assert wire.connection.user_agent.id == wanted


async def test_names_of_clients_are_cut(server):
    wire = Wire2(server)
    await wire.logs_in(PLAIN, f"<user-agent id='{AGENT}'><software>{'x' * 1000}</software></user-agent>")
    assert wire.connection.user_agent.software == "x" * 100


# -- what does not


@pytest.mark.parametrize(
    ("mechanism", "data", "expected"),
    [
        ("PLAIN", encode("\0alice\0wrong"), "not-authorized"),
        ("PLAIN", encode("\0nobody\0wrong"), "not-authorized"),
        ("PLAIN", encode(f"bob@example.org\0alice\0{PASSWORD}"), "invalid-authzid"),
        ("PLAIN", "!!!", "incorrect-encoding"),
        ("PLAIN", "=", "incorrect-encoding"),  # means empty data in the older profile alone
        ("PLAIN", "", "malformed-request"),
        ("SCRAM-SHA-256", "", "malformed-request"),
        ("EXTERNAL", None, "invalid-mechanism"),
        ("HT-SHA-256-ENDP", "", "invalid-mechanism"),
        ("", None, "invalid-mechanism"),
    ],
)
async def test_failures(server, mechanism, data, expected):
    wire = Wire2(server)
    answer = await wire.logs_in(data, mechanism=mechanism)
    assert answer.startswith(failure(expected))
    assert wire.connection.account is None
    assert "<success" in await wire.logs_in()  # the stream is still good


async def test_the_header_names_another_account(server, new_user):
    """XEP-0388 2.3."""
    await new_user("bob")
    for from_, works in (("bob@example.org", False), ("@", False), ("alice@example.org/home", True)):
        answer = await Wire2(server, from_=from_).logs_in()
        assert (f"<success xmlns='{SASL2}'>" in answer) is works
        assert works or failure("invalid-authzid") in answer


async def test_abort(server):
    wire = Wire2(server)
    await wire.logs_in(encode("n,,n=alice,r=abc"), mechanism="SCRAM-SHA-256")
    wire.says(f"<abort xmlns='{SASL2}'/>")
    assert (await wire.answer()).startswith(failure("aborted"))
    assert "<success" in await wire.logs_in()


@pytest.mark.parametrize(
    "traffic",
    [
        "<presence/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>",
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>{PLAIN}</auth>",
        f"<response xmlns='{SASL}'/>",
        authenticate(),
        f"<next xmlns='{SASL2}' task='X'/>",
    ],
)
async def test_any_other_traffic_during_the_login_ends_the_stream(server, traffic):
    wire = Wire2(server)
    assert "<challenge" in await wire.logs_in(encode("n,,n=alice,r=abc"), mechanism="SCRAM-SHA-256")
    wire.says(traffic)
    assert "<stream:error>" in await wire.answer()
    assert wire.connection.is_ended


@pytest.mark.parametrize("is_bound", [False, True])
async def test_second_login_is_a_stream_error(server, is_bound):
    """XEP-0388 3.6."""
    wire = Wire2(server)
    await wire.logs_in()
    if is_bound:
        wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    wire.says(authenticate())
    assert "<stream:error>" in await wire.answer()
    assert wire.connection.is_ended


async def test_too_many_failures_end_the_stream(server):
    wire = Wire2(server)
    for _ in range(3):
        answer = await wire.logs_in(encode("\0alice\0wrong"))
    assert "<policy-violation " in answer
    assert wire.connection.is_ended


async def test_a_response_to_nothing(server):
    wire = Wire2(server)
    wire.says(f"<response xmlns='{SASL2}'>{PLAIN}</response>")
    assert failure("malformed-request") in await wire.answer()


async def test_throttle_holds(server, actor):
    await sync_to_async(registry.set_value)("security.login.max_failures_per_account_address", 1, actor=actor)
    await Wire2(server).logs_in(encode("\0alice\0wrong"))
    assert failure("temporary-auth-failure") in await Wire2(server).logs_in()
    throttle.unban(account="alice@example.org", address="192.0.2.1")
    assert "<success" in await Wire2(server).logs_in()


# -- requests of other specifications inside

TEST = "urn:test:inline"


class Inline(Module):
    """Answers, waits, breaks, and takes away the account while the login is being completed."""

    @inline_login(TEST, "now")
    def now(self, element, completion):
        return E(TEST, "done", who=completion.account.jid)

    @inline_login(TEST, "later")
    async def later(self, element, completion):
        await asyncio.sleep(0)
        return E(TEST, "done-later")

    @inline_login(TEST, "broken")
    def broken(self, element, completion):
        raise RuntimeError("broken on purpose")

    @inline_login(TEST, "unwritable")
    def unwritable(self, element, completion):
        return Element(TEST, "done", {"at": None})

    @inline_login(TEST, "lock")
    async def lock(self, element, completion):
        user = await User.objects.aget(pk=completion.account.id)
        await sync_to_async(services.lock_user)(user, actor=SYSTEM)

    @inline_login(TEST, "password")
    async def password(self, element, completion):
        user = await User.objects.aget(pk=completion.account.id)
        await sync_to_async(services.set_password)(user, "another horse", actor=SYSTEM)

    @inline_session(TEST, "session", priority=FIRST)
    def session(self, element, completion):
        completion.bind("taken")
        return E(TEST, "bound-here")


async def test_inline_requests_are_answered_in_order(server):
    server.add_module(Inline)
    answer = await Wire2(server).logs_in(
        PLAIN,
        *(f"<{name} xmlns='{TEST}'/>" for name in ("later", "broken", "unknown", "now")),
    )
    assert (
        "</authorization-identifier>"
        f"<done-later xmlns='{TEST}'/><done xmlns='{TEST}' who='alice@example.org'/></success>"
    ) in answer


async def test_answer_that_cannot_be_written(server, caplog):
    server.add_module(Inline)
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, f"<unwritable xmlns='{TEST}'/>", f"<session xmlns='{TEST}'/>")
    assert "<internal-server-error " in answer
    assert wire.connection.is_ended
    assert not server.sessions()


async def test_binding_that_cannot_read_the_account(server, monkeypatch):
    wire = Wire2(server)
    await wire.logs_in()

    async def broken(_jid):
        raise RuntimeError("broken on purpose")

    server.directory.invalidate("alice@example.org")
    monkeypatch.setattr(server.directory, "load", broken)
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    assert "<internal-server-error " in await wire.answer()
    assert wire.connection.is_ended


async def test_inline_requests_die_with_the_login(server):
    server.add_module(Inline)
    answer = await Wire2(server).logs_in(encode("\0alice\0wrong"), f"<now xmlns='{TEST}'/>")
    assert "done" not in answer


async def test_account_is_locked_meanwhile(server, clock):
    clock.advance(seconds=(timezone.now() - clock.now()).total_seconds() + 5)
    server.add_module(Inline)
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, f"<lock xmlns='{TEST}'/>", f"<session xmlns='{TEST}'/>")
    assert "<success" not in answer
    assert failure("account-disabled") in answer
    assert wire.connection.session is None


@pytest.mark.parametrize("changes", ["name", "password"])
@pytest.mark.parametrize("profile", ["sasl", "sasl2"])
async def test_account_is_written_while_its_password_is_checked(server, monkeypatch, profile, changes):
    """It is read again: the same password is good still, another one is not."""
    user = await User.objects.aget(username="alice")
    check = authentication.check_password

    def then_changed(*arguments):
        is_right = check(*arguments)
        if changes == "name":
            services.update_user(user, name="Alice", actor=SYSTEM)
        else:
            services.set_password(user, "another horse", actor=SYSTEM)
        return is_right

    monkeypatch.setattr(authentication, "check_password", then_changed)
    wire = Wire2(server)
    answer = await wire.logs_in() if profile == "sasl2" else await wire.plain("alice")
    assert ("<success" in answer) is (changes == "name")
    assert ("<not-authorized" in answer) is (changes == "password")


async def test_password_is_changed_before_success(server):
    server.add_module(Inline)
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, f"<password xmlns='{TEST}'/>", f"<session xmlns='{TEST}'/>")
    assert answer.startswith(failure("not-authorized"))
    assert wire.connection.session is None


@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256"])
async def test_whatever_breaks_the_client_is_answered(server, monkeypatch, caplog, name):
    def broken(*_arguments):
        raise RuntimeError("broken on purpose")

    wire = Wire2(server)
    await wire.scram2("SCRAM-SHA-256")
    for place in ("check_password", "challenge_keys"):
        monkeypatch.setattr(authentication, place, broken)
    for _ in range(2):  # with the look-up and without
        wire = Wire2(server)
        data = PLAIN if name == "PLAIN" else encode("n,,n=alice,r=abc")
        answer = await wire.logs_in(data, mechanism=name)
        assert answer.startswith(failure("temporary-auth-failure"))
    assert "broken on purpose" in caplog.text
    monkeypatch.undo()
    assert "<success" in await wire.logs_in()


async def test_what_gives_a_session_is_tried_first_and_keeps_binding_away(server):
    server.add_module(Inline)
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, "<bind xmlns='urn:xmpp:bind:0'/>", f"<session xmlns='{TEST}'/>")
    assert "<authorization-identifier>alice@example.org/taken</authorization-identifier>" in answer
    assert f"<bound-here xmlns='{TEST}'/></success><stream:features>" in answer
    assert "urn:xmpp:bind:0" not in answer
    assert wire.connection.session.jid.resource == "taken"


async def test_client_that_leaves_before_the_end(server):
    server.add_module(Inline)
    wire = Wire2(server)
    wire.says(authenticate(PLAIN, f"<later xmlns='{TEST}'/>", f"<session xmlns='{TEST}'/>"))
    wire.connection.lost()
    await settled(server)
    assert wire.connection.session is None
    assert not server.directory.online
