"""RFC 7622: addresses."""

import contextlib
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.protocol.jid import JID, JIDError, _parse_cached, prepare_domain, prepare_local, prepare_resource


@pytest.mark.parametrize(
    ("text", "parts"),
    [  # the first twelve are the examples of RFC 7622 3.5, table 1
        ("juliet@example.com", ("juliet", "example.com", "")),
        ("juliet@example.com/foo", ("juliet", "example.com", "foo")),
        ("juliet@example.com/foo bar", ("juliet", "example.com", "foo bar")),
        ("juliet@example.com/foo@bar", ("juliet", "example.com", "foo@bar")),
        ("foo\\20bar@example.com", ("foo\\20bar", "example.com", "")),
        ("fussball@example.com", ("fussball", "example.com", "")),
        ("fu\u00dfball@example.com", ("fu\u00dfball", "example.com", "")),
        ("\u03c0@example.com", ("\u03c0", "example.com", "")),
        ("\u03a3@example.com/foo", ("\u03c3", "example.com", "foo")),
        ("king@example.com/\u265a", ("king", "example.com", "\u265a")),
        ("example.com", ("", "example.com", "")),
        ("a.example.com/b@example.net", ("", "a.example.com", "b@example.net")),
        ("Juliet@EXAMPLE.com/Balcony", ("juliet", "example.com", "Balcony")),
        ("a@b/c/d", ("a", "b", "c/d")),
        ("romeo@localhost", ("romeo", "localhost", "")),
        ("romeo@example.com.", ("romeo", "example.com", "")),
        ("romeo@B\u00dcCHER.example", ("romeo", "b\u00fccher.example", "")),
        ("romeo@XN--bcher-kva.example", ("romeo", "b\u00fccher.example", "")),
        ("romeo@192.0.2.7", ("romeo", "192.0.2.7", "")),
        ("romeo@[2001:DB8:0::1]/x", ("romeo", "[2001:db8::1]", "x")),
        ("romeo@r3---sn.example", ("romeo", "r3---sn.example", "")),
        ("romeo@example.com/a\u00a0b", ("romeo", "example.com", "a b")),
        ("\uff21@example.com", ("a", "example.com", "")),
        ("cafe\u0301@example.com", ("caf\u00e9", "example.com", "")),
    ],
)
def test_address_is_cut_and_prepared(text, parts):
    jid = JID.parse(text)
    assert (jid.local, jid.domain, jid.resource) == parts
    assert JID.parse(str(jid)) == jid


@pytest.mark.parametrize(
    "text",
    [  # the examples of RFC 7622 3.5, table 2, come first
        '"juliet"@example.com',
        "foo bar@example.com",
        "juliet@example.com/",
        "@example.com/",
        "henry\u2163@example.com",
        "\u265a@example.com",
        "juliet@",
        "/foobar",
        "",
        "@",
        "a@b@c",
        "@example.com",
        "a&b@example.com",
        "a\uff20b@example.com",  # fullwidth @
        "a\uff0fb@example.com",  # fullwidth /
        "a@exa mple.com",
        "a@-example.com",
        "a@example-.com",
        "a@exam_ple.com",
        "a@.example.com",
        "a@example..com",
        "a@example.com..",
        "a@.",
        "a@192.0.2.256",
        "a@192.0.2.07",
        "a@[2001:db8::1",
        "a@[2001:db8::g]",
        "a@[fe80::1%eth0]",
        "a@[]",
        "a@xn--a.example",
        "a@xn--\u00fc.example",
        "a@" + "x" * 64 + ".example",
        "a@example.com/a\u0000b",
        "a@example.com/a\u0085b",
        "a@example.com/a\nb",
        "a@example.com/\ud800",
        "\ud800@example.com",
        "a@\ud800.com",
        "a@example.com/\ufffe",
        "\\20a@example.com",
        "a\\20@example.com",
        "x" * 1024 + "@example.com",
        "\u00e9" * 512 + "@example.com",
        "a@example.com/" + "x" * 1024,
        "a@" + "x." * 512 + "xx",
        "a@b/" + "\u265a" * 342,
        "x" * 4000,
    ],
)
def test_malformed_address_is_refused(text):
    with pytest.raises(JIDError):
        JID.parse(text)


def test_parts_may_have_1023_bytes():
    text = "l" * 1023 + "@" + "d." * 511 + "d" + "/" + "\u00e9" * 511 + "r"
    assert len(str(JID.parse(text)).encode()) == 3071


def test_bare_and_full_forms():
    jid = JID.parse("Romeo@Example.com/Garden")
    assert str(jid) == jid.full == jid.full_str == "romeo@example.com/Garden"
    assert jid.bare_str == str(jid.bare) == "romeo@example.com"
    assert not jid.is_bare
    assert jid.bare.is_bare
    assert jid.bare.bare is jid.bare
    assert jid.bare is jid.bare
    assert jid.bare.with_resource("Garden") == jid
    assert JID("", "example.com").bare_str == "example.com"


def test_attribute_form_is_escaped():
    assert JID.parse("a@b.example/it's <&> \"").attr == b'a@b.example/it&apos;s &lt;&amp;> "'
    assert JID.parse("\u03c0@b.example").attr == "\u03c0@b.example".encode()


def test_equality_is_by_prepared_text_and_never_with_str():
    assert {JID.parse("A@b"), JID("a", "b")} == {JID.parse("a@B.")}
    assert JID.parse("a@b/X") != JID.parse("a@b/x")
    assert JID("a", "b") != "a@b"


def test_pickle_keeps_the_address():
    jid = JID.parse("a@b/c")
    assert pickle.loads(pickle.dumps(jid)) == jid


def test_same_text_is_prepared_once_and_failures_and_long_texts_are_not_remembered():
    assert JID.parse("cached@example.com") is JID.parse("cached@example.com")
    before = _parse_cached.cache_info().currsize
    for text in ["bad bad@example.com", "a@b/" + "x" * 1000]:
        with contextlib.suppress(JIDError):
            JID.parse(text)
    assert _parse_cached.cache_info().currsize == before


any_text = st.text(max_size=40) | st.text(
    alphabet="aZ0.-_@/\\ '\u00e9\u0130\u03a3\uff21\u3002\u0301\u00df\u200d", max_size=20
)


@settings(max_examples=300)
@given(any_text)
def test_parse_raises_only_jid_errors_and_round_trips(text):
    try:
        jid = JID.parse(text)
    except JIDError:
        return
    assert JID.parse(str(jid)) == jid
    assert JID.parse(jid.bare_str) == jid.bare


@settings(max_examples=300)
@given(any_text, st.sampled_from([prepare_local, prepare_domain, prepare_resource]))
def test_preparation_is_idempotent_and_bounded(text, prepare):
    try:
        prepared = prepare(text)
    except JIDError:
        return
    assert prepare(prepared) == prepared
    assert 1 <= len(prepared.encode()) <= 1023


@given(st.text(alphabet="abcXYZ019.-_!~=", min_size=1, max_size=30))
def test_ascii_fast_path_agrees_with_precis(text):
    import precis_i18n

    assert prepare_local(text) == precis_i18n.get_profile("UsernameCaseMapped").enforce(text)
    assert prepare_resource(text) == precis_i18n.get_profile("OpaqueString").enforce(text)
