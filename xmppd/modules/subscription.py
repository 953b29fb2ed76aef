"""RFC 6121 3: presence subscriptions. The states are a table in protocol/subscription.py; here are its side effects."""

from __future__ import annotations

from typing import cast

from xmppd.modules.presence import Presence
from xmppd.modules.roster import Roster
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import ROSTER
from xmppd.protocol.stanza import Stanza, make
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.module import Module, on
from xmppd.server.session import Session
from xmppd.services import roster
from xmppd.services.db import db
from xmppd.services.roster import PresenceType


class Subscription(Module):
    """Own stanzas are routed, and those of contacts delivered, as the state of both rosters says."""

    rfc = "RFC 6121 3"

    async def start(self) -> None:
        self._presence: Presence = self.server.module(Presence)
        self._roster: Roster = self.server.module(Roster)

    # -- what the account sends

    @on(hooks.subscription_out)
    async def sends(self, stanza: Stanza, session: Session) -> None:
        account, contact = session.account, stanza.to
        kind = cast(PresenceType, stanza.type)
        if self._comes_with_a_group(account, contact):
            return
        async with account.lock:
            outcome = await db(roster.outgoing, account.id, contact.bare_str, kind)
            was_visible = account.is_subscribed_by(contact)
            self._note_pending(account, contact, outcome.pending)
            if outcome.pushed:
                self._roster.changed(account, contact, outcome.item, outcome.version)
            is_visible = account.is_subscribed_by(contact)
        # The lock is released first: the contact's handler takes the contact's own.
        if was_visible and not is_visible:
            self._presence.hide_from(account, contact)  # before the stanza that tells why (3.2.2)
        if outcome.route:
            waiting = self.server.router.route(stanza)
            if waiting is not None:
                await waiting
        if is_visible and not was_visible:
            self._presence.show_to(account, contact)  # 3.1.5

    # -- what a contact sends

    @on(hooks.subscription_in)
    async def receives(self, stanza: Stanza, account: Account) -> None:
        contact = stanza.from_ = stanza.from_.bare
        stanza.to = account.jid
        kind = cast(PresenceType, stanza.type)
        if contact == account.jid or self._comes_with_a_group(account, contact):
            return
        async with account.lock:
            request = stanza.to_bytes().decode() if kind == "subscribe" else ""
            outcome = await db(roster.incoming, account.id, contact.bare_str, kind, request)
            was_visible = account.is_subscribed_by(contact)
            self._note_pending(account, contact, outcome.pending)
            if outcome.route:
                self._deliver(stanza, account)  # before the push (3.1.6, 3.2.3, 3.3.3)
            if outcome.pushed:
                self._roster.changed(account, contact, outcome.item, outcome.version)
            is_visible = account.is_subscribed_by(contact)
        if was_visible and not is_visible:
            self._presence.hide_from(account, contact)
        if outcome.reply:
            answer = make("presence", from_=account.jid, to=contact, type=outcome.reply)
            waiting = self.server.router.send(answer)
            if waiting is not None:
                await waiting  # no lock is held here, so the contact's handler may wait for us as well
        if is_visible and not was_visible:
            self._presence.show_to(account, contact)

    def _deliver(self, stanza: Stanza, account: Account) -> None:
        """Requests go to the available resources (3.1.3), the rest to those interested in the roster."""
        data = stanza.to_bytes()
        if stanza.type == "subscribe":
            targets = account.available
        else:
            targets = [s for s in account.sessions.values() if ROSTER in s.interests]
        for session in targets:
            session.send(data)

    @staticmethod
    def _note_pending(account: Account, contact: JID, pending: str | None) -> None:
        if pending is None:
            account.pending.pop(contact.bare_str, None)
        else:
            account.pending[contact.bare_str] = pending

    @staticmethod
    def _comes_with_a_group(account: Account, contact: JID) -> bool:
        """Sharing rule 6: the group decides; such stanzas have no effect."""
        shared = account.shared.get(contact.bare_str)
        return shared is not None and not shared.implicit
