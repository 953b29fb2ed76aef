"""XEP-0012: Last Activity. How long the server runs, and how long an account has been away."""

from __future__ import annotations

from accounts.services import record_seen
from accounts.services.users import Seen
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.stanza import Stanza
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.module import ACCOUNT, LATE, SELF, SERVER, Module, Xep, iq_get, on
from xmppd.server.session import Session
from xmppd.services.writebehind import WriteBehind

NS = "jabber:iq:last"
MAX_STATUS_CHARS = 1000


class LastActivity(Module):
    """`account.last_seen` and `.last_status` hold at once; their rows are written some moments later."""

    xep = Xep(12, "2.0", name="Last Activity")
    features = [NS]
    account_features = [NS]

    async def start(self) -> None:
        self._rows: WriteBehind[Seen] = WriteBehind("last activity", record_seen)

    async def stop(self) -> None:
        await self._rows.close()

    # -- questions

    @iq_get(NS, "query", to=SERVER)
    def uptime(self, iq: Stanza, origin: Session) -> Element:
        return E(NS, "query", seconds=int(self.server.uptime.total_seconds()))

    @iq_get(NS, "query", to=[ACCOUNT, SELF])
    async def last_seen(self, iq: Stanza, origin: Session) -> Element:
        """3: to those alone who may see the presence. `forbidden`, which stands there for others, would tell
        them that the account exists; they get what they get for a missing one (RFC 6120 13.11).
        """
        account = await self.server.directory.load(iq.to)
        if account is None or not account.may_be_seen_by(iq.from_):
            raise StanzaError("service-unavailable")
        if account.available:
            return E(NS, "query", seconds=0)
        if account.last_seen is None:
            raise StanzaError("item-not-found", "has never been here")
        away = self.server.clock.now() - account.last_seen
        return E(NS, "query", account.last_status or None, seconds=max(0, int(away.total_seconds())))

    # -- keeping account

    @on(hooks.session_unavailable, priority=LATE)
    def went(self, stanza: Stanza, session: Session) -> None:
        if not session.account.available:
            self._note(session.account, stanza.element.text_of(CLIENT, "status")[:MAX_STATUS_CHARS])

    @on(hooks.session_closed, priority=LATE)
    def closed(self, session: Session) -> None:
        """Also without presence. The status stays: it is that of the last unavailable presence."""
        if not session.account.sessions:
            self._note(session.account, session.account.last_status)

    def _note(self, account: Account, status: str) -> None:
        account.last_seen = self.server.clock.now()
        account.last_status = status
        self._rows.add(account.id, Seen(account.id, account.last_seen, status))
