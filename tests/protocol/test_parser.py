"""Bytes to stanzas: limits, forbidden XML, encodings, splits (RFC 6120 11)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.parser import (
    AUTHENTICATED,
    Limits,
    ParserPool,
    StanzaParser,
    parse_children,
    parse_element,
)
from xmppd.protocol.stream import header as headers
from xmppd.protocol.stream.header import MAX_KNOWN_BYTES, MAX_KNOWN_HEADERS, HeaderParser

SMALL = Limits(max_bytes=1000, max_depth=4, max_elements=5, max_attributes=3)
STEPS = [1, 7, 1 << 20]  # bytes handed over at a time


def feed(data, step=1 << 20, limits=AUTHENTICATED, parser=None, **kwargs):
    """The stanzas in the data, cut into pieces of `step` bytes."""
    parser = parser or StanzaParser(limits, **kwargs)
    stanzas = []
    for start in range(0, len(data), step):
        stanzas += parser.feed(data[start : start + step])
    return stanzas


def refused(condition, data, step, limits=AUTHENTICATED):
    with pytest.raises(StreamError) as caught:
        feed(data, step, limits)
    assert caught.value.condition == condition, caught.value


# -- what is a stanza

LETTERS = [
    b"<body>hi</body>",
    b"<body>a &amp; b &lt; c &#233; &quot;</body>",
    "<body>žluťoučký 🐎 汉字</body>".encode(),
    b"<body>  spaces\tand\r\nlines </body >",
    b"<a xmlns='urn:a'><b xmlns='urn:b' c='>'/></a><d/>text",
    b"<p:a xmlns:p='urn:p' p:q='1'/>",
    b"<a b='\"' c=\"'>\" />",
    b"<stream:x/>",
    b"<xml:a/>",
    b"",
]


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("step", STEPS)
def test_letter_keeps_the_very_bytes_of_its_sender(letter, step):
    (stanza,) = feed(b"<message to='a@b' type='chat' id='1'>" + letter + b"</message>", step)
    assert stanza.body == letter
    assert stanza.kind == "message"
    assert stanza.attrs == {"to": "a@b", "type": "chat", "id": "1"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "head",
    [
        b"<iq type='get' id='1'",
        b'<iq type="get" id="1"',
        b"<iq\ttype = 'get'\n id='1'\n",
        b"<iq type='get' id='1' xmlns='jabber:client'",
        b"<iq x='>' y=\"it's>\" type='get' id='1'",
        b"<iq x='\">\"' type=\"get\" id='1'",
        b"<c:iq xmlns:c='jabber:client' type='get' id='1'",
    ],
)
def test_heads_of_every_shape(head, step):
    name = head[1:].split()[0]
    for tail in (b"/>", b"></" + name + b">", b"></" + name + b"\n>"):
        (stanza,) = feed(head + tail, step)
        assert (stanza.kind, stanza.type, stanza.id, stanza.body) == ("iq", "get", "1", b"")


@pytest.mark.parametrize("step", STEPS)
def test_children_are_named_without_opening_the_letter(step):
    (stanza,) = feed(
        b"<message><body>x</body><a xmlns='urn:a'><b/></a><p:c xmlns:p='urn:p'/></message>", step
    )
    assert stanza.children == ("jabber:client\nbody", "urn:a\na", "urn:p\nc")
    assert stanza._element is None


@pytest.mark.parametrize("step", STEPS)
def test_other_elements_have_a_tag(step):
    (one, two) = feed(b"<r xmlns='urn:xmpp:sm:3' h='1'/><message xmlns='jabber:server'/>", step)
    assert (one.kind, one.tag, one.attrs["h"]) == ("", "urn:xmpp:sm:3\nr", "1")
    assert (two.kind, two.tag) == ("", "jabber:server\nmessage")


@pytest.mark.parametrize("step", STEPS)
def test_many_stanzas_and_keepalives(step):
    data = (
        b" \n<presence/>\t<message><body>1</body></message>\r\n \n<iq type='get' id='x'><q xmlns='u'/></iq>  "
    )
    parser = StanzaParser(AUTHENTICATED)
    assert [stanza.kind for stanza in feed(data, step, parser=parser)] == ["presence", "message", "iq"]
    assert parser.is_idle


def test_keepalives_cost_no_memory():
    parser = StanzaParser(SMALL)
    for _ in range(1000):
        assert parser.feed(b"        ") == []
    assert not parser._pending
    assert [stanza.kind for stanza in parser.feed(b"<presence/>")] == ["presence"]


@pytest.mark.parametrize("step", STEPS)
def test_end_of_the_stream(step):
    parser = StanzaParser(AUTHENTICATED)
    assert len(feed(b"<presence/></stream:stream>", step, parser=parser)) == 1
    assert parser.is_ended


# -- what must not come in

PAIRS = [
    ("restricted-xml", b"<!-- x -->"),
    ("restricted-xml", b"<message><!-- x --></message>"),
    ("restricted-xml", b"<message><body><!----></body></message>"),
    ("restricted-xml", b"<?php x?>"),
    ("restricted-xml", b"<message><?pi?></message>"),
    ("restricted-xml", b"<message>&foo;</message>"),
    ("restricted-xml", b"<message to='&foo;'/>"),
    ("not-well-formed", b"<!DOCTYPE a [<!ENTITY b 'c'>]>"),
    ("not-well-formed", b"<message><!DOCTYPE a></message>"),
    ("not-well-formed", b"<!ENTITY b 'c'>"),
    ("not-well-formed", b"<?xml version='1.0'?>"),
    ("not-well-formed", b"<message><body></message>"),
    ("not-well-formed", b"<message a='1' a='2'/>"),
    ("not-well-formed", b"<message a=b/>"),
    ("not-well-formed", b"<message>&#0;</message>"),
    ("not-well-formed", b"<message>&#xFFFF;</message>"),
    ("not-well-formed", b"<message>\x01</message>"),
    ("not-well-formed", b"<message>]]></message>"),
    ("not-well-formed", b"<message a='<'/>"),
    ("not-well-formed", b"<p:message/>"),
    ("not-well-formed", b"<message p:a='1'/>"),
    ("not-well-formed", b"<message xmlns:p=''/>"),
    ("not-well-formed", b"<message xmlns:xml='urn:x'/>"),
    ("not-well-formed", b"<message xmlns:xmlns='urn:x'/>"),
    ("not-well-formed", b"<message xmlns:p='a\nb&#10;c' xmlns:p='d'/>"),
    ("not-well-formed", b"</message>"),
    ("bad-format", b"text"),
    ("bad-format", b"<presence/>text<presence/>"),
    ("bad-format", b"&lt;"),
    ("bad-format", b"<![CDATA[x]]><presence/>"),
    ("unsupported-encoding", b"<message>\xff</message>"),
    ("unsupported-encoding", b"<message>\xc0\xbc</message>"),  # overlong <
    ("unsupported-encoding", b"<message>\xed\xa0\x80</message>"),  # a surrogate
    ("unsupported-encoding", b"<message>\xe2\x82</message>"),  # cut short
    ("unsupported-encoding", b"<message \xf0\x80\x80\xbc='1'/>"),
    ("unsupported-encoding", "<message/>".encode("utf-16")),
]


@pytest.mark.parametrize(("condition", "data"), PAIRS)
@pytest.mark.parametrize("step", STEPS)
def test_refused(condition, data, step):
    refused(condition, data, step)


@pytest.mark.parametrize("step", STEPS)
def test_utf16_without_a_mark_dies_as_well(step):
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(StreamError):
            feed("<message/>".encode(encoding), step)


@pytest.mark.parametrize("step", STEPS)
def test_braces_in_names_of_namespaces_confuse_nobody(step):
    """expat's usual separator is '}' elsewhere; a namespace may hold it."""
    (stanza,) = feed(b"<message><a xmlns='jabber:client}body'/></message>", step)
    assert stanza.children == ("jabber:client}body\na",)
    assert not stanza.has(CLIENT, "body")


