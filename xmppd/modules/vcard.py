"""XEP-0054: vcard-temp. Profiles, kept as their owners wrote them."""

from __future__ import annotations

from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import VCARD
from xmppd.protocol.stanza import Stanza
from xmppd.server.module import ACCOUNT, SELF, Module, Xep, iq_get, iq_set
from xmppd.server.session import Session
from xmppd.services import vcard
from xmppd.services.db import db


class VCard(Module):
    """Everybody may read a profile, only its owner writes it: no route leads to the vCard of another."""

    xep = Xep(54, "1.3.0", name="vcard-temp")
    features = [VCARD]
    account_features = [VCARD]

    @iq_get(VCARD, "vCard", to=SELF)
    async def own(self, iq: Stanza, origin: Session) -> Element | bytes:
        """3.1: the owner of none gets an empty one."""
        xml = await db(vcard.get, origin.account.id)
        return E(VCARD, "vCard") if xml is None else xml.encode()

    @iq_get(VCARD, "vCard", to=ACCOUNT)
    async def of_another(self, iq: Stanza, origin: Session) -> bytes:
        """3.3: an account without a vCard and one that does not exist look alike."""
        account = await self.server.directory.load(iq.to)
        xml = None if account is None else await db(vcard.get, account.id)
        if xml is None:
            raise StanzaError("service-unavailable")
        return xml.encode()

    @iq_set(VCARD, "vCard", to=SELF)
    async def write(self, iq: Stanza, origin: Session) -> None:
        """3.2: the whole is replaced; an empty one deletes it."""
        await db(vcard.set, origin.account.id, iq.payload)
