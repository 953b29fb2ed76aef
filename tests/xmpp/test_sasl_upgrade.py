"""XEP-0480: accounts that come with SCRAM-SHA-1 only, and clients that help to complete them."""

import base64
import hashlib
import re

import pytest
import scramp
from asgiref.sync import sync_to_async

from accounts import credentials, services
from accounts.models import AuditEntry, User
from tests.conversation import settled
from tests.xmpp.test_bind2 import bind
from tests.xmpp.test_fast import comes_back, fast, token_in, wants
from tests.xmpp.test_login import HEADER, PASSWORD, Wire, _iterations, payload  # noqa: F401
from tests.xmpp.test_sasl2 import (
    PLAIN,
    USER_AGENT,
    Wire2,
    authenticate,
    encode,
    failure,
    text_of,
)
from xmppd.protocol.namespaces import SASL, SASL2
from xmppd.protocol.sasl.scram import derive_keys

NS = "urn:xmpp:sasl:upgrade:0"
DATA_NS = "urn:xmpp:scram-upgrade:0"
SALT = b"0123456789abcdef"
ITERATIONS = 5000
SHA256, SHA512 = "UPGR-SCRAM-SHA-256", "UPGR-SCRAM-SHA-512"


def upgrade(task):
    return f"<upgrade xmlns='{NS}'>{task}</upgrade>"


def next_(task):
    return f"<next xmlns='{SASL2}' task='{task}'/>"


def salted(answer, hash_name="sha256", password=PASSWORD):
    """What a client makes of <salt/>."""
    found = re.fullmatch(
        f"<task-data xmlns='{SASL2}'><salt xmlns='{DATA_NS}' iterations='([0-9]+)'>([^<]+)</salt></task-data>",
        answer,
    )
    assert found, answer
    salt = base64.b64decode(found[2], validate=True)
    return encode(hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, int(found[1])))


def task_data(text, name="hash", ns=DATA_NS):
    return f"<task-data xmlns='{SASL2}'><{name} xmlns='{ns}'>{text}</{name}></task-data>"


@pytest.fixture
async def alice_imported(new_user, actor):
    """Only SHA-1, as another server kept it; the server is told of it as of any change."""
    user = await new_user("alice")
    keys = {"sha1": derive_keys(PASSWORD, SALT, ITERATIONS, "sha1")}
    return await sync_to_async(services.set_scram_keys)(user, keys, actor=actor)


@pytest.fixture
async def _known(alice_imported, server):
    await looked(server)


async def looked(server):
    """As a second later: who was written has been looked at, and features are made anew."""
    server.sweep()
    await settled(server)
    server.sweep()


@sync_to_async
def kept(username="alice"):
    return credentials.hashes_of(User.objects.get(username=username).password)


async def proved(server, *inline, mechanism="SCRAM-SHA-1", **kwargs):
    """A wire whose client has proved the password, and what the server said to it."""
    wire = Wire2(server, **kwargs)
    client = scramp.ScramClient([mechanism], "alice", PASSWORD)
    challenge = await wire.logs_in(encode(client.get_client_first()), *inline, mechanism=mechanism)
    client.set_server_first(text_of(challenge, "challenge"))
    wire.says(f"<response xmlns='{SASL2}'>{encode(client.get_client_final())}</response>")
    answer = await wire.answer()
    client.set_server_final(text_of(answer, "additional-data"))  # 2.2: <continue/> carries the signature
    return wire, answer


def asks_for(task, data=True):
    return re.compile(
        f"<continue xmlns='{SASL2}'>"
        + ("<additional-data>[^<]+</additional-data>" if data else "")
        + f"<tasks><task>{task}</task></tasks></continue>"
    )


# -- what is offered


async def test_complete_accounts_need_no_upgrade(server, new_user):
    await new_user("alice")
    await looked(server)
    assert NS not in Wire2(server).features


@pytest.mark.usefixtures("_known")
async def test_offer(server, new_user):
    """2.1: beside <inline/>, whoever asks; nobody learns by it whether an account exists."""
    tasks = f"</inline>{upgrade(SHA256)}{upgrade(SHA512)}</authentication>"
    for from_ in ("alice@example.org", "nobody@example.org", "@"):
        assert tasks in Wire2(server, from_=from_).features


