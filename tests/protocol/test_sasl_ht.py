"""The Hashed Token mechanisms: proof, counter-proof, channel binding."""

import hmac

import pytest

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl.base import Done, NeedTokens
from xmppd.protocol.sasl.ht import HashedToken, offered

TOKENS = ["first token", "second token"]


def mac(token, label, binding=b""):
    return hmac.new(token.encode(), label + binding, "sha256").digest()


def login(token, binding=b"", *, of=b"", tokens=TOKENS, name="HT-SHA-256-NONE"):
    mechanism = HashedToken(name, "example.org", of)
    step = mechanism.start(b"alice\0" + mac(token, b"Initiator", binding))
    assert step == NeedTokens("alice", name)
    return mechanism, mechanism.supply(tokens)


def test_offer():
    assert offered(()) == ["HT-SHA-256-NONE"]
    assert offered(("tls-exporter", "tls-server-end-point")) == [
        "HT-SHA-256-EXPR",
        "HT-SHA-256-ENDP",
        "HT-SHA-256-NONE",
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_both_sides_prove_the_token(place):
    mechanism, step = login(TOKENS[place])
    assert step == Done("alice", "", mac(TOKENS[place], b"Responder"))
    assert mechanism.matched == place


def test_channel_binding_is_part_of_both_proofs():
    _, step = login(TOKENS[0], b"channel", of=b"channel", name="HT-SHA-256-EXPR")
    assert step.data == mac(TOKENS[0], b"Responder", b"channel")
    for said, real in ((b"", b"channel"), (b"channel", b"another"), (b"channel", b"")):
        with pytest.raises(SASLError, match="not-authorized"):
            login(TOKENS[0], said, of=real, name="HT-SHA-256-EXPR")


@pytest.mark.parametrize("token", ["third token", "", "first token "])
def test_wrong_token(token):
    with pytest.raises(SASLError, match="not-authorized"):
        login(token)


def test_a_proof_of_the_server_is_none_of_the_client():
    mechanism = HashedToken("HT-SHA-256-NONE", "example.org", b"")
    mechanism.start(b"alice\0" + mac(TOKENS[0], b"Responder"))
    with pytest.raises(SASLError, match="not-authorized"):
        mechanism.supply(TOKENS)


def test_no_token_is_left():
    with pytest.raises(SASLError, match="credentials-expired"):
        login(TOKENS[0], tokens=[])


def test_a_proof_may_hold_any_byte():
    """The first NUL ends the name; those behind it belong to the hash."""
    token = next(text for text in map(str, range(10_000)) if b"\0" in mac(text, b"Initiator"))
    assert isinstance(login(token, tokens=[token])[1], Done)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"alice",
        b"\0" + b"x" * 32,
        b"alice\0",
        b"alice\0" + b"x" * 31,
        b"alice\0" + b"x" * 33,
        b"\xff\0" + b"x" * 32,
    ],
)
def test_malformed(message):
    with pytest.raises(SASLError, match="malformed-request"):
        HashedToken("HT-SHA-256-NONE", "example.org", b"").start(message)


def test_impossible_name():
    with pytest.raises(SASLError, match="not-authorized"):
        HashedToken("HT-SHA-256-NONE", "example.org", b"").start(b"a@b\0" + b"x" * 32)
