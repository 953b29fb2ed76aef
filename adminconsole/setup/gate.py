"""Who may use the wizard: somebody at this machine or who knows the token, one browser at a time."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from accounts import throttle
from adminconsole import hosts
from adminconsole.access import address_of
from adminconsole.setup.state import State
from xmppd import bootstrap

COOKIE = "hearth_setup"
SALT = "hearth.setup"
THROTTLED = "setup-token"  # stands where an account would, in the throttle of logins


def is_admitted(request: HttpRequest) -> bool:
    """The cookie holds for the token that is valid now, so it dies with the token."""
    return hosts.is_local(request) or hmac.compare_digest(str(_cookie(request).get("token", "")), _digest())


def try_token(request: HttpRequest, token: str) -> float | None:
    """None when the token is right (admit() then); else the seconds to wait, 0 = may try again at once."""
    address = address_of(request)
    wait = throttle.check(THROTTLED, address)
    if wait > 0:
        return wait
    if hmac.compare_digest(token.strip().encode(), bootstrap.setup_token(settings.CONFIG).encode()):
        throttle.succeeded(THROTTLED, address)
        return None
    throttle.failed(THROTTLED, address)
    return throttle.check(THROTTLED, address)


def admit(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Remember in a signed cookie that the visitor knew the token."""
    return _remember(request, response, token=_digest())


def holds(request: HttpRequest, state: State) -> bool:
    """Whether this browser is the one that sets Hearth up, or nobody is yet."""
    return not state.claim or is_holder(request, state)


def is_holder(request: HttpRequest, state: State) -> bool:
    return bool(state.claim) and hmac.compare_digest(str(_cookie(request).get("claim", "")), state.claim)


def hold(request: HttpRequest, response: HttpResponse, state: State) -> HttpResponse:
    return _remember(request, response, claim=state.claim)


def _remember(request: HttpRequest, response: HttpResponse, **values: str) -> HttpResponse:
    text = signing.dumps({**_cookie(request), **values}, salt=SALT)
    response.set_cookie(COOKIE, text, path="/setup/", httponly=True, samesite="Lax")
    return response


def _cookie(request: HttpRequest) -> dict[str, Any]:
    try:
        values = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT)
    except signing.BadSignature:
        return {}
    return values if isinstance(values, dict) else {}


def _digest() -> str:
    return hashlib.sha256(bootstrap.setup_token(settings.CONFIG).encode()).hexdigest()
