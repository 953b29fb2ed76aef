"""The console's gates, in the order of settings.MIDDLEWARE: headers, host and path, set-up, permission."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

from adminconsole import access, hosts
from adminconsole.views import errors
from xmppd.services import setup

Next = Callable[[HttpRequest], HttpResponseBase]

WIZARD_URLS = "adminconsole.setup.urls"
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "camera",
        "display-capture",
        "geolocation",
        "microphone",
        "midi",
        "payment",
        "usb",
        "browsing-topics",
    )
)


class SecurityHeaders:
    """Headers of every answer, errors included. `request.csp_nonce` is the nonce of this page's scripts."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined]
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", content_security_policy(request))
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        # Static files bring their own rule; pages show who is online and must not stay in a shared browser.
        response.headers.setdefault("Cache-Control", "no-store")
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response


def content_security_policy(request: HttpRequest) -> str:
    nonce = request.csp_nonce  # type: ignore[attr-defined]
    host = request.META.get("HTTP_HOST", "") if hosts.host_of(request) else ""
    # Older browsers do not count a WebSocket of the same host as 'self'.
    socket = f" {'wss' if request.is_secure() else 'ws'}://{host}" if host else ""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
        f"font-src 'self'; connect-src 'self'{socket}; manifest-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


class HostGuard:
    """Refuses hosts that are not ours and paths with two readings; finds out who asks.

    From here on REMOTE_ADDR is the client's address, also behind a trusted proxy.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not hosts.is_canonical_path(request):
            return errors.bad_request(request)
        self._look_behind_proxy(request)
        if not hosts.is_allowed_host(hosts.host_of(request)):
            return errors.unknown_host(request)
        if setup.LOCALHOST_ONLY.value and setup.is_set_up() and not hosts.is_local(request):
            return errors.localhost_only(request)
        return self.get_response(request)

    def _look_behind_proxy(self, request: HttpRequest) -> None:
        peer = hosts.parse_address(request.META.get("REMOTE_ADDR", ""))
        if peer is not None:
            request.META["REMOTE_ADDR"] = str(peer)  # ::ffff:192.0.2.1 is 192.0.2.1 in every log and list
        if not hosts.is_trusted_proxy(peer):
            return
        request.peer_address = request.META["REMOTE_ADDR"]  # type: ignore[attr-defined]
        request.META["REMOTE_ADDR"] = hosts.client_address(request)
        request.is_proxied = True  # type: ignore[attr-defined]
        if request.META.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() == "https":
            request._get_scheme = lambda: "https"  # type: ignore[attr-defined]


class SetupGate:
    """Before set-up the wizard is all there is; afterwards it has no routes. 503 while the database fails."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if setup.is_set_up():
            _prefer_language(request)
        else:
            request.urlconf = WIZARD_URLS  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.database_unavailable(request) if errors.is_database_down(exception) else None


def _prefer_language(request: HttpRequest) -> None:
    """The setting's language for a browser that chose none and asks for none we have, as its cookie would."""
    if settings.LANGUAGE_COOKIE_NAME in request.COOKIES or setup.LANGUAGE.value == settings.LANGUAGE_CODE:
        return
    for code, _quality in parse_accept_lang_header(request.META.get("HTTP_ACCEPT_LANGUAGE", "")):
        try:
            get_supported_language_variant(code)
        except LookupError:
            continue
        return
    request.COOKIES[settings.LANGUAGE_COOKIE_NAME] = setup.LANGUAGE.value


class LoginRequired(LoginRequiredMiddleware):
    """Django's, but it does not ask the database who comes to a public page: /healthz needs none."""

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not getattr(view_func, "login_required", True):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class ConsoleAccess:
    """Default deny by the view that will run, never by the address that led to it (adminconsole.access)."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> None:
        access.check(request, view)
