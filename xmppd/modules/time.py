"""XEP-0202: Entity Time."""

from __future__ import annotations

from xmppd.protocol.delay import format_datetime
from xmppd.protocol.element import E, Element
from xmppd.protocol.stanza import Stanza
from xmppd.server.module import SERVER, Module, Xep, iq_get
from xmppd.server.session import Session

NS = "urn:xmpp:time"


class EntityTime(Module):
    """The server's clock, always as UTC: where the machine stands is nobody's business."""

    xep = Xep(202, "2.0", name="Entity Time")
    features = [NS]

    @iq_get(NS, "time", to=SERVER)
    def time(self, iq: Stanza, origin: Session) -> Element:
        now = self.server.clock.now().replace(microsecond=0)
        return E(NS, "time", E(NS, "tzo", "+00:00"), E(NS, "utc", format_datetime(now)))
