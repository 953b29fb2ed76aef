"""RFC 6120 4 and 5 as a client meets them: the stream's header, its errors, its limits, STARTTLS."""

import re

import pytest
from asgiref.sync import sync_to_async

from accounts import registry
from tests.conversation import MemoryConnection, settled
from tests.xmpp.test_session import HEADER
from xmppd.protocol.stream.features import Has

TLS = "urn:ietf:params:xml:ns:xmpp-tls"
STARTTLS = f"<starttls xmlns='{TLS}'/>"


@pytest.fixture
def wire(server):
    """A fresh connection inside TLS."""
    connection = MemoryConnection(server)
    connection.stream.has |= Has.TLS
    return connection


@pytest.fixture
def plain_wire(server):
    """A fresh connection without TLS to a server that has it."""
    server.has_tls = True
    return MemoryConnection(server)


def ended_with(connection, condition: str) -> bool:
    text = connection.text
    return (
        connection.is_ended and f"<stream:error><{condition} " in text and text.endswith("</stream:stream>")
    )


# -- the header, 4.7


def test_header(wire):
    wire.receive(HEADER.encode())
    head = re.match(r"<\?xml version='1\.0'\?><stream:stream ([^>]*)><stream:features>", wire.text)
    attributes = dict(re.findall(r"([\w:]+)='([^']*)'", head[1]))
    identity = attributes.pop("id")
    assert len(identity) >= 16
    assert attributes == {
        "xmlns": "jabber:client",
        "xmlns:stream": "http://etherx.jabber.org/streams",
        "from": "example.org",
        "version": "1.0",
        "xml:lang": "en",
    }


def test_ids_never_repeat(server):
    ids = set()
    for _ in range(20):
        connection = MemoryConnection(server)
        connection.receive(HEADER.encode())
        ids.add(re.search(r" id='([^']*)'", connection.text)[1])
    assert len(ids) == 20


def test_header_in_single_bytes(wire):
    for byte in HEADER.encode():
        wire.receive(bytes([byte]))
    assert "<stream:features>" in wire.text


def test_header_without_address_is_for_the_primary_domain(wire):
    wire.receive(HEADER.replace("to='example.org' ", "").encode())
    assert " from='example.org'" in wire.text
    assert "<stream:features>" in wire.text


@pytest.mark.parametrize(
    ("old", "new", "condition"),
    [
        ("to='example.org'", "to='example.com'", "host-unknown"),
        ("to='example.org'", "to='exa mple'", "host-unknown"),
        ("version='1.0' xmlns", "xmlns", "unsupported-version"),
        ("version='1.0' xmlns", "version='0.9' xmlns", "unsupported-version"),
        ("version='1.0' xmlns", "version='one' xmlns", "unsupported-version"),
        ("xmlns='jabber:client'", "xmlns='jabber:server'", "invalid-namespace"),
        ("xmlns='jabber:client' ", "", "invalid-namespace"),
        ("http://etherx.jabber.org/streams", "http://etherx.jabber.org/stream", "invalid-namespace"),
        ("<stream:stream", "<stream:strom", "bad-format"),
        ("<?xml version='1.0'?>", "GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        ("<?xml version='1.0'?>", "<?xml version='1.0'?><!DOCTYPE x>", "restricted-xml"),
        ("<?xml version='1.0'?>", "<?xml version='1.0'?><!-- hi -->", "restricted-xml"),
        ("<?xml version='1.0'?>", "<?xml version='1.0' encoding='UTF-16'?>", "unsupported-encoding"),
    ],
)
def test_bad_headers(wire, old, new, condition):
    """4.7.2: our own header comes first, then the reason."""
    assert old in HEADER
    wire.receive(HEADER.replace(old, new, 1).encode())
    assert wire.text.startswith("<?xml version='1.0'?><stream:stream ")
    assert ended_with(wire, condition), wire.text


def test_newer_version_is_ours(wire):
    wire.receive(HEADER.replace("version='1.0' xmlns", "version='1.9' xmlns").encode())
    assert " version='1.0'" in wire.text
    assert "<stream:features>" in wire.text


def test_nothing_is_read_behind_an_error(wire, server):
    wire.receive(HEADER.replace("example.org", "example.com").encode())
    length = len(wire.text)
    wire.receive(HEADER.encode())
    assert len(wire.text) == length
    assert wire not in server.unauthenticated


# -- XML that is not welcome, 11

FORBIDDEN = {
    "<!-- comment -->": "restricted-xml",
    "<?php echo ?>": "restricted-xml",
    "<message><!-- inside --></message>": "restricted-xml",
    "<message><?pi?></message>": "restricted-xml",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>": "restricted-xml",
    "<message>&a;</message>": "restricted-xml",
    "<message>": None,  # not whole yet
    "<message></iq>": "not-well-formed",
    "<message a='1' a='2'/>": "not-well-formed",
    "<message a=1/>": "not-well-formed",
    "<x:message/>": "not-well-formed",
    "<message>&#0;</message>": "not-well-formed",
    "<message>\x01</message>": "not-well-formed",
    "<message><a></message></a>": "not-well-formed",
}


@pytest.mark.parametrize("xml", FORBIDDEN)
async def test_xml_after_login(alice, xml):
    alice.connection.receive(xml.encode())
    condition = FORBIDDEN[xml]
    if condition is None:
        assert alice.is_connected
        return
    assert alice.connection.is_ended
    # Which of the two it is depends on who notices first; RFC 6120 4.9.3.13 allows the general one.
    assert ended_with(alice.connection, condition) or ended_with(alice.connection, "not-well-formed")


async def test_broken_utf8(alice):
    alice.connection.receive(b"<message><body>\xff\xfe</body></message>")
    assert ended_with(alice.connection, "unsupported-encoding") or ended_with(
        alice.connection, "not-well-formed"
    )


@pytest.mark.parametrize("entity", ["&lt;", "&gt;", "&amp;", "&apos;", "&quot;", "&#233;", "&#x1F600;"])
async def test_predefined_entities(alice, bob, entity):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}'><body>{entity}</body></message>")
    await bob.receives(f"<message><body>{entity}</body></message>")


