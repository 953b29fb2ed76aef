"""SASL logins: the steps of a mechanism against accounts, throttled, told to the log in one stable line.

An unknown name and a wrong password look alike: the same error, the same work, and the same wait for a look-up
whether the account stood in memory or not (reliability rows 11, 12).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from django.conf import settings

from accounts import throttle
from accounts.credentials import ScramPasswordHasher, check_password, scram_keys
from accounts.services.login import log_failure
from xmppd.protocol import sasl
from xmppd.protocol.errors import SASLError
from xmppd.protocol.jid import JID
from xmppd.protocol.sasl.base import (
    Challenge,
    Credentials,
    Done,
    Mechanism,
    NeedKeys,
    NeedPasswordCheck,
    Step,
)
from xmppd.protocol.sasl.scram import downgrade_protection
from xmppd.server.completion import Completion
from xmppd.services.db import db

if TYPE_CHECKING:
    from xmppd.protocol.stream.c2s import ClientStream
    from xmppd.protocol.stream.events import AuthRequested
    from xmppd.server.account import Account
    from xmppd.server.connection import ClientConnection
    from xmppd.server.server import Server

log = logging.getLogger("hearth.auth")
MAX_PROVEN = 20_000
LOOKUP_SECONDS = 0.005  # more than a look-up in the database takes


class TokenStore(Protocol):
    """What knows the tokens of XEP-0484; see modules/fast.py."""

    def mechanisms(self, binding_types: tuple[str, ...]) -> Sequence[str]: ...


class Authentication:
    """Shared by all logins of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secret = settings.SECRET_KEY.encode()
        self.tokens: TokenStore | None = None
        self._proven: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def account(self, jid: JID, address: str) -> Account | None:
        """The account, or None, always after the same time: it tells neither existence nor what stands in memory."""
        started = time.monotonic()
        account = await self.server.directory.load(jid)
        await asyncio.sleep(LOOKUP_SECONDS - (time.monotonic() - started))
        return account

    def proven_account(self, jid: JID, address: str) -> Account | None:
        """The account, if it is in memory and this address has logged in to it already."""
        return self.server.directory.get(jid) if (jid.bare_str, address) in self._proven else None

    def remember(self, jid: JID, address: str) -> None:
        key = (jid.bare_str, address)
        self._proven[key] = None
        self._proven.move_to_end(key)
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)


