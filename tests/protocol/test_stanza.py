"""Stanzas: the head is written anew, the letter travels as it came (RFC 6120 8)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, DELAY
from xmppd.protocol.parser import AUTHENTICATED, StanzaParser, parse_element
from xmppd.protocol.stanza import Stanza, error, make, result

JULIET = JID.parse("juliet@example.com/balcony")
ROMEO = JID.parse("romeo@example.net/orchard")
ROOT = b"<root xmlns='jabber:client'>"


def read(xml):
    (stanza,) = StanzaParser(AUTHENTICATED).feed(xml if isinstance(xml, bytes) else xml.encode())
    stanza.from_, stanza.to = JULIET, ROMEO
    return stanza


def tree(data):
    return parse_element(data, ROOT)


def test_head_is_ours_and_letter_is_verbatim():
    letter = "<body  >a &amp; b</body ><x xmlns=\"urn:x\"  y = 'z'/>"
    stanza = read(
        "<message from='evil@example.org' to='x' id='i' type='chat' evil='1' xml:lang='de'>"
        f"{letter}</message>"
    )
    assert stanza.to_bytes().decode() == (
        "<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' type='chat' id='i' "
        f"xml:lang='de'>{letter}</message>"
    )


def test_one_letter_for_many():
    stanza = read("<presence><show>away</show></presence>")
    other = JID.parse("nurse@example.com")
    assert stanza.prefix() + other.attr + stanza.suffix() == stanza.to_bytes(other)


HOSTILE = "' x='1'><iq/>&\"\n\t"


@pytest.mark.parametrize("attribute", ["id", "type", "xml:lang"])
def test_attributes_are_escaped(attribute):
    stanza = read("<message><body>x</body></message>")
    stanza.attrs[attribute] = HOSTILE
    element = tree(stanza.to_bytes())
    assert element.attrs == {"from": str(JULIET), "to": str(ROMEO), attribute: HOSTILE}


def test_addresses_are_escaped():
    stanza = read("<message/>")
    stanza.from_ = JID("a", "example.com", "it's <&\">")
    assert tree(stanza.to_bytes()).get("from") == "a@example.com/it's <&\">"


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40)
)
@settings(max_examples=200, deadline=None)
def test_identity_of_a_request_comes_back(identity):
    request = make("iq", E("urn:x", "q"), from_=JULIET, to=ROMEO, type="get", id=identity)
    assert tree(request.to_bytes()).get("id") == identity
    assert tree(result(request)).get("id") == identity
    assert tree(error(request, StanzaError("forbidden")).to_bytes()).get("id") == identity


def test_attribute_of_a_foreign_namespace_stays_an_attribute():
    """Its namespace is a stranger's text; it must not be written as markup (or at all, in a head)."""
    stanza = read("<message p:a='1' xmlns:p=\"urn:'/>&lt;iq to='x'/>&lt;b c='\"><body/></message>")
    assert stanza.element.attrs == {"{urn:'/><iq to='x'/><b c='}a": "1"}
    assert tree(stanza.element.to_bytes(CLIENT)) == stanza.element
    assert tree(stanza.to_bytes()).attrs.keys() == {"from", "to"}


def test_letter_is_opened_once_and_only_when_asked():
    stanza = read("<iq type='get' id='1'><q xmlns='urn:q' a='1'>t</q></iq>")
    assert stanza._element is None
    assert stanza.has("urn:q", "q")
    assert not stanza.has(CLIENT, "q")
    assert stanza.find("urn:r", "q") is None
    assert stanza._element is None
    assert stanza.payload == E("urn:q", "q", "t", a="1")
    assert stanza.element is stanza.element
    assert stanza.element.tag == (CLIENT, "iq")


def test_request_without_payload():
    with pytest.raises(StanzaError, match="bad-request"):
        _ = read("<iq type='get' id='1'>text</iq>").payload


def test_letter_can_be_exchanged_and_added_to():
    stanza = read("<message><body>a &lt; b</body><delay xmlns='urn:xmpp:delay' stamp='forged'/> x</message>")
    stanza.replace_children(child for child in stanza.element.children if getattr(child, "ns", "") != DELAY)
    assert stanza.children == ("jabber:client\nbody",)
    assert stanza.body == b"<body>a &lt; b</body> x"
    stanza.append(E(DELAY, "delay", stamp="ours"))
    assert stanza.children == ("jabber:client\nbody", "urn:xmpp:delay\ndelay")
    assert stanza.find(DELAY, "delay").get("stamp") == "ours"
    assert tree(stanza.to_bytes()).text_of(CLIENT, "body") == "a < b"


def test_copy_has_an_envelope_of_its_own():
    stanza = read("<presence id='1'><show>dnd</show></presence>")
    copy = stanza.copy()
    copy.attrs["id"] = "2"
    copy.to = JULIET
    assert (stanza.id, stanza.to) == ("1", ROMEO)
    assert copy.body == stanza.body


def test_made_stanza():
    stanza = make("message", E(CLIENT, "body", "<&>"), None, from_=JULIET, to=ROMEO, type="headline")
    assert stanza.to_bytes() == (
        b"<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' type='headline'>"
        b"<body>&lt;&amp;&gt;</body></message>"
    )
    assert stanza.has(CLIENT, "body")
    assert (stanza.id, stanza.type) == ("", "headline")


def test_result():
    request = make("iq", E("urn:q", "q"), from_=JULIET, to=ROMEO, type="get", id="1")
    head = b"<iq type='result' from='romeo@example.net/orchard' to='juliet@example.com/balcony' id='1'"
    assert result(request) == head + b"/>"
    assert result(request, E("urn:q", "q")) == head + b"><q xmlns='urn:q'/></iq>"
    assert result(request, b"<q xmlns='urn:q'/>") == head + b"><q xmlns='urn:q'/></iq>"
    del request.attrs["id"]
    assert b"id=" not in result(request)


@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_error_goes_back_with_the_same_id(kind):
    request = make(kind, from_=JULIET, to=ROMEO, type="get", id="1")
    answer = error(request, StanzaError("item-not-found"))
    assert (answer.from_, answer.to, answer.id, answer.type) == (ROMEO, JULIET, "1", "error")
    assert answer.children == ("jabber:client\nerror",)


@pytest.mark.parametrize(
    ("kind", "type_"), [("message", "error"), ("presence", "error"), ("iq", "error"), ("iq", "result")]
)
def test_errors_are_not_answered_by_errors(kind, type_):
    """RFC 6120 8.3.1 rule 4."""
    assert error(make(kind, from_=JULIET, to=ROMEO, type=type_, id="1"), StanzaError("forbidden")) is None


def test_other_elements():
    stanza = Stanza("", {"h": "1"}, tag="urn:xmpp:sm:3\na")
    assert stanza.element == E("urn:xmpp:sm:3", "a", h="1")
