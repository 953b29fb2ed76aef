"""Block lists, XEP-0191: rows in, rows out."""

from __future__ import annotations

import pytest

from accounts import services
from xmppd.bus.messages import BlocklistChanged
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.server.blocking import is_listed
from xmppd.services import blocklist, directory
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(make_user):
    return make_user("alice")


def jids(*texts):
    return [JID.parse(text) for text in texts]


def changes(heard):
    return [message for message in heard if isinstance(message, BlocklistChanged)]


def test_addresses_are_added_and_removed(alice):
    assert blocklist.load(alice.pk) == frozenset()
    assert blocklist.add(alice.pk, jids("a@example.net", "B.example")) == {"a@example.net", "b.example"}
    assert blocklist.add(alice.pk, jids("a@example.net", "c@d/e")) == {"a@example.net", "b.example", "c@d/e"}
    assert blocklist.load(alice.pk) == {"a@example.net", "b.example", "c@d/e"}
    assert blocklist.remove(alice.pk, jids("b.example", "unheard@of")) == {"a@example.net", "c@d/e"}
    assert blocklist.load(alice.pk) == {"a@example.net", "c@d/e"}
    assert blocklist.remove(alice.pk) == frozenset()
    assert blocklist.load(alice.pk) == frozenset()


def test_lists_are_each_their_own(alice, make_user):
    bob = make_user("bob")
    blocklist.add(alice.pk, jids("x@example.net"))
    blocklist.add(bob.pk, jids("x@example.net", "alice@example.org"))
    blocklist.remove(bob.pk, jids("x@example.net"))
    assert blocklist.load(alice.pk) == {"x@example.net"}
    assert blocklist.load(bob.pk) == {"alice@example.org"}


def test_changes_are_announced_and_nothing_else(alice, heard, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        blocklist.add(alice.pk, jids("x@example.net"))
        blocklist.add(alice.pk, jids("x@example.net"))
        blocklist.remove(alice.pk, jids("y@example.net"))
        blocklist.remove(alice.pk)
        blocklist.remove(alice.pk)
    assert changes(heard) == [BlocklistChanged(alice.pk, "alice@example.org")] * 2


@pytest.mark.parametrize("text", ["alice@example.org", "alice@example.org/x", "example.org", "example.org/x"])
def test_oneself_and_the_own_server_cannot_be_blocked(alice, text):
    with pytest.raises(StanzaError) as refused:
        blocklist.add(alice.pk, jids("x@example.net", text))
    assert refused.value.condition == "not-allowed"
    assert blocklist.load(alice.pk) == frozenset()


def test_limits(alice):
    with overridden(blocking__max_items=3):
        blocklist.add(alice.pk, jids("a@x", "b@x"))
        with pytest.raises(StanzaError) as refused:
            blocklist.add(alice.pk, jids("c@x", "d@x"))
        assert refused.value.condition == "policy-violation"
        assert blocklist.add(alice.pk, jids("a@x", "b@x", "c@x")) == {"a@x", "b@x", "c@x"}
    with pytest.raises(StanzaError) as refused:
        blocklist.add(alice.pk, jids("x@example.net/" + "r" * 600))
    assert refused.value.condition == "not-acceptable"


def test_long_lists_are_written_and_cleared(alice):
    everybody = jids(*[f"pest{number}@example.net" for number in range(1000)])
    assert len(blocklist.add(alice.pk, everybody)) == 1000
    assert len(blocklist.remove(alice.pk, everybody[:999])) == 1


def test_login_says_whether_anybody_is_blocked(alice):
    def record():
        return directory.find_account("example.org", "alice")

    assert record().has_blocked is False
    blocklist.add(alice.pk, jids("x@example.net"))
    assert record().has_blocked is True


def test_list_is_deleted_with_the_account(alice, actor):
    blocklist.add(alice.pk, jids("x@example.net"))
    number = alice.pk
    services.delete_user(alice, actor=actor)
    assert blocklist.load(number) == frozenset()


@pytest.mark.parametrize(
    ("entry", "matching", "others"),
    [
        ("a@b/c", ["a@b/c"], ["a@b", "a@b/d", "b", "b/c"]),
        ("a@b", ["a@b", "a@b/c"], ["b", "x@b", "a@b.c"]),
        ("b/c", ["b/c"], ["b", "a@b/c", "b/d"]),
        ("b", ["b", "a@b", "a@b/c", "b/c"], ["x.b", "a@x.b", "a@x/b"]),
    ],
)
def test_four_forms(entry, matching, others):
    assert all(is_listed(jid, {entry}) for jid in jids(*matching))
    assert not any(is_listed(jid, {entry}) for jid in jids(*others))
