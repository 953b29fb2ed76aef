"""XEP-0280: Message Carbons. Every device of an account sees the whole conversation."""

from __future__ import annotations

from collections.abc import Iterable

from xmppd.protocol.element import E, Element
from xmppd.protocol.namespaces import (
    CARBONS,
    CHAT_MARKERS,
    CHAT_STATES,
    CLIENT,
    FORWARD,
    HINTS,
    MUC_USER,
    RECEIPTS,
    STANZA_ID,
)
from xmppd.protocol.stanza import Stanza, make
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.module import SELF, Module, Xep, inline_bind, iq_set, on
from xmppd.server.session import Session

RULES = "urn:xmpp:carbons:rules:0"
_BODY = f"{CLIENT}\nbody"
_ERROR = f"{CLIENT}\nerror"
_ROOM = f"{MUC_USER}\nx"
_NO_COPIES = frozenset({f"{CARBONS}\nprivate", f"{HINTS}\nno-copy"})
# Payloads of conversations, which may come in messages of any type and without a body (6.1).
_CONVERSATION = frozenset(
    {
        RECEIPTS,
        CHAT_MARKERS,
        CHAT_STATES,
        "jabber:x:conference",  # XEP-0249
        "urn:xmpp:jingle-message:0",  # XEP-0353
        "urn:xmpp:reactions:0",  # XEP-0444
        "urn:xmpp:omemo:2",  # XEP-0384, and its first version
        "eu.siacs.conversations.axolotl",
    }
)


class Carbons(Module):
    """Account.carbons are the sessions that want copies; a resumed session is among them as before."""

    xep = Xep(280, "1.0.1", name="Message Carbons")
    features = [CARBONS, RULES]
    bind_features = [CARBONS]

    @iq_set(CARBONS, "enable", to=SELF)
    def enable_requested(self, iq: Stanza, origin: Session) -> None:
        self.enable(origin)

    @iq_set(CARBONS, "disable", to=SELF)
    def disable_requested(self, iq: Stanza, origin: Session) -> None:
        self.disable(origin)

    @inline_bind(CARBONS, "enable")
    def enable_inline(self, element: Element, session: Session) -> None:
        self.enable(session)

    def enable(self, session: Session) -> None:
        if session not in session.account.carbons:
            session.copies_since = self.server.next_moment()
            session.account.carbons = (*session.account.carbons, session)

    @on(hooks.session_closed)
    def disable(self, session: Session) -> None:
        account = session.account
        account.carbons = tuple(other for other in account.carbons if other is not session)

    # -- copies

    @on(hooks.message_sent)
    def message_sent(self, stanza: Stanza, session: Session) -> None:
        """8. What an account sends to itself is copied when it arrives."""
        account = session.account
        others = [other for other in account.carbons if other is not session]
        if others and stanza.to.bare_str != account.jid.bare_str and is_eligible(stanza, is_sent=True):
            _identify(stanza, account)
            _copy(stanza, "sent", account, others)

    @on(hooks.message_delivered)
    def message_delivered(self, stanza: Stanza, account: Account, targets: tuple[Session, ...]) -> None:
        """7. Where nobody took it, those copy holders get one that will not be given what is kept for later."""
        others = [
            other
            for other in account.carbons
            if other not in targets and other.jid != stanza.from_ and (targets or other.presence is not None)
        ]
        if others and is_eligible(stanza, is_sent=False):
            _copy(stanza, "received", account, others)

    @on(hooks.message_refused)
    def message_refused(self, answer: Stanza, stanza: Stanza, session: Session) -> None:
        """6.1: an error follows the copies of the message that it answers."""
        account = session.account
        others = [other for other in account.carbons if other is not session]
        if others and stanza.to.bare_str != account.jid.bare_str and is_eligible(stanza, is_sent=True):
            _copy(answer, "received", account, others)


def is_eligible(stanza: Stanza, *, is_sent: bool) -> bool:
    """XEP-0280 6.1, by the names of the children; the letter is opened for invitations to rooms alone."""
    type = stanza.attrs.get("type")
    children = stanza.children
    if type == "groupchat" or not _NO_COPIES.isdisjoint(children):
        return False
    if type == "error":
        return _answers_eligible(stanza, is_sent)
    if _ROOM in children:  # to an occupant, or an invitation; what an occupant sends goes to one resource
        return is_sent or _is_invitation(stanza)
    if type == "chat" or any(child.partition("\n")[0] in _CONVERSATION for child in children):
        return True
    return _BODY in children and type != "headline"  # an unknown type is normal (RFC 6121 5.2.2)


def _answers_eligible(error: Stanza, is_sent: bool) -> bool:
    """Judged by what the error repeats of the message; if nothing, by its address: chats go to bare JIDs."""
    repeated = tuple(child for child in error.children if child != _ERROR)
    if not repeated:
        return not (error.to if is_sent else error.from_).resource
    if _ROOM in repeated:
        return not is_sent
    return _BODY in repeated or any(child.partition("\n")[0] in _CONVERSATION for child in repeated)


def _is_invitation(stanza: Stanza) -> bool:
    x = stanza.find(MUC_USER, "x")
    return x is not None and x.find(MUC_USER, "invite") is not None


def _identify(stanza: Stanza, account: Account) -> None:
    """The id that the message has in its sender's archive, and no other (XEP-0359 3)."""
    if stanza.has(STANZA_ID, "stanza-id"):
        children = stanza.element.children
        stanza.replace_children(
            child for child in children if isinstance(child, str) or child.tag != (STANZA_ID, "stanza-id")
        )
    if stanza.sent_id:
        stanza.append(E(STANZA_ID, "stanza-id", by=account.jid, id=stanza.sent_id))


def _copy(stanza: Stanza, direction: str, account: Account, sessions: Iterable[Session]) -> None:
    """Send the stanza as it went over the wire, wrapped (XEP-0297); the addresses are the account's own (11)."""
    copy = make("message", from_=account.jid, type=stanza.attrs.get("type"))
    copy.body = (
        f"<{direction} xmlns='{CARBONS}'><forwarded xmlns='{FORWARD}'><message xmlns='{CLIENT}'".encode()
        + stanza.to_bytes().removeprefix(b"<message")
        + f"</forwarded></{direction}>".encode()
    )
    prefix, suffix = copy.prefix(), copy.suffix()
    for session in sessions:
        session.send(prefix + session.jid.attr + suffix)


def is_copy(stanza: Stanza, account: Account) -> bool:
    """Whether it is a copy that we made for this account."""
    return stanza.from_ == account.jid and (stanza.has(CARBONS, "received") or stanza.has(CARBONS, "sent"))


def has_copy(stanza: Stanza, account: Account, sent: float) -> bool:
    """Whether another resource, which is still there, got a copy when the message was sent to one that is gone. `sent`:
    server.tick at that moment.
    """
    return is_eligible(stanza, is_sent=False) and any(
        session.copies_since is not None and session.copies_since <= sent and session.detached_at is None
        for session in account.carbons
    )
