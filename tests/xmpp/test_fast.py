"""XEP-0484: tokens over whole streams, from the request to the refusal."""

import base64
import hmac
import re
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts import registry, services, throttle
from accounts.credentials import encode_password
from accounts.models import User
from tests.conversation import settled
from tests.xmpp.test_bind2 import bind, identity
from tests.xmpp.test_login import _iterations  # noqa: F401
from tests.xmpp.test_sasl2 import PLAIN, USER_AGENT, Wire2, _alice, encode, failure, text_of  # noqa: F401
from xmppd.models import DeviceToken
from xmppd.services import devices

NS = "urn:xmpp:fast:0"
NONE, ENDP, EXPR = "HT-SHA-256-NONE", "HT-SHA-256-ENDP", "HT-SHA-256-EXPR"
BINDINGS = {"tls-exporter": b"the channel", "tls-server-end-point": b"the certificate"}
OTHER_AGENT = "<user-agent id='0ba7bb7a-8d0c-4a55-9d1f-29b5d3f22a11'/>"
LOCATION = "192.0.2.1"


def wants(mechanism=NONE):
    return f"<request-token xmlns='{NS}' mechanism='{mechanism}'/>"


def fast(**attrs):
    return f"<fast xmlns='{NS}'" + "".join(f" {name}='{value}'" for name, value in attrs.items()) + "/>"


def token_in(answer):
    found = re.search(f"<token xmlns='{NS}' token='([^']*)' expiry='([^']*)'/>", answer)
    return found and found[1]


async def new_token(server, mechanism=NONE, agent=USER_AGENT, **kwargs):
    wire = Wire2(server, **kwargs)
    answer = await wire.logs_in(PLAIN, agent, wants(mechanism))
    await settled(server)
    return token_in(answer)


def proof(token, binding=b"", username="alice", label=b"Initiator"):
    mac = hmac.new(token.encode(), label + binding, "sha256").digest()
    return base64.b64encode(username.encode() + b"\0" + mac).decode()


async def comes_back(server, token, *inline, mechanism=NONE, agent=USER_AGENT, binding=b"", **kwargs):
    """What the server says to a client that shows this token."""
    wire = Wire2(server, **kwargs)
    inline = inline or (fast(),)
    answer = await wire.logs_in(proof(token, binding), agent, *inline, mechanism=mechanism)
    await settled(server)
    return answer


@sync_to_async
def age(**duration):
    """As if the tokens had been issued so long ago."""
    for token in DeviceToken.objects.all():
        token.created -= timedelta(**duration)
        token.expires -= timedelta(**duration)
        token.save()


@pytest.fixture
def setting(actor):
    return lambda name, value: sync_to_async(registry.set_value)(name, value, actor=actor)


# -- what is offered


async def test_offer(server, setting):
    features = Wire2(server, bindings=BINDINGS).features
    names = "".join(f"<mechanism>{name}</mechanism>" for name in (EXPR, ENDP, NONE))
    assert f"<fast xmlns='{NS}'>{names}</fast>" in features
    assert features.count("HT-SHA-256") == 3  # in neither of the lists for passwords
    assert f"<fast xmlns='{NS}'><mechanism>{NONE}</mechanism></fast>" in Wire2(server).features
    await setting("fast.enabled", False)
    server.sweep()
    assert NS not in Wire2(server).features


# -- from the password to the token and on


async def test_token(server):
    """XEP-0484 3.2 to 3.4."""
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, USER_AGENT, bind(), wants())
    token = token_in(answer)
    expiry = re.search("expiry='([^']*)'", answer)[1]
    assert (timezone.now() + timedelta(days=21)).strftime("%Y-%m-%dT%H") == expiry[:13]
    full = identity(answer)
    await settled(server)
    for _ in range(2):
        answer = await comes_back(server, token, fast(), bind())
        assert identity(answer) == full
        assert text_of_bytes(answer) == hmac.new(token.encode(), b"Responder", "sha256").digest()
        assert token_in(answer) is None
    assert server.sessions()[0].connection.mechanism == NONE


def text_of_bytes(answer):
    start = answer.index("<additional-data>") + len("<additional-data>")
    return base64.b64decode(answer[start : answer.index("</additional-data>")])


@pytest.mark.parametrize("mechanism", [ENDP, EXPR])
async def test_token_with_channel_binding(server, mechanism):
    token = await new_token(server, mechanism, bindings=BINDINGS)
    data = BINDINGS["tls-exporter" if mechanism == EXPR else "tls-server-end-point"]
    kwargs = {"mechanism": mechanism, "bindings": BINDINGS}
    assert "<success" in await comes_back(server, token, binding=data, **kwargs)
    assert failure("not-authorized") in await comes_back(server, token, binding=b"another", **kwargs)