@pytest.mark.usefixtures("_known")
async def test_mechanisms_are_those_of_the_account(server, new_user):
    """XEP-0388 2.1: what can be provided for the name in the header; without one, what all accounts have."""
    await new_user("bob")
    for from_ in ("alice@example.org", "alice@example.org/home", "example.org", "@"):
        features = Wire2(server, from_=from_).features
        assert "SCRAM-SHA-1<" in features
        assert "SCRAM-SHA-256<" not in features.replace(SHA256, "")
    assert "SCRAM-SHA-512</mechanism>" not in Wire(server).features
    for from_ in ("bob@example.org", "nobody@example.org"):
        assert "SCRAM-SHA-512</mechanism>" in Wire2(server, from_=from_).features


@pytest.mark.usefixtures("_known")
async def test_downgrade_protection_covers_the_list_of_the_account(server):
    """XEP-0474 5.1."""
    wire = Wire2(server)
    data = encode("n,,n=alice,r=abc")
    challenge = text_of(await wire.logs_in(data, mechanism="SCRAM-SHA-1"), "challenge")
    assert challenge.endswith(",h=" + encode(hashlib.sha1(b"PLAIN\x1eSCRAM-SHA-1").digest()))


async def test_nothing_in_common(server, new_user, actor):
    """Where no hash is kept for all, the strongest are offered: most accounts have all."""
    for username, name in (("alice", "sha1"), ("bob", "sha512")):
        keys = {name: derive_keys(PASSWORD, SALT, ITERATIONS, name)}
        await sync_to_async(services.set_scram_keys)(await new_user(username), keys, actor=actor)
    await looked(server)
    assert "SCRAM-SHA-512</mechanism>" in Wire(server).features
    assert f"{upgrade(SHA256)}{upgrade(SHA512)}</authentication>" in Wire(server).features


async def test_start_reads_who_lacks_what(alice_imported, server):
    assert server.authentication.incomplete == {"alice@example.org": ("sha1",)}


@pytest.mark.usefixtures("_known")
async def test_completed_and_deleted_accounts_are_forgotten(server, alice_imported, actor):
    assert server.authentication.incomplete
    await sync_to_async(services.delete_user)(alice_imported, actor=actor)
    await looked(server)
    assert server.authentication.incomplete == {}
    assert NS not in Wire2(server).features
    assert "SCRAM-SHA-512</mechanism>" in Wire(server).features


# -- logins without upgrade


@pytest.mark.usefixtures("alice_imported")
async def test_sha_1_works(server):
    assert "<success" in await Wire2(server).scram2("SCRAM-SHA-1")
    assert "<success" in await Wire(server).scram("SCRAM-SHA-1", "alice")
    assert await kept() == ("sha1",)


@pytest.mark.usefixtures("alice_imported")
async def test_missing_hash_fails_as_a_wrong_password(server, new_user):
    """Salt and iterations are the account's own and stay the same; error and place of the error too."""
    await new_user("bob")
    server.authentication.incomplete.clear()  # features of before are in some client's cache

    async def exchange(username, password):
        wire = Wire2(server, from_=f"{username}@example.org")
        client = scramp.ScramClient(["SCRAM-SHA-256"], username, password)
        first = encode(client.get_client_first())
        challenge = text_of(await wire.logs_in(first, mechanism="SCRAM-SHA-256"), "challenge")
        client.set_server_first(challenge)
        wire.says(f"<response xmlns='{SASL2}'>{encode(client.get_client_final())}</response>")
        return challenge.split(",")[1:3], await wire.answer()

    asked, answer = await exchange("alice", PASSWORD)
    assert asked == [f"s={encode(SALT)}", f"i={ITERATIONS}"]
    assert (await exchange("alice", PASSWORD)) == (asked, answer)
    assert answer == (await exchange("bob", "wrong"))[1] == (await exchange("nobody", "wrong"))[1]
    assert answer.startswith(failure("not-authorized"))


@pytest.mark.usefixtures("alice_imported")
@pytest.mark.parametrize("profile", ["sasl", "sasl2"])
async def test_plain_completes_silently(server, profile):
    """Sessions go on, and the login during which it happens does too."""
    other = Wire2(server)
    assert "<bound " in await other.scram2("SCRAM-SHA-1", "alice", PASSWORD, USER_AGENT, bind())
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, upgrade(SHA256)) if profile == "sasl2" else await wire.plain("alice")
    assert "<success" in answer
    assert await kept() == credentials.HASH_NAMES
    assert not other.connection.is_ended
    await looked(server)
    for name in ("SCRAM-SHA-1", "SCRAM-SHA-512"):
        assert "<success" in await Wire2(server).scram2(name)
    assert not await AuditEntry.objects.filter(action="credentials-upgraded").aexists()


@pytest.mark.usefixtures("alice_imported")
async def test_wrong_password_completes_nothing(server):
    assert failure("not-authorized") in await Wire2(server).logs_in(encode("\0alice\0wrong"))
    assert await kept() == ("sha1",)


