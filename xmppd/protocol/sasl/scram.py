"""SCRAM with and without channel binding, the server's side: RFC 5802, RFC 7677.

Who has the stored keys can check a login but not log in elsewhere, and the client learns that the server
has them. An account that does not exist is asked for a proof like any other, with a salt that stays the
same for its name, and fails with the same error at the same point.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl.base import (
    Challenge,
    Credentials,
    Done,
    Mechanism,
    NeedKeys,
    ScramKeys,
    Step,
    decode_base64,
)

HASHES = {
    "SHA-512": "sha512",
    "SHA-256": "sha256",
    "SHA-1": "sha1",
}  # IANA's name: hashlib's, strongest first
SALT_BYTES = 16  # fake salts must have the length of real ones
ITERATIONS = 10_000  # XEP-0438 asks for this many at least

_NONCE = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+)")  # RFC 5802 7: printable ASCII without the comma
_ATTRIBUTE = re.compile(r"[A-Za-z]=[^\0,]+", re.DOTALL)
_BAD_ESCAPE = re.compile(r"=(?!2C|3D)")  # RFC 5802 5.1, n: only these two, in capitals
_BINDING_TYPE = re.compile(r"p=([A-Za-z0-9.-]+)")

_PROHIBITED = (  # RFC 4013 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@dataclass(frozen=True, slots=True)
class _ClientFirst:
    gs2_header: str
    binding_type: str  # of the p= flag; '' otherwise
    flag: str  # n, y or p
    authzid: str
    username: str
    nonce: str
    bare: str  # all after the gs2 header, part of what is signed


class Scram(Mechanism):
    """`channel_bindings` are the types offered on this stream with their data; empty: no -PLUS was offered.

    `secret` is the server's own, for fake salts; `iterations` what a fake account shows: what new
    accounts get. `attributes` go into the first message of the server, such as `downgrade_protection`.
    """

    def __init__(
        self,
        name: str,
        domain: str,
        *,
        secret: bytes,
        channel_bindings: Mapping[str, bytes] | None = None,
        iterations: int = ITERATIONS,
        attributes: tuple[tuple[str, str], ...] = (),
        nonce: str | None = None,
    ) -> None:
        super().__init__(name, domain)
        self.is_plus = name.endswith("-PLUS")
        self.hash_name = hash_of(name)
        self._bindings = dict(channel_bindings or {})
        self._secret = secret
        self._iterations = iterations
        self._attributes = attributes
        self._own_nonce = nonce or secrets.token_urlsafe(24)
        self._on_message = self._read_first

    def _read_first(self, data: bytes) -> Step:
        self._first = first = _parse_client_first(data)
        self._check_flag(first)
        self._identify(first.username, first.authzid)
        self._on_credentials = self._challenge
        return NeedKeys(self.username, self.hash_name)

    def _check_flag(self, first: _ClientFirst) -> None:
        """RFC 5802 6: what the client believes about channel binding must be what we offered."""
        if self.is_plus != (first.flag == "p"):
            raise SASLError("malformed-request", "Channel binding flag and mechanism disagree")
        if first.flag == "p" and first.binding_type not in self._bindings:
            raise SASLError("not-authorized", "Channel binding type was not offered")
        if first.flag == "y" and self._bindings:
            # The client saw no -PLUS though we offered it: somebody between us took it out of the list.
            raise SASLError("not-authorized", "Server does support channel binding")

    def _challenge(self, credentials: Credentials) -> Step:
        if credentials is not None and not isinstance(credentials, ScramKeys):
            raise TypeError("SCRAM needs keys")
        self._is_known = credentials is not None
        if credentials is None:
            credentials = fake_keys(self.username, self._secret, self._iterations, self.hash_name)
        self._keys = credentials
        self._nonce = self._first.nonce + self._own_nonce
        salt = base64.b64encode(credentials.salt).decode()
        self._server_first = ",".join(
            [f"r={self._nonce}", f"s={salt}", f"i={credentials.iterations}"]
            + [f"{name}={value}" for name, value in self._attributes]
        )
        self._on_message = self._read_final
        return Challenge(self._server_first.encode())

    def _read_final(self, data: bytes) -> Step:
        """client-final-message = c= "," r= ["," extensions] "," p="""
        text = _decode(data)
        without_proof, separator, proof_text = text.rpartition(",p=")
        parts = without_proof.split(",")
        if not separator or len(parts) < 2 or not parts[0].startswith("c=") or not parts[1].startswith("r="):
            raise SASLError("malformed-request")
        _check_attributes(parts[2:])
        binding = decode_base64(parts[0][2:].encode())
        proof = decode_base64(proof_text.encode())
        if len(proof) != len(self._keys.stored_key):
            raise SASLError("malformed-request")
        expected = self._first.gs2_header.encode() + self._bindings.get(self._first.binding_type, b"")
        is_same_channel = hmac.compare_digest(binding, expected)
        is_same_nonce = hmac.compare_digest(parts[1][2:].encode(), self._nonce.encode())
        auth_message = f"{self._first.bare},{self._server_first},{without_proof}".encode()
        is_proved = _is_proved(proof, auth_message, self._keys.stored_key, self.hash_name)
        if not (is_same_channel and is_same_nonce and is_proved and self._is_known):
            raise SASLError("not-authorized")
        signature = hmac.digest(self._keys.server_key, auth_message, self.hash_name)
        return Done(self.username, self._first.authzid, b"v=" + base64.b64encode(signature))


def hash_of(mechanism: str) -> str:
    """hashlib's name of the hash in a mechanism's name: sha256 of SCRAM-SHA-256-PLUS."""
    return HASHES[mechanism.removeprefix("SCRAM-").removesuffix("-PLUS")]


def digest_size(hash_name: str) -> int:
    """Bytes of this hash, and of all that SCRAM makes with it."""
    return hashlib.new(hash_name).digest_size


def downgrade_protection(
    mechanism: str, mechanisms: Collection[str], binding_types: Collection[str] | None
) -> tuple[str, str]:
    """The attribute `h` of XEP-0474: a client with it notices that somebody shortened our lists.

    `mechanisms` are those offered in the SASL profile in use; `binding_types` those advertised by XEP-0440,
    None when nothing was.
    """
    lists = "\x1e".join(sorted(mechanisms))
    if binding_types is not None:
        lists += "\x1f" + "\x1e".join(sorted(binding_types))
    digest = hashlib.new(hash_of(mechanism), lists.encode()).digest()
    return "h", base64.b64encode(digest).decode()


def derive_keys(password: str, salt: bytes, iterations: int, hash_name: str) -> ScramKeys:
    """Return what is to be stored of a password, RFC 5802 3. Slow on purpose: not for the event loop.

    `hash_name` is hashlib's. Raises ValueError for a password that SASLprep refuses or leaves empty.
    """
    prepared = saslprep(password)
    if not prepared:
        raise ValueError("the password is empty")
    return keys_from_salted_password(
        hashlib.pbkdf2_hmac(hash_name, prepared.encode(), salt, iterations), salt, iterations, hash_name
    )


def keys_from_salted_password(salted: bytes, salt: bytes, iterations: int, hash_name: str) -> ScramKeys:
    """The same from PBKDF2's result, which some servers store and export instead."""
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(hash_name, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", hash_name),
    )


