"""Private XML storage, XEP-0049."""

from __future__ import annotations

import pytest

from accounts.models import Domain, User
from xmppd.models import PrivateData
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.services import private
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return User.objects.create(domain=Domain.objects.create(name="example.org"), username="alice")


def test_elements_are_kept_by_namespace_and_name(alice):
    private.set(
        alice.pk,
        [E("exodus:prefs", "exodus", E("exodus:prefs", "nick", "Hamlet")), E("x:y", "exodus", a="1")],
    )
    assert private.get(alice.pk, "exodus:prefs", "exodus") == (
        "<exodus xmlns='exodus:prefs'><nick>Hamlet</nick></exodus>"
    )
    assert private.get(alice.pk, "x:y", "exodus") == "<exodus xmlns='x:y' a='1'/>"
    assert private.get(alice.pk, "exodus:prefs", "EXODUS") is None

    private.set(alice.pk, [E("x:y", "exodus", a="2")])
    assert private.get(alice.pk, "x:y", "exodus") == "<exodus xmlns='x:y' a='2'/>"
    assert PrivateData.objects.count() == 2


def test_another_account_sees_nothing(alice):
    bob = User.objects.create(domain=alice.domain, username="bob")
    private.set(alice.pk, [E("x:y", "x", "secret")])
    assert private.get(bob.pk, "x:y", "x") is None


def test_empty_element_deletes(alice):
    private.set(alice.pk, [E("x:y", "x", "1")])
    private.set(alice.pk, [E("x:y", "x")])
    assert not PrivateData.objects.exists()


@pytest.mark.parametrize(
    "elements",
    [
        [],
        [E("x:y", "x", "1"), E("", "x", "2")],
        [E("x:y", "x", "1"), E("n" * 513, "x", "2")],
        [E("x:y", "x", "1"), E("x:y", "n" * 129, "2")],
        [E("x:y", "x", "1"), E("x:y", "large", "2" * 1024)],
    ],
)
def test_refused_elements_leave_everything_as_it_was(alice, elements):
    with overridden(private__max_size=1024), pytest.raises(StanzaError, match="not-acceptable"):
        private.set(alice.pk, elements)
    assert not PrivateData.objects.exists()


def test_number_of_elements_is_bounded(alice):
    with overridden(private__max_elements=2):
        private.set(alice.pk, [E("x:y", "a", "1"), E("x:y", "b", "1")])
        with pytest.raises(StanzaError, match="not-allowed"):
            private.set(alice.pk, [E("x:y", "c", "1")])
        private.set(alice.pk, [E("x:y", "a", "2")])
    assert sorted(PrivateData.objects.values_list("name", flat=True)) == ["a", "b"]
    assert private.get(alice.pk, "x:y", "a") == "<a xmlns='x:y'>2</a>"