async def test_no_token_before_the_proof_and_none_unasked(server):
    wire = Wire2(server)
    assert token_in(await wire.logs_in(encode("\0alice\0wrong"), USER_AGENT, wants())) is None
    assert token_in(await wire.logs_in(PLAIN, USER_AGENT)) is None
    assert not await DeviceToken.objects.aexists()


@pytest.mark.parametrize(
    ("agent", "mechanism"),
    [
        ("", NONE),
        ("<user-agent/>", NONE),
        (USER_AGENT, "PLAIN"),
        (USER_AGENT, EXPR),  # no such data on this connection
        (USER_AGENT, ""),
    ],
)
async def test_requests_that_get_no_token(server, agent, mechanism):
    answer = await Wire2(server).logs_in(PLAIN, agent, wants(mechanism))
    assert "<success" in answer
    assert token_in(answer) is None


# -- refusals


async def test_a_token_is_for_one_mechanism(server):
    """3.4: one with channel binding must not be good without it."""
    token = await new_token(server, ENDP, bindings=BINDINGS)
    answer = await comes_back(server, token, mechanism=NONE, bindings=BINDINGS)
    assert failure("credentials-expired") in answer


async def test_a_token_is_for_one_client(server):
    token = await new_token(server)
    assert failure("credentials-expired") in await comes_back(server, token, agent=OTHER_AGENT)


async def test_a_token_is_for_one_account(server, new_user):
    await new_user("bob")
    token = await new_token(server)
    wire = Wire2(server, from_="bob@example.org")
    answer = await wire.logs_in(proof(token, username="bob"), USER_AGENT, fast(), mechanism=NONE)
    assert failure("credentials-expired") in answer


async def test_wrong_token_counts_as_a_wrong_password(server, setting):
    await setting("security.login.max_failures_per_account_address", 1)
    token = await new_token(server)
    assert failure("not-authorized") in await comes_back(server, "guessed")
    assert failure("temporary-auth-failure") in await comes_back(server, token)
    throttle.unban(account="alice@example.org", address=LOCATION)
    assert "<success" in await comes_back(server, token)


async def test_unknown_user_and_unknown_client_look_alike(server):
    answers = set()
    for username in ("alice", "nobody"):
        wire = Wire2(server, from_=f"{username}@example.org")
        data = proof("guessed", username=username)
        answers.add(await wire.logs_in(data, USER_AGENT, fast(), mechanism=NONE))
    assert len(answers) == 1
    assert failure("credentials-expired") in answers.pop()


@pytest.mark.parametrize("agent", ["", "<user-agent id='x'/>"])
async def test_who_shows_a_token_must_have_an_id(server, agent):
    token = await new_token(server)
    assert failure("malformed-request") in await comes_back(server, token, agent=agent)


async def test_who_shows_a_token_must_say_so(server):
    token = await new_token(server)
    assert failure("malformed-request") in await comes_back(server, token, bind())


async def test_tokens_are_no_passwords_of_the_older_profile(server):
    token = await new_token(server)
    wire = Wire2(server)
    assert "<invalid-mechanism/>" in await wire.auth(NONE, proof(token))
    assert "<not-authorized/>" in await wire.plain("alice", token)


async def test_expired(server):
    """4.2: credentials-expired, and the password works on the same stream."""
    token = await new_token(server)
    await age(days=21)
    wire = Wire2(server)
    answer = await wire.logs_in(proof(token), USER_AGENT, fast(), mechanism=NONE)
    assert failure("credentials-expired") in answer
    assert "<success" in await wire.logs_in(PLAIN, USER_AGENT)


async def test_switched_off(server, setting):
    token = await new_token(server)
    await setting("fast.enabled", False)
    assert failure("invalid-mechanism") in await comes_back(server, token)


async def test_new_password_ends_tokens(server, actor):
    token = await new_token(server)
    user = await User.objects.aget(username="alice")
    await sync_to_async(services.set_password)(user, "another battery staple", actor=actor)
    await settled(server)
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_lock_ends_tokens(server, actor, clock):
    clock.advance(seconds=(timezone.now() - clock.now()).total_seconds() + 5)
    token = await new_token(server)
    user = await User.objects.aget(username="alice")
    await sync_to_async(services.lock_user)(user, actor=actor)
    assert "<success" not in await comes_back(server, token)
    await settled(server)
    await sync_to_async(services.unlock_user)(user, actor=actor)
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_deleted_account(server, actor):
    token = await new_token(server)
    user = await User.objects.aget(username="alice")
    await sync_to_async(services.delete_user)(user, actor=actor)
    await settled(server)
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_revoked_device(server, actor):
    token = await new_token(server)
    user = await User.objects.aget(username="alice")
    (entry,) = await sync_to_async(devices.list_devices)(user.pk)
    await sync_to_async(devices.revoke)(user, entry.id, actor=actor)
    await settled(server)
    assert failure("credentials-expired") in await comes_back(server, token)


