"""XEP-0191 3: what becomes of stanzas between an account and an address that it blocks."""

from __future__ import annotations

from collections.abc import Set

from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import BLOCKING_ERRORS
from xmppd.protocol.stanza import Stanza


def is_listed(jid: JID, listed: Set[str]) -> bool:
    """The four forms: user@domain/resource, user@domain, domain/resource, and domain for all that is there."""
    return jid.full_str in listed or jid.bare_str in listed or jid.domain in listed


def refuse_incoming(stanza: Stanza) -> None:
    """Requests and messages get the answer of an account that does not exist; everything else vanishes.

    An error to a room's message would throw the account out of the room because of one who is in it.
    """
    if stanza.kind == "iq":
        is_answered = stanza.type in ("get", "set")
    else:
        is_answered = stanza.kind == "message" and stanza.type not in ("error", "groupchat", "headline")
    if is_answered:
        raise StanzaError("service-unavailable")


def refuse_outgoing() -> StanzaError:
    """The sender has blocked the address itself, and is told so."""
    return StanzaError("not-acceptable", "", E(BLOCKING_ERRORS, "blocked"), type="cancel")
