"""XEP-0092: Software Version. Tells ours, and asks each client once, for the list of sessions."""

from __future__ import annotations

import asyncio
import platform
from collections import deque

from django.utils.translation import gettext_lazy as _

import xmppd
from xmppd.protocol.element import E, Element
from xmppd.protocol.stanza import Stanza
from xmppd.server import hooks
from xmppd.server.module import SERVER, Module, Xep, iq_get, on
from xmppd.server.session import Session
from xmppd.services.properties import Setting

NS = "jabber:iq:version"
PATIENCE_SECONDS = 5.0  # a client has more urgent things to do right after its login
MAX_SOFTWARE_CHARS = 200


class Version(Module):
    """Clients are asked some seconds later and by the sweep, so that a rush of logins is over first."""

    xep = Xep(92, "1.1", name="Software Version")
    features = [NS]

    shows_os = Setting(
        "server.show_operating_system",
        bool,
        False,
        _("Tell everybody who asks for the server's version (XEP-0092) its operating system as well."),
        label=_("Operating system in the version reply"),
    )
    asks_clients = Setting(
        "sessions.ask_client_version",
        bool,
        True,
        _("Ask each client for its name and version after its login, to show them in the list of sessions."),
        label=_("Ask clients for their version"),
    )

    async def start(self) -> None:
        self._due: deque[tuple[float, Session]] = deque()  # when to ask, in the order of that
        self._known: set[Session] = set()  # asked, or about to be
        self.server.sweeps.append(self.ask_due)

    @iq_get(NS, "query", to=SERVER)
    def version(self, iq: Stanza, origin: Session) -> Element:
        return E(
            NS,
            "query",
            E(NS, "name", "Hearth"),
            E(NS, "version", xmppd.__version__),
            E(NS, "os", platform.system()) if self.shows_os else None,
        )

    # -- asking clients

    @on(hooks.session_available)
    def plan(self, session: Session) -> None:
        if self.asks_clients and session not in self._known:
            self._known.add(session)
            self._due.append((self.server.clock.monotonic() + PATIENCE_SECONDS, session))

    @on(hooks.session_closed)
    def forget(self, session: Session) -> None:
        self._known.discard(session)

    def ask_due(self) -> None:
        while self._due and self._due[0][0] <= self.server.tick:
            session = self._due.popleft()[1]
            if not session.is_closed and self.asks_clients:
                self.server.request(session, E(NS, "query")).add_done_callback(
                    lambda answer, session=session: _note(answer, session)  # type: ignore[misc]
                )


def _note(answer: asyncio.Future[Stanza], session: Session) -> None:
    """Keep what the client said; errors, silence and nonsense leave the field empty."""
    if answer.cancelled() or answer.exception() is not None or answer.result().type != "result":
        return
    query = answer.result().find(NS, "query")
    if query is not None:
        session.software = described(query)


def described(query: Element) -> str:
    """`Name 1.2 (OS)`, on one line, without characters that are not seen."""
    name, version, system = (_visible(query.text_of(NS, part)) for part in ("name", "version", "os"))
    text = f"{name} {version}".strip()
    return (f"{text} ({system})" if system else text).strip()[:MAX_SOFTWARE_CHARS]


def _visible(text: str) -> str:
    # isprintable() leaves out control characters, and those that turn the direction of writing.
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
