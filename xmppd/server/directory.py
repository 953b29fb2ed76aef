"""The accounts in memory: all with sessions, and the most recently used of the others.

A login, or a stanza for somebody who is offline, loads an account once; the bus keeps it true (see live.py).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from xmppd.protocol.jid import JID
from xmppd.server.account import Account
from xmppd.services import blocklist, directory, roster
from xmppd.services.db import db

MAX_IDLE_ACCOUNTS = 10_000


class Directory:
    """`online` maps bare JIDs to the accounts that have sessions; the hot path reads it directly."""

    def __init__(self) -> None:
        self.online: dict[str, Account] = {}
        self._idle: OrderedDict[str, Account] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Account | None]] = {}
        self._outdated: set[str] = set()  # written to while being loaded: to be read once more

    def get(self, jid: JID) -> Account | None:
        """The account if it is in memory and true; None says nothing about its existence."""
        bare = jid.bare_str
        account = self.online.get(bare)
        if account is None:
            account = self._idle.get(bare)
            if account is not None:
                self._idle.move_to_end(bare)
        return None if account is None or account.is_stale else account

    async def load(self, jid: JID) -> Account | None:
        """The account, from memory or the database; None when there is no such account. Loads each once at a time."""
        account = self.get(jid)
        if account is not None:
            return account
        bare = jid.bare_str
        task = self._loading.get(bare)
        if task is None:
            task = asyncio.ensure_future(self._load(jid))
            self._loading[bare] = task
            task.add_done_callback(lambda _: self._loading.pop(bare, None))
        return await asyncio.shield(task)

    async def _load(self, jid: JID) -> Account | None:
        bare = jid.bare_str
        while True:
            self._outdated.discard(bare)
            loaded = await db(_read, jid)
            if bare not in self._outdated:
                break
        known = self.in_memory(bare)
        if loaded is None:
            if known is None or not known.sessions:
                self.forget(bare)
            return None
        record, items, shared, blocked = loaded
        if known is None or known.id != record.user_id:
            account = Account(record, items, shared)
            account.blocked = blocked
            self._keep_idle(account)
            return account
        known.refresh(record)
        known.blocked = blocked
        known.is_stale = False
        if (
            not known.sessions
        ):  # with sessions, the roster is kept true change by change: they have to be told
            known.set_roster(items, shared)
        return known

    def invalidate(self, bare: str) -> Account | None:
        """The database was written to: what is in memory, or being read, is not true any more."""
        if bare in self._loading:
            self._outdated.add(bare)
        account = self.in_memory(bare)
        if account is not None:
            account.is_stale = True
        return account

    def in_memory(self, bare: str) -> Account | None:
        """The account object even when it is stale."""
        return self.online.get(bare) or self._idle.get(bare)

    def now_online(self, account: Account) -> None:
        self._idle.pop(account.jid.bare_str, None)
        self.online[account.jid.bare_str] = account

    def now_offline(self, account: Account) -> None:
        if self.online.get(account.jid.bare_str) is account:
            del self.online[account.jid.bare_str]
            self._keep_idle(account)

    def forget(self, bare: str) -> Account | None:
        """Drop the account from memory (it was deleted); returns it."""
        return self.online.pop(bare, None) or self._idle.pop(bare, None)

    def forget_idle_of(self, user_ids: set[int]) -> None:
        """Drop these from memory where they have no session."""
        self._outdated.update(self._loading)
        for bare in [bare for bare, account in self._idle.items() if account.id in user_ids]:
            del self._idle[bare]

    def _keep_idle(self, account: Account) -> None:
        self._idle[account.jid.bare_str] = account
        if len(self._idle) > MAX_IDLE_ACCOUNTS:
            self._idle.popitem(last=False)


Loaded = tuple[directory.AccountRecord, roster.RosterData, directory.Shared, frozenset[str]]


def _read(jid: JID) -> Loaded | None:
    record = directory.find_account(domain=jid.domain, username=jid.local)
    if record is None:
        return None
    shared = directory.shared(record.user_id) if record.has_sharing else directory.NOTHING_SHARED
    blocked = blocklist.load(record.user_id) if record.has_blocked else blocklist.NOBODY
    return record, roster.load(record.user_id), shared, blocked
