"""A local account in memory: who it is, its roster, its sessions. What every stanza needs stands here, so that no
stanza waits for the database. Loaded at login or when the first stanza is for it, refreshed by the bus.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from accounts.sharing import SharedContact
from xmppd.protocol.jid import JID
from xmppd.server.blocking import is_listed
from xmppd.services.blocklist import NOBODY
from xmppd.services.directory import AccountRecord, Shared
from xmppd.services.roster import RosterData, merge
from xmppd.services.roster_store import Item

if TYPE_CHECKING:
    from xmppd.server.session import Session


class Account:
    """`sessions` are the connected resources by name; `available` those that sent presence, best priority first."""

    __slots__ = (
        "_lock",
        "available",
        "best",
        "blocked",
        "carbons",
        "contacts",
        "has_offline",
        "id",
        "is_public",
        "is_stale",
        "items",
        "jid",
        "last_seen",
        "last_status",
        "locked_from",
        "locked_until",
        "name",
        "non_negative",
        "password",
        "pending",
        "roster_version",
        "roster_xml",
        "sessions",
        "shared",
        "shared_digest",
        "subscribed_to",
        "subscribers",
    )

    def __init__(self, record: AccountRecord, roster: RosterData, shared: Shared) -> None:
        self.jid = JID.parse(record.jid)
        self.sessions: dict[str, Session] = {}
        self.available: list[Session] = []
        self.best: tuple[Session, ...] = ()  # non-negative, tied at the highest priority: take bare messages
        self.non_negative: tuple[Session, ...] = ()
        self.blocked = NOBODY  # addresses of any form (XEP-0191)
        self.carbons: tuple[Session, ...] = ()  # want a copy of what goes to the other resources (XEP-0280)
        self.is_stale = False  # the database knows better; to be loaded again before the next login
        self._lock: asyncio.Lock | None = None
        self.refresh(record)
        self.set_roster(roster, shared)

    def refresh(self, record: AccountRecord) -> None:
        self.id = record.user_id
        self.name = record.name
        self.password = record.password_encoded
        self.locked_from = record.locked_from
        self.locked_until = record.locked_until
        self.has_offline = record.has_offline
        self.last_seen = record.last_seen
        self.last_status = record.last_status

    def is_locked(self, at: datetime) -> bool:
        if self.locked_from is None or at < self.locked_from:
            return False
        return self.locked_until is None or at < self.locked_until

    @property
    def lock(self) -> asyncio.Lock:
        """Held while the roster is changed, so that changes are applied and pushed in one order."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    # -- roster

    def set_roster(self, roster: RosterData, shared: Shared | None = None) -> None:
        """`shared` None: the part through groups stays."""
        self.items = roster.items  # the account's own, by bare JID
        self.pending = roster.pending  # subscription requests that await an answer: {contact: stanza}
        self.roster_version = roster.version
        if shared is None:
            self._merge_all()
        else:
            self.set_shared(shared)

    def set_shared(self, shared: Shared) -> None:
        """Contacts through groups; the list that clients see is own and shared merged."""
        self.shared = shared.contacts
        self.is_public = shared.is_public
        self.shared_digest = shared_digest(shared.contacts)
        self._merge_all()

    def _merge_all(self) -> None:
        self.contacts = {jid: item for jid in {**self.items, **self.shared} if (item := self._merged(jid))}
        self._index()

    def set_item(self, contact: str, item: Item | None, version: int) -> Item | None:
        """Apply a stored change; returns the item as clients see it now, None when they see none."""
        if item is None:
            self.items.pop(contact, None)
        else:
            self.items[contact] = item
        self.roster_version = max(self.roster_version, version)
        seen = self._merged(contact)
        if seen is None:
            self.contacts.pop(contact, None)
        else:
            self.contacts[contact] = seen
        self._index()
        return seen

    def _merged(self, jid: str) -> Item | None:
        own, shared = self.items.get(jid), self.shared.get(jid)
        if shared is None or shared.implicit:
            return own
        return merge(own, jid, shared)

    def _index(self) -> None:
        """Who sees our presence, whose presence we see. Tuples of JIDs, read at each presence."""
        self.roster_xml: bytes | None = None  # the items as written for clients; made when one asks
        subscribers = [jid for jid, item in self.contacts.items() if item.subscription in ("from", "both")]
        # "from" through a group: the contact sees us, whatever our own list says of it (sharing rule 3).
        implicit = [jid for jid, shared in self.shared.items() if shared.implicit]
        if implicit:
            subscribers = list(dict.fromkeys([*subscribers, *implicit]))
        self.subscribers = tuple(JID.parse(jid) for jid in subscribers)
        self.subscribed_to = tuple(
            JID.parse(jid) for jid, item in self.contacts.items() if item.subscription in ("to", "both")
        )

    def is_subscribed_by(self, contact: JID) -> bool:
        """Whether the contact (its bare JID counts) may see our presence."""
        item = self.contacts.get(contact.bare_str)
        if item is not None and item.subscription in ("from", "both"):
            return True
        shared = self.shared.get(contact.bare_str)
        if shared is not None and shared.implicit:
            return True
        return self.is_public and contact.domain == self.jid.domain

    def blocks(self, jid: JID) -> bool:
        """Whether nothing goes to this address or comes from it (XEP-0191). Ask only where `blocked` is not empty."""
        return jid.bare_str != self.jid.bare_str and is_listed(jid, self.blocked)

    def may_be_seen_by(self, jid: JID) -> bool:
        """Whether that is the account itself, or somebody who may see its presence."""
        return jid.bare_str == self.jid.bare_str or self.is_subscribed_by(jid)

    # -- sessions

    def add(self, session: Session) -> None:
        self.sessions[session.jid.resource] = session

    def remove(self, session: Session) -> None:
        if self.sessions.get(session.jid.resource) is session:
            del self.sessions[session.jid.resource]

    def update_available(self) -> None:
        """Sort the available resources anew; called when one comes, goes or changes its priority."""
        available = [session for session in self.sessions.values() if session.presence is not None]
        available.sort(key=lambda session: -session.priority)
        self.available = available
        self.non_negative = tuple(session for session in available if session.priority >= 0)
        top = self.non_negative[0].priority if self.non_negative else 0
        former = self.best
        self.best = tuple(session for session in self.non_negative if session.priority == top)
        if self.best != former:
            for session in former:
                if session not in self.best:
                    session.best_since = None
            new = [session for session in self.best if session.best_since is None]
            if new:
                since = new[0].server.next_moment()
                for session in new:
                    session.best_since = since

    def __repr__(self) -> str:
        return f"<Account {self.jid}>"


def shared_digest(shared: dict[str, SharedContact]) -> str:
    """A short fingerprint of the shared contacts: their part of the roster version."""
    if not shared:
        return ""
    digest = blake2b(digest_size=9)
    for jid in sorted(shared):
        contact = shared[jid]
        if not contact.implicit:
            digest.update(repr((jid, contact.name, contact.subscription, tuple(contact.groups))).encode())
    return digest.hexdigest()