@pytest.mark.parametrize("step", STEPS)
def test_newline_in_a_namespace_cannot_play_the_separator(step):
    refused("not-well-formed", b"<message><a xmlns='jabber:client&#10;body'/></message>", step)


# -- limits


@pytest.mark.parametrize("step", STEPS)
def test_limits_hold_to_the_unit(step):
    fitting = b"<message><body>%s</body></message>"
    exact = fitting % (b"x" * (SMALL.max_bytes - len(fitting) + 2))
    assert len(exact) == SMALL.max_bytes
    assert len(feed(exact * 3, step, SMALL)) == 3
    refused("policy-violation", exact.replace(b"x</", b"xx</"), step, SMALL)
    assert feed(b"<message><b><c><d/></c></b></message>", step, SMALL)
    refused("policy-violation", b"<message><b><c><d><e/></d></c></b></message>", step, SMALL)
    assert feed(b"<message><a/><a/><a/><a/></message>", step, SMALL)
    refused("policy-violation", b"<message><a/><a/><a/><a/><a/></message>", step, SMALL)
    assert feed(b"<message a='' b='' c=''/>", step, SMALL)
    refused("policy-violation", b"<message a='' b='' c='' d=''/>", step, SMALL)
    refused("policy-violation", b"<message><x a='' b='' c='' d=''/></message>", step, SMALL)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "data",
    [
        b"<message to='" + b"x" * 5000,
        b'<message to="' + b">" * 5000,
        b"<" + b"m" * 5000,
        b"<message>" + b"x" * 5000,
        b"<message><![CDATA[" + b"x" * 5000,
        b"<message></" + b"x" * 5000,
        b"<message" + b" " * 5000,
        b"<message><a><b>" + b"<c/>" * 5000,
    ],
)
def test_unfinished_stanza_cannot_grow(data, step):
    refused("policy-violation", data, step, SMALL)


