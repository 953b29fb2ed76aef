"""RFC 6121 2: the roster, its pushes and its versions (2.6); contacts through shared groups stand in it as well."""

from __future__ import annotations

import secrets

from xmppd.modules.presence import Presence
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import PRE_APPROVAL, ROSTER, ROSTER_VERSIONING
from xmppd.protocol.stanza import Stanza, make
from xmppd.protocol.stream.features import Has
from xmppd.protocol.writer import clean, escape, escape_attr
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.module import ACCOUNT, NOBODY, SELF, Module, StreamFeature, iq_get, iq_set, on
from xmppd.server.session import Session
from xmppd.services import directory, roster
from xmppd.services.db import db
from xmppd.services.roster_store import Item


class Roster(Module):
    """`changed` is the one way in which an item of an account in memory gets a new state."""

    rfc = "RFC 6121 2"
    features = [ROSTER]
    stream_features = [
        StreamFeature(f"<ver xmlns='{ROSTER_VERSIONING}'/>".encode(), needs=Has.AUTH),
        StreamFeature(f"<sub xmlns='{PRE_APPROVAL}'/>".encode(), needs=Has.AUTH),
    ]

    async def start(self) -> None:
        self._presence: Presence = self.server.module(Presence)

    # -- reading

    @iq_get(ROSTER, "query", to=SELF)
    def get(self, iq: Stanza, origin: Session) -> object:
        """RFC 6121 2.2: from now on this resource is interested in pushes."""
        account = origin.account
        origin.interests |= {ROSTER}
        # b"ver" in the letter: only then it has to be opened.
        known = iq.payload.attrs.get("ver") if b"ver" in iq.body else None
        if known is None:
            return _query(account, "")
        if known == version(account):
            return None
        number, _, digest = known.partition("-")
        if digest == account.shared_digest and number.isdecimal() and len(number) < 18:
            return self._get_since(origin, int(number))
        return _query(account, version(account))

    async def _get_since(self, origin: Session, number: int) -> bytes | None:
        """RFC 6121 2.6.3: the changes as pushes behind an empty result, where they are fewer than the whole list."""
        account = origin.account
        async with account.lock:
            changes = await db(roster.changes_since, account.id, number)
            if changes is None or len(changes) >= max(1, len(account.contacts)):
                return _query(account, version(account))
            self.server.spawn(self._push_later(origin, changes))
        return None

    async def _push_later(self, session: Session, changes: list[roster.Change]) -> None:
        """Behind the result, which the router sends when the handler has returned.

        Each with the version of its own change: a client that is cut off between two of them asks for the rest.
        """
        account = session.account
        async with account.lock:
            for change in changes:
                self._push_to(session, change.contact, version(account, change.version))

    # -- writing

    @iq_set(ROSTER, "query", to=SELF)
    async def set(self, iq: Stanza, origin: Session) -> None:
        """RFC 6121 2.3-2.5."""
        items = list(iq.payload.elements())
        if len(items) != 1 or items[0].tag != (ROSTER, "item"):
            raise StanzaError("bad-request", "a roster set has exactly one item")
        contact = _contact_of(items[0])
        if items[0].get("subscription") == "remove":
            await self._remove(origin.account, contact)
        else:
            await self._update(origin.account, contact, items[0])

    async def _update(self, account: Account, contact: JID, item: Element) -> None:
        groups = [group.text for group in item.findall(ROSTER, "group")]
        if len(set(groups)) != len(groups):
            raise StanzaError("bad-request", "a group is named twice")
        shared = account.shared.get(contact.bare_str)
        if shared is not None:
            # Sharing rule 5: the groups' own names are not the user's to keep.
            groups = [group for group in groups if group not in shared.groups]
        async with account.lock:
            change = await db(roster.set_item, account.id, contact.bare_str, item.get("name"), groups)
            self.changed(account, contact, change.item, change.version)

    async def _remove(self, account: Account, contact: JID) -> None:
        shared = account.shared.get(contact.bare_str)
        if shared is not None and not shared.implicit:
            raise StanzaError("not-allowed", "the contact comes with a group")  # sharing rule 6
        async with account.lock:
            removal = await db(roster.remove_item, account.id, contact.bare_str)
            account.pending.pop(contact.bare_str, None)
            was_visible = account.is_subscribed_by(contact)
            if removal.previous is not None:
                self.changed(account, contact, None, removal.version)
        # RFC 6121 2.5.2: the contact is told as if each subscription had been cancelled.
        if was_visible and not account.is_subscribed_by(contact):
            self._presence.hide_from(account, contact)
        for kind in removal.sends:
            waiting = self.server.router.send(make("presence", from_=account.jid, to=contact, type=kind))
            if waiting is not None:
                await waiting

    @iq_get(ROSTER, "query", to=[ACCOUNT, NOBODY])
    @iq_set(ROSTER, "query", to=[ACCOUNT, NOBODY])
    def refuse(self, iq: Stanza, origin: Session) -> None:
        """RFC 6121 2.3.3: whose it is alone reads and writes it; nobody learns here who exists."""
        raise StanzaError("forbidden")

    # -- telling

    def changed(self, account: Account, contact: JID, item: Item | None, number: int) -> None:
        """Apply a stored change to memory and push it to the interested resources (RFC 6121 2.1.6)."""
        if 0 < account.roster_version < number - 1:  # somebody else wrote in between, and is yet to be heard
            self.server.spawn(self._reread(account))
        account.set_item(contact.bare_str, item, number)
        self._push_all(account, [contact.bare_str], version(account))

    def _push_all(self, account: Account, contacts: list[str], before: str) -> None:
        """Only the last push says the new version: who is cut off earlier still has the one `before`."""
        sessions = [session for session in account.sessions.values() if ROSTER in session.interests]
        for number, contact in enumerate(contacts, 1):
            for session in sessions:
                self._push_to(session, contact, version(account) if number == len(contacts) else before)

    def _push_to(self, session: Session, contact: str, ver: str) -> None:
        account = session.account
        item = account.contacts.get(contact)
        xml = item_xml(item) if item else f"<item jid='{escape_attr(contact)}' subscription='remove'/>"
        session.send(
            (
                f"<iq type='set' id='push-{secrets.token_hex(6)}' to='{escape_attr(session.jid.full_str)}'>"
                f"<query xmlns='{ROSTER}' ver='{ver}'>{xml}</query></iq>"
            ).encode()
        )

    # -- written by somebody else

    @on(hooks.roster_written)
    async def roster_written(self, account: Account, number: int) -> None:
        """Console or command changed an item: clients and, as visibility changed, the contact hear of it."""
        async with account.lock:
            is_known = account.roster_version >= number  # a change of ours is announced before we apply it
        if not is_known:
            await self._reread(account)

    async def _reread(self, account: Account) -> None:
        async with account.lock:
            subscribers, seen = self._presence.watchers(account), set(account.subscribed_to)
            stored = await db(roster.load, account.id)
            before, contacts = version(account), account.contacts
            account.set_roster(stored)
            self._push_all(account, _different(contacts, account.contacts), before)
        # The contact's list was written to as well, and may not have been re-read yet: whichever comes second sends
        # the presences of both, so that an item is always there before its presence.
        self._presence.visibility_changed(account, subscribers, self._presence.watchers(account), listed=True)
        self._presence.introduce(account, [jid for jid in account.subscribed_to if jid not in seen])

    @on(hooks.shared_rosters_written)
    async def shared_rosters_written(self, accounts: list[Account]) -> None:
        """Group members or sharing changed: push what is different, to all before anybody's presence arrives."""
        seen_by = []
        for account in accounts:
            async with account.lock:
                seen_by.append((account, self._presence.watchers(account)))
                shared = await db(directory.shared, account.id)
                before, contacts = version(account), account.contacts
                account.set_shared(shared)
                self._push_all(account, _different(contacts, account.contacts), before)
        for account, subscribers in seen_by:
            self._presence.visibility_changed(account, subscribers, self._presence.watchers(account))


