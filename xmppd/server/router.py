"""Where a stanza goes: RFC 6120 10 and RFC 6121 8 as tables.

Plain functions; an awaitable is returned only when the account has to be loaded first or a handler waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.stanza import Stanza, error, make, result
from xmppd.server import blocking, hooks
from xmppd.server.hooks import STOP

if TYPE_CHECKING:
    from xmppd.server.account import Account
    from xmppd.server.server import Server
    from xmppd.server.session import Session

SUBSCRIPTION_TYPES = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})
PRESENCE_TYPES = SUBSCRIPTION_TYPES | {"", "unavailable", "probe", "error"}
MESSAGE_TYPES = {"": 0, "normal": 0, "chat": 1, "groupchat": 2, "headline": 3, "error": 4}

MAX_DIRECTED = 10_000  # targets of one session's directed presence that we remember

# RFC 6121 8.5, messages. A row is (address, the account's resources), a column the type. Letters:
#   B the most available resources    A all non-negative resources    O offline store
#   E service-unavailable to the sender    S silence
# A full JID that matches a resource takes every message and needs no row (8.5.3.1).
MESSAGES = {
    #                            normal chat  groupchat headline error
    ("bare", "no account"):       "E     E     E         S        S",
    ("full", "no account"):       "E     E     E         S        S",
    ("bare", "none"):             "O     O     E         S        S",  # 8.5.2.2
    ("full", "none"):             "E     O     E         S        S",  # 8.5.3.2
    ("bare", "available"):        "B     B     E         A        S",  # 8.5.2.1
    ("full", "available"):        "E     B     E         S        S",
}  # fmt: skip
_MESSAGES = {situation: row.split() for situation, row in MESSAGES.items()}


class Router:
    """One for a server. `from_session` is the way of everything that clients send."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._online = server.directory.online
        self._domains = server.domains
        self._handlers = server.handlers
        self._iq = server.iq_routes

    # -- by sender

    def from_session(self, stanza: Stanza, session: Session) -> Awaitable[object] | None:
        kind = stanza.kind
        if kind == "message":
            carbons = session.account.carbons
            if carbons and (len(carbons) > 1 or carbons[0] is not session):
                return self._route_with_copy(stanza, session)
            return self.route(stanza)
        if kind == "iq":
            return self._iq_from_session(stanza, session)
        return self._presence_from_session(stanza, session)

    def _route_with_copy(self, stanza: Stanza, session: Session) -> Awaitable[object] | None:
        """Tell of a message once it stands in the archive; of one that is refused before its error."""
        copy = stanza.copy()  # without what is added for the receiver
        waiting: Awaitable[object] | None = None
        try:
            waiting = self.route(stanza)
        finally:
            if waiting is None:
                self._sent(stanza, copy, session)
        return None if waiting is None else self._copy_after(waiting, stanza, copy, session)

    async def _copy_after(
        self, waiting: Awaitable[object], stanza: Stanza, copy: Stanza, session: Session
    ) -> None:
        try:
            await waiting
        finally:
            self._sent(stanza, copy, session)

    def _sent(self, stanza: Stanza, copy: Stanza, session: Session) -> None:
        if stanza.sent_id >= 0:
            copy.sent_id = stanza.sent_id
            self.server.ask(hooks.message_sent, copy, session)

    def _iq_from_session(self, stanza: Stanza, session: Session) -> Awaitable[object] | None:
        check_iq(stanza)
        if "to" not in stanza.attrs or stanza.to == session.account.jid:
            return self._handle_iq(stanza, session, "self", "account")
        return self.route(stanza)

    def _presence_from_session(self, stanza: Stanza, session: Session) -> Awaitable[object] | None:
        kind = stanza.type
        if kind not in PRESENCE_TYPES:
            raise StanzaError("bad-request", "unknown type of presence")
        if kind in SUBSCRIPTION_TYPES:
            if "to" not in stanza.attrs:
                raise StanzaError("bad-request", "a subscription stanza needs an address")
            # RFC 6121 3.1.2: stamped with bare JIDs on both ends.
            stanza.from_ = session.account.jid
            stanza.to = stanza.to.bare
            return self._ask(hooks.subscription_out, stanza, session)
        if "to" not in stanza.attrs:
            if kind in ("", "unavailable"):
                return self._ask(hooks.own_presence, stanza, session)
            return None  # a probe or error to oneself means nothing
        if kind in ("", "unavailable"):
            _note_directed(stanza, session)
        return self.route(stanza)

    # -- by address

    def route(self, stanza: Stanza) -> Awaitable[object] | None:
        """Deliver by `to`; raises StanzaError, or the awaitable does."""
        to = stanza.to
        if to.domain in self._domains:
            if not to.local:
                return self._to_server(stanza)
            account = self._online.get(to.bare_str)
            if account is not None:
                return self.to_account(stanza, account)
            return self._load_then_deliver(stanza)
        service = self.server.services.get(to.domain)
        if service is not None:
            return service(stanza)
        return self._to_remote(stanza)

    def _to_remote(self, stanza: Stanza) -> None:
        """This server speaks to no other one."""
        if stanza.kind == "presence" and stanza.type not in SUBSCRIPTION_TYPES:
            return
        raise StanzaError("remote-server-not-found")

    async def _load_then_deliver(self, stanza: Stanza) -> None:
        account = await self.server.directory.load(stanza.to)
        waiting = self._no_account(stanza) if account is None else self.to_account(stanza, account)
        if waiting is not None:
            await waiting

    def _no_account(self, stanza: Stanza) -> Awaitable[object] | None:
        """RFC 6121 8.5.1; the same answer as for an account that hides itself (RFC 6120 13.11)."""
        if stanza.kind == "message":
            form = "full" if stanza.to.resource else "bare"
            if _MESSAGES[form, "no account"][_column(stanza)] == "E":
                raise StanzaError("service-unavailable")
        elif stanza.kind == "iq" and stanza.type in ("get", "set"):
            if stanza.to.resource:
                raise StanzaError("service-unavailable")
            return self._handle_iq(stanza, self.origin(stanza.from_), "nobody")
        elif stanza.type == "probe":  # what an account says to those who may not see it (RFC 6121 4.3.2)
            self.send_later(make("presence", from_=stanza.to.bare, to=stanza.from_.bare, type="unsubscribed"))
        return None

    def to_account(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        """A stanza for a local account: its block list, the policy hooks, then by kind."""
        if account.blocked and account.blocks(stanza.from_):
            return blocking.refuse_incoming(stanza)
        handlers = self._handlers[hooks.to_user]
        if handlers:
            outcome = hooks.run(handlers, stanza, account)
            if outcome is STOP:
                return None
            if outcome is not None:
                return self._deliver_after(outcome, stanza, account)  # type: ignore[arg-type]
        return self.deliver(stanza, account)

    async def _deliver_after(
        self, outcome: Awaitable[hooks.Outcome], stanza: Stanza, account: Account
    ) -> None:
        if await outcome is STOP:
            return
        waiting = self.deliver(stanza, account)
        if waiting is not None:
            await waiting

    def deliver(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        """To the account's resources, without the hooks."""
        kind = stanza.kind
        if kind == "message":
            return self._deliver_message(stanza, account)
        if kind == "iq":
            return self._deliver_iq(stanza, account)
        return self._deliver_presence(stanza, account)

    # -- messages, RFC 6121 8.5.2.1.1, 8.5.2.2.1, 8.5.3.1, 8.5.3.2.1

    def _deliver_message(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        """Refuse it, or have it archived, which delivers it once it is committed, or deliver it."""
        rule = _rule(stanza, account)
        if rule == "E":
            raise StanzaError("service-unavailable")
        archive = self.server.archive
        if archive is not None:
            kept = archive(stanza, account, rule == "O")
            if kept is not None:
                return kept
        return self.hand_out(stanza, account, rule)

    def hand_out(self, stanza: Stanza, account: Account, rule: str = "") -> Awaitable[object] | None:
        """Give a message to the resources that the table names, now."""
        rule = rule or _rule(stanza, account)
        if rule == "D":
            session = account.sessions.get(stanza.to.resource)
            if session is not None:
                session.send(stanza.to_bytes())
                if account.carbons:
                    self.delivered(stanza, account, (session,))
            return None
        best = account.best
        if rule == "B":
            data = stanza.to_bytes()
            for session in best:
                session.send(data)
            if account.carbons:
                self.delivered(stanza, account, best)
            return None
        if rule == "A":
            data = stanza.to_bytes()
            for session in account.non_negative:
                session.send(data)
            if account.carbons:
                self.delivered(stanza, account, account.non_negative)
            return None
        if rule == "O":
            if account.carbons:
                self.delivered(stanza, account, ())
            return self._undelivered(stanza, account)
        if rule == "E":
            raise StanzaError("service-unavailable")
        return None

    def delivered(self, stanza: Stanza, account: Account, targets: tuple[Session, ...]) -> None:
        """These resources got the message; ask this only where the account has carbons (XEP-0280)."""
        self.server.ask(hooks.message_delivered, stanza, account, targets)

    def _undelivered(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        outcome = hooks.run(self._handlers[hooks.undelivered], stanza, account)
        if outcome is STOP:
            return None
        if outcome is None:
            raise StanzaError("service-unavailable")
        return _stored(outcome)  # type: ignore[arg-type]

    # -- IQs, RFC 6121 8.5.2.1.3, 8.5.2.2.3, 8.5.3.1, 8.5.3.2.3

    def _deliver_iq(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        is_request = stanza.type in ("get", "set")
        if not stanza.to.resource:
            origin = self.origin(stanza.from_)
            if not is_request:
                if origin is not None:
                    self.server.on_reply(stanza)
                return None
            return self._handle_iq(stanza, origin, "account")
        session = account.sessions.get(stanza.to.resource)
        if session is None:
            if is_request:
                raise StanzaError("service-unavailable")
            return None
        if is_request and not self._may_ask(stanza.from_, session):
            raise StanzaError("service-unavailable")  # as if there was no such resource (8.5.3.1)
        session.send(stanza.to_bytes())
        return None

    def _may_ask(self, sender: JID, session: Session) -> bool:
        """A request reaches a resource only from those who may know that it is there."""
        account = session.account
        if sender.bare_str == account.jid.bare_str or sender.bare_str in self._domains:
            return True
        if account.is_subscribed_by(sender):
            return True
        directed = session.directed
        return directed is not None and (sender in directed or sender.bare in directed)

    def _to_server(self, stanza: Stanza) -> Awaitable[object] | None:
        if stanza.kind == "iq":
            if stanza.type in ("get", "set"):
                return self._handle_iq(stanza, self.origin(stanza.from_), "server")
            self.server.on_reply(stanza)
            return None
        if stanza.kind == "message" and stanza.type not in ("error", "headline"):
            raise StanzaError("service-unavailable")  # nobody reads what is sent to the domain
        return None  # presence to the server itself has no meaning (RFC 6120 10.5.3)

    def _handle_iq(
        self, stanza: Stanza, origin: Session | None, target: hooks.Target, other: hooks.Target | None = None
    ) -> Awaitable[object] | None:
        """Answer a request by the module that declared the route; each exactly once (RFC 6120 8.2.3)."""
        kind = stanza.type
        if kind not in ("get", "set"):
            self.server.on_reply(stanza)
            return None
        tag = stanza.children[0]
        handler = self._iq.get((kind, target, tag)) or (other and self._iq.get((kind, other, tag)))
        if not handler:
            raise StanzaError("service-unavailable")
        return self.answer(stanza, origin, handler)

    def answer(self, stanza: Stanza, origin: Session | None, handler: IQHandler) -> Awaitable[object] | None:
        """Send what the handler returns, or its awaitable gives, as the result."""
        reply = handler(stanza, origin)
        if reply is None or isinstance(reply, Element | bytes):
            if origin is not None:
                origin.send(result(stanza, reply))
            return None
        return self._answer_later(reply, stanza, origin)

    async def _answer_later(
        self, reply: Awaitable[Element | bytes | None], stanza: Stanza, origin: Session | None
    ) -> None:
        payload = await reply
        if origin is not None and not origin.is_closed:
            origin.send(result(stanza, payload))

    # -- presence, RFC 6121 8.5.2.1.2, 8.5.2.2.2, 8.5.3.1, 8.5.3.2.2

    def _deliver_presence(self, stanza: Stanza, account: Account) -> Awaitable[object] | None:
        kind = stanza.type
        if kind in SUBSCRIPTION_TYPES:
            return self._ask(hooks.subscription_in, stanza, account)
        if kind == "probe":
            return self._ask(hooks.probe_in, stanza, account)
        if stanza.to.resource:
            session = account.sessions.get(stanza.to.resource)
            if session is not None:
                session.send(stanza.to_bytes())
        elif kind != "error":
            prefix, suffix = stanza.prefix(), stanza.suffix()
            for session in account.available:
                session.send(prefix + stanza.to.attr + suffix)
        return None

    # -- helpers for modules

    def origin(self, jid: JID) -> Session | None:
        """The local session with this full JID."""
        account = self._online.get(jid.bare_str)
        return account.sessions.get(jid.resource) if account is not None else None

    def send(self, stanza: Stanza) -> Awaitable[object] | None:
        """Route a stanza of the server's or of an account's own making; errors come back to nobody."""
        try:
            waiting = self.route(stanza)
        except StanzaError:
            return None
        return None if waiting is None else _without_error(waiting)

    def send_later(self, stanza: Stanza) -> None:
        """The same where nobody waits for it."""
        waiting = self.send(stanza)
        if waiting is not None:
            self.server.spawn(waiting)

    def answer_error(self, stanza: Stanza, problem: StanzaError) -> None:
        """Send the error to the stanza's sender, when that is a session here."""
        answer = error(stanza, problem)
        origin = self.origin(stanza.from_)
        if answer is not None and origin is not None:
            origin.send(answer.to_bytes())

    def _ask(self, hook: hooks.Hook, *arguments: object) -> Awaitable[object] | None:
        outcome = hooks.run(self._handlers[hook], *arguments)
        return None if outcome is None or outcome is STOP else outcome  # type: ignore[return-value]


async def _stored(outcome: Awaitable[hooks.Outcome]) -> None:
    if await outcome is not STOP:
        raise StanzaError("service-unavailable")


async def _without_error(waiting: Awaitable[object]) -> None:
    try:
        await waiting
    except StanzaError:
        return


def _rule(stanza: Stanza, account: Account) -> str:
    """The table's letter for a message to an account; D: to the resource that it names."""
    resource = stanza.to.resource
    if resource:
        if resource in account.sessions:
            return "D"
        return _MESSAGES["full", "available" if account.best else "none"][_column(stanza)]
    if account.best and stanza.attrs.get("type") == "chat":  # what nearly every message is
        return "B"
    return _MESSAGES["bare", "available" if account.best else "none"][_column(stanza)]


def _column(stanza: Stanza) -> int:
    """An unknown type counts as normal (RFC 6121 5.2.2)."""
    return MESSAGE_TYPES.get(stanza.attrs.get("type", ""), 0)


def _note_directed(stanza: Stanza, session: Session) -> None:
    """RFC 6121 4.6.2: who got presence directly gets the unavailable one too, and forgets us after it."""
    if session.directed is None:
        session.directed = set()
    if stanza.type == "unavailable":
        session.directed.discard(stanza.to)
    elif len(session.directed) < MAX_DIRECTED or stanza.to in session.directed:
        session.directed.add(stanza.to)
    else:
        raise StanzaError("resource-constraint", "presence was sent directly to too many")


def check_iq(stanza: Stanza) -> None:
    """RFC 6120 8.2.3. A get without an id is tolerated (xmpp4r's roster query); its result has none either."""
    kind = stanza.type
    if kind in ("get", "set"):
        if len(stanza.children) != 1:
            raise StanzaError("bad-request", "a request has exactly one child element")
        if kind == "set" and "id" not in stanza.attrs:
            raise StanzaError("bad-request", "a request needs an id")
    elif kind not in ("result", "error"):
        raise StanzaError("bad-request", "unknown type of IQ")


IQHandler = Callable[[Stanza, "Session | None"], Element | bytes | Awaitable[Element | bytes | None] | None]
