"""XEP-0191: Blocking Command. The commands; server/blocking.py and Presence keep to the list."""

from __future__ import annotations

import secrets
from collections.abc import Set

from xmppd.modules.presence import Presence
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import BLOCKING
from xmppd.protocol.stanza import Stanza, make
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.blocking import is_listed
from xmppd.server.module import SELF, Module, Xep, iq_get, iq_set
from xmppd.server.session import Session
from xmppd.services import blocklist
from xmppd.services.db import db


class Blocking(Module):
    """An account's list stands in Account.blocked, so that no stanza asks the database."""

    xep = Xep(191, "1.3", name="Blocking Command")
    features = [BLOCKING]

    async def start(self) -> None:
        self._presence: Presence = self.server.module(Presence)

    # -- the commands

    @iq_get(BLOCKING, "blocklist", to=SELF)
    def get(self, iq: Stanza, origin: Session) -> Element:
        """3.1: from now on this resource is told of changes."""
        origin.interests |= {BLOCKING}
        return _with_items("blocklist", sorted(origin.account.blocked))

    @iq_set(BLOCKING, "block", to=SELF)
    async def block(self, iq: Stanza, origin: Session) -> None:
        """3.2."""
        items = list(iq.payload.findall(BLOCKING, "item"))
        jids = [_jid_of(item) for item in items]
        if not jids:
            raise StanzaError("bad-request", "nobody is named")
        account = origin.account
        async with account.lock:
            before = account.blocked
            account.blocked = await db(blocklist.add, account.id, jids)
            self._hide(account, jids, before)
            self._push(account, "block", jids)
        self.server.ask(hooks.contacts_blocked, items, origin)

    @iq_set(BLOCKING, "unblock", to=SELF)
    async def unblock(self, iq: Stanza, origin: Session) -> None:
        """3.3; without an item everybody (3.4)."""
        jids = [_jid_of(item) for item in iq.payload.findall(BLOCKING, "item")]
        account = origin.account
        async with account.lock:
            before = account.blocked
            account.blocked = await db(blocklist.remove, account.id, jids or None)
            gone = [JID.parse(text) for text in before - account.blocked]
            self._push(account, "unblock", jids)
            self._show(account, gone)

    def _push(self, account: Account, name: str, jids: list[JID]) -> None:
        """To the resources that asked for the list."""
        payload = _with_items(name, [jid.full_str for jid in jids])
        for session in account.sessions.values():
            if BLOCKING in session.interests:
                identity = f"push-{secrets.token_hex(6)}"
                push = make("iq", payload, from_=account.jid, to=session.jid, type="set", id=identity)
                session.send(push.to_bytes())

    # -- presence

    def _hide(self, account: Account, jids: list[JID], before: Set[str]) -> None:
        """3.2: unavailable for those who could see us."""
        for contact in self._watching(account, jids):
            if not is_listed(contact, before):
                self._presence.hide_from(account, contact)
        listed = {jid.full_str for jid in jids}
        for session in account.sessions.values():
            for target in [target for target in session.directed or () if is_listed(target, listed)]:
                session.directed.discard(target)  # type: ignore[union-attr]
                gone = make("presence", from_=session.jid, to=target, type="unavailable")
                self.server.router.send_later(gone)

    def _show(self, account: Account, jids: list[JID]) -> None:
        """3.3: our presence for those who may see it; and theirs, which we have not heard of meanwhile."""
        contacts = [contact for contact in self._watching(account, jids) if not account.blocks(contact)]
        for contact in contacts:
            self._presence.show_to(account, contact)
        listed = {jid.full_str for jid in jids} | {jid.bare_str for jid in jids if jid.local}
        self._presence.introduce(account, [jid for jid in account.subscribed_to if is_listed(jid, listed)])

    def _watching(self, account: Account, jids: list[JID]) -> list[JID]:
        """Who sees our presence and is on this list: whole contacts, and single resources of others."""
        watchers = self._presence.watchers(account)
        listed = {jid.full_str for jid in jids}
        contacts = [watcher for watcher in watchers if is_listed(watcher, listed)]
        return contacts + [jid for jid in jids if jid.local and jid.resource and jid.bare in watchers]


def _jid_of(item: Element) -> JID:
    text = item.get("jid")
    if not text:
        raise StanzaError("bad-request", "an item needs a jid")
    try:
        return JID.parse(text)
    except JIDError as problem:
        raise StanzaError("jid-malformed", str(problem)) from None


def _with_items(name: str, jids: list[str]) -> Element:
    return E(BLOCKING, name, *[E(BLOCKING, "item", jid=jid) for jid in jids])
