"""Error pages. They need neither user nor database."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.db import DatabaseError, Error, InterfaceError, OperationalError, ProgrammingError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from adminconsole import hosts


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "adminconsole/400.html", status=400)


def unknown_host(request: HttpRequest) -> HttpResponse:
    """The browser asked for a host name that is not one of the console's."""
    return render(request, "adminconsole/unknown_host.html", status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403; the reason a service gave is shown."""
    return render(request, "adminconsole/403.html", {"reason": _text(exception)}, status=403)


def localhost_only(request: HttpRequest) -> HttpResponse:
    """403 for visitors from other machines, with the port that the console has and the name it was asked for."""
    port = request.META.get("SERVER_PORT") or settings.CONFIG.ports["console"]
    context = {"port": port, "url": f"http://127.0.0.1:{port}/", "host": hosts.host_of(request)}
    return render(request, "adminconsole/localhost_only.html", context, status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "adminconsole/403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "adminconsole/404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """500; 503 where a middleware met a database that does not answer."""
    if is_database_down(sys.exc_info()[1]):
        return database_unavailable(request)
    return render(request, "adminconsole/500.html", status=500)


def is_database_down(error: BaseException | None) -> bool:
    """Whether the database cannot be reached or has no tables of ours, rather than refused a statement."""
    if isinstance(error, OperationalError | InterfaceError) or type(error) in (DatabaseError, Error):
        return True
    return isinstance(error, ProgrammingError) and any(
        sign in str(error).lower() for sign in ("does not exist", "doesn't exist", "no such table")
    )


def database_unavailable(request: HttpRequest, reason: str = "") -> HttpResponse:
    response = render(request, "adminconsole/503.html", {"reason": reason}, status=503)
    response.headers["Retry-After"] = "5"
    return response


def conflict(request: HttpRequest, **context: Any) -> HttpResponse:
    """409: somebody else was quicker."""
    context.setdefault("title", _("Somebody else was quicker"))
    return render(request, "adminconsole/409.html", context, status=409)


def _text(exception: Exception | None) -> str:
    # Resolver404 and the like carry structures; only sentences of our own are for people.
    return (
        str(exception.args[0]) if exception and exception.args and isinstance(exception.args[0], str) else ""
    )
