"""The web server: Daphne, whose applications wait while a client takes its answer slowly.

Daphne keeps whatever an application sends until the client has read it, so a long export would stand in memory whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from daphne.http_protocol import WebRequest
from daphne.server import Server
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Flow:
    """What the socket tells when its buffer is full, and when there is room again."""

    def __init__(self) -> None:
        self._has_room = asyncio.Event()
        self._has_room.set()

    def pauseProducing(self) -> None:
        self._has_room.clear()

    def resumeProducing(self) -> None:
        self._has_room.set()

    def stopProducing(self) -> None:
        """The connection is lost; Daphne tells the application."""
        self._has_room.set()

    async def wait(self) -> None:
        await self._has_room.wait()


class WebServer(Server):
    """Daphne's server; `send` of an answer's parts returns when there is room for the next."""

    async def handle_reply(self, protocol: Any, message: Mapping[str, Any]) -> None:
        if message["type"] != "http.response.body" or not isinstance(protocol, WebRequest):
            await super().handle_reply(protocol, message)
            return
        is_open = not protocol.finished and protocol.channel is not None
        if is_open and message.get("more_body") and protocol.producer is None:
            protocol.registerProducer(Flow(), True)
        elif is_open and not message.get("more_body") and protocol.producer is not None:
            protocol.unregisterProducer()
        flow = protocol.producer
        await super().handle_reply(protocol, message)
        if flow is not None:
            await flow.wait()