@pytest.mark.parametrize("step", [64, 1 << 20])
def test_depth_is_cut_before_it_costs(step):
    parser = StanzaParser(AUTHENTICATED)
    with pytest.raises(StreamError, match="policy-violation"):
        feed(b"<a>" * 60_000, step, parser=parser)
    assert parser._depth <= AUTHENTICATED.max_depth + 2


class Meter:
    """Stands before expat, counting the bytes that it looks at: what is unread, again with each piece."""

    def __init__(self, parser):
        self._parser, self._expat = parser, parser._expat
        self.looked_at = self.calls = 0

    def Parse(self, data):
        self.calls += 1
        self.looked_at += len(data) + self._parser._fed - self._expat.CurrentByteIndex
        return self._expat.Parse(data)

    @property
    def CurrentByteIndex(self):
        return self._expat.CurrentByteIndex


@pytest.mark.parametrize("piece", [1, 10, 500])
@pytest.mark.parametrize(
    ("head", "filler", "tail"),
    [
        (b"<message a='", b"x", b"'/>"),
        (b"<message a='", b">", b"'/>"),
        (b'<message a="', b"'", b'"/>'),
        (b"<message><body", b" ", b"/></message>"),
        (b"<message><body>", b"x", b"</body></message>"),
        (b"<message><body>", b"&amp;", b"</body></message>"),
        (b"<message><body><![CDATA[", b"]", b"x]]></body></message>"),
        (b"<message></message", b" ", b">"),
    ],
)
def test_slow_tokens_cost_in_proportion(head, filler, tail, piece):
    """CVE-2023-52425: expat begins an unfinished tag anew with each piece."""
    data = head + filler * (40_000 // len(filler)) + tail
    parser = StanzaParser(AUTHENTICATED)
    parser._expat = meter = Meter(parser)
    assert len(feed(data, piece, parser=parser)) == 1
    # Up to 1 KiB of a tag is seen again with each piece before it is held back.
    assert meter.looked_at < 3 * len(data) + 1100 * 1100 // piece


@pytest.mark.parametrize("start", [b"<message>&", b"<message a='1'>&#", b"<message><!--", b"<message><?"])
def test_other_unfinished_tokens_end_the_stream_early(start):
    parser = StanzaParser(AUTHENTICATED)
    parser._expat = meter = Meter(parser)
    with pytest.raises(StreamError):
        feed(start + b"1" * 100_000, 10, parser=parser)
    assert meter.calls < 200


# -- namespaces that the stream header declared

CONTEXT = (
    b"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' "
    b"xmlns:x='urn:declared:outside'>"
)


@pytest.mark.parametrize("step", STEPS)
def test_prefix_of_the_header_is_written_into_the_letter(step):
    (stanza,) = feed(b"<message><body>b</body><x:a x:b='1'/></message>", step, context=CONTEXT)
    assert stanza.children == ("jabber:client\nbody", "urn:declared:outside\na")
    element = parse_element(b"<message xmlns='jabber:client'>" + stanza.body + b"</message>")
    assert element.text_of(CLIENT, "body") == "b"
    assert element.find("urn:declared:outside", "a").attrs == {"{urn:declared:outside}b": "1"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("head", "letter"),
    [
        (b"<message xmlns:p='urn:p'>", b"<p:a/>"),
        (b"<message xmlns:p='urn:p'>", b"<a p:b='1'/>"),
        (b"<c:message xmlns:c='jabber:client' xmlns='urn:p'>", b"<a/>"),
    ],
)
def test_declarations_on_the_stanza_do_not_get_lost(head, letter, step):
    tail = b"</c:message>" if head[1:2] == b"c" else b"</message>"
    (stanza,) = feed(head + letter + tail, step)
    (child,) = parse_element(b"<message xmlns='jabber:client'>" + stanza.body + b"</message>").elements()
    assert "urn:p" in (child.ns, *(key[1:6] for key in child.attrs))


@pytest.mark.parametrize("step", STEPS)
def test_cdata_becomes_text(step):
    (stanza,) = feed(b"<message><body><![CDATA[<a> & ]]]]><![CDATA[>]]></body><xml:x/></message>", step)
    assert b"CDATA" not in stanza.body
    element = parse_element(b"<message xmlns='jabber:client'>" + stanza.body + b"</message>")
    assert element.text_of(CLIENT, "body") == "<a> & ]]>"


# -- parsers that many streams share


def test_idle_parser_goes_back_to_the_pool():
    pool = ParserPool(AUTHENTICATED)
    parser = pool.borrow()
    feed(b"<presence/> ", parser=parser)
    assert parser.is_idle
    pool.give_back(parser)
    assert pool.borrow() is parser


def test_parser_is_not_idle_inside_anything():
    for data in (b"<", b"<presence", b"<message>", b" <message><body>x", "<message>é".encode()[:-1]):
        parser = StanzaParser(AUTHENTICATED)
        parser.feed(data)
        assert not parser.is_idle, data


def test_worn_parser_is_thrown_away():
    """expat keeps every name it has read (row 24): the parser goes after a megabyte."""
    pool = ParserPool(AUTHENTICATED)
    parser = pool.borrow()
    for number in range(20_000):
        feed(
            b"<message><n%d a%d='' xmlns='urn:names:%d'/></message>" % (number, number, number), parser=parser
        )
    assert parser.is_worn
    pool.give_back(parser)
    assert pool.borrow() is not parser


@pytest.mark.parametrize("context", [None, CONTEXT])
@pytest.mark.parametrize("rest", [b"", b"<", b"<mess", b"<message><bo", "<message><body>é".encode()[:-1]])
def test_renewed_parser_goes_on_where_the_old_one_was(context, rest):
    parser = StanzaParser(AUTHENTICATED, context) if context else StanzaParser(AUTHENTICATED)
    parser.feed(b"<presence/>" + rest)
    fresh = parser.renewed()
    whole = "<message><body>é</body></message>".encode()
    assert whole.startswith(rest)
    (stanza,) = fresh.feed(whole[len(rest) :])
    assert stanza.element.text_of(CLIENT, "body") == "é"
    assert fresh._fed < 1000


# -- property: however the bytes are cut

STREAM = (
    "  <message to='a@b'><body>é 🐎 &amp;</body></message>\n"
    "<iq type=\"get\" id='&gt;>\"'><q xmlns='urn:q' a='>'/></iq>"
    "<presence/><p:x xmlns:p='urn:p'/> <message><body><![CDATA[x>]]></body></message></stream:stream>"
).encode()


def shape(stanzas):
    return [(s.kind, s.tag, s.attrs, s.children, s.body) for s in stanzas]


WHOLE = shape(feed(STREAM))


@pytest.mark.parametrize("cut", range(len(STREAM)))
def test_cut_at_every_byte(cut):
    parser = StanzaParser(AUTHENTICATED)
    stanzas = parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:])
    assert shape(stanzas) == WHOLE
    assert parser.is_ended


