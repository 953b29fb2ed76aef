"""RFC 6120 6: logins over the stream, by real exchanges of PLAIN and SCRAM."""

import base64
import time
from datetime import timedelta

import pytest
import scramp
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts import registry, services, throttle
from accounts.credentials import ScramPasswordHasher
from tests.conversation import MemoryConnection, settled
from tests.xmpp.test_session import BIND, HEADER
from xmppd.protocol.stream.features import Has
from xmppd.server import authentication

PASSWORD = "correct horse"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
HASHES = ["SHA-1", "SHA-256", "SHA-512"]


class Wire:
    """A client before its login: says what it wants, reads one element at a time."""

    def __init__(self, server, address="192.0.2.1", *, bindings=None, tls=True):
        self.connection = MemoryConnection(server, address)
        self.server = server
        self.read = 0
        if bindings:
            self.connection.bindings = bindings
            self.connection.stream.binding_types = tuple(bindings)
        if tls:
            self.connection.stream.has |= Has.TLS
        self.says(HEADER)
        self.features = self.rest()

    def says(self, xml: str) -> None:
        self.connection.receive(xml.encode())

    def rest(self) -> str:
        text = self.connection.text[self.read :]
        self.read += len(text)
        return text

    async def answer(self) -> str:
        """What the server says next."""
        await settled(self.server)
        return self.rest()

    async def auth(self, mechanism: str, data: bytes | str | None = None) -> str:
        text = data if isinstance(data, str) else base64.b64encode(data).decode() if data is not None else ""
        self.says(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>")
        return await self.answer()

    async def response(self, data: bytes | str) -> str:
        text = data if isinstance(data, str) else base64.b64encode(data).decode()
        self.says(f"<response xmlns='{SASL}'>{text}</response>")
        return await self.answer()

    async def plain(self, username: str, password: str = PASSWORD, authzid: str = "") -> str:
        return await self.auth("PLAIN", f"{authzid}\0{username}\0{password}".encode())

    async def scram(self, mechanism: str, username: str, password: str = PASSWORD, binding=None) -> str:
        """The last answer of the server; its signature is checked."""
        client = scramp.ScramClient([mechanism], username, password, channel_binding=binding)
        challenge = await self.auth(mechanism, client.get_client_first().encode())
        if "<challenge" not in challenge:
            return challenge
        client.set_server_first(payload(challenge))
        answer = await self.response(client.get_client_final().encode())
        if "<success" in answer:
            client.set_server_final(payload(answer))
        return answer


def payload(xml: str) -> str:
    return base64.b64decode(xml[xml.index(">") + 1 : xml.rindex("</")]).decode()


def failure(condition: str) -> str:
    return f"<failure xmlns='{SASL}'><{condition}/>"


@pytest.fixture(autouse=True)
def _iterations(monkeypatch):
    """As few as the client accepts."""
    monkeypatch.setattr(ScramPasswordHasher, "iterations", 4096)


@pytest.fixture
async def alice_exists(new_user):
    return await new_user("alice")


@pytest.fixture
def setting(actor):
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


# -- what is offered


async def test_offer(server):
    order = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    assert (
        "".join(f"<mechanism>{name}</mechanism>" for name in order) + "</mechanisms>" in Wire(server).features
    )


async def test_offer_with_channel_binding(server):
    features = Wire(server, bindings={"tls-exporter": b"x"}).features
    plus = "".join(f"<mechanism>SCRAM-{name}-PLUS</mechanism>" for name in reversed(HASHES))
    assert f"<mechanisms xmlns='{SASL}'>{plus}<mechanism>SCRAM-SHA-512</mechanism>" in features


async def test_nothing_but_starttls_before_tls(server):
    server.has_tls = True
    wire = Wire(server, tls=False)
    assert "<mechanism" not in wire.features
    assert "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in wire.features
    assert failure("encryption-required") in await wire.plain("alice")


async def test_plain_can_be_switched_off(server, setting, alice_exists):
    await setting("c2s.allow_plain", False)
    wire = Wire(server)
    assert "PLAIN" not in wire.features
    assert failure("invalid-mechanism") in await wire.plain("alice")


async def test_plain_is_never_offered_without_tls(server, setting, alice_exists):
    await setting("c2s.tls", "optional")
    wire = Wire(server, tls=False)
    assert "SCRAM-SHA-256" in wire.features
    assert "PLAIN" not in wire.features
    assert failure("invalid-mechanism") in await wire.plain("alice")
    assert "<success" in await wire.scram("SCRAM-SHA-256", "alice")


# -- what works


async def test_plain(server, alice_exists):
    wire = Wire(server)
    assert await wire.plain("alice") == f"<success xmlns='{SASL}'></success>"
    wire.says(HEADER)
    assert f"<bind xmlns='{BIND}'/>" in wire.rest()
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r</resource></bind></iq>")
    assert "<jid>alice@example.org/r</jid>" in wire.rest()
    assert wire.connection.mechanism == "PLAIN"
    assert not server.unauthenticated


@pytest.mark.parametrize("name", HASHES)
async def test_scram(server, alice_exists, name):
    for _ in range(2):  # the second time the address is known
        wire = Wire(server)
        assert "<success" in await wire.scram(f"SCRAM-{name}", "alice")
        assert wire.connection.mechanism == f"SCRAM-{name}"


@pytest.mark.parametrize("name", HASHES)
async def test_scram_with_channel_binding(server, alice_exists, name):
    wire = Wire(server, bindings={"tls-exporter": b"the channel", "tls-server-end-point": b"the certificate"})
    answer = await wire.scram(
        f"SCRAM-{name}-PLUS", "alice", binding=("tls-server-end-point", b"the certificate")
    )
    assert "<success" in answer
    wire = Wire(server, bindings={"tls-server-end-point": b"the certificate"})
    answer = await wire.scram(
        f"SCRAM-{name}-PLUS", "alice", binding=("tls-server-end-point", b"somebody between")
    )
    assert failure("not-authorized") in answer


async def test_username_is_prepared(server, alice_exists):
    assert "<success" in await Wire(server).plain("ALICE")
    assert "<success" in await Wire(server).scram("SCRAM-SHA-256", "Alice")


async def test_own_authzid(server, alice_exists):
    assert "<success" in await Wire(server).plain("alice", authzid="alice@example.org")


async def test_without_initial_response(server, alice_exists):
    wire = Wire(server)
    assert await wire.auth("PLAIN") == f"<challenge xmlns='{SASL}'></challenge>"
    assert "<success" in await wire.response(f"\0alice\0{PASSWORD}".encode())


async def test_all_sent_at_once(server, alice_exists):
    """XEP-0305: the next header comes with the login."""
    wire = Wire(server)
    data = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
    wire.says(
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>{HEADER}"
        f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r</resource></bind></iq>"
    )
    assert "<jid>alice@example.org/r</jid>" in await wire.answer()


async def test_new_password_holds_at_once(server, alice_exists, actor):
    assert "<success" in await Wire(server).plain("alice")
    await sync_to_async(services.set_password)(alice_exists, "another battery staple", actor=actor)
    assert failure("not-authorized") in await Wire(server).scram("SCRAM-SHA-256", "alice")
    assert "<success" in await Wire(server).scram("SCRAM-SHA-256", "alice", "another battery staple")


# -- what does not


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", ["PLAIN", *(f"SCRAM-{name}" for name in HASHES)])
async def test_wrong_password_and_unknown_user_look_alike(server, alice_exists, name, known):
    if known:  # alice stands in memory, and her address is a proven one
        await Wire(server).plain("alice")
    answers = []
    for username in ("alice", "nobody"):
        wire = Wire(server)
        if name == "PLAIN":
            answers.append([await wire.plain(username, "wrong")])
            continue
        client = scramp.ScramClient([name], username, "wrong", c_nonce="same")
        challenge = await wire.auth(name, client.get_client_first().encode())
        client.set_server_first(payload(challenge))
        fields = dict(part.split("=", 1) for part in payload(challenge).split(","))
        answers.append(
            [
                len(fields["r"]),
                len(fields["s"]),
                fields["i"],
                await wire.response(client.get_client_final().encode()),
            ]
        )
    assert answers[0] == answers[1]
    assert failure("not-authorized") in answers[0][-1]


async def test_unknown_user_keeps_its_salt(server):
    salts = set()
    for _ in range(3):
        client = scramp.ScramClient(["SCRAM-SHA-256"], "nobody", "x")
        challenge = payload(await Wire(server).auth("SCRAM-SHA-256", client.get_client_first().encode()))
        salts.add(challenge.split(",s=")[1])
    assert len(salts) == 1


async def test_challenges_never_repeat(server, alice_exists):
    nonces = set()
    for _ in range(3):
        challenge = payload(await Wire(server).auth("SCRAM-SHA-256", b"n,,n=alice,r=same"))
        nonces.add(challenge.split(",")[0])
    assert len(nonces) == 3


@pytest.mark.parametrize(
    "authzid", ["bob@example.org", "alice@example.org/x", "alice@elsewhere.example", "@@"]
)
async def test_nobody_acts_as_another(server, alice_exists, new_user, authzid):
    await new_user("bob")
    assert failure("invalid-authzid") in await Wire(server).plain("alice", authzid=authzid)
    wire = Wire(server)
    assert failure("invalid-authzid") in await wire.auth(
        "SCRAM-SHA-256", f"n,a={authzid},n=alice,r=abc".encode()
    )
    assert wire.connection.account is None


async def test_session_is_of_who_logged_in_last(server, alice_exists, new_user):
    """A begun exchange for one account and a finished one for another do not mix."""
    await new_user("bob", password="his own secret")
    wire = Wire(server)
    assert "<challenge" in await wire.auth("SCRAM-SHA-256", b"n,,n=alice,r=abc")
    assert "<success" in await wire.plain("bob", "his own secret")
    assert wire.connection.account.jid.local == "bob"


async def test_header_after_login_names_another_account_or_host(server, alice_exists):
    for old, new in (("to='example.org'", "to='other.example'"), ("to='", "from='bob@example.org' to='")):
        wire = Wire(server)
        await wire.plain("alice")
        wire.says(HEADER.replace(old, new, 1))
        assert wire.connection.is_ended
        assert "<host-unknown " in wire.rest() or "invalid-from" in wire.connection.text


@pytest.mark.parametrize(
    ("mechanism", "data", "expected"),
    [
        ("PLAIN", "!!!", "incorrect-encoding"),
        ("PLAIN", "AGFs aWNl", "incorrect-encoding"),
        ("PLAIN", "AGE", "incorrect-encoding"),
        ("PLAIN", "=", "malformed-request"),
        ("PLAIN", b"alice", "malformed-request"),
        ("PLAIN", b"\0alice", "malformed-request"),
        ("PLAIN", b"\0alice\0a\0b", "malformed-request"),
        ("PLAIN", b"\0\0secret", "malformed-request"),
        ("PLAIN", b"\0alice\0", "not-authorized"),
        ("PLAIN", b"\0alice\0\xff", "malformed-request"),
        ("PLAIN", b"\0a@b\0secret", "not-authorized"),
        ("SCRAM-SHA-256", "=", "malformed-request"),
        ("SCRAM-SHA-256", b"n,,n=alice", "malformed-request"),
        ("SCRAM-SHA-256", b"n,,n=,r=abc", "malformed-request"),
        ("SCRAM-SHA-256", b"p=tls-exporter,,n=alice,r=abc", "malformed-request"),
        ("SCRAM-SHA-256", b"n,,m=x,n=alice,r=abc", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", b"n,,n=alice,r=abc", "invalid-mechanism"),  # not offered here
        ("DIGEST-MD5", b"", "invalid-mechanism"),
        ("CRAM-MD5", None, "invalid-mechanism"),
        ("EXTERNAL", "=", "invalid-mechanism"),
        ("ANONYMOUS", None, "invalid-mechanism"),
        ("plain", b"\0alice\0correct horse", "invalid-mechanism"),
        ("", None, "invalid-mechanism"),
    ],
)
async def test_refused_requests(server, alice_exists, mechanism, data, expected):
    wire = Wire(server)
    assert failure(expected) in await wire.auth(mechanism, data)
    assert "<success" in await wire.plain("alice")  # the stream is still good


async def test_downgrade_of_channel_binding_is_noticed(server, alice_exists):
    """RFC 5802 6: the flag y where we offered -PLUS."""
    bindings = {"tls-exporter": b"x"}
    wire = Wire(server, bindings=bindings)
    assert failure("not-authorized") in await wire.auth("SCRAM-SHA-256", b"y,,n=alice,r=abc")
    assert "<challenge" in await wire.auth("SCRAM-SHA-256", b"n,,n=alice,r=abc")
    assert "<challenge" in await Wire(server).auth("SCRAM-SHA-256", b"y,,n=alice,r=abc")
    wire = Wire(server, bindings=bindings)
    assert failure("malformed-request") in await wire.auth("SCRAM-SHA-256-PLUS", b"n,,n=alice,r=abc")
    assert failure("not-authorized") in await wire.auth("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=alice,r=abc")


async def test_replayed_final_message(server, alice_exists):
    first = Wire(server)
    client = scramp.ScramClient(["SCRAM-SHA-256"], "alice", PASSWORD, c_nonce="same")
    opening = client.get_client_first().encode()
    client.set_server_first(payload(await first.auth("SCRAM-SHA-256", opening)))
    final = client.get_client_final().encode()
    assert "<success" in await first.response(final)
    second = Wire(server)
    await second.auth("SCRAM-SHA-256", opening)
    assert failure("not-authorized") in await second.response(final)


async def test_abort(server, alice_exists):
    wire = Wire(server)
    await wire.auth("SCRAM-SHA-256", b"n,,n=alice,r=abc")
    wire.says(f"<abort xmlns='{SASL}'/>")
    assert failure("aborted") in await wire.answer()
    assert "<success" in await wire.plain("alice")


async def test_response_to_nothing(server):
    assert failure("malformed-request") in await Wire(server).response(b"hello")


async def test_response_after_a_failure(server, alice_exists):
    wire = Wire(server)
    await wire.plain("alice", "wrong")
    assert failure("malformed-request") in await wire.response(f"\0alice\0{PASSWORD}".encode())


async def test_after_some_failures_the_stream_ends(server, alice_exists):
    wire = Wire(server)
    for _ in range(2):
        assert failure("not-authorized") in await wire.plain("alice", "wrong")
        assert not wire.connection.is_ended
    assert "<policy-violation " in await wire.plain("alice", "wrong")
    assert wire.connection.is_ended


async def test_second_login_on_a_stream(server, alice_exists):
    wire = Wire(server)
    await wire.plain("alice")
    wire.says(HEADER)
    wire.rest()
    assert "<mechanism" not in wire.connection.text[wire.connection.text.rindex("<stream:features") :]
    await wire.plain("alice")
    assert wire.connection.is_ended


async def test_stanza_before_login_ends_the_stream(server, alice_exists):
    wire = Wire(server)
    wire.says("<message to='alice@example.org'><body/></message>")
    assert wire.connection.is_ended
    assert "<not-authorized " in wire.rest()


# -- locks


async def test_locked_account(server, alice_exists, actor, clock):
    clock.advance(seconds=(timezone.now() - clock.now()).total_seconds() + 1)
    await sync_to_async(services.lock_user)(alice_exists, actor=actor)
    assert failure("account-disabled") in await Wire(server).plain("alice")
    assert failure("account-disabled") in await Wire(server).scram("SCRAM-SHA-256", "alice")
    # told only to who knows the password
    assert failure("not-authorized") in await Wire(server).plain("alice", "wrong")
    await sync_to_async(services.unlock_user)(alice_exists, actor=actor)
    assert "<success" in await Wire(server).plain("alice")


async def test_lock_for_a_time(server, alice_exists, actor, clock):
    now = timezone.now()
    clock.advance(seconds=(now - clock.now()).total_seconds())
    await sync_to_async(services.lock_user)(
        alice_exists, actor=actor, locked_from=now + timedelta(hours=1), locked_until=now + timedelta(hours=2)
    )
    for hours, works in ((0, True), (1.5, False), (3, True)):
        clock.advance(seconds=(now + timedelta(hours=hours) - clock.now()).total_seconds())
        assert ("<success" in await Wire(server).plain("alice")) is works


async def test_deleted_account(server, alice_exists, actor):
    assert "<success" in await Wire(server).plain("alice")
    await sync_to_async(services.delete_user)(alice_exists, actor=actor)
    await settled(server)
    assert failure("not-authorized") in await Wire(server).scram("SCRAM-SHA-256", "alice")


async def test_account_deleted_during_the_login(server, alice_exists, actor):
    wire = Wire(server)
    client = scramp.ScramClient(["SCRAM-SHA-256"], "alice", PASSWORD)
    client.set_server_first(payload(await wire.auth("SCRAM-SHA-256", client.get_client_first().encode())))
    await sync_to_async(services.delete_user)(alice_exists, actor=actor)
    await settled(server)
    assert "<success" not in await wire.response(client.get_client_final().encode())


# -- brakes


async def test_throttle(server, alice_exists, setting):
    await setting("security.login.max_failures_per_account_address", 2)
    for _ in range(2):
        assert failure("not-authorized") in await Wire(server).scram("SCRAM-SHA-256", "alice", "wrong")
    for wire in (Wire(server), Wire(server)):
        assert failure("temporary-auth-failure") in await wire.plain("alice")
    assert failure("temporary-auth-failure") in await Wire(server).scram("SCRAM-SHA-256", "alice")
    # nobody locks another out: from elsewhere alice comes in, as others do from here
    assert "<success" in await Wire(server, "198.51.100.7").plain("alice")
    assert failure("not-authorized") in await Wire(server).plain("nobody")
    throttle.unban(account="alice@example.org", address="192.0.2.1")
    assert "<success" in await Wire(server).plain("alice")


async def test_throttle_holds_for_proven_addresses_too(server, alice_exists, setting):
    await setting("security.login.max_failures_per_account_address", 1)
    assert "<success" in await Wire(server).scram("SCRAM-SHA-256", "alice")
    assert failure("not-authorized") in await Wire(server).scram("SCRAM-SHA-256", "alice", "wrong")
    assert failure("temporary-auth-failure") in await Wire(server).scram("SCRAM-SHA-256", "alice")


async def test_throttle_is_shared_with_the_other_doors(server, alice_exists, setting):
    await setting("security.login.max_failures_per_account_address", 1)
    throttle.failed("alice@example.org", "192.0.2.1")
    assert failure("temporary-auth-failure") in await Wire(server).plain("alice")
    throttle.unban(account="alice@example.org", address="192.0.2.1")
    await Wire(server).plain("alice", "wrong")
    assert throttle.check("alice@example.org", "192.0.2.1") > 0


async def test_unknown_users_are_throttled_alike(server, setting):
    await setting("security.login.max_failures_per_account_address", 1)
    assert failure("not-authorized") in await Wire(server).plain("nobody")
    assert failure("temporary-auth-failure") in await Wire(server).plain("nobody")


async def test_success_forgets_failures(server, alice_exists, setting):
    await setting("security.login.max_failures_per_account_address", 2)
    for _ in range(3):
        assert failure("not-authorized") in await Wire(server).plain("alice", "wrong")
        assert "<success" in await Wire(server).plain("alice")


async def test_login_time_out(server, clock):
    wire = Wire(server)
    clock.advance(seconds=59)
    server.sweep()
    assert not wire.connection.is_ended
    clock.advance(seconds=2)
    server.sweep()
    assert wire.connection.is_ended
    assert "<connection-timeout " in wire.rest()
    assert not server.unauthenticated


async def test_client_that_leaves_during_the_look_up(server, alice_exists):
    wire = Wire(server)
    data = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
    wire.says(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>")
    wire.connection.lost()
    await settled(server)
    assert wire.connection.account is None
    assert not server.unauthenticated


async def test_failed_logins_are_logged_in_one_line(server, alice_exists, caplog):
    await Wire(server).plain("alice", "my secret")
    await Wire(server).plain("x\ny", "my secret")
    lines = [record.getMessage() for record in caplog.records if record.name == "hearth.auth"]
    assert (
        lines[0]
        == "auth-failed user=alice@example.org ip=192.0.2.1 mech=PLAIN service=c2s reason=wrong-password"
    )
    assert all("\n" not in line and "my secret" not in line for line in lines)
    assert len(lines) == 2


async def test_database_failure_is_told_as_temporary(server, alice_exists, monkeypatch):
    from xmppd.server import directory

    def fail(_):
        raise OSError("no database")

    with monkeypatch.context() as patch:
        patch.setattr(directory, "_read", fail)
        assert failure("temporary-auth-failure") in await Wire(server).plain("alice")
    assert "<success" in await Wire(server).plain("alice")


async def test_work_for_known_and_unknown_names_is_the_same(server, alice_exists, monkeypatch):
    """Both are answered after the same time, whether the account stands in memory, in the database or nowhere."""
    await Wire(server, "198.51.100.7").plain("alice")  # in memory now, by somebody elsewhere
    monkeypatch.setattr(authentication, "LOOKUP_SECONDS", 0.05)
    spent = []
    for name in ("alice", "nobody"):
        wire = Wire(server)
        started = time.monotonic()
        await wire.auth("SCRAM-SHA-256", f"n,,n={name},r=abc".encode())
        spent.append(time.monotonic() - started)
    assert min(spent) >= 0.05
