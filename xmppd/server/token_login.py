"""Logins by a token (XEP-0484): one message, one look-up, no password."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xmppd.protocol.errors import SASLError
from xmppd.protocol.namespaces import FAST
from xmppd.protocol.sasl import ht
from xmppd.protocol.sasl.base import Credentials, Mechanism, Step
from xmppd.protocol.sasl.ht import HashedToken
from xmppd.server.authentication import Login
from xmppd.services import devices
from xmppd.services.db import OUT_OF_REACH, db

if TYPE_CHECKING:
    from xmppd.protocol.stream.c2s import ClientStream
    from xmppd.protocol.stream.events import AuthRequested
    from xmppd.server.account import Account
    from xmppd.server.connection import ClientConnection

log = logging.getLogger("hearth.auth")
MAX_COUNT = 2**63 - 1


class TokenLogin(Login):
    """A token is good for the client that it was given to, and for one mechanism."""

    __slots__ = ("_count", "_is_replayed", "_tokens", "is_last")

    def __init__(self, connection: ClientConnection, event: AuthRequested) -> None:
        super().__init__(connection, event)
        self._tokens: list[devices.Token] = []
        self._count: int | None = None
        self._is_replayed = False
        self.is_last = False

    def _mechanism(self, name: str, stream: ClientStream) -> Mechanism:
        kind = ht.MECHANISMS[name]
        bindings = self.connection.channel_bindings(with_data=True) if kind else {"": b""}
        return HashedToken(name, stream.domain, bindings[kind])

    def start(self, initial: bytes | None) -> None:
        try:
            self._read_request()
        except SASLError as error:
            self.fail(error)
        else:
            super().start(initial)

    def _read_request(self) -> None:
        """XEP-0484 3.4, 4.1: who has a token says so, and who it is."""
        fast = self.request.find(FAST, "fast") if self.request else None
        if self.request is None or fast is None or not self.request.user_agent.id:
            raise SASLError("malformed-request", "A token needs <fast/> and the id of its client")
        count = fast.get("count")
        if count:
            if not (count.isascii() and count.isdecimal() and len(count) < 20 and int(count) <= MAX_COUNT):
                raise SASLError("malformed-request", "count is no number")
            self._count = int(count)
        self.is_last = fast.get("invalidate") in ("true", "1")

    async def _credentials(self, step: Step, account: Account | None) -> Credentials:
        """For a name without account too something is looked for, and found as little."""
        assert self.request is not None
        agent = devices.agent_key(self.request.user_agent.id)
        user_id = account.id if account else 0
        self._tokens = await db(devices.tokens, user_id, agent, self.mechanism.name)
        return [token.text for token in self._tokens]

    @property
    def token(self) -> devices.Token:
        """The one that was proved."""
        assert isinstance(self.mechanism, HashedToken)
        return self._tokens[self.mechanism.matched]

    def _finish(self, data: bytes | None) -> None:
        token = self.token
        is_known = token.is_used and not token.has_others and not token.is_counted
        if is_known and self._count is None and not self.is_last:
            self._admit(data)  # there is nothing to write
        else:
            self.server.spawn(self._use(token, data))

    async def _use(self, token: devices.Token, data: bytes | None) -> None:
        try:
            if not await db(devices.use, token, count=self._count, invalidate=self.is_last):
                raise SASLError("not-authorized")
            if not self.connection.is_closed:
                self._admit(data)
        except devices.ReplayedToken:
            self._is_replayed = True
            self.fail(SASLError("not-authorized"))
        except SASLError as error:
            self.fail(error)
        except OUT_OF_REACH:
            self.fail(SASLError("temporary-auth-failure"))
        except Exception:
            log.exception("login on %s", self.connection)
            self.fail(SASLError("temporary-auth-failure"))

    def _reason(self, error: SASLError) -> str:
        return "replayed-token" if self._is_replayed else super()._reason(error)
