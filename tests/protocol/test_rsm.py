"""XEP-0059: Result Set Management."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import RSM
from xmppd.protocol.rsm import Request, page, parse, response

LETTERS = "abcdefghij"


def asked(**parts):
    children = [E(RSM, name, text) for name, text in parts.items()]
    return E("urn:x", "query", E(RSM, "set", *children))


def test_request_is_read():
    assert parse(E("urn:x", "query")) is None
    assert parse(asked()) == Request()
    assert parse(asked(max="10", after="x")) == Request(max=10, after="x")
    assert parse(asked(before="")) == Request(before="")
    assert parse(asked(max="4294967295")) == Request(max=2**32 - 1)
    assert parse(asked(index="371", max="0")) == Request(index=371, max=0)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "ten", " 1", "\u0661", "9" * 20])
@pytest.mark.parametrize("name", ["max", "index"])
def test_what_is_no_number_is_refused(name, text):
    with pytest.raises(StanzaError, match="bad-request"):
        parse(asked(**{name: text}))


def test_limit():
    assert Request().limit(50, 250) == 50
    assert Request(max=1000).limit(50, 250) == 250
    assert Request(max=0).limit(50, 250) == 0


def test_response_is_written():
    assert response("a", "c", count=800, index=0) == E(
        RSM, "set", E(RSM, "first", "a", index=0), E(RSM, "last", "c"), E(RSM, "count", "800")
    )
    assert response(count=0) == E(RSM, "set", E(RSM, "count", "0"))


@pytest.mark.parametrize(
    ("request_", "expected", "index"),
    [
        (None, "abcde", 0),
        (Request(max=3), "abc", 0),
        (Request(max=3, after="c"), "def", 3),
        (Request(max=3, after="i"), "j", 9),
        (Request(max=3, before=""), "hij", 7),
        (Request(max=3, before="c"), "ab", 0),
        (Request(max=3, before="h"), "efg", 4),
        (Request(max=3, index=4), "efg", 4),
        (Request(max=100), "abcdefg", 0),
        (Request(max=9, after="b", before="e"), "cd", 2),
    ],
)
def test_page_is_cut(request_, expected, index):
    items, set_ = page(LETTERS, str, request_, default=5, maximum=7)
    assert items == expected
    assert set_ == response(expected[0], expected[-1], count=10, index=index)


@pytest.mark.parametrize(
    "request_",
    [
        Request(max=0),
        Request(after="j"),
        Request(before="a"),
        Request(index=10),
        Request(after="e", before="b"),
    ],
)
def test_empty_page_has_the_count_alone(request_):
    items, set_ = page(LETTERS, str, request_, default=5, maximum=7)
    assert items == ""
    assert set_ == response(count=10)


@pytest.mark.parametrize("request_", [Request(after="z"), Request(before="z"), Request(index=11)])
def test_unknown_place_is_refused(request_):
    with pytest.raises(StanzaError, match="item-not-found"):
        page(LETTERS, str, request_, default=5, maximum=7)


@given(st.integers(0, 30), st.integers(1, 7), st.booleans())
def test_paging_through_shows_each_item_once(size, limit, backwards):
    items = [str(number) for number in range(size)]
    seen = []
    request_ = Request(max=limit, before="" if backwards else None)
    while True:
        found, set_ = page(items, str, request_, default=5, maximum=100)
        if not found:
            break
        seen = found + seen if backwards else seen + found
        request_ = (
            Request(max=limit, before=set_.text_of(RSM, "first"))
            if backwards
            else Request(max=limit, after=set_.text_of(RSM, "last"))
        )
    assert seen == items
