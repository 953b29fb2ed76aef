"""SCRAM keys as Django's password hasher."""

import hashlib

import pytest
from django.contrib.auth import hashers
from scramp import ScramClient, ScramMechanism

from accounts import credentials
from accounts.credentials import ScramPasswordHasher
from xmppd.protocol.sasl.scram import derive_keys


def test_password_is_checked_through_django_and_directly():
    encoded = credentials.encode_password("correct horse")
    assert hashers.check_password("correct horse", encoded)
    assert credentials.check_password(encoded, "correct horse")
    assert not credentials.check_password(encoded, "wrong horse")


def test_no_form_of_the_password_is_stored_and_it_fits_the_column():
    encoded = credentials.encode_password("correct horse")
    assert "correct" not in encoded
    assert len(encoded) <= 512


def test_two_accounts_with_one_password_share_nothing():
    assert credentials.encode_password("correct horse") != credentials.encode_password("correct horse")


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_keys_are_those_of_the_protocol(hash_name):
    keys = credentials.scram_keys(credentials.encode_password("päss wörd"), hash_name)
    assert keys == derive_keys("päss wörd", keys.salt, keys.iterations, hash_name)


@pytest.mark.parametrize(("mechanism", "hash_name"), [("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256")])
def test_another_implementation_logs_in_with_the_stored_keys(monkeypatch, mechanism, hash_name):
    monkeypatch.setattr(ScramPasswordHasher, "iterations", 4096)  # the least that it accepts
    keys = credentials.scram_keys(credentials.encode_password("correct horse"), hash_name)
    server = ScramMechanism(mechanism).make_server(
        lambda _user: (keys.salt, keys.stored_key, keys.server_key, keys.iterations)
    )
    client = ScramClient([mechanism], "alice", "correct horse")
    server.set_client_first(client.get_client_first())
    client.set_server_first(server.get_server_first())
    server.set_client_final(client.get_client_final())
    client.set_server_final(server.get_server_final())


def test_password_is_prepared_before_it_is_hashed():
    encoded = credentials.encode_password("ｆｕｌｌ width")  # NFKC, RFC 4013
    assert credentials.check_password(encoded, "full width")


@pytest.mark.parametrize(
    "encoded", [None, "", "!unusable", "pbkdf2_sha256$1$x$y", "scram$x$y$z", "scram$1$?$a$b$c"]
)
def test_what_is_no_key_of_ours_admits_nobody(encoded):
    assert not credentials.check_password(encoded, "")
    assert not credentials.check_password(encoded, "correct horse")
    assert not encoded or credentials.scram_keys(encoded, "sha256") is None


def test_unknown_account_costs_as_many_rounds_as_a_wrong_password(monkeypatch):
    rounds = []
    real = hashlib.pbkdf2_hmac

    def counted(name, password, salt, iterations, dklen=None):
        rounds.append((name, iterations))
        return real(name, password, salt, iterations, dklen)

    encoded = credentials.encode_password("correct horse")
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    credentials.check_password(encoded, "wrong")
    wrong, rounds[:] = list(rounds), []
    credentials.check_password(None, "wrong")
    assert rounds == wrong == [("sha256", ScramPasswordHasher.iterations)]


def test_overlong_password_is_refused_and_never_right():
    with pytest.raises(ValueError, match="too long"):
        credentials.encode_password("x" * 1025)
    assert not credentials.check_password(credentials.encode_password("x" * 1024), "x" * 1025)


def test_more_iterations_ask_for_an_update(monkeypatch):
    encoded = credentials.encode_password("correct horse")
    assert not credentials.must_update(encoded)
    monkeypatch.setattr(ScramPasswordHasher, "iterations", ScramPasswordHasher.iterations * 2)
    assert credentials.must_update(encoded)