def _different(before: dict[str, Item], after: dict[str, Item]) -> list[str]:
    return [jid for jid in {**before, **after} if before.get(jid) != after.get(jid)]


def version(account: Account, number: int | None = None) -> str:
    """The roster's version (RFC 6121 2.6.1): the number of the last own change (or of an earlier one), and a
    fingerprint of the shared part."""
    if number is None:
        number = account.roster_version
    return f"{number}-{account.shared_digest}" if account.shared_digest else str(number)


def _query(account: Account, ver: str) -> bytes:
    if account.roster_xml is None:
        account.roster_xml = "".join([item_xml(item) for item in account.contacts.values()]).encode()
    attribute = f" ver='{ver}'" if ver else ""
    return f"<query xmlns='{ROSTER}'{attribute}>".encode() + account.roster_xml + b"</query>"


def item_xml(item: Item) -> str:
    """RFC 6121 2.1.2."""
    head = f"<item jid='{escape_attr(item.jid)}' subscription='{item.subscription}'"
    if item.name:
        head += f" name='{escape_attr(clean(item.name))}'"
    if item.ask:
        head += " ask='subscribe'"
    if item.approved:
        head += " approved='true'"
    if not item.groups:
        return head + "/>"
    groups = "".join([f"<group>{escape(clean(group))}</group>" for group in item.groups])
    return f"{head}>{groups}</item>"


def _contact_of(item: Element) -> JID:
    """The address that a client names; its bare form stands in the roster (RFC 6121 2.1.2.2)."""
    text = item.get("jid")
    if not text:
        raise StanzaError("bad-request", "an item needs a jid")
    try:
        return JID.parse(text).bare
    except JIDError as problem:
        raise StanzaError("jid-malformed", str(problem)) from None
