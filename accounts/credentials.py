"""Passwords are kept as SCRAM keys only (RFC 5802 3): the same row serves SASL SCRAM, SASL PLAIN and the
console.

scram$iterations$salt$SHA-1 keys$SHA-256 keys$SHA-512 keys      (salt and keys in base64)

Keys are stored:server, or iterations:salt:stored:server where these differ from the head's (an empty salt is
the head's), or empty: accounts that come from another server may have fewer hashes, until their user logs in
with PLAIN, on the console, or with a client that helps (XEP-0480). The head's salt is that of the password
for as long as it is the password, in whatever form it is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher, make_password, mask_hash
from django.utils.translation import gettext_noop as _

from xmppd.protocol.sasl.base import ScramKeys
from xmppd.protocol.sasl.scram import ITERATIONS, SALT_BYTES, derive_keys, password_matches, saslprep

HASH_NAMES = ("sha1", "sha256", "sha512")  # in the order of the encoded form
VERIFIED_BY = "sha256"
MAX_PASSWORD_CHARS = 1024  # PBKDF2 hashes a longer key first; nobody types one, and preparing it costs
MAX_ENCODED_CHARS = 512  # of the column
MIN_FOREIGN_SALT_BYTES, MAX_FOREIGN_SALT_BYTES = 8, 64
MAX_FOREIGN_ITERATIONS = 1_000_000  # a check of more would keep a thread busy for seconds

_ALGORITHM = "scram"
_PLACES = {name: place for place, name in enumerate(HASH_NAMES, start=3)}


class ScramPasswordHasher(BasePasswordHasher):
    """Django's hasher interface over SCRAM keys."""

    algorithm = _ALGORITHM
    iterations = ITERATIONS

    def salt(self) -> str:
        return _encode(secrets.token_bytes(SALT_BYTES))

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Raise ValueError for a password that SASLprep refuses."""
        raw_salt, iterations = base64.b64decode(salt), iterations or self.iterations
        keys = {name: derive_keys(password, raw_salt, iterations, name) for name in HASH_NAMES}
        return _compose(iterations, raw_salt, keys)

    def decode(self, encoded: str) -> dict[str, Any]:
        """With "keys" {hash name: ScramKeys}; raises ValueError."""
        parts = _split(encoded)
        keys = {name: keys for name in HASH_NAMES if (keys := _keys(parts, name)) is not None}
        if not keys:
            raise ValueError("no keys")
        return {"algorithm": parts[0], "iterations": int(parts[1]), "salt": parts[2], "keys": keys}

    def verify(self, password: str, encoded: str) -> bool:
        found = _to_verify(encoded)
        return found is not None and password_matches(password, found[1], found[0])

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        decoded = self.decode(encoded)
        return {
            _("algorithm"): decoded["algorithm"],
            _("iterations"): decoded["iterations"],
            _("salt"): mask_hash(decoded["salt"]),
        }

    def must_update(self, encoded: str) -> bool:
        keys = self.decode(encoded)["keys"]
        return len(keys) < len(HASH_NAMES) or any(each.iterations < self.iterations for each in keys.values())

    def harden_runtime(self, password: str, encoded: str) -> None:
        found = _to_verify(encoded)
        if found is not None and found[1].iterations < self.iterations:
            _spend(password, found[1].salt, self.iterations - found[1].iterations)


def encode_password(password: str) -> str:
    """The column's value for a new password; raises ValueError for one that cannot be typed (SASLprep) or is
    too long.
    """
    if len(password) > MAX_PASSWORD_CHARS:
        raise ValueError("the password is too long")
    hasher = ScramPasswordHasher()
    return hasher.encode(password, hasher.salt())


def encode_keys(keys: Mapping[str, ScramKeys]) -> str:
    """The column's value for keys that another server made, {"sha1" | "sha256" | "sha512": keys}; raises
    ValueError for what cannot be a key of this hash.
    """
    if not keys:
        raise ValueError("no keys")
    for name, each in keys.items():
        _check(name, each)
    first = next(keys[name] for name in HASH_NAMES if name in keys)
    return _compose(first.iterations, first.salt, keys)


def unusable_password() -> str:
    """The column's value for an account that nobody can log in to by password."""
    return make_password(None)


def scram_keys(encoded: str, hash_name: str) -> ScramKeys | None:
    """The keys for one hash ("sha1", "sha256", "sha512"); None where the account has no usable password, or
    this hash of it is not kept.
    """
    try:
        return _keys(_split(encoded), hash_name)
    except (ValueError, binascii.Error):
        return None


def challenge_keys(encoded: str, hash_name: str) -> ScramKeys | None:
    """Those of `scram_keys`. Where only this hash is missing, keys that nobody can prove, with the salt and
    iterations of the others: a login by it looks like one with a wrong password.
    """
    keys = scram_keys(encoded, hash_name)
    if keys is None and (found := _to_verify(encoded)) is not None:
        size = hashlib.new(hash_name).digest_size
        nothing = secrets.token_bytes(size)
        return ScramKeys(found[1].salt, found[1].iterations, nothing, nothing)
    return keys


