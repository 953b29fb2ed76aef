"""XEP-0160: messages for accounts without an available resource are kept and delivered at the next login."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta

from django.db import IntegrityError

from xmppd.protocol.delay import delay, remove
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import CHAT_STATES, CLIENT, DELAY, HINTS, STANZA_ID
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.management import Management
from xmppd.protocol.writer import write
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.hooks import STOP, Outcome
from xmppd.server.limits import MAX_QUEUED_BYTES, MAX_QUEUED_STANZAS
from xmppd.server.module import LAST, Module, Xep, on
from xmppd.server.pacing import BURST_BYTES, PATIENCE_SECONDS, is_gone, written
from xmppd.server.session import Session
from xmppd.services import catch_up, offline
from xmppd.services.db import OUT_OF_REACH, db

MESSAGE_EVENTS = "jabber:x:event"  # XEP-0022, what typing looked like before chat states
# What is worth nothing later: typing, and what only accompanies other content.
_PASSING = frozenset(
    {CHAT_STATES, DELAY, HINTS, MESSAGE_EVENTS, STANZA_ID, "http://jabber.org/protocol/nick"}
)
_THREAD = f"{CLIENT}\nthread"
_STORE = f"{HINTS}\nstore"
_NO_STORE = f"{HINTS}\nno-store"

END_TAG = "</message>"
BATCH = 100
RETRY_SECONDS = 5.0  # until what the database did not give is asked for again
WAIT_SECONDS = 1.0  # between looks at a queue whose client is gone for a while
EXPIRY_INTERVAL = timedelta(days=1)


class Offline(Module):
    """Stores what nobody can take now, for the first resource that comes with a priority of at least 0."""

    xep = Xep(160, "1.0.1", name="Best Practices for Handling Offline Messages")
    also = [Xep(334, "1.0.0", name="Message Processing Hints")]  # with the archive and the carbons
    features = ["msgoffline"]

    async def start(self) -> None:
        self._delivering: set[int] = set()  # ids of accounts: two resources never get the same messages
        self._undrained: dict[int, Account] = {}  # by id: the database was away when a resource was there
        self._next_retry = 0.0
        self._is_retrying = False
        self._next_expiry = self.server.tick
        self.server.sweeps += [self.expire, self.look]

    # -- in

    @on(hooks.undelivered, priority=LAST)
    def keep(self, stanza: Stanza, account: Account) -> Outcome | Awaitable[Outcome]:
        if not has_content(stanza):
            return STOP  # nobody misses it, and an error for each keystroke would help nobody
        # XEP-0334 4.2; the sender learns that nobody got it. What is not to be kept for ever (4.1) may wait here.
        if _NO_STORE in stanza.children:
            return None
        return self._store(stanza, account)

    def stored(self, account: Account) -> None:
        """The archive's writer has kept a message for this account; if somebody came meanwhile, it is delivered."""
        self.server.metrics.count("offline_stored")
        account.has_offline = True
        if account.best:
            self.server.spawn(self._deliver(account, account.best[0]))

    async def _store(self, stanza: Stanza, account: Account) -> Outcome:
        self.remove_own_delays(stanza)
        try:
            stored = await db(
                offline.store,
                account.id,
                stanza.to_bytes().decode(),
                stanza.from_.full_str,
                received=getattr(stanza, "received", None),
            )
        except IntegrityError:  # deleted meanwhile
            raise StanzaError("service-unavailable") from None
        if stored is not None:
            self.stored(account)
        return STOP

    def remove_own_delays(self, stanza: Stanza) -> None:
        """Only we say what we held back and since when (XEP-0203 5): a client has no stamps in our name."""
        remove(stanza, self.server.domains)

    # -- out

    @on(hooks.session_available)
    def session_available(self, session: Session) -> Awaitable[Outcome] | None:
        if session.priority >= 0 and session.account.has_offline:
            return self._deliver(session.account, session)
        return None

    @on(hooks.priority_raised)
    def priority_raised(self, session: Session) -> Awaitable[Outcome] | None:
        return self.session_available(session)

    async def _deliver(self, account: Account, session: Session) -> None:
        """Send all that is kept, in order; what the resource did not live to get goes to the next one."""
        if account.id in self._delivering:
            return
        self._delivering.add(account.id)
        try:
            receiver: Session | None = session
            while receiver is not None and account.has_offline:
                account.has_offline = False  # a message stored from here on says so again
                try:
                    account.has_offline |= not await self._drain(account, receiver)
                except BaseException as problem:
                    account.has_offline = True
                    if isinstance(problem, OUT_OF_REACH):
                        self._undrained[account.id] = account
                        self._next_retry = self.server.tick + RETRY_SECONDS
                    raise
                if not _can_take(receiver):
                    receiver = next((other for other in account.non_negative if _can_take(other)), None)
        finally:
            self._delivering.discard(account.id)

    def look(self) -> None:
        """Once a while: is the database back? One account asks, the others only when it got an answer."""
        if self._undrained and not self._is_retrying and self.server.tick >= self._next_retry:
            self._is_retrying = True
            self.server.spawn(self._retry())

    async def _retry(self) -> None:
        try:
            while self._undrained and not self.server.is_stopping:
                account = self._undrained.pop(next(iter(self._undrained)))
                receiver = next((session for session in account.best if _can_take(session)), None)
                if receiver is not None:  # else the next one that comes gets them
                    await self._deliver(account, receiver)
        finally:
            self._is_retrying = False

    async def leave_to_archive(self, account: Account, last: int) -> None:
        """XEP-0386 3.2: the account's client reads the archive up to this id. What stands there is not sent, what does
        not is.
        """
        if not account.has_offline or account.id in self._delivering:
            return
        self._delivering.add(account.id)  # who becomes available meanwhile waits for what is left
        try:
            account.has_offline = False
            account.has_offline |= await db(catch_up.clear_archived, account.id, last)
        except BaseException:
            account.has_offline = True
            raise
        finally:
            self._delivering.discard(account.id)
        if account.best:
            await self._deliver(account, account.best[0])

    async def _drain(self, account: Account, session: Session) -> bool:
        """Whether the session got everything; messages are deleted once they are written to it."""
        while batch := await db(offline.take, account.id, limit=BATCH):
            has_queue = session.management is not None
            sent = await self._send(batch, session)
            # XEP-0198 5: a queue answers for what was sent, and hands over what is unacknowledged at its end.
            if has_queue or not is_gone(session):
                await db(offline.delete, account.id, sent)
            if is_gone(session) or len(sent) < len(batch):
                return False
        return True

    async def _send(self, batch: Sequence[offline.Kept], session: Session) -> list[int]:
        """The ids of those that the session could take, once they are written or its connection is gone."""
        sent: list[int] = []
        burst = 0
        for kept in batch:
            if session.management is not None:
                await _acknowledged(session, session.management)
            if not _can_take(session):
                break
            data = self._with_delay(kept)
            session.send(data)
            sent.append(kept.id)
            burst += len(data)
            if burst > BURST_BYTES:
                burst = 0
                await written(session)
        await written(session)
        return sent

    def _with_delay(self, kept: offline.Kept) -> bytes:
        """XEP-0160 3: the stamp is appended to the letter, which stays what it was."""
        stamp = write(delay(kept.created, self.server.jid), CLIENT)
        return f"{kept.xml.removesuffix(END_TAG)}{stamp}{END_TAG}".encode()

    # -- expiry

    def expire(self) -> None:
        if self.server.tick < self._next_expiry:
            return
        self._next_expiry = self.server.tick + EXPIRY_INTERVAL.total_seconds()
        if offline.EXPIRE_AFTER.value:
            self.server.spawn(db(offline.purge_expired, self.server.clock.now()))


def has_content(stanza: Stanza) -> bool:
    """Whether the message means something to somebody who reads it later."""
    children = stanza.children
    if _STORE in children:  # XEP-0334 4.4
        return True
    return any(child != _THREAD and child.partition("\n")[0] not in _PASSING for child in children)


def _can_take(session: Session) -> bool:
    return (
        not is_gone(session)
        and session.presence is not None
        and session.priority >= 0
        and not _gives_way(session)
    )


def _gives_way(session: Session) -> bool:
    """Whether its client is away, for an hour maybe, and another one is there."""
    return not session.is_attached and any(other.is_attached for other in session.account.non_negative)


async def _acknowledged(session: Session, management: Management) -> None:
    """Wait until half of what may be unacknowledged is free: a session that exceeds it is given up (XEP-0198)."""
    while _can_take(session) and (
        len(management) * 2 > MAX_QUEUED_STANZAS.value or management.queued_bytes * 2 > MAX_QUEUED_BYTES.value
    ):
        await asyncio.sleep(PATIENCE_SECONDS if session.is_attached else WAIT_SECONDS)
