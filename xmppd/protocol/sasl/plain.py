"""SASL PLAIN, RFC 4616: the password itself, so never without TLS."""

from __future__ import annotations

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl.base import Credentials, Done, Mechanism, NeedPasswordCheck, Step


class Plain(Mechanism):
    def __init__(self, name: str, domain: str) -> None:
        super().__init__(name, domain)
        self._authzid = ""
        self._on_message = self._read

    def _read(self, data: bytes) -> Step:
        """message = [authzid] NUL authcid NUL passwd"""
        try:
            authzid, username, password = data.decode().split("\0")
        except ValueError as error:  # not UTF-8, or not exactly two NUL
            raise SASLError("malformed-request") from error
        if not username:
            raise SASLError("malformed-request")
        self._identify(username, authzid)
        self._authzid = authzid
        if not password:
            # LDAP takes a bind without a password for an anonymous one, which succeeds (RFC 4513 5.1.2).
            raise SASLError("not-authorized")
        self._on_credentials = self._finish
        return NeedPasswordCheck(self.username, password)

    def _finish(self, credentials: Credentials) -> Step:
        if credentials is not True:
            raise SASLError("not-authorized")
        return Done(self.username, self._authzid)
