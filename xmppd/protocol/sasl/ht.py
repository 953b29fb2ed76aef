"""The Hashed Token mechanisms (draft-schmaus-kitten-sasl-ht-09), by which XEP-0484 logs in with one message.

The client proves a token by HMAC-SHA-256 with it as key over "Initiator" and the channel binding's data; the server
answers that it has the token too, by the same over "Responder".
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl.base import Credentials, Done, Mechanism, NeedTokens, Step

MECHANISMS = {  # name: the channel binding type that is part of it
    "HT-SHA-256-EXPR": "tls-exporter",
    "HT-SHA-256-ENDP": "tls-server-end-point",
    "HT-SHA-256-NONE": "",
}
MAC_BYTES = 32


def offered(binding_types: Collection[str]) -> list[str]:
    """The mechanisms for a connection that has data of these types."""
    return [name for name, binding in MECHANISMS.items() if not binding or binding in binding_types]


class HashedToken(Mechanism):
    """`binding` is the channel binding's data, empty for -NONE. `matched` is the place, among the tokens that were
    supplied, of the one that was proved.
    """

    def __init__(self, name: str, domain: str, binding: bytes) -> None:
        super().__init__(name, domain)
        self._binding = binding
        self.matched = -1
        self._on_message = self._read

    def _read(self, data: bytes) -> Step:
        """message = authcid NUL HMAC(token, "Initiator" binding)"""
        username, separator, self._mac = data.partition(b"\0")
        if not separator or not username or len(self._mac) != MAC_BYTES:
            raise SASLError("malformed-request")
        try:
            text = username.decode()
        except UnicodeDecodeError as error:
            raise SASLError("malformed-request") from error
        self._identify(text, "")
        self._on_credentials = self._finish
        return NeedTokens(self.username, self.name)

    def _finish(self, credentials: Credentials) -> Step:
        if not isinstance(credentials, Sequence):
            raise TypeError("tokens are needed")
        if not credentials:
            raise SASLError("credentials-expired")  # also where there is no such account: both look alike
        for place, token in enumerate(credentials):
            if hmac.compare_digest(self._hashed(token, b"Initiator"), self._mac):
                self.matched = place
        if self.matched < 0:
            raise SASLError("not-authorized")
        return Done(self.username, "", self._hashed(credentials[self.matched], b"Responder"))

    def _hashed(self, token: str, label: bytes) -> bytes:
        return hmac.digest(token.encode(), label + self._binding, "sha256")
