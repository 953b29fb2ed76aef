"""The ASGI application: Django for HTTP, the console's WebSocket. Importing it sets Django up and nothing else."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "xmppd.settings")
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from adminconsole.consumers import ConsoleConsumer, Refuse, SameOrigin  # noqa: E402

websocket = SameOrigin(
    AuthMiddlewareStack(
        URLRouter([path("ws/console/", ConsoleConsumer.as_asgi()), re_path(r"", Refuse.as_asgi())])
    )
)
application = ProtocolTypeRouter({"http": http, "websocket": websocket})
