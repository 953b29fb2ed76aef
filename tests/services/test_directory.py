"""Accounts at login, names of contacts, user search (XEP-0055)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Domain, User
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import VCARD as NS
from xmppd.services import directory, offline, vcard
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db


@pytest.fixture
def domain():
    return Domain.objects.create(name="example.org", is_primary=True)


@pytest.fixture
def people(domain):
    other = Domain.objects.create(name="example.net")
    for username, name, email in [
        ("alice", "Alice Liddell", "alice@post.example"),
        ("bob", "Élodie Straße", "Bob@Post.example"),
        ("carol_1", "100% Carol", ""),
        ("carolx1", "", "c@post.example"),
    ]:
        User.objects.create(domain=domain, username=username, name=name, email=email)
    User.objects.create(domain=other, username="alice", name="Alice elsewhere")
    bob = User.objects.by_jid("bob@example.org")
    vcard.set(
        bob.pk,
        E(
            NS,
            "vCard",
            E(NS, "N", E(NS, "FAMILY", "Straße"), E(NS, "GIVEN", "Élodie")),
            E(NS, "NICKNAME", "Lo"),
            E(NS, "ADR", E(NS, "LOCALITY", "Köln")),
        ),
    )
    return bob


def found(match_any=False, **terms):
    users, _more = directory.search("example.org", terms, match_any=match_any)
    return [user.username for user in users]


def test_login_finds_an_account_in_one_query(domain):
    until = timezone.now() + timedelta(hours=1)
    seen = timezone.now()
    alice = User.objects.create(
        domain=domain,
        username="alice",
        password="scram$keys",
        locked_from=timezone.now(),
        locked_until=until,
        last_seen=seen,
        last_status="lunch",
    )
    with CaptureQueriesContext(connection) as queries:
        record = directory.find_account("example.org", "alice")
    assert len(queries) == 1
    assert record == directory.AccountRecord(
        user_id=alice.pk,
        jid="alice@example.org",
        name="alice",
        password_encoded="scram$keys",
        role="",
        locked_from=alice.locked_from,
        locked_until=until,
        last_seen=seen,
        last_status="lunch",
        has_offline=False,
        has_sharing=False,
        has_blocked=False,
    )
    assert record.is_locked()
    assert not record.is_locked(until)
    offline.store(alice.pk, "<message/>", "bob@example.org")
    assert directory.find_account("example.org", "alice").has_offline


def test_login_finds_nobody_else(people):
    assert directory.find_account("example.org", "ALICE") is None
    assert directory.find_account("example.net", "bob") is None
    assert directory.find_account("example.net", "alice").name == "Alice elsewhere"


def test_names_of_contacts_who_are_accounts_here(people):
    assert directory.contact_names(
        ["alice@example.org", "alice@example.net", "carolx1@example.org", "nobody@example.org", "example.org"]
    ) == {
        "alice@example.org": "Alice Liddell",
        "alice@example.net": "Alice elsewhere",
        "carolx1@example.org": "carolx1",
    }


@pytest.mark.parametrize(
    ("terms", "usernames"),
    [
        ({"username": "ali"}, ["alice"]),
        ({"username": "ALICE"}, ["alice"]),
        ({"username": "lice"}, []),
        ({"username": "*lice"}, ["alice"]),
        ({"username": "*lic"}, []),
        ({"username": "*l*"}, ["alice", "carol_1", "carolx1"]),
        ({"username": "*"}, ["alice", "bob", "carol_1", "carolx1"]),
        ({"username": "post"}, []),
        ({"name": "alice"}, ["alice"]),
        ({"name": "*liddell"}, ["alice"]),
        ({"name": "alice@"}, []),
        ({"name": "bob"}, []),
        ({"name": "élodie STRASSE"}, ["bob"]),
        ({"name": "*carol"}, ["carol_1"]),
        ({"email": "bob@post"}, ["bob"]),
        ({"email": "*@post.example"}, ["alice", "bob", "carolx1"]),
        ({"email": "liddell"}, []),
        ({"first": "ÉLO*", "last": "stra"}, ["bob"]),
        ({"first": "ÉLO*", "last": "liddell"}, []),
        ({"nick": "lo"}, ["bob"]),
        ({"locality": "köln"}, ["bob"]),
        ({"username": "carol_"}, ["carol_1"]),
        ({"name": "100%"}, ["carol_1"]),
        ({"name": "1%"}, []),
        ({"username": "\\"}, []),
        ({"username": "' OR 1=1 --"}, []),
        ({"username": "", "name": "  "}, []),
        ({}, []),
    ],
)
def test_search_finds(people, terms, usernames):
    assert found(**terms) == usernames


def test_search_for_any_of_several_fields(people):
    assert found(match_any=True, username="alice", nick="lo", email="") == ["alice", "bob"]


def test_search_shows_what_is_known(people):
    (bob,), more = directory.search("example.org", {"username": "bob"})
    assert not more
    assert bob == directory.Found(
        jid="bob@example.org",
        username="bob",
        name="Élodie Straße",
        email="Bob@Post.example",
        first="Élodie",
        last="Straße",
        nick="Lo",
        locality="Köln",
        organisation="",
    )


def test_search_says_when_there_are_more(people):
    with overridden(search__max_results=2):
        users, more = directory.search("example.org", {"username": "*"})
    assert [user.username for user in users] == ["alice", "bob"]
    assert more
    with overridden(search__max_results=4):
        assert directory.search("example.org", {"username": "*"})[1] is False


@pytest.mark.parametrize(
    ("terms", "condition"),
    [
        ({"password": "*"}, "bad-request"),
        ({"username": "x" * 201}, "not-acceptable"),
        ({"username": "*a" * 6}, "not-acceptable"),
    ],
)
def test_search_refuses(people, terms, condition):
    with pytest.raises(StanzaError, match=condition):
        directory.search("example.org", terms)


def test_search_can_be_switched_off(people):
    with overridden(search__enabled=False), pytest.raises(StanzaError, match="service-unavailable"):
        directory.search("example.org", {"username": "alice"})
