"""Every address of the console. Each section of adminconsole.views has its own list."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from adminconsole.views import health, login

urlpatterns: list[Any] = [*health.urlpatterns, *login.urlpatterns]
for _name in ("dashboard", "users", "groups", "sessions", "settings", "audit"):
    if find_spec(f"adminconsole.views.{_name}"):
        urlpatterns += getattr(import_module(f"adminconsole.views.{_name}"), "urlpatterns", [])
