"""SASL mechanisms without I/O (RFC 4422), driven alike by RFC 6120 SASL and by SASL2 (XEP-0388).

A mechanism is fed what the client sent (`start`, then `respond`) and answers with a step:

    Challenge          send it, feed the client's answer to `respond`
    NeedKeys           look the stored SCRAM keys up, feed them (None: no such account) to `supply`
    NeedPasswordCheck  have the account's provider check the password, feed True or False to `supply`
    NeedTokens         look up the tokens that the client may have, feed them to `supply`
    Done               the client is who it says; `data` goes along with <success/>

or raises SASLError, after which the mechanism is of no more use. It never waits: the caller may look
things up as slowly as it must before it calls `supply`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xmppd.protocol.errors import SASLError
from xmppd.protocol.jid import JID, JIDError, prepare_local


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What is stored of a password for one SCRAM hash, RFC 5802 3. Neither key gives the password back."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    data: bytes


@dataclass(frozen=True, slots=True)
class NeedKeys:
    """`username` is a prepared localpart; `hash_name` is hashlib's: sha1, sha256 or sha512."""

    username: str
    hash_name: str


@dataclass(frozen=True, slots=True)
class NeedPasswordCheck:
    """`username` is a prepared localpart, the password as the client sent it."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedTokens:
    """`username` is a prepared localpart; wanted are the tokens that are good for this `mechanism`."""

    username: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Done:
    """`authzid` is '' or the bare JID of the account itself. `data` is None where the mechanism has none."""

    username: str
    authzid: str = ""
    data: bytes | None = None


Step = Challenge | NeedKeys | NeedPasswordCheck | NeedTokens | Done
Credentials = ScramKeys | Sequence[str] | bool | None


class Mechanism:
    """One login attempt at `domain`. Subclasses set `_on_message`, `_on_credentials` to what is next."""

    name: str

    def __init__(self, name: str, domain: str) -> None:
        self.name = name
        self.domain = domain
        self.username = ""  # who tries to log in, once known: for throttling and the log
        self._on_message: Callable[[bytes], Step] | None = None
        self._on_credentials: Callable[[Credentials], Step] | None = None

    def start(self, initial: bytes | None) -> Step:
        """Begin; `initial` is None when the client sent no initial response (it may send an empty one)."""
        if initial is None:
            return Challenge(b"")  # RFC 4422 5.1: the client speaks first, so ask with an empty challenge
        return self.respond(initial)

    def respond(self, data: bytes) -> Step:
        handler, self._on_message = self._on_message, None
        if handler is None:
            raise SASLError("malformed-request", "No message was expected")
        return handler(data)

    def supply(self, credentials: Credentials) -> Step:
        handler, self._on_credentials = self._on_credentials, None
        if handler is None:
            raise RuntimeError("no credentials were asked for")
        return handler(credentials)

    def _identify(self, username: str, authzid: str) -> None:
        """Set `username`; the identity to act as is that of the login and no other (RFC 6120 6.3.8)."""
        try:
            self.username = prepare_local(username)
        except JIDError as error:
            raise SASLError("not-authorized") from error  # no account can have this name
        if not authzid:
            return
        try:
            wanted = JID.parse(authzid)
        except JIDError as error:
            raise SASLError("invalid-authzid") from error
        if wanted != JID(self.username, self.domain):
            raise SASLError("invalid-authzid")


def decode_payload(text: str) -> bytes | None:
    """Character data of <auth/>, <response/> and the like: None when empty, b'' for '=' (RFC 6120 6.4.2)."""
    if not text:
        return None
    return b"" if text == "=" else decode_base64(text, "incorrect-encoding")


def encode_payload(data: bytes | None) -> str:
    """The reverse, for additional data with success: '' stands for no data, '=' for empty data."""
    if data is None:
        return ""
    return base64.b64encode(data).decode() or "="


def decode_base64(text: str | bytes, condition: str = "malformed-request") -> bytes:
    """Strict RFC 4648 section 4: no white space, no junk, padding only and exactly where it belongs."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise SASLError(condition) from error
    if base64.b64encode(data) != (text.encode() if isinstance(text, str) else text):
        raise SASLError(condition)
    return data