def password_matches(password: str, keys: ScramKeys, hash_name: str) -> bool:
    """Whether the password has these keys; as slow as `derive_keys`, and false for what SASLprep refuses."""
    try:
        derived = derive_keys(password, keys.salt, keys.iterations, hash_name)
    except ValueError:
        return False
    return hmac.compare_digest(derived.stored_key, keys.stored_key)


def fake_keys(username: str, server_secret: bytes, iterations: int, hash_name: str = "sha256") -> ScramKeys:
    """Keys for a name without account: stable, so that asking twice tells nothing, and proved by no password.

    The salt does not depend on the hash, as that of an account does not.
    """

    def derived(label: bytes, size: int) -> bytes:
        return hmac.digest(server_secret, b"scram " + label + b"\0" + username.encode(), "sha512")[:size]

    size = hashlib.new(hash_name).digest_size
    return ScramKeys(
        salt=derived(b"salt", SALT_BYTES),
        iterations=iterations,
        stored_key=derived(b"stored " + hash_name.encode(), size),
        server_key=derived(b"server " + hash_name.encode(), size),
    )


def saslprep(text: str) -> str:
    """RFC 4013; raises ValueError for what it prohibits.

    Code points that Unicode 3.2 did not know are let through as in a query, for stored passwords too:
    there are people whose password is an emoji.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    for char in prepared:
        if any(is_prohibited(char) for is_prohibited in _PROHIBITED):
            raise ValueError(f"SASLprep prohibits U+{ord(char):04X}")
    if any(map(stringprep.in_table_d1, prepared)) and not _is_right_to_left(prepared):
        raise ValueError("SASLprep prohibits this mixture of writing directions")
    return prepared


def _is_right_to_left(text: str) -> bool:
    """RFC 3454 6, rules 2 and 3."""
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )


def _parse_client_first(data: bytes) -> _ClientFirst:
    """client-first-message = flag "," [a=] "," n= "," r= ["," extensions], RFC 5802 7."""
    parts = _decode(data).split(",")
    if len(parts) < 4:
        raise SASLError("malformed-request")
    flag, authzid, username, nonce, *extensions = parts
    binding = _BINDING_TYPE.fullmatch(flag)
    if flag not in ("n", "y") and not binding:
        raise SASLError("malformed-request")
    if authzid and not authzid.startswith("a="):
        raise SASLError("malformed-request")
    matched = _NONCE.fullmatch(nonce)
    if (
        not username.startswith("n=") or not matched
    ):  # m= in its place is an extension that we must not ignore
        raise SASLError("malformed-request")
    _check_attributes(extensions)
    return _ClientFirst(
        gs2_header=f"{flag},{authzid},",
        binding_type=binding[1] if binding else "",
        flag=flag[0],
        authzid=_unescape(authzid[2:]) if authzid else "",
        username=_unescape(username[2:]),
        nonce=matched[1],
        bare=",".join(parts[2:]),
    )


def _check_attributes(parts: list[str]) -> None:
    """Optional extensions are ignored (RFC 5802 5.1), but they must look like some; m= is never optional."""
    for part in parts:
        if not _ATTRIBUTE.fullmatch(part) or part.startswith("m="):
            raise SASLError("malformed-request")


def _decode(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SASLError("malformed-request") from error
    if "\0" in text:
        raise SASLError("malformed-request")
    return text


def _unescape(name: str) -> str:
    """saslname, RFC 5802 7: not empty, '=2C' for a comma and '=3D' for an equals sign."""
    if not name or _BAD_ESCAPE.search(name):
        raise SASLError("malformed-request")
    return name.replace("=2C", ",").replace("=3D", "=")


def _is_proved(proof: bytes, auth_message: bytes, stored_key: bytes, hash_name: str) -> bool:
    signature = hmac.digest(stored_key, auth_message, hash_name)
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(hash_name, client_key).digest(), stored_key)
