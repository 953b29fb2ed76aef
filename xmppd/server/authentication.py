"""SASL logins: the steps of a mechanism against accounts, throttled, told to the log in one stable line.

An unknown name and a wrong password look alike: the same error, the same work, and the same wait for a look-up
whether the account stood in memory or not (reliability rows 11, 12).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings

from accounts import throttle
from accounts.credentials import ScramPasswordHasher, challenge_keys, identity
from accounts.services.login import check_password, log_failure
from xmppd.protocol import sasl
from xmppd.protocol.errors import SASLError, StreamError
from xmppd.protocol.jid import JID, JIDError
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
from xmppd.server import upgrade
from xmppd.server.completion import Completion
from xmppd.services.db import OUT_OF_REACH, db

if TYPE_CHECKING:
    from xmppd.protocol.element import Element
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
        # {bare JID: hashes of which it has keys} of accounts that lack some; see modules/sasl_upgrade.py.
        self.incomplete: dict[str, tuple[str, ...]] = {}
        self.common_hashes: Sequence[str] = sasl.ALL_HASHES  # of which all accounts have keys
        self._proven: OrderedDict[tuple[str, str], None] = OrderedDict()

    def hashes(self, stream: ClientStream) -> Sequence[str]:
        """XEP-0388 2.1: the SCRAM hashes for the account that the header names, or, where it names none, those that
        all accounts have. A name without account gets what most have.
        """
        if not self.incomplete:
            return sasl.ALL_HASHES
        try:
            who = JID.parse(stream.claimed) if stream.claimed else None
        except JIDError:
            who = None
        if who is not None and who.local:
            return self.incomplete.get(who.bare_str, sasl.ALL_HASHES)
        return self.common_hashes or sasl.ALL_HASHES  # where nothing is common to all: most have all

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
    """One attempt on one connection, driven by the events of its stream. `credential` is what the account's password
    column held when the proof was looked at.
    """

    __slots__ = ("_upgrade", "account", "connection", "credential", "mechanism", "request", "server")

    def __init__(self, connection: ClientConnection, event: AuthRequested) -> None:
        self.request = event.request
        self.connection = connection
        self.server = connection.server
        self.account: Account | None = None
        self.credential = ""
        self._upgrade: upgrade.Upgrade | None = None
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

    def begin_task(self, name: str) -> None:
        """XEP-0388 2.6.3, as the client's answer to <continue/>."""
        assert self._upgrade is not None
        try:
            self._upgrade.begin(name)
        except SASLError as error:
            self.fail(error)

    def finish_task(self, element: Element) -> None:
        assert self._upgrade is not None
        try:
            self._upgrade.finish(element)
        except SASLError as error:
            self.fail(error)

    def _do(self, method: Callable[[Any], Step], argument: object) -> None:
        try:
            self._advance(method(argument))
        except SASLError as error:
            self.fail(error)
        except Exception:
            # Whatever breaks, the client is told: it would wait until the time for logins is over.
            log.exception("login on %s", self.connection)
            if self.connection.account is None:
                self.fail(SASLError("temporary-auth-failure"))
            else:  # what broke is what the client sent behind its login
                self.connection.close(StreamError("internal-server-error"))

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
            self._know(account)
            self._do(self.mechanism.supply, challenge_keys(account.password, step.hash_name))
        else:
            self.server.spawn(self._look_up_later(step))

    def _know(self, account: Account | None) -> None:
        self.account = account
        self.credential = account.password if account is not None else ""

    async def _look_up_later(self, step: Step) -> None:
        try:
            who = self.jid.bare_str, self.connection.address
            # In this process the counters are a dictionary; behind Redis the loop must not wait for a network.
            is_remote = bool(settings.CONFIG.redis_url)
            self._check_throttle(await db(throttle.check, *who) if is_remote else throttle.check(*who))
            account = await self.server.authentication.account(self.jid, self.connection.address)
            self._know(account)
            credentials = await self._credentials(step, account)
            if not self.connection.is_closed:
                self._do(self.mechanism.supply, credentials)
        except SASLError as error:
            self.fail(error)
        except OUT_OF_REACH:  # the log says so once for all
            self.fail(SASLError("temporary-auth-failure"))
        except Exception:
            log.exception("login on %s", self.connection)
            self.fail(SASLError("temporary-auth-failure"))

    async def _credentials(self, step: Step, account: Account | None) -> Credentials:
        if isinstance(step, NeedKeys):
            return challenge_keys(account.password, step.hash_name) if account is not None else None
        assert isinstance(step, NeedPasswordCheck)
        user_id, encoded = (account.id, account.password) if account is not None else (0, None)
        return await db(check_password, user_id, self.jid.bare_str, encoded, step.password)

    def _check_throttle(self, wait_seconds: float) -> None:
        if wait_seconds > 0:
            raise SASLError("temporary-auth-failure", "Too many failed logins, try again later")

    def _finish(self, data: bytes | None) -> None:
        """The mechanism is content."""
        self._admit(data)

    def _admit(self, data: bytes | None) -> None:
        """Whether the account may log in, as it is now. Raises SASLError."""
        account = self.account
        assert account is not None
        if account.is_stale:
            self.server.spawn(self._admit_later(account, data))
            return
        if not self.is_still_proved(account):
            raise SASLError("not-authorized")
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
            return
        tasks = upgrade.wanted(self.request, self.credential, self.mechanism.name)
        if tasks:
            self._upgrade = upgrade.Upgrade(self, tasks)
            self._upgrade.start(data)
        else:
            self.server.spawn(self.complete(data))

    async def _admit_later(self, proved: Account, data: bytes | None) -> None:
        """It was written to while it logged in: read again, it must still be the one that was proved."""
        try:
            account = await self.server.directory.load(proved.jid)
            if account is None or account.id != proved.id:
                raise SASLError("not-authorized")
            self.account = account
            if not self.connection.is_closed:
                self._admit(data)
        except SASLError as error:
            self.fail(error)
        except OUT_OF_REACH:  # the log says so once for all
            self.fail(SASLError("temporary-auth-failure"))
        except Exception:
            log.exception("login on %s", self.connection)
            self.fail(SASLError("temporary-auth-failure"))

    def is_still_proved(self, account: Account) -> bool:
        """Whether it has the password by which it logs in, in whatever form that is kept by now."""
        return account.password == self.credential or identity(account.password) == identity(self.credential)

    async def complete(self, data: bytes | None) -> None:
        """XEP-0388: what the client asked for beside the login, and <success/>."""
        assert self.account is not None
        assert self.request is not None
        await Completion(self.connection, self.account, self, data, self.request).run()

    def fail(self, error: SASLError) -> None:
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