class Login:
    """One attempt on one connection, driven by the events of its stream."""

    __slots__ = ("account", "connection", "mechanism", "request", "server")

    def __init__(self, connection: ClientConnection, event: AuthRequested) -> None:
        self.request = event.request
        self.connection = connection
        self.server = connection.server
        self.account: Account | None = None
        self.mechanism = self._mechanism(event.mechanism, connection.stream)

    def _mechanism(self, name: str, stream: ClientStream) -> Mechanism:
        return sasl.create(
            name,
            domain=stream.domain,
            secret=self.server.authentication.secret,
            offered=stream.offered,
            channel_bindings=self.connection.channel_bindings(with_data=name.endswith("-PLUS")),
            iterations=ScramPasswordHasher.iterations,
            attributes=_attributes(name, stream),
        )

    def start(self, initial: bytes | None) -> None:
        self._do(self.mechanism.start, initial)

    def respond(self, data: bytes) -> None:
        self._do(self.mechanism.respond, data)

    def _do(self, method: object, argument: object) -> None:
        try:
            self._advance(method(argument))  # type: ignore[operator]
        except SASLError as error:
            self._fail(error)

    def _advance(self, step: Step) -> None:
        if isinstance(step, Challenge):
            self.connection.stream.auth_challenge(step.data)
            self.connection.after_verb()
        elif isinstance(step, Done):
            self._finish(step.data)
        else:
            self._look_up(step)

    @property
    def jid(self) -> JID:
        return JID(self.mechanism.username, self.connection.stream.domain)

    def _look_up(self, step: Step) -> None:
        """Find the account's keys; without waiting when this address is known to belong to it."""
        account = self.server.authentication.proven_account(self.jid, self.connection.address)
        if account is not None and isinstance(step, NeedKeys) and not settings.CONFIG.redis_url:
            self._check_throttle(throttle.check(account.jid.bare_str, self.connection.address))
            self.account = account
            self._do(self.mechanism.supply, scram_keys(account.password, step.hash_name))
        else:
            self.server.spawn(self._look_up_later(step))

    async def _look_up_later(self, step: Step) -> None:
        try:
            who = self.jid.bare_str, self.connection.address
            # In this process the counters are a dictionary; behind Redis the loop must not wait for a network.
            is_remote = bool(settings.CONFIG.redis_url)
            self._check_throttle(await db(throttle.check, *who) if is_remote else throttle.check(*who))
            account = await self.server.authentication.account(self.jid, self.connection.address)
            credentials = await self._credentials(step, account)
            self.account = account
            if not self.connection.is_closed:
                self._do(self.mechanism.supply, credentials)
        except SASLError as error:
            self._fail(error)
        except Exception:
            log.exception("login on %s", self.connection)
            self._fail(SASLError("temporary-auth-failure"))

    async def _credentials(self, step: Step, account: Account | None) -> Credentials:
        encoded = account.password if account else None
        if isinstance(step, NeedKeys):
            return scram_keys(encoded, step.hash_name) if encoded is not None else None
        assert isinstance(step, NeedPasswordCheck)
        return await db(check_password, encoded, step.password)

    def _check_throttle(self, wait_seconds: float) -> None:
        if wait_seconds > 0:
            raise SASLError("temporary-auth-failure", "Too many failed logins, try again later")

    def _finish(self, data: bytes | None) -> None:
        account = self.account
        assert account is not None
        if account.is_stale:
            # Changed or deleted while it logged in: what was proved may not hold any more.
            raise SASLError("temporary-auth-failure")
        if account.is_locked(self.server.clock.now()):
            raise SASLError("account-disabled")  # told only to who knows the password
        if self.request is not None and not self.connection.stream.is_claimed_by(account.jid):
            raise SASLError("invalid-authzid")  # XEP-0388 2.3: another name in the header
        address = self.connection.address
        self.server.authentication.remember(account.jid, address)
        self._tell_throttle(throttle.succeeded)
        self.server.metrics.count("logins")
        if self.request is None:
            self.connection.logged_in(account, self.mechanism, data)
        else:
            self.server.spawn(Completion(self.connection, account, self, data, self.request).run())

    def _fail(self, error: SASLError) -> None:
        if self.connection.is_closed:
            return
        self.server.metrics.count("failed_logins")
        account = self.jid.bare_str if self.mechanism.username else ""
        log_failure(account, self.connection.address, self.mechanism.name, "c2s", self._reason(error))
        if error.condition == "not-authorized" and account and self.connection.failed_for != account:
            # Once for a connection: a client with an old password tries it with every mechanism.
            self.connection.failed_for = account
            self._tell_throttle(throttle.failed)
        self.connection.stream.auth_failed(error)
        self.connection.after_verb()

    def _reason(self, error: SASLError) -> str:
        """In the words of the console's log lines, where they have one."""
        if error.condition == "not-authorized":
            return "unknown-user" if self.account is None else "wrong-password"
        return {"account-disabled": "locked"}.get(error.condition, error.condition)

    def _tell_throttle(self, call: object) -> None:
        """As above, at once or on a thread."""
        arguments = (self.jid.bare_str, self.connection.address)
        if settings.CONFIG.redis_url:
            self.server.spawn(db(call, *arguments))  # type: ignore[arg-type]
        else:
            call(*arguments)  # type: ignore[operator]


def _attributes(mechanism: str, stream: ClientStream) -> tuple[tuple[str, str], ...]:
    """XEP-0474: the client can tell whether both lists reached it as we sent them."""
    if not mechanism.startswith("SCRAM-"):
        return ()
    return (downgrade_protection(mechanism, stream.offered, stream.binding_types or None),)
