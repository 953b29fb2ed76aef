"""SCRAM keys as Django's password hasher."""

import dataclasses
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


# -- accounts of other servers, with some of the hashes

SALT = b"0123456789abcdef0123456789abcdef0123"


def some(*names, password="correct horse", salt=SALT, iterations=7):
    return {name: derive_keys(password, salt, iterations, name) for name in names}


@pytest.mark.parametrize("names", [("sha1",), ("sha256",), ("sha512",), ("sha1", "sha512")])
def test_some_hashes(names):
    keys = some(*names)
    encoded = credentials.encode_keys(keys)
    assert credentials.hashes_of(encoded) == names
    for name in credentials.HASH_NAMES:
        assert credentials.scram_keys(encoded, name) == keys.get(name)
    assert credentials.check_password(encoded, "correct horse")
    assert not credentials.check_password(encoded, "wrong horse")
    assert hashers.check_password("correct horse", encoded)
    assert credentials.must_update(encoded)


def test_each_hash_may_have_its_own_salt_and_iterations():
    keys = {
        **some("sha1"),
        **some("sha256", salt=b"another salt", iterations=9),
        **some("sha512", iterations=11),
    }
    encoded = credentials.encode_keys(keys)
    assert {name: credentials.scram_keys(encoded, name) for name in keys} == keys
    assert credentials.check_password(encoded, "correct horse")


def test_password_completes_what_is_stored():
    encoded = credentials.encode_keys(some("sha1"))
    new = credentials.updated(encoded, "correct horse")
    assert credentials.hashes_of(new) == credentials.HASH_NAMES
    assert not credentials.must_update(new)
    assert credentials.check_password(new, "correct horse")
    assert credentials.scram_keys(new, "sha1").iterations == ScramPasswordHasher.iterations


def test_iterations_are_never_lowered():
    encoded = credentials.encode_keys(some("sha1", iterations=ScramPasswordHasher.iterations * 3))
    new = credentials.updated(encoded, "correct horse")
    assert credentials.scram_keys(new, "sha512").iterations == ScramPasswordHasher.iterations * 3
    assert credentials.upgrade_parameters(encoded) == (SALT, ScramPasswordHasher.iterations * 3)


def test_one_more_hash():
    encoded = credentials.encode_keys(some("sha1"))
    salt, iterations = credentials.upgrade_parameters(encoded)
    assert (salt, iterations) == (SALT, ScramPasswordHasher.iterations)
    keys = derive_keys("correct horse", salt, iterations, "sha256")
    new = credentials.with_keys(encoded, "sha256", keys)
    assert credentials.hashes_of(new) == ("sha1", "sha256")
    assert credentials.scram_keys(new, "sha256") == keys
    assert credentials.scram_keys(new, "sha1") == credentials.scram_keys(encoded, "sha1")
    assert credentials.check_password(new, "correct horse")


def test_the_password_is_the_same_in_all_its_forms():
    encoded = credentials.encode_keys(some("sha1"))
    same = {encoded, credentials.updated(encoded, "correct horse")}
    same.add(credentials.with_keys(encoded, "sha512", some("sha512")["sha512"]))
    assert len(same) == 3
    assert len({credentials.identity(form) for form in same}) == 1
    others = [credentials.encode_password("correct horse"), credentials.unusable_password(), ""]
    assert credentials.identity(encoded) not in {credentials.identity(other) for other in others}


def test_a_missing_hash_asks_as_one_that_is_there():
    """Salt and iterations of the others; what answers to it is proved by no password."""
    encoded = credentials.encode_keys(some("sha1"))
    for name, size in (("sha256", 32), ("sha512", 64)):
        keys = credentials.challenge_keys(encoded, name)
        assert (keys.salt, keys.iterations, len(keys.stored_key)) == (SALT, 7, size)
        assert keys.stored_key != derive_keys("correct horse", SALT, 7, name).stored_key
    assert credentials.challenge_keys(encoded, "sha1") == credentials.scram_keys(encoded, "sha1")
    assert credentials.challenge_keys(credentials.unusable_password(), "sha1") is None


def test_fewer_iterations_cost_no_less(monkeypatch):
    monkeypatch.setattr(ScramPasswordHasher, "iterations", 100)
    rounds = []
    real = hashlib.pbkdf2_hmac

    def counted(name, password, salt, iterations, dklen=None):
        rounds.append(iterations)
        return real(name, password, salt, iterations, dklen)

    encoded = credentials.encode_keys(some("sha1", iterations=40))
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    for password in ("correct horse", "wrong horse"):
        rounds.clear()
        credentials.check_password(encoded, password)
        assert sum(rounds) == 100


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "no keys"),
        ({"md5": some("sha1")["sha1"]}, "no hash of ours"),
        ({"sha256": some("sha1")["sha1"]}, "32 bytes"),
        (some("sha1", salt=b"short"), "salt"),
        (some("sha1", salt=bytes(65)), "salt"),
        ({"sha1": dataclasses.replace(some("sha1")["sha1"], iterations=0)}, "iterations"),
        ({"sha1": dataclasses.replace(some("sha1")["sha1"], iterations=10**7)}, "iterations"),
        (
            {
                name: some(name, salt=bytes([place]) * 64)[name]
                for place, name in enumerate(credentials.HASH_NAMES)
            },
            "too much",
        ),
    ],
)
def test_what_cannot_be_keys_is_refused(keys, why):
    with pytest.raises(ValueError, match=why):
        credentials.encode_keys(keys)


def test_the_longest_salt_leaves_room_for_all_hashes():
    encoded = credentials.encode_keys(some("sha1", salt=bytes(64)))
    for name in ("sha256", "sha512"):
        salt, iterations = credentials.upgrade_parameters(encoded)
        encoded = credentials.with_keys(encoded, name, derive_keys("x", salt, iterations, name))
    assert credentials.hashes_of(encoded) == credentials.HASH_NAMES
    assert len(encoded) <= 512