# -- rotation


async def test_rotation(server):
    """3.5: the new token comes by itself; the old one is good until the new one is used."""
    old = await new_token(server)
    assert "<success" in await comes_back(server, old)
    await age(days=1)
    new = token_in(await comes_back(server, old))
    assert new not in (None, old)
    newer = token_in(await comes_back(server, old))  # the new one has not arrived
    assert newer not in (None, old, new)
    assert failure("not-authorized") in await comes_back(server, new)
    assert token_in(await comes_back(server, newer)) is None
    assert failure("not-authorized") in await comes_back(server, old)


async def test_a_client_may_ask_for_another_mechanism(server):
    old = await new_token(server, bindings=BINDINGS)
    new = token_in(await comes_back(server, old, fast(), wants(ENDP), bindings=BINDINGS))
    answer = await comes_back(
        server, new, mechanism=ENDP, binding=BINDINGS["tls-server-end-point"], bindings=BINDINGS
    )
    assert "<success" in answer
    assert failure("credentials-expired") in await comes_back(server, old, bindings=BINDINGS)


# -- counting and giving up


async def test_counts_must_grow(server):
    """3.4: what was said before is not good a second time."""
    token = await new_token(server)
    for count, works in ((1, True), (1, False), (2, True), (1, False), (7, True)):
        answer = await comes_back(server, token, fast(count=count))
        assert ("<success" in answer) is works
        assert works or failure("not-authorized") in answer


async def test_who_has_counted_goes_on_counting(server, caplog):
    """3.4: else a replay would only have to leave the count out. The log tells it from a wrong password."""
    token = await new_token(server)
    assert "<success" in await comes_back(server, token)  # nobody has to count
    assert "<success" in await comes_back(server, token, fast(count=1))
    caplog.set_level("WARNING", "hearth.auth")
    for element in (fast(), fast(count=1), fast(invalidate="true")):
        assert failure("not-authorized") in await comes_back(server, token, element)
    assert failure("not-authorized") in await comes_back(server, "guessed", fast(count=2))
    assert [message.rpartition("reason=")[2] for message in caplog.messages] == [
        *["replayed-token"] * 3,
        "wrong-password",
    ]
    assert "<success" in await comes_back(server, token, fast(count=2))


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "9" * 30, "²"])
async def test_counts_that_are_none(server, count):
    token = await new_token(server)
    assert failure("malformed-request") in await comes_back(server, token, fast(count=count))


@pytest.mark.parametrize("value", ["true", "1"])
async def test_invalidate(server, value):
    """3.6: this login is good, the next one by this token is not, and no new token comes with it."""
    token = await new_token(server)
    await age(days=2)
    answer = await comes_back(server, token, fast(invalidate=value))
    assert "<success" in answer
    assert token_in(answer) is None
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_invalidate_and_ask_for_another(server):
    token = await new_token(server)
    new = token_in(await comes_back(server, token, fast(invalidate="true"), wants()))
    assert failure("not-authorized") in await comes_back(server, token)
    assert "<success" in await comes_back(server, new)


# -- accounts that change while no server hears of it


async def test_lock_that_nobody_told_of(server):
    """As by a command beside a server that does not run: the account is in memory, and what it says is old."""
    token = await new_token(server)
    assert "<success" in await comes_back(server, token)
    await User.objects.filter(username="alice").aupdate(locked_from=timezone.now())
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_password_that_nobody_told_of(server):
    token = await new_token(server)
    await User.objects.filter(username="alice").aupdate(password=encode_password("another horse"))
    assert failure("credentials-expired") in await comes_back(server, token)


async def test_account_is_written_while_a_token_logs_in(server, new_user, monkeypatch, actor):
    """It is read again; the count was used once."""
    token = await new_token(server)
    user = await User.objects.aget(username="alice")
    found = devices.tokens

    def then_renamed(*arguments):
        rows = found(*arguments)
        services.update_user(user, name="Alice", actor=actor)
        return rows

    monkeypatch.setattr(devices, "tokens", then_renamed)
    assert "<success" in await comes_back(server, token, fast(count=1), bind())


async def test_a_login_gets_one_token(server):
    """Each element is asked once, however often it stands there."""
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, USER_AGENT, *[wants()] * 5)
    await settled(server)
    assert answer.count("<token ") == 1
    assert await DeviceToken.objects.acount() == 1
