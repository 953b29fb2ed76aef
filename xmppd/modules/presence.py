"""RFC 6121 4: exchanging presence. Who sees which resource, from its first presence to its end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from xmppd.protocol import delay
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.stanza import Stanza, make
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.module import EARLY, Module, on
from xmppd.server.session import Session

_NUMBER = re.compile(r"[+-]?0*[0-9]{1,3}")


class Presence(Module):
    """Broadcasts a resource's presence to those who may see it, and answers probes."""

    rfc = "RFC 6121 4"

    # -- what a resource says of itself

    @on(hooks.own_presence)
    def own_presence(self, stanza: Stanza, session: Session) -> None:
        if stanza.type == "unavailable":
            self._becomes_unavailable(stanza, session)
        else:
            self._is_available(stanza, session)

    def _is_available(self, stanza: Stanza, session: Session) -> None:
        """RFC 6121 4.2.2 (initial presence) and 4.4.2 (updates)."""
        priority = _priority(stanza)
        self.server.changes += 1
        is_first = session.presence is None
        was_deaf = is_first or session.priority < 0
        session.presence = stanza
        session.show, session.status_text = _text(stanza, "show"), _text(stanza, "status")
        if is_first or session.priority != priority:
            session.priority = priority
            session.account.update_available()
        self.broadcast(stanza, session.account)
        if is_first:
            self._introduce(session)
            self.server.ask(hooks.session_available, session)
        elif was_deaf and priority >= 0:
            self.server.ask(hooks.priority_raised, session)

    def _becomes_unavailable(self, stanza: Stanza, session: Session) -> None:
        """RFC 6121 4.5.2; the resource stays connected."""
        was_available = session.presence is not None
        session.presence = None
        self.server.changes += 1
        session.account.update_available()
        if was_available:
            self.broadcast(stanza, session.account)
        self._tell_directed(stanza, session, was_available)
        session.send(stanza.to_bytes(session.account.jid))
        if was_available:
            self.server.ask(hooks.session_unavailable, stanza, session)

    @on(hooks.session_closed, priority=EARLY)
    def session_closed(self, session: Session) -> None:
        """RFC 6121 4.5.2: whoever was told that the resource is there is told that it is not, however it went."""
        if session.presence is None and not session.directed:
            return
        stanza = make("presence", from_=session.jid, to=session.account.jid, type="unavailable")
        was_available = session.presence is not None
        session.presence = None
        if was_available:
            self.broadcast(stanza, session.account)
        self._tell_directed(stanza, session, was_available)
        if was_available:
            self.server.ask(hooks.session_unavailable, stanza, session)

    def _tell_directed(self, stanza: Stanza, session: Session, was_broadcast: bool) -> None:
        """RFC 6121 4.6.3: targets of directed presence that the broadcast did not reach."""
        targets, session.directed = session.directed, None
        for target in targets or ():
            if not (was_broadcast and session.account.is_subscribed_by(target)):
                copy = stanza.copy()
                copy.to = target
                self._send(copy)

    def watchers(self, account: Account) -> set[JID]:
        """Whom a broadcast reaches besides the account itself: its subscribers; of a member of a group that is shared
        with everybody, whoever of its domain is online."""
        watchers = set(account.subscribers)
        if account.is_public:
            online = self.server.directory.online.values()
            watchers.update(other.jid for other in online if other.jid.domain == account.jid.domain)
            watchers.discard(account.jid)
        return watchers

    def broadcast(self, stanza: Stanza, account: Account) -> None:
        """To the account's own available resources and to all subscribers (local ones; each at its bare JID)."""
        prefix, suffix = stanza.prefix(), stanza.suffix()
        data = prefix + account.jid.attr + suffix
        for session in account.available:
            session.send(data)
        if self.server.handlers[hooks.to_user] or account.blocked:
            self._broadcast_asking(stanza, account)
            return
        online = self.server.directory.online
        for contact in self.watchers(account) if account.is_public else account.subscribers:
            target = online.get(contact.bare_str)
            if target is not None and target.available:
                if target.blocked and target.blocks(stanza.from_):
                    continue
                data = prefix + contact.attr + suffix
                for session in target.available:
                    session.send(data)

    def _broadcast_asking(self, stanza: Stanza, account: Account) -> None:
        """As above, the account's block list and each contact's own hooks being asked."""
        online = self.server.directory.online
        for contact in self.watchers(account):
            target = online.get(contact.bare_str)
            if target is not None and target.available:
                for address in self._addresses(account, contact):
                    copy = stanza.copy()
                    copy.to = address
                    self._deliver(copy, target)

    def _addresses(self, account: Account, contact: JID) -> list[JID]:
        """Where an account's presence for a contact goes: single resources when it blocks another one (XEP-0191)."""
        if not account.blocked:
            return [contact]
        if account.blocks(contact):
            return []
        target = self.server.directory.online.get(contact.bare_str)
        if target is None or contact.resource:
            return [contact]
        seeing = [session.jid for session in target.available if not account.blocks(session.jid)]
        return [contact] if len(seeing) == len(target.available) else seeing

    # -- what a resource learns when it appears

    def _introduce(self, session: Session) -> None:
        """RFC 6121 4.2.2, 4.3.2: presence of own other resources and of contacts; open requests (3.1.3)."""
        account = session.account
        for other in account.available:
            if other is not session and other.presence is not None:
                session.send(other.presence.to_bytes(account.jid))
        self.introduce(account, account.subscribed_to, [session])
        for request in account.pending.values():
            session.send(request.encode())

    def introduce(
        self, account: Account, contacts: Iterable[JID], sessions: Sequence[Session] | None = None
    ) -> None:
        """Send the presence of these contacts to sessions of the account (None: all that are available)."""
        online = self.server.directory.online
        for contact in contacts:
            target = online.get(contact.bare_str)
            if target is not None and target.is_subscribed_by(account.jid):
                for session in account.available if sessions is None else sessions:
                    self._show(target, session)

    def _show(self, target: Account, session: Session) -> None:
        """Send the presence of an account's resources to one session."""
        if target.blocked and target.blocks(session.jid):
            return
        asking = self.server.handlers[hooks.to_user] or session.account.blocked
        for other in target.available:
            if other.presence is None:
                continue
            if asking:
                copy = other.presence.copy()
                copy.to = session.jid
                self._deliver(copy, session.account)
            else:
                session.send(other.presence.to_bytes(session.account.jid))

    # -- between an account and one contact

    def show_to(self, account: Account, contact: JID) -> None:
        """The contact may see us from now on: the presence of each of our resources (RFC 6121 3.1.5)."""
        for address in self._addresses(account, contact):
            for session in account.available:
                if session.presence is not None:
                    copy = session.presence.copy()
                    copy.to = address
                    self._send(copy)

    def hide_from(self, account: Account, contact: JID) -> None:
        """The contact may not see us any more: unavailable from each of our resources (RFC 6121 3.2.2, 3.3.3)."""
        for session in account.available:
            self._send(make("presence", from_=session.jid, to=contact, type="unavailable"))

    def visibility_changed(
        self, account: Account, before: set[JID], after: set[JID], *, listed: bool = False
    ) -> None:
        """Show or hide the account's resources as its subscribers changed; with `listed`, show them only to those
        whose contact list says so already."""
        online = self.server.directory.online
        for contact in after - before:
            if not listed or (
                (target := online.get(contact.bare_str)) and account.jid in target.subscribed_to
            ):
                self.show_to(account, contact)
        for contact in before - after:
            self.hide_from(account, contact)

    # -- probes, RFC 6121 4.3.2

    @on(hooks.probe_in)
    def answer_probe(self, stanza: Stanza, account: Account) -> None:
        prober = stanza.from_
        if prober.bare == account.jid or account.is_subscribed_by(prober):
            self._answer_allowed(stanza, account)
            return
        for session in account.sessions.values():
            was_told = session.directed and not session.directed.isdisjoint((prober, prober.bare))
            if was_told and session.presence is not None and stanza.to in (session.jid, account.jid):
                self._reply(session.presence, stanza)
                return
        self._send(make("presence", from_=account.jid, to=prober.bare, type="unsubscribed"))

    def _answer_allowed(self, stanza: Stanza, account: Account) -> None:
        sessions = [s for s in account.available if not stanza.to.resource or s.jid == stanza.to]
        for session in sessions:
            if session.presence is not None:
                self._reply(session.presence, stanza)
        if sessions:
            return
        children: list[Element] = []
        if account.last_seen is not None and not account.available:
            children = [delay.delay(account.last_seen, from_=account.jid)]
        answer = make("presence", *children, from_=stanza.to, to=stanza.from_, type="unavailable")
        if stanza.id:
            answer.attrs["id"] = stanza.id
        self._send(answer)

    def _reply(self, presence: Stanza, probe: Stanza) -> None:
        copy = presence.copy()
        copy.to = probe.from_
        self._send(copy)

    # -- delivery; nobody waits for it and nobody hears its errors

    def _send(self, stanza: Stanza) -> None:
        self.server.router.send_later(stanza)

    def _deliver(self, stanza: Stanza, account: Account) -> None:
        try:
            waiting = self.server.router.to_account(stanza, account)
        except StanzaError:
            return
        if waiting is not None:
            self.server.spawn(waiting)


def _text(stanza: Stanza, name: str) -> str:
    return stanza.element.text_of(CLIENT, name) if stanza.has(CLIENT, name) else ""


def _priority(stanza: Stanza) -> int:
    """RFC 6121 4.7.2.3: an integer from -128 to 127, 0 when absent."""
    if f"{CLIENT}\npriority" not in stanza.children:
        return 0
    text = stanza.element.text_of(CLIENT, "priority").strip()
    if not _NUMBER.fullmatch(text) or not -128 <= int(text) <= 127:
        raise StanzaError("bad-request", "priority is a number from -128 to 127")
    return int(text)
