"""Searching the archive, XEP-0431: what is found is what a reader would find, on every database."""

from __future__ import annotations

import random

import pytest

from tests.archived import keep
from xmppd.services import archive_query, archive_search
from xmppd.services.archive_query import Query

pytestmark = pytest.mark.django_db

# Letters that some database takes for others, and marks that mean something to a database or to XML.
ALPHABET = "abikKsSxX19 \u212aİıſßςσΣéÉeäÄжЖ你ア가&<>'\"%_\\;#\n"


def found(user, text, **kwargs) -> list[int]:
    ids: list[int] = []
    reached = None
    while True:
        page = archive_query.page(user.pk, Query(text=text), limit=1000, reached=reached, **kwargs)
        ids += [identity for identity, _stanza in page.rows]
        reached = page.reached
        if reached is None:
            assert page.is_complete
            return sorted(ids)


@pytest.mark.parametrize("window", [40, 5000])
def test_search_finds_what_a_reader_finds(make_user, monkeypatch, window):
    monkeypatch.setattr(archive_query, "SEARCH_ROWS", window)
    alice, bob = make_user("alice"), make_user("bob")
    dice = random.Random(313)
    texts = {}
    for _ in range(120):
        text = "".join(dice.choices(ALPHABET, k=8))
        texts[keep(alice, text)] = text
        keep(bob, text)
    for _ in range(80):
        wanted = "".join(dice.choices(ALPHABET, k=dice.choice((1, 1, 2, 3))))
        expected = [
            identity
            for identity, text in texts.items()
            if archive_search.fold(wanted) in archive_search.fold(text)
        ]
        assert found(alice, wanted) == expected, wanted
        assert found(alice, wanted, last=True) == expected, wanted


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ROMEO", "romeo"),
        ("Ä É Ж", "ä é ж"),
        ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
        ("\u212a", "k"),
        ("ß", "ß"),
        ("你", "你"),
    ],
)
def test_capitals_do_not_matter(text, folded):
    assert archive_search.fold(text) == folded


def test_markup_is_no_text(make_user):
    alice = make_user("alice")
    keep(alice, "hello")
    for word in ("body", "message", "chat", "type", "alice", "balcony", "example.org", "jabber"):
        assert found(alice, word) == []


def test_page_ends_where_enough_was_found(make_user, monkeypatch):
    """And what lies behind it is not looked at."""
    alice = make_user("alice")
    ids = [keep(alice, f"line {number}") for number in range(10)]
    page = archive_query.page(alice.pk, Query(text="line"), limit=4)
    assert ([identity for identity, _ in page.rows], page.is_complete, page.reached) == (ids[:4], False, None)
    monkeypatch.setattr(archive_query, "SEARCH_ROWS", 3)
    page = archive_query.page(alice.pk, Query(text="line"), limit=4)
    assert ([identity for identity, _ in page.rows], page.is_complete, page.reached) == (
        ids[:3],
        False,
        ids[2],
    )
    page = archive_query.page(alice.pk, Query(text="nothing"), limit=4, last=True)
    assert (page.rows, page.is_complete, page.reached) == ([], False, ids[7])


def test_pages_are_bounded_in_bytes(make_user):
    alice = make_user("alice")
    ids = [keep(alice, "漢" * 1000) for _ in range(5)]
    page = archive_query.page(alice.pk, Query(), limit=5, max_bytes=8000)
    assert ([identity for identity, _ in page.rows], page.is_complete) == (ids[:2], False)
    page = archive_query.page(alice.pk, Query(), limit=5, last=True, max_bytes=8000)
    assert ([identity for identity, _ in page.rows], page.is_complete) == (ids[3:], False)
    page = archive_query.page(alice.pk, Query(), limit=5, max_bytes=1)
    assert ([identity for identity, _ in page.rows], page.is_complete) == (ids[:1], False)
    assert archive_query.page(alice.pk, Query(), limit=5).is_complete
