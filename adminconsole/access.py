"""Who may see a page: the marker every view carries, the actor behind a request, the password asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import roles, services
from accounts.audit import Actor
from accounts.models import User

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Access:
    """What a view asks of the visitor. `write`: the permission for methods other than GET."""

    permission: str = ""
    write: str = ""
    public: bool = False


def page(*, permission: str = "", write: str = "", public: bool = False) -> Callable[[View], View]:
    """Mark a view: `@page(permission="users.view")` or `@page(public=True)`; without it nobody gets in.

    What is not a GET needs `write`, by default the `.change` of the same area.
    """
    if bool(permission) == public:
        raise TypeError("a page needs a permission or is public")
    unknown = {name for name in (permission, write) if name} - roles.PERMISSIONS
    if unknown:
        raise ValueError(f"no permission {unknown.pop()!r}")

    def mark(view: View) -> View:
        change = write or permission.replace(".view", ".change")
        view.console_access = Access(permission, change, public)  # type: ignore[attr-defined]
        return login_not_required(view) if public else view

    return mark


def access_of(view: Callable[..., Any]) -> Access | None:
    return getattr(view, "console_access", None)


def check(request: HttpRequest, view: Callable[..., Any]) -> None:
    """PermissionDenied unless the view's marker lets this visitor in."""
    access = access_of(view)
    if access is None:
        raise PermissionDenied
    if access.public:
        return
    needed = access.permission if request.method in SAFE_METHODS else access.write
    user = request.user
    if not isinstance(user, User) or not user.can(needed):
        raise PermissionDenied


def actor_of(request: HttpRequest) -> Actor:
    """Who acts through the console, for services and their audit rows."""
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied
    return Actor.of(user, "console", address_of(request))


def address_of(request: HttpRequest) -> str:
    """The client's address; HostGuard has looked behind trusted proxies."""
    return str(request.META.get("REMOTE_ADDR", ""))


def confirm_password(request: HttpRequest, password: str) -> None:
    """Ask the signed-in person for the password again, before roles or other powers change hands. Raises
    ValidationError (field `current_password`); counts as a login for the throttle.
    """
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied
    try:
        services.authenticate(
            domain=user.domain.name,
            username=user.username,
            password=password,
            address=address_of(request),
            service="console",
            mechanism="form",
        )
    except services.LoginRefused as refused:
        text = _("This is not your password.") if refused.retry_after <= 0 else wait_text(refused.retry_after)
        raise ValidationError({"current_password": text}) from refused


def wait_text(seconds: float) -> str:
    """The throttle in words."""
    left = max(1, round(seconds))
    if left < 90:
        wait = ngettext("%(n)d second", "%(n)d seconds", left) % {"n": left}
    else:
        minutes = -(-left // 60)
        wait = ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}
    return _("Too many failed attempts. Try again in %(wait)s.") % {"wait": wait}
