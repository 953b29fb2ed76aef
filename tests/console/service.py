"""A real stream service beside the console's pages: the Server object on a loop in a thread, clients in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.conversation import Client, MemoryConnection, connect, settled
from xmppd.server.live import Live
from xmppd.server.server import Server

T = TypeVar("T")


class EncryptedConnection(MemoryConnection):
    tls_version = "TLSv1.3"
    tls_cipher = "TLS_AES_256_GCM_SHA384"


class Service:
    """`log_in` connects clients; `run` runs a coroutine on the server's loop, such as `client.next()`."""

    def __init__(self, domain: str = "example.org") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="stream-service")
        self._thread.start()
        self.server, self.live = self.run(self._start(domain))

    async def _start(self, domain: str) -> tuple[Server, Live]:
        server = Server(domain)
        live = Live(server)
        live.listeners.append({"name": "c2s", "address": "127.0.0.1", "port": 5222, "tls": "starttls"})
        live.attach()
        await server.start()
        return server, live

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def log_in(self, jid: str, *, presence: str = "", client: str = "", tls: bool = True) -> Client:
        """Connect an existing account; `presence` is sent as it is, with the client's name."""
        return self.run(self._log_in(jid, presence, client, tls))

    async def _log_in(self, jid: str, presence: str, software: str, tls: bool) -> Client:
        client = await connect(self.server, jid)
        connection = client.connection
        if tls:
            connection.__class__ = EncryptedConnection
        if presence:
            await client.sends(presence)
            await settled(self.server)
        assert connection.session is not None
        connection.session.software = software
        client.forget_received()
        return client

    def stop(self) -> None:
        self.live.detach()
        self.run(self.server.stop(timeout=1))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
