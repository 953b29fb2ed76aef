"""Profiles, XEP-0054."""

from __future__ import annotations

import pytest

from accounts.models import Domain, User
from xmppd.models import VCard
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import VCARD as NS
from xmppd.services import vcard
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return User.objects.create(domain=Domain.objects.create(name="example.org"), username="alice")


def card(*children):
    return E(NS, "vCard", *children)


def test_profile_is_kept_as_written_and_replaced_as_a_whole(alice):
    assert vcard.get(alice.pk) is None
    vcard.set(alice.pk, card(E(NS, "FN", "Alice <&> Liddell"), E("urn:other", "x", a="1")))
    assert vcard.get(alice.pk) == (
        "<vCard xmlns='vcard-temp'><FN>Alice &lt;&amp;&gt; Liddell</FN><x xmlns='urn:other' a='1'/></vCard>"
    )
    vcard.set(alice.pk, card(E(NS, "NICKNAME", "Al")))
    assert vcard.get(alice.pk) == "<vCard xmlns='vcard-temp'><NICKNAME>Al</NICKNAME></vCard>"
    assert vcard.get_fields(alice.pk) == {"nickname": "Al"}


def test_searched_values_are_folded_for_the_search_and_shown_as_written(alice):
    vcard.set(
        alice.pk,
        card(
            E(NS, "FN", " Élodie\n Straße "),
            E(NS, "N", E(NS, "FAMILY", "Straße"), E(NS, "GIVEN", "Élodie")),
            E(NS, "EMAIL", E(NS, "HOME")),
            E(NS, "EMAIL", E(NS, "USERID", "Elodie@Example.org")),
            E(NS, "ADR", E(NS, "LOCALITY", "Köln")),
            E(NS, "ORG", E(NS, "ORGNAME", "ACME"), E(NS, "ORGUNIT", "R&D")),
            E(NS, "NICKNAME"),
        ),
    )
    assert vcard.get_fields(alice.pk) == {
        "full_name": "Élodie Straße",
        "family": "Straße",
        "given": "Élodie",
        "email": "Elodie@Example.org",
        "locality": "Köln",
        "organisation": "ACME",
    }
    row = VCard.objects.get()
    assert (row.full_name, row.email, row.nickname) == ("élodie strasse", "elodie@example.org", "")


def test_long_values_are_cut_for_the_search_alone(alice):
    vcard.set(alice.pk, card(E(NS, "FN", "ß" * 1000)))
    assert len(vcard.get_fields(alice.pk)["full_name"]) == 200
    assert len(VCard.objects.get().full_name) == 200
    assert "ß" * 1000 in vcard.get(alice.pk)


def test_empty_profile_is_none(alice):
    vcard.set(alice.pk, card(E(NS, "FN", "Alice")))
    vcard.set(alice.pk, card())
    assert vcard.get(alice.pk) is None
    assert vcard.get_fields(alice.pk) == {}


def test_large_or_foreign_profile_is_refused_and_the_old_one_stays(alice):
    vcard.set(alice.pk, card(E(NS, "FN", "Alice")))
    with overridden(vcard__max_size=1024), pytest.raises(StanzaError, match="not-acceptable"):
        vcard.set(alice.pk, card(E(NS, "PHOTO", E(NS, "BINVAL", "A" * 1024))))
    with pytest.raises(StanzaError, match="bad-request"):
        vcard.set(alice.pk, E("urn:ietf:params:xml:ns:vcard-4.0", "vcard", E(NS, "FN", "Eve")))
    assert vcard.get_fields(alice.pk) == {"full_name": "Alice"}
