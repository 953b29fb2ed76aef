"""Offline messages, XEP-0160: order, policy, quota, expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import Domain, User
from xmppd.models import OfflineMessage
from xmppd.protocol.errors import StanzaError
from xmppd.services import offline
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db
SENDER = "bob@example.org/phone"


@pytest.fixture
def alice():
    return User.objects.create(domain=Domain.objects.create(name="example.org"), username="alice")


@pytest.fixture
def carol(alice):
    return User.objects.create(domain=alice.domain, username="carol")


def store(user, *texts):
    return [offline.store(user.pk, f"<message><body>{text}</body></message>", SENDER).id for text in texts]


def bodies(kept):
    return [message.xml.removeprefix("<message><body>").removesuffix("</body></message>") for message in kept]


def test_messages_come_back_in_order_and_stay_until_deleted(alice, carol):
    store(carol, "not yours")
    ids = store(alice, "one", "two — ünï 💬", "three")
    kept = offline.take(alice.pk)
    assert bodies(kept) == ["one", "two — ünï 💬", "three"]
    assert [message.id for message in kept] == ids == sorted(ids)
    assert kept == offline.take(alice.pk)
    assert timezone.now() - kept[0].created < timedelta(minutes=1)

    assert offline.delete(alice.pk, ids[:2]) == 2
    assert bodies(offline.take(alice.pk)) == ["three"]
    assert offline.delete(alice.pk, ids) == 1
    assert offline.count(alice.pk) == 0
    assert offline.count(carol.pk) == 1


def test_messages_are_taken_in_pages(alice):
    ids = store(alice, *"abcde")
    taken = []
    while page := offline.take(alice.pk, limit=2):
        taken.append(bodies(page))
        offline.delete(alice.pk, [kept.id for kept in page])
    assert taken == [["a", "b"], ["c", "d"], ["e"]]
    assert len(ids) == 5


def test_what_came_first_is_taken_first(alice):
    """Whenever it was stored."""
    store(alice, "new")
    offline.store(
        alice.pk,
        "<message><body>old</body></message>",
        "b@example.org/c",
        received=datetime(2020, 1, 1, tzinfo=UTC),
    )
    assert bodies(offline.take(alice.pk)) == ["old", "new"]


def test_nobody_deletes_the_messages_of_another(alice, carol):
    ids = store(alice, "mine")
    assert offline.delete(carol.pk, ids) == 0
    assert offline.count(alice.pk) == 1


def test_more_messages_than_fit_a_statement_are_deleted(alice, monkeypatch):
    monkeypatch.setattr(offline, "CHUNK", 2)
    ids = store(alice, *"abcde")
    assert offline.delete(alice.pk, iter(ids)) == 5


@pytest.mark.parametrize("policy", ["bounce", "drop"])
def test_policy_without_a_store(alice, policy):
    with overridden(offline__policy=policy):
        if policy == "bounce":
            with pytest.raises(StanzaError, match="service-unavailable"):
                offline.store(alice.pk, "<message/>", SENDER)
        else:
            assert offline.store(alice.pk, "<message/>", SENDER) is None
    assert offline.count(alice.pk) == 0


@pytest.mark.parametrize("limit", [{"offline__max_messages": 2}, {"offline__quota": 70}])
def test_full_store_bounces_or_drops_and_takes_again_once_emptied(alice, carol, limit):
    with overridden(**limit):
        ids = store(alice, "12", "34")
        with pytest.raises(StanzaError, match="service-unavailable"):
            store(alice, "56")
        with overridden(**limit, offline__when_full="drop"):
            assert offline.store(alice.pk, "<message>12345678901234567890</message>", SENDER) is None
        assert offline.count(alice.pk) == 2
        store(carol, "56")
        offline.delete(alice.pk, ids[:1])
        store(alice, "78")
    assert bodies(offline.take(alice.pk)) == ["34", "78"]


def test_usage_counts_bytes_and_not_characters(alice):
    assert offline.usage(alice.pk) == offline.Usage(0, 0)
    offline.store(alice.pk, "<message>é</message>", SENDER)
    assert offline.usage(alice.pk) == offline.Usage(1, 21)


def test_endless_sender_is_cut(alice):
    offline.store(alice.pk, "<message/>", "x" * 3000)
    assert OfflineMessage.objects.get().sender == "x" * 512


def test_expired_messages_are_purged_when_a_time_is_set(alice):
    old, new = store(alice, "old", "new")
    now = timezone.now()
    OfflineMessage.objects.filter(id=old).update(created=now - timedelta(days=31))
    assert offline.purge_expired(now) == 0
    with overridden(offline__expire_after=timedelta(days=30)):
        assert offline.purge_expired(now) == 1
    assert [message.id for message in offline.take(alice.pk)] == [new]


def test_messages_go_with_the_account(alice):
    store(alice, "one")
    alice.delete()
    assert not OfflineMessage.objects.exists()
