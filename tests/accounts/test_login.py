"""Logging in: reasons, log line, throttle, one-time links, the console's backend."""

import logging
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.contrib.auth import authenticate as django_authenticate
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import RequestFactory
from django.utils import timezone

from accounts import credentials, services
from accounts.backends import AccountBackend
from accounts.credentials import ScramPasswordHasher
from accounts.models import AuditEntry, LoginLink, User
from accounts.services import LoginRefused
from accounts.services.login import add_scram_keys, check_password, incomplete_credentials, loggable
from xmppd.bus.messages import CredentialsUpgraded, PasswordChanged
from xmppd.protocol.sasl.scram import derive_keys

PASSWORD = "correct horse"  # make_user's

pytestmark = pytest.mark.django_db


def login(username="alice", password=PASSWORD, **kwargs):
    asked = {"domain": "example.org", "address": "192.0.2.1", "service": "c2s", **kwargs}
    return services.authenticate(username=username, password=password, **asked)


def refused(*args, **kwargs):
    with pytest.raises(LoginRefused) as error:
        login(*args, **kwargs)
    return error.value.reason


def test_right_password_logs_in(make_user):
    user = make_user("alice")
    assert login() == user


def test_reasons_of_refusal(make_user, actor):
    user = make_user("alice")
    assert refused(password="wrong") == "wrong-password"
    assert refused("nobody") == "unknown-user"
    assert refused(domain="example.net") == "unknown-user"
    assert refused(require_role=True) == "no-role"
    services.lock_user(user, actor=actor)
    assert refused() == "locked"
    assert (
        refused(password="wrong") == "wrong-password"
    )  # the lock is said to the owner of the password alone


def test_failures_make_the_next_attempt_wait_even_with_the_right_password(make_user):
    make_user("alice")
    for _n in range(10):
        refused(password="wrong")
    with pytest.raises(LoginRefused) as error:
        login()
    assert error.value.reason == "throttled"
    assert error.value.retry_after > 0
    assert login(address="192.0.2.2").username == "alice"


def test_unknown_names_wait_as_known_ones_do(domain):
    for _n in range(10):
        refused("nobody")
    assert refused("nobody") == "throttled"


def test_failure_is_one_stable_line(make_user, caplog):
    make_user("alice")
    with caplog.at_level(logging.WARNING, "hearth.auth"):
        refused(password="wrong")
    assert caplog.messages == [
        "auth-failed user=alice@example.org ip=192.0.2.1 mech=PLAIN service=c2s reason=wrong-password"
    ]


def test_name_cannot_forge_a_line(domain, caplog):
    with caplog.at_level(logging.WARNING, "hearth.auth"):
        refused("x reason=none\nauth-failed user=bob")
    assert "\n" not in caplog.messages[0]
    assert caplog.messages[0].count(" user=") == 1
    assert loggable("") == "-"
    assert len(loggable("x" * 5000)) == 256


def test_login_renews_keys_made_with_fewer_iterations(make_user, monkeypatch):
    make_user("alice")
    monkeypatch.setattr(ScramPasswordHasher, "iterations", ScramPasswordHasher.iterations * 2)
    login()
    assert (
        credentials.scram_keys(User.objects.get().password, "sha1").iterations
        == ScramPasswordHasher.iterations
    )


# --- links ---


def test_link_opens_once(make_user, actor):
    owner = make_user("alice", role="owner")
    token = services.make_login_link(owner, actor=actor)
    assert services.consume_login_link(token) == owner
    assert services.consume_login_link(token) is None
    assert [e.action for e in AuditEntry.objects.order_by("id")][-2:] == [
        "login-link-made",
        "login-link-used",
    ]


def test_token_is_not_stored(make_user, actor):
    token = services.make_login_link(make_user("alice", role="owner"), actor=actor)
    assert token not in str(LoginLink.objects.values().get())
    assert not AuditEntry.objects.filter(detail__contains=token).exists()


def test_old_wrong_and_locked_links_open_nothing(make_user, actor):
    make_user("other", role="owner")
    owner = make_user("alice", role="owner")
    token = services.make_login_link(owner, actor=actor)
    LoginLink.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert services.consume_login_link(token) is None
    assert services.consume_login_link("guess") is None
    token = services.make_login_link(owner, actor=actor)
    services.lock_user(owner, actor=actor)
    assert services.consume_login_link(token) is None


# --- the console ---


@pytest.fixture
def request_():
    return RequestFactory().post("/login/", REMOTE_ADDR="192.0.2.1")


@pytest.mark.parametrize("typed", ["alice", "ALICE", " alice@example.org ", "Alice@Example.Org"])
def test_account_with_a_role_logs_in_by_name_or_jid(make_user, request_, typed):
    user = make_user("alice", role="auditor")
    assert django_authenticate(request_, username=typed, password=PASSWORD) == user


@pytest.mark.parametrize("typed", ["", "bob", "a b@c d", "@", "alice@example.net", "x" * 5000])
def test_what_is_no_account_is_refused_as_a_wrong_name(make_user, request_, typed):
    make_user("alice", role="owner")
    assert django_authenticate(request_, username=typed, password=PASSWORD) is None