def hashes_of(encoded: str) -> tuple[str, ...]:
    """The hashes for which keys are kept; none where there is no usable password."""
    return tuple(name for name in HASH_NAMES if scram_keys(encoded, name) is not None)


def identity(encoded: str) -> str:
    """The same for all forms in which a password was ever kept, another one for each new password."""
    parts = encoded.split("$")
    return parts[2] if len(parts) == 6 and parts[0] == _ALGORITHM else encoded


def check_password(encoded: str | None, password: str) -> bool:
    """Whether the password is right. None (no such account) and an unusable password cost the same and are
    False.
    """
    if len(password) > MAX_PASSWORD_CHARS:
        password, encoded = "", None
    hasher = ScramPasswordHasher()
    if not encoded or _to_verify(encoded) is None:
        _spend(password, b"no such account!", hasher.iterations)
        return False
    is_right = hasher.verify(password, encoded)
    hasher.harden_runtime(password, encoded)
    return is_right


def must_update(encoded: str) -> bool:
    """Whether the keys are weaker or fewer than those we would make now."""
    return ScramPasswordHasher().must_update(encoded)


def updated(encoded: str, password: str) -> str:
    """The same password, which has been checked, with all hashes and today's iterations at least."""
    decoded = ScramPasswordHasher().decode(encoded)
    iterations = max(ScramPasswordHasher.iterations, decoded["iterations"])
    return ScramPasswordHasher().encode(password, decoded["salt"], iterations)


def upgrade_parameters(encoded: str) -> tuple[bytes, int]:
    """Salt and iterations for a hash that is to be added (XEP-0480): the password's salt, for an account whose
    salts differ from hash to hash would be told from one that does not exist.
    """
    decoded = ScramPasswordHasher().decode(encoded)
    return base64.b64decode(decoded["salt"]), max(ScramPasswordHasher.iterations, decoded["iterations"])


def with_keys(encoded: str, hash_name: str, keys: ScramKeys) -> str:
    """The column's value with one more hash; raises ValueError."""
    _check(hash_name, keys)
    decoded = ScramPasswordHasher().decode(encoded)
    salt = base64.b64decode(decoded["salt"])
    return _compose(decoded["iterations"], salt, {**decoded["keys"], hash_name: keys})


def _check(name: str, keys: ScramKeys) -> None:
    if name not in _PLACES:
        raise ValueError(f"no hash of ours: {name}")
    size = hashlib.new(name).digest_size
    if len(keys.stored_key) != size or len(keys.server_key) != size:
        raise ValueError(f"{name} keys have {size} bytes")
    if not MIN_FOREIGN_SALT_BYTES <= len(keys.salt) <= MAX_FOREIGN_SALT_BYTES:
        raise ValueError(f"a salt has {MIN_FOREIGN_SALT_BYTES} to {MAX_FOREIGN_SALT_BYTES} bytes")
    if not 1 <= keys.iterations <= MAX_FOREIGN_ITERATIONS:
        raise ValueError(f"iterations go from 1 to {MAX_FOREIGN_ITERATIONS}")


def _compose(iterations: int, salt: bytes, keys: Mapping[str, ScramKeys]) -> str:
    fields = [_ALGORITHM, str(iterations), _encode(salt)]
    for name in HASH_NAMES:
        each = keys.get(name)
        if each is None:
            fields.append("")
            continue
        pair = f"{_encode(each.stored_key)}:{_encode(each.server_key)}"
        if (each.iterations, each.salt) != (iterations, salt):
            own_salt = "" if each.salt == salt else _encode(each.salt)
            pair = f"{each.iterations}:{own_salt}:{pair}"
        fields.append(pair)
    encoded = "$".join(fields)
    if len(encoded) > MAX_ENCODED_CHARS:
        raise ValueError("too much to be kept")
    return encoded


def _split(encoded: str) -> list[str]:
    parts = encoded.split("$")
    if parts[0] != _ALGORITHM or len(parts) != 3 + len(HASH_NAMES):
        raise ValueError("not SCRAM keys of ours")
    return parts


def _keys(parts: list[str], hash_name: str) -> ScramKeys | None:
    """Those of one hash, from the parts of the encoded form; raises ValueError."""
    pair = parts[_PLACES[hash_name]]
    if not pair:
        return None
    *own, stored_key, server_key = pair.split(":")
    iterations, salt = own or ("", "")
    return ScramKeys(
        base64.b64decode(salt or parts[2]),
        int(iterations or parts[1]),
        base64.b64decode(stored_key),
        base64.b64decode(server_key),
    )


def _to_verify(encoded: str) -> tuple[str, ScramKeys] | None:
    """Hash name and keys by which a password is checked; None where nobody can log in by one."""
    for name in (VERIFIED_BY, *reversed(HASH_NAMES)):
        keys = scram_keys(encoded, name)
        if keys is not None:
            return name, keys
    return None


def _spend(password: str, salt: bytes, iterations: int) -> None:
    """The work of one check, for nothing."""
    try:
        prepared = saslprep(password)
    except ValueError:
        prepared = ""
    hashlib.pbkdf2_hmac(VERIFIED_BY, prepared.encode(), salt, iterations)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