# -- the upgrade, XEP-0480 3


@pytest.mark.usefixtures("_known")
async def test_upgrade(server, alice_imported):
    """The example of section 3."""
    wire, answer = await proved(server, upgrade(SHA256), USER_AGENT)
    assert asks_for(SHA256).fullmatch(answer)
    wire.says(next_(SHA256))
    answer = await wire.answer()
    salt = f"<salt xmlns='{DATA_NS}' iterations='{ITERATIONS}'>{encode(SALT)}</salt>"
    assert answer == f"<task-data xmlns='{SASL2}'>{salt}</task-data>"
    wire.says(task_data(salted(answer)))
    answer = await wire.answer()
    assert answer.startswith(
        f"<success xmlns='{SASL2}'><authorization-identifier>alice@example.org</authorization-identifier></success>"
        "<stream:features>"
    )
    assert await kept() == ("sha1", "sha256")
    assert wire.connection.mechanism == "SCRAM-SHA-1"
    row = await AuditEntry.objects.aget(action="credentials-upgraded")
    assert (row.actor, row.target, row.address) == ("alice@example.org", "alice@example.org", "192.0.2.1")
    await looked(server)
    assert "<success" in await Wire2(server).scram2("SCRAM-SHA-256")
    assert "<success" in await Wire2(server).scram2("SCRAM-SHA-1")  # 4: the older keys stay


@pytest.mark.usefixtures("_known")
async def test_several_tasks_one_after_the_other(server):
    """2.2: each in a <continue/> of its own, in the client's order; what it does not know of is passed over."""
    asked = [upgrade(task) for task in ("UPGR-X", SHA512, SHA256, SHA512, "UPGR-SCRAM-SHA-1")]
    wire, answer = await proved(server, *asked)
    for place, (task, hash_name) in enumerate([(SHA512, "sha512"), (SHA256, "sha256")]):
        assert asks_for(task, data=not place).fullmatch(answer)
        wire.says(next_(task))
        wire.says(task_data(salted(await wire.answer(), hash_name)))
        answer = await wire.answer()
    assert answer.startswith(f"<success xmlns='{SASL2}'><authorization-identifier>")
    assert await kept() == credentials.HASH_NAMES
    await looked(server)
    for name in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert "<success" in await Wire2(server).scram2(name)


@pytest.mark.usefixtures("_known")
async def test_byte_by_byte(server):
    wire, answer = await proved(server, upgrade(SHA256))
    for byte in next_(SHA256):
        wire.says(byte)
    for byte in task_data("\n  " + salted(await wire.answer()) + "\n"):
        wire.says(byte)
    assert "<success" in await wire.answer()
    assert await kept() == ("sha1", "sha256")


@pytest.mark.usefixtures("_known")
async def test_requests_wait_for_the_tasks(server):
    """XEP-0386 3.2, XEP-0484 3.3: binding and tokens come behind the last task."""
    wire, answer = await proved(server, upgrade(SHA256), USER_AGENT, bind(), wants())
    assert asks_for(SHA256).fullmatch(answer)
    assert not server.sessions()
    wire.says(next_(SHA256))
    answer = await wire.answer()
    wire.says(task_data(salted(answer)))
    answer = await wire.answer()
    assert "<bound " in answer
    assert token_in(answer)


@pytest.mark.usefixtures("_known")
async def test_sessions_and_tokens_outlive_the_upgrade(server):
    phone = Wire2(server)
    answer = await phone.scram2("SCRAM-SHA-1", "alice", PASSWORD, USER_AGENT, bind(), wants())
    wire, _answer = await proved(server, upgrade(SHA256))
    wire.says(next_(SHA256))
    wire.says(task_data(salted(await wire.answer())))
    await settled(server)
    assert await kept() == ("sha1", "sha256")
    assert not phone.connection.is_ended
    assert "<success" in await comes_back(server, token_in(answer), fast(), upgrade(SHA512))  # and no task


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("task", ["UPGR-SCRAM-SHA-1", "UPGR-SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", ""])
async def test_tasks_that_are_none_are_passed_over(server, task):
    _wire, answer = await proved(server, upgrade(task))
    assert answer.startswith("<success ")


async def test_nothing_to_do_for_a_complete_account(server, new_user):
    await new_user("alice")
    _wire, answer = await proved(server, upgrade(SHA256), upgrade(SHA512))
    assert answer.startswith("<success ")


# -- what goes wrong


