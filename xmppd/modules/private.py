"""XEP-0049: Private XML Storage. What a client keeps here for the user alone, by namespace and name."""

from __future__ import annotations

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import PRIVATE
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.writer import write
from xmppd.server.module import SELF, Module, Xep, iq_get, iq_set
from xmppd.server.session import Session
from xmppd.services import private
from xmppd.services.db import db


class PrivateStorage(Module):
    """Only for the sender's own account: no route leads to the data of another."""

    xep = Xep(49, "1.2", name="Private XML Storage")
    features = [PRIVATE]

    @iq_get(PRIVATE, "query", to=SELF)
    async def get(self, iq: Stanza, origin: Session) -> bytes:
        """2.3: one element in a request; where nothing is kept it comes back as it was sent."""
        wanted = _elements(iq)
        if len(wanted) != 1:
            raise StanzaError("bad-request", "ask for one element")
        xml = await db(private.get, origin.account.id, wanted[0].ns, wanted[0].name)
        inner = write(Element(wanted[0].ns, wanted[0].name)) if xml is None else xml
        return f"<query xmlns='{PRIVATE}'>{inner}</query>".encode()

    @iq_set(PRIVATE, "query", to=SELF)
    async def set(self, iq: Stanza, origin: Session) -> None:
        await db(private.set, origin.account.id, _elements(iq))


def _elements(iq: Stanza) -> list[Element]:
    """2.3: an element without a namespace of its own cannot be told from one of the protocol's."""
    elements = list(iq.payload.elements())
    if any(element.ns == PRIVATE for element in elements):
        raise StanzaError("not-acceptable", "the element needs a namespace of its own")
    return elements
