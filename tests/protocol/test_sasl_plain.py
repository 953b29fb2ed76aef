"""SASL PLAIN (RFC 4616), the list of mechanisms, and base64 on the wire (RFC 6120 6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl import MECHANISMS, create, offered
from xmppd.protocol.sasl.base import Challenge, Done, NeedPasswordCheck, decode_payload, encode_payload
from xmppd.protocol.sasl.plain import Plain


def plain():
    return Plain("PLAIN", "example.com")


def fails(condition):
    return pytest.raises(SASLError, match=f"^{condition}")


def test_password_is_handed_over_and_login_done():
    mechanism = plain()
    assert mechanism.start("\0Juliet\0r0m30 \u00e4\u20ac".encode()) == NeedPasswordCheck(
        "juliet", "r0m30 \u00e4\u20ac"
    )
    assert mechanism.supply(True) == Done("juliet", "", None)


def test_wrong_password_is_refused():
    mechanism = plain()
    mechanism.start(b"\0juliet\0x")
    with fails("not-authorized"):
        mechanism.supply(False)


def test_login_without_initial_response():
    mechanism = plain()
    assert mechanism.start(None) == Challenge(b"")
    assert mechanism.respond(b"\0juliet\0x") == NeedPasswordCheck("juliet", "x")


def test_own_authzid_is_accepted():
    mechanism = plain()
    mechanism.start(b"juliet@example.com\0juliet\0x")
    assert mechanism.supply(True) == Done("juliet", "juliet@example.com")


@pytest.mark.parametrize(
    "authzid", ["romeo@example.com", "juliet@example.net", "juliet", "juliet@example.com/x", "@"]
)
def test_foreign_authzid_is_refused_before_the_password_is_checked(authzid):
    with fails("invalid-authzid"):
        plain().start(f"{authzid}\0juliet\0x".encode())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"juliet",
        b"\0juliet",
        b"\0\0x",
        b"\0juliet\0x\0",
        b"\0juliet\0x\0y",
        b"\0juliet\0\xff",
        b"\0\xc0\x80\0x",
    ],
)
def test_malformed_message_is_refused(message):
    with fails("malformed-request"):
        plain().start(message)


@pytest.mark.parametrize("message", [b"\0juliet\0", b"\0ju liet\0x", b"\0juliet@example.com\0x"])
def test_empty_password_and_impossible_names_are_refused(message):
    with fails("not-authorized"):
        plain().start(message)


def test_password_does_not_show_in_logs():
    assert "secret" not in repr(plain().start(b"\0juliet\0secret"))


def test_messages_out_of_turn_are_refused():
    mechanism = plain()
    mechanism.start(b"\0juliet\0x")
    with fails("malformed-request"):
        mechanism.respond(b"\0juliet\0x")
    mechanism.supply(True)
    with pytest.raises(RuntimeError):
        mechanism.supply(True)


@given(st.binary(max_size=40) | st.text(alphabet="a\0@\u00e9 ", max_size=12).map(str.encode))
def test_whatever_is_sent_only_sasl_errors_come(message):
    try:
        step = plain().start(message)
    except SASLError:
        return
    assert step.username
    assert step.password


def test_offer_under_tls_with_channel_binding():
    assert (
        offered(tls=True, plus_types=["tls-exporter"])
        == list(MECHANISMS)
        == [
            "SCRAM-SHA-512-PLUS",
            "SCRAM-SHA-256-PLUS",
            "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-512",
            "SCRAM-SHA-256",
            "SCRAM-SHA-1",
            "PLAIN",
        ]
    )


def test_offer_is_narrowed_by_what_the_stream_and_the_accounts_allow():
    assert offered(tls=True) == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    assert offered(tls=False, plus_types=["tls-exporter"], hashes=["sha256"]) == ["SCRAM-SHA-256"]
    assert offered(tls=True, allow_plain=False, hashes=["sha1"]) == ["SCRAM-SHA-1"]
    assert offered(tls=True, plus_types=["tls-exporter"], hashes=[]) == ["PLAIN"]


@pytest.mark.parametrize("name", ["CRAM-MD5", "", "plain", "SCRAM-SHA-384"])
def test_unknown_mechanism_is_refused(name):
    with fails("invalid-mechanism"):
        create(name, domain="example.com", secret=b"s")


def test_mechanism_that_was_not_offered_on_this_stream_is_refused():
    with fails("invalid-mechanism"):
        create("PLAIN", domain="example.com", secret=b"s", offered=offered(tls=False))


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_can_be_created(name):
    assert (
        create(name, domain="example.com", secret=b"s", channel_bindings={"tls-exporter": b"x"}).name == name
    )


@pytest.mark.parametrize(("text", "data"), [("", None), ("=", b""), ("AGEAYg==", b"\0a\0b")])
def test_payloads_of_stream_elements(text, data):
    assert decode_payload(text) == data
    assert encode_payload(data) == text


@pytest.mark.parametrize(
    "text",
    [
        "AGEAYg",
        "AGEAYg=",
        "AGEA Yg==",
        "AGEAYg==\n",
        "AGEAYh==",
        "==",
        "A=GE",
        "-_-_",
        "\u00e9",
        "AGEAYg==AGEAYg==",
    ],
)
def test_sloppy_base64_is_refused(text):
    with fails("incorrect-encoding"):
        decode_payload(text)
