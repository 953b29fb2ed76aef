"""slixmpp, an independent client library, as a person who waits for what should happen."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import slixmpp

from tests.hearth import PASSWORD, Hearth

PATIENCE = 20.0


class Person(slixmpp.ClientXMPP):
    """A client that keeps what it receives. `events` are (name, stanza)."""

    def __init__(self, jid: str, hearth: Hearth, *, password: str = PASSWORD) -> None:
        super().__init__(jid, password)
        self.hearth = hearth
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.ssl_context = ssl.create_default_context(cafile=str(hearth.home / "certificates" / "server.crt"))
        self.auto_authorize = None
        self.auto_subscribe = False
        for name in (
            "session_start",
            "message",
            "presence_available",
            "presence_away",
            "presence_unavailable",
            "presence_subscribe",
            "presence_subscribed",
            "roster_update",
            "failed_auth",
            "stream_error",
            "disconnected",
        ):
            self.add_event_handler(name, self._keep(name))

    def _keep(self, name: str) -> Callable[[Any], None]:
        return lambda stanza: self.events.put_nowait((name, stanza))

    async def sees(self, name: str, condition: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait for the next such event, passing over others."""
        async with asyncio.timeout(PATIENCE):
            while True:
                got, stanza = await self.events.get()
                if got == name and condition(stanza):
                    return stanza

    async def goes_online(self, *, port: str = "c2s") -> None:
        self.connect("127.0.0.1", self.hearth.ports[port])
        await self.sees("session_start")
        await self.get_roster()
        self.send_presence()
        await self.sees("presence_available", lambda p: p["from"] == self.boundjid)

    def says(self, to: str, body: str) -> None:
        self.send_message(mto=to, mbody=body, mtype="chat")
