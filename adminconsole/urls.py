"""Every address of the console. Each section of adminconsole.views has its own list."""

from importlib import import_module
from typing import Any

from adminconsole.views import health, login

urlpatterns: list[Any] = [*health.urlpatterns, *login.urlpatterns]
for _name in ("dashboard", "users", "groups", "sessions", "settings", "audit"):
    try:
        urlpatterns += getattr(import_module(f"adminconsole.views.{_name}"), "urlpatterns", [])
    except ImportError:
        pass