async def test_what_is_sent_before_login_is_bounded(wire):
    wire.receive((HEADER + "<auth xmlns='urn:x'>").encode())
    for _ in range(100):
        wire.receive(b"x" * 1000)
    assert ended_with(wire, "policy-violation")


async def test_stanza_size_is_bounded(alice, bob, actor):
    await bob.is_available()
    await sync_to_async(registry.set_value)("c2s.max_stanza_size", 20_000, actor=actor)
    await alice.sends(f"<message to='{bob.bare}'><body>{'x' * 15_000}</body></message>")
    await bob.receives("<message/>")
    alice.connection.receive(f"<message to='{bob.bare}'><body>{'x' * 25_000}</body></message>".encode())
    assert ended_with(alice.connection, "policy-violation")
    await bob.receives_nothing()


async def test_depth_is_bounded(alice):
    alice.connection.receive(b"<message>" + b"<a>" * 5000)
    assert alice.connection.is_ended


async def test_stanzas_in_single_bytes(alice, bob):
    await bob.is_available()
    for byte in f"<message to='{bob.bare}'><body>grüß</body></message>".encode():
        alice.connection.receive(bytes([byte]))
    await bob.receives("<message><body>grüß</body></message>")


async def test_prefixes_of_the_header_go_with_the_stanza(server, new_user, bob):
    """A client may declare its namespaces once, in the header; receivers must still understand the stanza."""
    from xmppd.protocol.jid import JID

    await bob.is_available()
    await new_user("alice")
    connection = MemoryConnection(server)
    connection.stream.has |= Has.TLS
    header = HEADER.replace("xmlns=", "xmlns:c='urn:c' xmlns=", 1)
    connection.receive(header.encode())
    connection.account = await server.directory.load(JID.parse("alice@example.org"))
    connection.stream.auth_succeeded(connection.account.jid)
    connection.after_verb()
    connection.receive(header.encode())
    connection.receive(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    connection.receive(f"<message to='{bob.bare}'><c:x a='1'><c:y/></c:x></message>".encode())
    await bob.receives("<message><x xmlns='urn:c' a='1'><y/></x></message>")


# -- before login


async def test_unknown_request_before_login(wire, server):
    wire.receive((HEADER + "<iq type='get' id='q'><query xmlns='urn:unknown'/></iq>").encode())
    await settled(server)
    assert "<service-unavailable " in wire.text
    assert not wire.is_ended


async def test_unknown_element_before_login(wire):
    wire.receive((HEADER + "<hello xmlns='urn:x'/>").encode())
    assert ended_with(wire, "unsupported-stanza-type")


async def test_closing_before_login(wire, server):
    wire.receive((HEADER + "</stream:stream>").encode())
    assert wire.is_ended
    assert wire.text.endswith("</stream:stream>")
    assert wire not in server.unauthenticated


# -- STARTTLS, 5


def test_starttls(plain_wire):
    plain_wire.receive(HEADER.encode())
    assert f"<starttls xmlns='{TLS}'><required/></starttls>" in plain_wire.text
    plain_wire.receive(STARTTLS.encode())
    assert plain_wire.text.endswith(f"<proceed xmlns='{TLS}'/>")
    assert plain_wire.is_tls_started
    plain_wire.stream.tls_established()
    start = len(plain_wire.text)
    plain_wire.receive(HEADER.encode())
    assert "<mechanism>" in plain_wire.text[start:]
    assert "starttls" not in plain_wire.text[start:]


def test_bytes_behind_starttls_are_never_read(plain_wire):
    """Row 17: what an attacker puts behind it in the clear would count as said inside TLS."""
    plain_wire.receive((HEADER + STARTTLS + HEADER + "<auth xmlns='x'/>").encode())
    assert not plain_wire.is_tls_started
    assert ended_with(plain_wire, "policy-violation")


def test_starttls_twice(wire):
    wire.receive((HEADER + STARTTLS).encode())
    assert wire.text.endswith(f"<failure xmlns='{TLS}'/></stream:stream>")
    assert not wire.is_tls_started


@pytest.mark.parametrize(
    "xml", ["<message to='a@example.org'/>", "<iq type='get' id='q'><query xmlns='jabber:iq:register'/></iq>"]
)
async def test_nothing_but_starttls_before_tls(plain_wire, server, xml):
    """Row 18."""
    plain_wire.receive((HEADER + xml).encode())
    await settled(server)
    assert "<query" not in plain_wire.text.partition("</stream:features>")[2]
    assert "type='result'" not in plain_wire.text