async def in_task(server):
    wire, _answer = await proved(server, upgrade(SHA256))
    wire.says(next_(SHA256))
    return wire, await wire.answer()


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("task", [SHA512, "", "X"])
async def test_another_task_than_the_one_in_turn(server, task):
    wire, _answer = await proved(server, upgrade(SHA256), upgrade(SHA512))
    wire.says(next_(task))
    assert (await wire.answer()).startswith(failure("malformed-request"))
    assert "<success" in await wire.scram2("SCRAM-SHA-1")  # the stream is still good


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (task_data("!!!"), "incorrect-encoding"),
        (task_data("="), "incorrect-encoding"),
        (task_data(""), "malformed-request"),
        (task_data(encode(b"short")), "malformed-request"),
        (task_data(encode(bytes(64))), "malformed-request"),
        (task_data(encode(bytes(32)), name="response"), "malformed-request"),
        (task_data(encode(bytes(32)), ns=NS), "malformed-request"),
        (f"<task-data xmlns='{SASL2}'/>", "malformed-request"),
    ],
)
async def test_what_is_no_hash(server, data, condition):
    wire, _answer = await in_task(server)
    wire.says(data)
    assert (await wire.answer()).startswith(failure(condition))
    assert wire.connection.account is None
    assert await kept() == ("sha1",)


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("has_begun", [False, True])
async def test_abort(server, has_begun):
    wire, _answer = await (in_task(server) if has_begun else proved(server, upgrade(SHA256)))
    wire.says(f"<abort xmlns='{SASL2}'/>")
    assert (await wire.answer()).startswith(failure("aborted"))
    assert await kept() == ("sha1",)
    assert "<success" in await wire.scram2("SCRAM-SHA-1")


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize(
    "traffic",
    [
        authenticate(),
        f"<response xmlns='{SASL2}'/>",
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>{PLAIN}</auth>",
        "<presence/>",
        None,  # the other element of a task
    ],
)
async def test_any_other_traffic_ends_the_stream(server, traffic, has_begun):
    """XEP-0388 2.4, 3.6."""
    wire, _answer = await (in_task(server) if has_begun else proved(server, upgrade(SHA256)))
    wire.says(traffic or (next_(SHA256) if has_begun else task_data("")))
    assert "<stream:error>" in await wire.answer()
    assert wire.connection.is_ended
    assert await kept() == ("sha1",)


@pytest.mark.usefixtures("_known")
async def test_tasks_before_the_proof(server):
    for element in (next_(SHA256), task_data("")):
        wire = Wire2(server)
        await wire.logs_in(encode("n,,n=alice,r=abc"), upgrade(SHA256), mechanism="SCRAM-SHA-1")
        wire.says(element)
        assert "<stream:error>" in await wire.answer()


@pytest.mark.usefixtures("_known")
async def test_password_is_changed_meanwhile(server, alice_imported, actor):
    wire, answer = await in_task(server)
    await sync_to_async(services.set_password)(alice_imported, "another horse", actor=actor)
    await settled(server)
    wire.says(task_data(salted(answer)))
    assert (await wire.answer()).startswith(failure("temporary-auth-failure"))
    keys = credentials.scram_keys((await User.objects.aget()).password, "sha256")
    assert keys == derive_keys("another horse", keys.salt, keys.iterations, "sha256")


@pytest.mark.usefixtures("_known")
async def test_account_is_locked_meanwhile(server, alice_imported, actor, clock):
    wire, answer = await in_task(server)
    await sync_to_async(services.lock_user)(alice_imported, actor=actor)
    clock.advance(days=365 * 10)
    wire.says(task_data(salted(answer)))
    assert (await wire.answer()).startswith(failure("account-disabled"))


@pytest.mark.usefixtures("_known")
async def test_database_that_fails_keeps_nobody_out(server, monkeypatch, caplog):
    def broken(*_arguments, **_keywords):
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("xmppd.server.upgrade.add_scram_keys", broken)
    wire, answer = await in_task(server)
    wire.says(task_data(salted(answer)))
    assert "<success" in await wire.answer()
    assert "broken on purpose" in caplog.text
    assert await kept() == ("sha1",)


@pytest.mark.usefixtures("_known")
async def test_client_that_leaves_in_between(server):
    wire, answer = await in_task(server)
    wire.says(task_data(salted(answer)))
    wire.connection.lost()
    await settled(server)
    assert not server.directory.online
    assert await kept() == ("sha1", "sha256")


@pytest.mark.usefixtures("_known")
async def test_nobody_waits_for_a_task_for_ever(server, clock):
    wire, _answer = await proved(server, upgrade(SHA256))
    clock.advance(minutes=10)
    server.sweep()
    assert "<connection-timeout " in await wire.answer()
