"""Passwords are kept as SCRAM keys only (RFC 5802 3): the same row serves SASL SCRAM, SASL PLAIN and the
console.

scram$iterations$salt$SHA-1 stored:server$SHA-256 stored:server$SHA-512 stored:server      (base64)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher, make_password, mask_hash
from django.utils.translation import gettext_noop as _

from xmppd.protocol.sasl.base import ScramKeys
from xmppd.protocol.sasl.scram import ITERATIONS, SALT_BYTES, derive_keys, saslprep

HASH_NAMES = ("sha1", "sha256", "sha512")  # in the order of the encoded form
VERIFIED_BY = "sha256"
MAX_PASSWORD_CHARS = 1024  # PBKDF2 hashes a longer key first; nobody types one, and preparing it costs


class ScramPasswordHasher(BasePasswordHasher):
    """Django's hasher interface over SCRAM keys."""

    algorithm = "scram"
    iterations = ITERATIONS

    def salt(self) -> str:
        return _encode(secrets.token_bytes(SALT_BYTES))

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Raise ValueError for a password that SASLprep refuses."""
        iterations = iterations or self.iterations
        raw_salt = base64.b64decode(salt)
        pairs = []
        for hash_name in HASH_NAMES:
            keys = derive_keys(password, raw_salt, iterations, hash_name)
            pairs.append(f"{_encode(keys.stored_key)}:{_encode(keys.server_key)}")
        return "$".join([self.algorithm, str(iterations), salt, *pairs])

    def decode(self, encoded: str) -> dict[str, Any]:
        algorithm, iterations, salt, *pairs = encoded.split("$")
        if algorithm != self.algorithm or len(pairs) != len(HASH_NAMES):
            raise ValueError("not SCRAM keys of ours")
        keys = {
            name: tuple(base64.b64decode(key) for key in pair.split(":"))
            for name, pair in zip(HASH_NAMES, pairs, strict=True)
        }
        return {"algorithm": algorithm, "iterations": int(iterations), "salt": salt, "keys": keys}

    def verify(self, password: str, encoded: str) -> bool:
        keys = scram_keys(encoded, VERIFIED_BY)
        if keys is None:
            return False
        try:
            derived = derive_keys(password, keys.salt, keys.iterations, VERIFIED_BY)
        except ValueError:
            return False
        return hmac.compare_digest(derived.stored_key, keys.stored_key)

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        decoded = self.decode(encoded)
        return {
            _("algorithm"): decoded["algorithm"],
            _("iterations"): decoded["iterations"],
            _("salt"): mask_hash(decoded["salt"]),
        }

    def must_update(self, encoded: str) -> bool:
        return int(self.decode(encoded)["iterations"]) < self.iterations

    def harden_runtime(self, password: str, encoded: str) -> None:
        keys = scram_keys(encoded, VERIFIED_BY)
        if keys is not None and keys.iterations < self.iterations:
            _spend(password, keys.salt, self.iterations - keys.iterations)


def encode_password(password: str) -> str:
    """The column's value for a new password; raises ValueError for one that cannot be typed (SASLprep) or is
    too long.
    """
    if len(password) > MAX_PASSWORD_CHARS:
        raise ValueError("the password is too long")
    hasher = ScramPasswordHasher()
    return hasher.encode(password, hasher.salt())


def unusable_password() -> str:
    """The column's value for an account that nobody can log in to by password."""
    return make_password(None)


def scram_keys(encoded: str, hash_name: str) -> ScramKeys | None:
    """The keys for one hash ("sha1", "sha256", "sha512"); None where the account has no usable password."""
    try:
        decoded = ScramPasswordHasher().decode(encoded)
    except (ValueError, binascii.Error):
        return None
    stored_key, server_key = decoded["keys"][hash_name]
    return ScramKeys(base64.b64decode(decoded["salt"]), decoded["iterations"], stored_key, server_key)


def check_password(encoded: str | None, password: str) -> bool:
    """Whether the password is right. None (no such account) and an unusable password cost the same and are
    False.
    """
    if len(password) > MAX_PASSWORD_CHARS:
        password, encoded = "", None
    keys = scram_keys(encoded, VERIFIED_BY) if encoded else None
    if keys is None:
        _spend(password, b"no such account!", ScramPasswordHasher.iterations)
        return False
    return ScramPasswordHasher().verify(password, encoded or "")


def must_update(encoded: str) -> bool:
    """Whether the keys are weaker than those we would make now."""
    return ScramPasswordHasher().must_update(encoded)


def _spend(password: str, salt: bytes, iterations: int) -> None:
    """The work of one check, for nothing."""
    try:
        prepared = saslprep(password)
    except ValueError:
        prepared = ""
    hashlib.pbkdf2_hmac(VERIFIED_BY, prepared.encode(), salt, iterations)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
