"""A client's stream from its first byte to its last: RFC 6120 4-7, whole, in pieces and by hostile hands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.stream_driver import (
    AUTH,
    BIND,
    HEADER,
    SASL,
    STARTTLS,
    STEPS,
    Driver,
    Policy,
    bound,
    header,
    kinds,
)
from xmppd.protocol.element import E
from xmppd.protocol.errors import SASLError, StanzaError, StreamError
from xmppd.protocol.parser import MAX_PARSER_BYTES
from xmppd.protocol.stream.events import (
    AuthRequested,
    Closed,
)

# -- from the first byte to the session


@pytest.mark.parametrize("step", STEPS)
def test_a_whole_stream(step):
    driver = Driver(step, tls=False)
    assert driver.sends(HEADER) == []
    text = driver.output()
    assert text.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:client' ")
    assert " from='example.com' version='1.0' xml:lang='en'>" in text
    assert text.endswith(
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
        "</stream:features>"
    )
    first = driver.stream.id
    assert kinds(driver.sends(STARTTLS)) == ["StartTLS"]
    assert driver.output() == "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    driver.sends(HEADER)
    text = driver.output()
    assert "<mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>" in text
    assert "<extra xmlns='urn:extra'/>" in text
    assert "starttls" not in text
    second = driver.stream.id
    (event,) = driver.sends(AUTH)
    assert event == AuthRequested("PLAIN", b"\0juliet\0r0m30")
    assert driver.output() == f"<success {SASL}></success>"
    driver.sends(HEADER)
    text = driver.output()
    assert "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" in text
    assert "<optional/>" in text
    assert "mechanism" not in text
    assert len({first, second, driver.stream.id}) == 3
    (event,) = driver.sends(BIND)
    assert event.resource == "r"
    assert "<jid>juliet@example.com/r</jid>" in driver.output()
    assert kinds(driver.sends("<presence/><message><body>hi</body></message>")) == ["presence", "message"]
    (event,) = driver.sends("</stream:stream>")
    assert event == Closed()
    assert driver.output() == "</stream:stream>"


@pytest.mark.parametrize("step", STEPS)
def test_everything_in_one_go(step):
    """XEP-0305: what is sent ahead waits until the step before it is done."""
    driver = Driver(step)
    driver.sends(
        HEADER + AUTH + HEADER + BIND + "<presence/>" + "<message><body>1</body></message></stream:stream>"
    )
    assert kinds(driver.events) == ["AuthRequested", "BindRequested", "presence", "message", "Closed"]


def test_nothing_behind_a_step_is_read_before_the_step_is_done():
    driver = Driver()
    assert kinds(driver.sends(HEADER + AUTH + HEADER + BIND, answers=False)) == ["AuthRequested"]
    driver.output()
    assert driver.sends("<presence/>", answers=False) == []
    assert driver.output() == ""
    driver.stream.auth_failed(SASLError("not-authorized"))
    driver.sends("", answers=False)
    driver._take(driver.stream.receive(b""), False)
    # After the failure there is no new header: what was sent for a success is an error.
    assert driver.stream.is_closed


WHOLE = (
    HEADER + AUTH + HEADER + BIND + " <presence/>\n<message><body>é🐎</body></message></stream:stream>"
).encode()


@given(st.lists(st.integers(min_value=1, max_value=200), max_size=30))
@settings(max_examples=100, deadline=None)
def test_pieces_of_any_size(sizes):
    driver, rest = Driver(), WHOLE
    for size in sizes:
        driver.sends(rest[:size])
        rest = rest[size:]
    driver.sends(rest)
    assert kinds(driver.events) == ["AuthRequested", "BindRequested", "presence", "message", "Closed"]


@pytest.mark.parametrize(
    "fault",
    [
        "<?xml version='1.0'?>",
        "<!-- -->",
        "</wrong>",
        "<iq>&x;",
        "<a><a><a><a><a><a><a><a><a>",
        "text",
        b"\xff>",
    ],
)
def test_fault_of_a_stranger_does_not_spoil_the_next_login(fault):
    """Parsers of logins are shared as well; one that met an error must not be handed on."""
    for _ in range(3):
        driver = Driver()
        driver.sends(HEADER)
        driver.sends(fault)
        assert driver.stream.is_closed
    driver = Driver()
    driver.sends(WHOLE)
    assert kinds(driver.events) == ["AuthRequested", "BindRequested", "presence", "message", "Closed"]


def test_too_much_sent_ahead():
    driver = Driver()
    driver.sends(HEADER + AUTH, answers=False)
    for _ in range(70):
        driver.sends(b"<message>" + b"x" * 1000, answers=False)
    assert driver.is_closed_with("policy-violation")


# -- headers


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("host-unknown", header(to="elsewhere.example")),
        ("host-unknown", header(to="exa mple")),
        ("host-unknown", header(to="")),
        ("unsupported-version", header(version=None)),
        ("unsupported-version", header(version="0.9")),
        ("unsupported-version", header(version="one")),
        ("invalid-namespace", header(xmlns="jabber:server")),
        ("invalid-namespace", header(xmlns=None)),
        ("invalid-namespace", header(xmlns_stream="http://etherx.jabber.org/stream")),
        ("not-well-formed", header(xmlns_stream=None)),
        ("bad-format", header().replace("<stream:stream", "<stream:flow")),
        (
            "invalid-namespace",
            "<stream xmlns='http://etherx.jabber.org/streams' to='example.com' version='1.0'>",
        ),
        ("not-well-formed", "GET / HTTP/1.1\r\n\r\n>"),
        ("bad-format", "<a></b>>"),
        ("not-well-formed", "x" + header()),
        ("restricted-xml", "<!DOCTYPE a [<!ENTITY b 'c'>]>" + header()),
        ("restricted-xml", "<!-- -->" + header()),
        ("restricted-xml", "<?xml-stylesheet href='x'?>" + header()),
        ("unsupported-encoding", "<?xml version='1.0' encoding='iso-8859-1'?>" + header()),
        ("unsupported-encoding", "<?xml version='1.0' encoding='utf-16'?>" + header()),
        ("policy-violation", header(x="y" * 5000)),
        ("policy-violation", "".join(f"<?xml version='1.0'{' ' * 5000}")),
    ],
)
def test_bad_headers(step, condition, text):
    driver = Driver(step)
    driver.sends(text)
    assert driver.is_closed_with(condition)
    # Even then our own header comes first, so that the error stands in a stream (RFC 6120 4.9.1.2).
    assert driver.text.startswith("<?xml version='1.0'?><stream:stream ")
    assert driver.text.count("<stream:stream") == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings(step, encoding):
    driver = Driver(step)
    driver.sends(HEADER.encode(encoding))
    assert driver.is_closed_with("unsupported-encoding")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "text",
    [
        header(),
        header(to=None),
        header(version="1.9"),
        header(version="2.0"),
        "<?xml version='1.0' encoding='UTF-8'?>" + header(),
        "\ufeff" + header(),
        " \r\n" + HEADER,
        header(to="EXAMPLE.com"),
        "<s:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>",
    ],
)
def test_good_headers(step, text):
    driver = Driver(step)
    driver.sends(text)
    assert not driver.stream.is_closed, driver.text
    assert driver.stream.domain == "example.com"
    assert "<stream:features>" in driver.text


def test_header_answers_in_kind():
    driver = Driver()
    driver.sends(header(**{"from": "juliet@example.com", "xml_lang": "de&apos;x"}))
    text = driver.output()
    assert " to='juliet@example.com'" in text
    assert "xml:lang='de&apos;x'" in text
    assert driver.stream.lang == "de'x"


def test_whitespace_between_two_streams_is_a_keepalive():
    driver = Driver()
    driver.sends(HEADER + AUTH + "\n" + HEADER)
    assert not driver.stream.is_closed
    assert "xmpp-bind" in driver.text


# -- STARTTLS, RFC 6120 5


@pytest.mark.parametrize("behind", ["<x/>", AUTH, HEADER, "\n<x/>"])
def test_nothing_may_stand_behind_starttls(behind):
    """The injection of CVE-2011-0411: what an attacker added in the clear would be read as encrypted."""
    driver = Driver(tls=False)
    driver.sends(HEADER + STARTTLS + behind)
    assert driver.is_closed_with("policy-violation")
    assert "proceed" not in driver.text


def test_white_space_behind_starttls_is_dropped():
    """go-xmpp ends the element by a line feed."""
    driver = Driver(tls=False)
    assert kinds(driver.sends(HEADER + STARTTLS + "\n", answers=False)) == ["StartTLS"]
    driver.stream.tls_established()
    driver.sends(HEADER)
    assert not driver.stream.is_closed


def test_bytes_that_wait_for_tls_never_reach_the_new_stream():
    driver = Driver(tls=False)
    assert kinds(driver.sends(HEADER + STARTTLS, answers=False)) == ["StartTLS"]
    driver.output()
    driver.sends(HEADER + AUTH, answers=False)  # in the clear, after <proceed/>
    driver.stream.tls_established()
    events = driver.stream.receive(HEADER.encode())
    assert AuthRequested("PLAIN", b"\0juliet\0r0m30") not in events


@pytest.mark.parametrize(
    "policy", [{"tls": True}, {"tls": False, "has_tls": False, "is_tls_required": False}]
)
def test_starttls_that_was_not_offered_fails_and_ends_the_stream(policy):
    driver = Driver(**policy)
    driver.sends(HEADER)
    driver.output()
    assert driver.sends(STARTTLS) == [Closed()]
    assert driver.output() == "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    assert driver.stream.is_closed


def test_no_login_before_tls():
    driver = Driver(tls=False)
    assert driver.sends(HEADER + AUTH) == []
    assert "<encryption-required/>" in driver.text
    assert "<mechanism" not in driver.text
    assert "urn:extra" not in driver.text


def test_login_before_tls_where_that_is_allowed():
    driver = Driver(tls=False, is_tls_required=False)
    assert kinds(driver.sends(HEADER + AUTH)) == ["AuthRequested"]
    assert "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>" in driver.text


def test_nothing_known_before_tls_counts_after_it():
    driver = Driver(tls=False)
    driver.sends(header(to="example.net", xml_lang="de"))
    driver.sends(STARTTLS)
    assert kinds(driver.sends(HEADER)) == []
    assert (driver.stream.domain, driver.stream.lang) == ("example.com", "")


# -- before binding, RFC 6120 7


@pytest.mark.parametrize("stanza", ["<presence/>", "<message to='a@b'/>", "<iq type='result' id='1'/>"])
@pytest.mark.parametrize("login", ["", AUTH + HEADER])
def test_no_stanzas_before_a_resource_is_bound(stanza, login):
    driver = Driver()
    driver.sends(HEADER + login + stanza)
    assert driver.is_closed_with("not-authorized")


def test_bind_before_login_is_no_bind():
    driver = Driver()
    assert kinds(driver.sends(HEADER + BIND, answers=False)) == ["EarlyIQ"]


def test_early_iq_is_answered_and_the_stream_goes_on():
    driver = Driver()
    query = "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"
    (event, login) = driver.sends(HEADER + query + AUTH)
    assert event.request.payload == E("jabber:iq:register", "query")
    assert isinstance(login, AuthRequested)
    assert driver.text.index("<iq type='result'/>") < driver.text.index("<success")


@pytest.mark.parametrize(
    "element", ["<x xmlns='urn:unknown'/>", "<r xmlns='urn:xmpp:sm:3'/>", "<a xmlns=''/>"]
)
def test_unknown_elements(element):
    driver = Driver()
    driver.sends(HEADER + element)
    assert driver.is_closed_with("unsupported-stanza-type")


def test_refused_bind_can_be_tried_again():
    driver = Driver()
    driver.sends(HEADER + AUTH + HEADER)
    driver.output()
    (event,) = driver.sends(BIND, answers=False)
    driver.stream.bind_failed(event.request, StanzaError("conflict"))
    assert "<conflict " in driver.output()
    assert kinds(driver.sends(BIND)) == ["BindRequested"]
    assert kinds(driver.sends("<presence/>")) == ["presence"]


# -- limits before login (row 20: 8 KiB and 32 elements)


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        f"<auth {SASL} mechanism='PLAIN'>" + "A" * 9000,
        "<iq type='get' id='" + "x" * 9000,
        "<iq type='get' id='1'><q xmlns='u'>" + "<a/>" * 40,
        "<iq type='get' id='1'>" + "<a>" * 10,
        "<iq type='get' id='1'>" + "<a b='>'>" * 10,
        "<iq" + "".join(f" a{n}='>'" for n in range(40)) + "/>",
    ],
)
def test_strangers_get_little_room(step, data):
    driver = Driver(step)
    driver.sends(HEADER + data)
    assert driver.is_closed_with("policy-violation")


# -- afterwards


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("condition", "data"),
    [
        ("not-well-formed", "<message></presence>"),
        ("restricted-xml", "<message><!-- --></message>"),
        ("bad-format", "<presence/>hello<presence/>"),
        ("unsupported-encoding", b"<message>\xff</message>"),
        ("policy-violation", "<a>" * 100),
        ("policy-violation", "<message>" + "x" * 300_000),
        ("not-well-formed", HEADER + HEADER),
    ],
)
def test_fault_ends_the_stream(step, condition, data):
    driver = bound()
    driver.step = max(step, 1 if len(data) < 1000 else 100)
    driver.sends(data)
    assert driver.is_closed_with(condition)


def test_idle_streams_hold_no_parser():
    driver = bound()
    driver.sends("<presence/> ")
    assert driver.stream._parser is None
    driver.sends("<mess")
    assert driver.stream._parser is not None
    assert kinds(driver.sends("age/>")) == ["message"]
    assert driver.stream._parser is None


def test_fault_of_one_does_not_spoil_the_parser_of_others():
    policy = Policy()
    one, two = Driver(), Driver()
    one.stream._policy = two.stream._policy = policy
    for driver in (one, two):
        driver.sends(HEADER + AUTH + HEADER + BIND)
    one.sends("<presence/><message><body>")
    assert kinds(two.sends("<presence/>")) == ["presence"]
    one.sends("</wrong>")
    assert one.stream.is_closed
    assert kinds(two.sends("<message><body>x</body></message>")) == ["message"]
    one.sends("</stream:stream>")
    assert kinds(two.sends("<presence/>")) == ["presence"]


@pytest.mark.parametrize("header_text", [HEADER, HEADER.replace(" to=", " xmlns:x='urn:x' to=")])
def test_parser_is_replaced_though_a_stanza_is_always_under_way(header_text):
    """Row 24: expat keeps names for its life, so its life must end even for a client that never pauses."""
    driver = bound(header=header_text)
    driver.sends("<message>")
    stanza = "<n{0} xmlns='urn:{0}'/>" + "x" * 10_000 + "</message><message>"
    for number in range(3 * MAX_PARSER_BYTES // 10_000):
        assert kinds(driver.sends(stanza.format(number))) == ["message"]
        assert driver.stream._parser._fed < MAX_PARSER_BYTES + 20_000


@pytest.mark.parametrize("step", STEPS)
def test_prefix_of_the_header_reaches_the_recipient_declared(step):
    driver = bound(step, header=HEADER.replace(" to=", " xmlns:x='urn:x' to="))
    (stanza,) = driver.sends("<message><x:a>t</x:a></message>")
    assert stanza.body == b"<a xmlns='urn:x'>t</a>"
    assert kinds(driver.sends("<presence/></stream:stream>")) == ["presence", "Closed"]


def test_streams_end_once():
    driver = bound()
    driver.stream.close(StreamError("system-shutdown"))
    driver.stream.close(StreamError("conflict"))
    text = driver.output()
    assert text.count("</stream:stream>") == 1
    assert "conflict" not in text
    assert driver.stream.receive(b"<presence/>") == []


def test_text_of_errors_is_escaped():
    driver = bound()
    driver.stream.close(StreamError("undefined-condition", "<&'>", E("urn:x", "more")))
    text = driver.output()
    assert "xml:lang='en'>&lt;&amp;&apos;&gt;</text><more xmlns='urn:x'/></stream:error>" in text


def test_id_of_a_bind_is_escaped():
    driver = Driver()
    driver.sends(HEADER + AUTH + HEADER)
    driver.output()
    driver.sends(BIND.replace("id='b'", "id='&apos;/&gt;&lt;iq/&gt;'"))
    assert driver.output().startswith("<iq type='result' id='&apos;/&gt;&lt;iq/&gt;'>")


@given(st.binary(max_size=300), st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_a_stream_at_any_stage(data, stage):
    driver = Driver(tls=False, is_tls_required=False)
    driver.sends("".join([HEADER, AUTH, HEADER, BIND][: stage + 1]))
    driver.sends(data)
    assert driver.stream.is_closed == any(isinstance(event, Closed) for event in driver.events)
