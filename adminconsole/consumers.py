"""The console's WebSocket: one way, from adminconsole.events to the browser, for people who may see the dashboard."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.auth import get_user
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse

from adminconsole.events import GROUP
from adminconsole.middleware import HostGuard
from xmppd.services.db import db
from xmppd.services.setup import is_set_up

Application = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
DEFAULT_PORTS = {"http": 80, "https": 443}


class ConsoleConsumer(AsyncWebsocketConsumer):
    """Passes on what changed. What the browser says is ignored."""

    async def connect(self) -> None:
        if not _may_listen(self.scope["user"]):
            await self.close()
            return
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Browsers have nothing to say here."""

    async def console_changed(self, event: dict[str, Any]) -> None:
        """From the group. When accounts changed, this one may have been locked, lost its role or its password."""
        if "users" in event["changed"] and not await self._is_still_welcome():
            await self.close(4401)
            return
        await self.send(json.dumps({"changed": event["changed"]}))

    async def _is_still_welcome(self) -> bool:
        session = SessionStore(self.scope["session"].session_key)
        return _may_listen(await get_user({"session": session}))


class Refuse(AsyncWebsocketConsumer):
    """Any other path."""

    async def connect(self) -> None:
        await self.close()


class SameOrigin:
    """Refuses handshakes before set-up, for hosts that are not the console's, and from pages of other origins: browsers
    send cookies with a WebSocket whatever page opens it (RFC 6455 10.2).
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self._refuse = Refuse.as_asgi()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        good = await db(is_welcome, scope)
        await (self.application if good else self._refuse)(scope, receive, send)


def is_welcome(scope: Scope) -> bool:
    """Whether the handshake passes the gates that a GET passes, and comes from a page of the same host."""
    request = ASGIRequest({**scope, "method": "GET"}, BytesIO())
    passed = HostGuard(lambda _: HttpResponse(status=HTTPStatus.NO_CONTENT))(request)
    if passed.status_code != HTTPStatus.NO_CONTENT or not is_set_up():
        return False
    return is_same_origin(request.META.get("HTTP_ORIGIN", ""), request.META.get("HTTP_HOST", ""))


def is_same_origin(origin: str, host: str) -> bool:
    """Whether a page of this origin (RFC 6454 6.1) was served from this Host; only http and https pages are."""
    try:
        page = urlsplit(origin)
        target = urlsplit(f"{page.scheme}://{host}")
        if page.scheme not in ("http", "https") or not page.hostname or target.username is not None:
            return False
        default = DEFAULT_PORTS[page.scheme]
        return (page.hostname, page.port or default) == (target.hostname, target.port or default)
    except ValueError:
        return False


def _may_listen(user: Any) -> bool:
    return bool(user.is_authenticated and user.is_active and user.can("dashboard.view"))
