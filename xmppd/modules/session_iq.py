"""RFC 3921 3: session establishment, which RFC 6121 dropped. Older clients still ask and wait for the answer."""

from __future__ import annotations

from xmppd.protocol.namespaces import SESSION
from xmppd.protocol.stanza import Stanza
from xmppd.server.module import SELF, SERVER, Module, iq_set
from xmppd.server.session import Session


class SessionIQ(Module):
    """A bound resource is a session already: there is nothing to do but to say so."""

    rfc = "RFC 3921 3"

    @iq_set(SESSION, "session", to=[SELF, SERVER])
    def establish(self, iq: Stanza, origin: Session) -> None:
        return None  # an empty result
