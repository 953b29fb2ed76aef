"""XEP-0352: Client State Indication. Nobody looks at the client: what may wait does, and then comes in one piece."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from xmppd.protocol.element import Element
from xmppd.protocol.namespaces import CLIENT_STATE
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.client_state import Holding
from xmppd.protocol.stream.features import Has
from xmppd.protocol.stream.management import Management
from xmppd.server import hooks
from xmppd.server.module import Module, StreamFeature, Xep, inline_bind, on
from xmppd.server.session import Session
from xmppd.services.properties import Setting


class ClientState(Module):
    """What may wait is chosen in protocol/stream/client_state.py. A client's state is told to nobody."""

    xep = Xep(352, "1.0.0", name="Client State Indication")
    stream_features = [StreamFeature(f"<csi xmlns='{CLIENT_STATE}'/>".encode(), needs=Has.AUTH)]

    bind_features = [CLIENT_STATE]

    max_queue = Setting(
        "csi.max_queue",
        int,
        200,
        _(
            "How many stanzas may wait for a client whose user does not look at it, such as a phone in a pocket: "
            "presence and other news that is not urgent. More wake the client."
        ),
        label=_("Stanzas held back for an idle client"),
        zero=_("none"),
        minimum=0,
        maximum=10_000,
    )

    async def start(self) -> None:
        self.server.nonzas[f"{CLIENT_STATE}\ninactive"] = self.inactive
        self.server.nonzas[f"{CLIENT_STATE}\nactive"] = self.active

    @inline_bind(CLIENT_STATE, "inactive")
    def inactive(self, element: Stanza | Element, session: Session) -> None:
        if session.holding is None:
            session.holding = Holding(session.account.jid.bare_str, self.max_queue)

    def active(self, element: Stanza, session: Session) -> None:
        session.flush()
        session.holding = None

    @on(hooks.session_detached)
    def session_detached(self, session: Session) -> None:
        """Nobody looks at a client that is not there: hours of presence neither fill the queue of XEP-0198 nor end the
        session."""
        if session.holding is None:
            session.holding = Holding(session.account.jid.bare_str, self.max_queue)

    @on(hooks.session_resumed)
    def session_resumed(self, session: Session) -> None:
        """XEP-0352 5.1: a resumed session is active."""
        session.flush()
        session.holding = None

    @on(hooks.session_closed)
    def session_closed(self, session: Session) -> None:
        """What others want to be known is handed over as if it had been sent and not acknowledged (XEP-0198 5)."""
        holding, session.holding = session.holding, None
        lasting = holding.lasting() if holding is not None else []
        if lasting:
            if session.management is None:
                session.management = Management()
            for data, since in lasting:
                session.management.add(data, since)
