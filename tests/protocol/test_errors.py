"""RFC 6120 4.9, 6.5, 8.3: error conditions and how they are written."""

import pytest

from xmppd.protocol.element import E
from xmppd.protocol.errors import (
    SASL_CONDITIONS,
    STANZA_CONDITIONS,
    STREAM_CONDITIONS,
    SASLError,
    StanzaError,
    StreamError,
)
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, SASL, SASL2, SERVER, STANZAS, STREAM_ERRORS, STREAMS


def test_stanza_error_has_its_usual_type_and_legacy_code():
    assert StanzaError("item-not-found").to_element() == E(
        CLIENT, "error", E(STANZAS, "item-not-found"), type="cancel", code=404
    )


def test_stanza_error_with_everything():
    error = StanzaError("not-acceptable", "No & no", E("urn:x", "blocked"), type="cancel")
    assert error.to_element(by=JID("", "example.com"), ns=SERVER) == E(
        SERVER,
        "error",
        E(STANZAS, "not-acceptable"),
        E(STANZAS, "text", "No & no", xml_lang="en"),
        E("urn:x", "blocked"),
        type="cancel",
        code=406,
        by="example.com",
    )


def test_moved_account_tells_where_it_went():
    condition = StanzaError("gone", uri="xmpp:romeo@afterlife.example").to_element().find(STANZAS, "gone")
    assert condition.text == "xmpp:romeo@afterlife.example"


@pytest.mark.parametrize("condition", STANZA_CONDITIONS)
def test_every_stanza_condition_can_be_written(condition):
    element = StanzaError(condition).to_element()
    assert element.find(STANZAS, condition) is not None
    assert element.get("type") in {"auth", "cancel", "modify", "wait"}


def test_stream_error():
    assert StreamError("see-other-host", content="[2001:db8::1]:5222").to_element() == E(
        STREAMS, "error", E(STREAM_ERRORS, "see-other-host", "[2001:db8::1]:5222")
    )
    assert StreamError("policy-violation", "Too big").to_element() == E(
        STREAMS,
        "error",
        E(STREAM_ERRORS, "policy-violation"),
        E(STREAM_ERRORS, "text", "Too big", xml_lang="en"),
    )


@pytest.mark.parametrize("ns", [SASL, SASL2])
def test_sasl_failure(ns):
    assert SASLError("not-authorized", "No").to_element(ns) == E(
        ns, "failure", E(SASL, "not-authorized"), E(ns, "text", "No", xml_lang="en")
    )


@pytest.mark.parametrize("error", [StanzaError, StreamError, SASLError])
def test_unknown_condition_is_our_mistake(error):
    with pytest.raises(ValueError, match="no-such-thing"):
        error("no-such-thing")


def test_unknown_type_is_our_mistake():
    with pytest.raises(ValueError, match="fatal"):
        StanzaError("conflict", type="fatal")


def test_text_for_the_log():
    assert str(StanzaError("conflict")) == "conflict"
    assert str(StreamError("conflict", "Replaced")) == "conflict: Replaced"


def test_lists_are_complete():
    assert (len(STANZA_CONDITIONS), len(STREAM_CONDITIONS), len(SASL_CONDITIONS)) == (22, 25, 11)
