"""XEP-0199: XMPP Ping. Answers pings, and pings clients that have been silent for long (RFC 6120 4.6.4)."""

from __future__ import annotations

from xmppd.protocol.element import E
from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import PING
from xmppd.protocol.stanza import Stanza
from xmppd.server import hooks
from xmppd.server.limits import IDLE_TIMEOUT, UNMANAGED_IDLE_TIMEOUT
from xmppd.server.module import ACCOUNT, SELF, SERVER, Module, Xep, iq_get, on
from xmppd.server.session import Session


class Ping(Module):
    """Pings to the server or to an account are answered; silent clients are asked whether they are still there."""

    xep = Xep(199, "2.0.1", name="XMPP Ping")
    features = [PING]
    account_features = [PING]

    async def start(self) -> None:
        self._asked: set[Session] = set()
        self._next_look = 0.0
        self.server.sweeps.append(self.look_for_silent)

    @iq_get(PING, "ping", to=[SERVER, ACCOUNT, SELF])
    def ping(self, iq: Stanza, origin: Session) -> None:
        return None  # an empty result

    @on(hooks.session_closed)
    def session_closed(self, session: Session) -> None:
        self._asked.discard(session)

    def look_for_silent(self) -> None:
        """A dozen times per time-out, not at each sweep: this walks over all sessions."""
        now = self.server.tick
        if now < self._next_look:
            return
        managed = IDLE_TIMEOUT.value.total_seconds()
        unmanaged = min(managed, UNMANAGED_IDLE_TIMEOUT.value.total_seconds())
        self._next_look = now + unmanaged / 12
        for session in self.server.sessions():
            if session.detached_at is not None:
                continue
            timeout = unmanaged if session.management is None else managed
            silence = now - session.connection.last_seen
            if silence < timeout:
                self._asked.discard(session)
            elif session not in self._asked:
                self._asked.add(session)
                self.server.request(session, E(PING, "ping")).add_done_callback(_ignore_timeout)
            elif silence >= timeout * 1.5:
                self._asked.discard(session)
                if session.management is None:
                    session.close(StreamError("connection-timeout"))
                else:
                    session.connection.drop()  # it may come back and go on (XEP-0198)


def _ignore_timeout(future: object) -> None:
    """What matters is that bytes came, whatever they said."""
    future.cancelled() or future.exception()  # type: ignore[attr-defined]