def test_account_without_role_is_refused_and_the_form_knows_why(make_user, request_):
    make_user("alice")
    assert django_authenticate(request_, username="alice", password=PASSWORD) is None
    assert request_.login_refused.reason == "no-role"


def test_console_and_clients_share_the_throttle(make_user, request_):
    make_user("alice", role="owner")
    for _n in range(10):
        refused(password="wrong")
    assert django_authenticate(request_, username="alice", password=PASSWORD) is None
    assert request_.login_refused.reason == "throttled"


def test_session_ends_with_lock_role_or_account(make_user, actor):
    make_user("other", role="owner")
    user, backend = make_user("alice", role="admin"), AccountBackend()
    assert backend.get_user(user.pk) == user
    services.lock_user(user, actor=actor)
    assert backend.get_user(user.pk) is None
    services.unlock_user(user, actor=actor)
    services.set_role(user, "", actor=actor)
    assert backend.get_user(user.pk) is None
    services.set_role(user, "admin", actor=actor)
    user_id = user.pk
    services.delete_user(user, actor=actor)
    assert backend.get_user(user_id) is None


def test_session_ends_with_a_new_password(make_user, actor, request_):
    from django.contrib.auth import get_user
    from django.contrib.auth import login as django_login

    user = make_user("alice", role="admin")
    request_.session = SessionStore()
    django_login(request_, user)
    assert User.objects.get(pk=user.pk).last_login is not None
    assert get_user(request_) == user
    services.set_password(user, "another horse", actor=actor)
    assert not get_user(request_).is_authenticated


# -- accounts of other servers


def imported(user, actor, *names):
    keys = {name: derive_keys(PASSWORD, b"salt of another", 7, name) for name in names or ("sha1",)}
    return services.set_scram_keys(user, keys, actor=actor)


def test_keys_of_another_server_log_in_and_are_completed(make_user, actor, heard):
    user = imported(make_user("alice"), actor)
    heard.clear()
    assert refused(password="wrong") == "wrong-password"
    assert credentials.hashes_of(User.objects.get().password) == ("sha1",)
    assert login() == user
    assert credentials.hashes_of(User.objects.get().password) == credentials.HASH_NAMES
    assert login() == user


@pytest.mark.django_db(transaction=True)
def test_completing_tells_nobody_to_go(make_user, actor, heard):
    user = imported(make_user("alice"), actor)
    assert PasswordChanged(user.pk, user.jid) in heard
    heard.clear()
    login()
    assert heard == [CredentialsUpgraded(user.pk, user.jid)]
    assert not AuditEntry.objects.filter(action="credentials-upgraded").exists()


def test_new_password_is_not_overwritten_by_the_form_of_the_old_one(make_user, actor):
    user = imported(make_user("alice"), actor)
    seen = user.password
    services.set_password(user, "another horse", actor=actor)
    assert check_password(user.pk, user.jid, seen, PASSWORD)  # it was right when it was read
    assert refused() == "wrong-password"
    assert login(password="another horse") == user


def test_database_that_cannot_be_written_keeps_nobody_out(make_user, actor, monkeypatch, caplog):
    user = imported(make_user("alice"), actor)
    monkeypatch.setattr("accounts.services.login.publish", Mock(side_effect=OperationalError("read only")))
    assert login() == user
    assert "could not be stored anew" in caplog.text
    assert credentials.hashes_of(User.objects.get().password) == ("sha1",)


def test_one_hash_from_a_client(make_user, actor):
    user = imported(make_user("alice"), actor)
    salt, iterations = credentials.upgrade_parameters(user.password)
    keys = derive_keys(PASSWORD, salt, iterations, "sha256")
    known = credentials.identity(user.password)
    for _ in range(2):
        assert add_scram_keys(user.pk, "sha256", keys, identity=known, actor=actor)
    row = AuditEntry.objects.get(action="credentials-upgraded")
    assert (row.before, row.after) == ({"hashes": "SCRAM-SHA-1"}, {"hashes": "SCRAM-SHA-256, SCRAM-SHA-1"})
    assert credentials.scram_keys(User.objects.get().password, "sha256") == keys
    services.set_password(user, "another horse", actor=actor)
    assert not add_scram_keys(user.pk, "sha256", keys, identity=known, actor=actor)
    assert not add_scram_keys(0, "sha256", keys, identity=known, actor=actor)


def test_who_lacks_what(make_user, actor):
    alice, bob, carol = make_user("alice"), make_user("bob"), make_user("carol")
    make_user("nobody", password=None)
    imported(alice, actor)
    imported(bob, actor, "sha256", "sha512")
    expected = {"alice@example.org": ("sha1",), "bob@example.org": ("sha256", "sha512")}
    assert incomplete_credentials() == expected
    many = [*range(-3000, 0), bob.pk, carol.pk]  # more than a statement takes
    assert incomplete_credentials(many) == {"bob@example.org": ("sha256", "sha512")}
