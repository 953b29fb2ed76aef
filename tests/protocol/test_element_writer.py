"""Trees to XML and back: escaping, namespaces, no recursion."""

import importlib.util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.protocol.element import E, Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, XML
from xmppd.protocol.parser import parse_element
from xmppd.protocol.writer import clean, escape, escape_attr, write

HAS_LXML = importlib.util.find_spec("lxml") is not None

# What XML can carry: no controls but tab and line ends, no surrogates, no U+FFFE and U+FFFF.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]).filter(
        lambda c: c in "\t\n\r" or (ord(c) >= 0x20 and c not in "\ufffe\uffff")
    ),
    max_size=20,
)
NAME = st.from_regex(r"[A-Za-z_é][A-Za-z0-9_.\-é]{0,8}", fullmatch=True)
URIS = [CLIENT, "urn:a", "urn:it's&", "", XML]
NAMESPACES = [*URIS, "urn:b}c", 'urn:"quoted" <odd>']
ATTRIBUTES = st.dictionaries(
    st.one_of(NAME, st.just("xml:lang"), NAME.map(lambda name: f"{{urn:a&'}}{name}")), TEXT, max_size=4
)


def trees(namespaces=NAMESPACES):
    namespace = st.sampled_from(namespaces)
    return st.recursive(
        st.builds(Element, namespace, NAME, ATTRIBUTES),
        lambda inner: st.builds(
            Element, namespace, NAME, ATTRIBUTES, st.lists(st.one_of(inner, TEXT), max_size=4)
        ),
        max_leaves=12,
    )


@given(trees(), st.sampled_from(["", CLIENT, "urn:a"]))
@settings(max_examples=400, deadline=None)
def test_written_and_parsed_trees_are_equal(tree, parent):
    inside = f"<parent xmlns='{parent}'>".encode()
    assert parse_element(write(tree, parent).encode(), inside) == tree


@pytest.mark.skipif(not HAS_LXML, reason="lxml is not installed")
@given(trees(URIS))  # libxml2 takes no namespaces that are no URIs
@settings(max_examples=300, deadline=None)
def test_a_second_parser_reads_the_same(tree):
    """What one parser reads in it another must read too: parsers that differ are how stanzas are smuggled."""
    from lxml import etree

    def same(element, node):
        name = f"{{{element.ns}}}{element.name}" if element.ns else element.name
        attrs = {key.replace("xml:", f"{{{XML}}}"): value for key, value in element.attrs.items()}
        assert (node.tag, dict(node.attrib)) == (name, attrs)
        texts = (node.text or "") + "".join(child.tail or "" for child in node)
        assert texts == element.text
        for child, child_node in zip(element.elements(), node, strict=True):
            same(child, child_node)

    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    same(tree, etree.fromstring(write(tree).encode(), parser))


@pytest.mark.parametrize(
    ("element", "parent", "xml"),
    [
        (E(CLIENT, "body", "hi"), CLIENT, "<body>hi</body>"),
        (E(CLIENT, "body", "hi"), "", "<body xmlns='jabber:client'>hi</body>"),
        (E("urn:a", "a", E("urn:a", "b"), E("", "c")), CLIENT, "<a xmlns='urn:a'><b/><c xmlns=''/></a>"),
        (E(XML, "a", E(CLIENT, "b")), CLIENT, "<xml:a><b/></xml:a>"),
        (E(CLIENT, "a", x="1", xml_lang="de", from_="b"), CLIENT, "<a x='1' xml:lang='de' from='b'/>"),
        (Element(CLIENT, "a", {"{urn:x}y": "z"}), CLIENT, "<a xmlns:a0='urn:x' a0:y='z'/>"),
        (E(CLIENT, "a", None, "", None, b=None), CLIENT, "<a></a>"),
        (E(CLIENT, "a", n=1, yes=True, jid=JID.parse("a@b/c")), CLIENT, "<a n='1' yes='true' jid='a@b/c'/>"),
    ],
)
def test_written(element, parent, xml):
    assert write(element, parent) == xml
    assert element.to_bytes(parent) == xml.encode()


def test_nothing_escapes_the_escaping():
    evil = "&<>\"'\t\n\r]]><iq/>"
    assert escape(evil) == "&amp;&lt;&gt;\"'\t\n&#13;]]&gt;&lt;iq/&gt;"
    assert escape_attr(evil) == "&amp;&lt;&gt;&quot;&apos;&#9;&#10;&#13;]]&gt;&lt;iq/&gt;"
    element = E("urn:' x='", "a", evil, b=evil)
    assert parse_element(element.to_bytes()) == element


@pytest.mark.parametrize("char", ["\0", "\x01", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_carry_is_replaced(char):
    assert clean(f"a{char}b") == "a\ufffdb"
    element = parse_element(E(CLIENT, "a", f"x{char}", b=f"y{char}").to_bytes())
    assert (element.text, element.get("b")) == ("x\ufffd", "y\ufffd")


def test_depth_is_no_matter():
    """A tree as deep as it may be comes from our stores too; Python's stack is not part of the bargain."""
    root = node = Element(CLIENT, "a")
    for _ in range(20_000):
        child = Element(CLIENT, "a")
        node.append(child)
        node = child
    text = write(root, CLIENT)
    assert text.count("<a>") == 20_000
    copy = parse_element(text.encode(), b"<x xmlns='jabber:client'>")
    assert copy == root
    node.append("x")
    assert copy != root
    # Trees this deep are taken apart from the outside in: destroying them must not recurse either.
    while root.children and isinstance(root.children[0], Element):
        root = root.children.pop()
    while copy.children:
        copy = copy.children.pop()


def test_looking_into_elements():
    a = E(CLIENT, "a", "one ", E("urn:x", "b", "B1"), "two", E("urn:y", "b", "B2"), E("urn:x", "b", "B3"))
    assert a.text == "one two"
    assert a.find("urn:y", "b").text == "B2"
    assert [b.text for b in a.findall("urn:x", "b")] == ["B1", "B3"]
    assert a.text_of("urn:x", "b") == "B1"
    assert a.text_of("urn:x", "c", "none") == "none"
    assert a.find("urn:x", "c") is None
    assert a.get("missing") == ""
    assert a.tag == (CLIENT, "a")


def test_runs_of_text_compare_by_their_sum():
    assert E(CLIENT, "a", "x", "y") == E(CLIENT, "a", "xy", "")
    assert E(CLIENT, "a", "x", E(CLIENT, "b"), "y") != E(CLIENT, "a", "xy", E(CLIENT, "b"))
    assert E(CLIENT, "a", b="1") != E(CLIENT, "a", b="2")
    assert E(CLIENT, "a") != "a"