@given(st.lists(st.integers(min_value=1, max_value=60)))
@settings(max_examples=200, deadline=None)
def test_cut_anyhow(pieces):
    parser = StanzaParser(AUTHENTICATED)
    stanzas, rest = [], STREAM
    for size in pieces:
        stanzas += parser.feed(rest[:size])
        rest = rest[size:]
    assert shape(stanzas + parser.feed(rest)) == WHOLE


@given(st.binary(max_size=200), st.integers(min_value=1, max_value=50))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_stanzas_or_a_stream_error(data, step):
    outcomes = []
    for size in (step, len(data) or 1):
        try:
            outcomes.append(shape(feed(data, size, SMALL)))
        except StreamError as error:
            outcomes.append(error.condition)
    assert len(outcomes) == 2


@given(st.text(alphabet="<>/'\"= &;!?[]-abm\n:", max_size=80), st.integers(min_value=1, max_value=30))
@settings(max_examples=500, deadline=None)
def test_markup_is_judged_alike_however_it_is_cut(text, step):
    data = f"<message>{text}</message>".encode()
    outcomes = []
    for size in (step, len(data)):
        try:
            outcomes.append(shape(feed(data, size)))
        except StreamError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]


# -- headers that were read before


KNOWN = (
    b"<?xml version='1.0'?><stream:stream to='known.example' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)


def read_header(data, size):
    """Fed in pieces of this size; what belongs to it, and the parser."""
    header = HeaderParser()
    for start in range(0, len(data), size):
        if header.feed(data[start : start + size]) is not None:
            break
    return header


@pytest.mark.parametrize("size", [1, 21, len(KNOWN)])
def test_header_that_is_known_reads_as_the_first_time(size):
    first = read_header(KNOWN, len(KNOWN))
    for text in (KNOWN, KNOWN.replace(b"known", b"other"), KNOWN.replace(b"<?xml version='1.0'?>", b"")):
        header = read_header(text, size)
        assert header.root == first.root
        assert header.declared == first.declared
        assert header.context() == first.context()
        assert header.attrs["to"] == ("other.example" if b"other" in text else "known.example")
    for broken in (
        KNOWN.replace(b"1.0'?>", b"1.0'?><?x?>"),
        KNOWN.replace(b" to", b" <to"),
    ):
        with pytest.raises(StreamError):
            read_header(broken + b"<x>", size)


def test_strangers_do_not_fill_the_memory_with_headers():
    for number in range(MAX_KNOWN_HEADERS * 2):
        read_header(KNOWN.replace(b"known", b"%d" % number), len(KNOWN))
        read_header(KNOWN.replace(b"known", b"%d" % number * 300), 4000)
    assert len(headers._known_headers) <= MAX_KNOWN_HEADERS
    assert max(map(len, headers._known_headers)) <= MAX_KNOWN_BYTES


def test_text_alone_is_read_as_in_a_document():
    for body in (b"abc", "ä €".encode(), b"a&amp;b", b"a\r\nb", b"<![CDATA[x]]>", b" "):
        root = parse_element(b"<x>" + body + b"</x>")
        assert "".join(parse_children(b"<root>", "", body)) == root.text
