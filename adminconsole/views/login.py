"""Signing in and out, one-time links, language."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.urls import path
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from accounts import services
from accounts.audit import record
from accounts.models import User
from adminconsole.access import actor_of, address_of, page, wait_text

BACKEND = "accounts.backends.AccountBackend"


class LoginForm(forms.Form):
    username = forms.CharField(label=gettext_lazy("User name or address"), max_length=1100, strip=True)
    password = forms.CharField(
        label=gettext_lazy("Password"), max_length=1024, strip=False, widget=forms.PasswordInput
    )


@page(public=True)
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    target = safe_next(request)
    if request.user.is_authenticated:
        return redirect(target)
    form = LoginForm(request.POST if request.method == "POST" else None)
    status, wait = 200, 0.0
    if form.is_valid():
        user = authenticate(request, **form.cleaned_data)
        if isinstance(user, User):
            enter(request, user)
            return redirect(target)
        refused = getattr(request, "login_refused", services.LoginRefused("wrong-password"))
        form.add_error(None, _refusal(refused))
        wait = refused.retry_after
        status = 429 if wait > 0 else 200
    context = {"form": form, "next": target if target != resolve_url("dashboard") else ""}
    response = render(request, "adminconsole/login.html", context, status=status)
    if wait > 0:
        response.headers["Retry-After"] = str(max(1, round(wait)))
    return response


def enter(request: HttpRequest, user: User) -> None:
    """Sign in with a new session (login() drops the stranger's) and note it."""
    login(request, user, backend=BACKEND)
    record(actor_of(request), "signed-in", user.jid)


def _refusal(refused: services.LoginRefused) -> str:
    if refused.retry_after > 0:
        return wait_text(refused.retry_after)
    return {
        "locked": _("This account is locked."),
        "no-role": _("This account has no administrative role, so it cannot open the console."),
    }.get(refused.reason, _("User name or password is wrong."))


def safe_next(request: HttpRequest) -> str:
    """Where to go after signing in: a path on this host from `next`, else the overview."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    is_path = target.startswith("/") and target.isascii() and target.isprintable() and " " not in target
    # Browsers read a backslash as a slash, and two slashes as the beginning of a host.
    is_plain = "\\" not in target and "//" not in target.partition("?")[0]
    if is_path and is_plain and url_has_allowed_host_and_scheme(target, allowed_hosts=None):
        return target
    return resolve_url("dashboard")


@page(public=True)
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    if isinstance(request.user, User):
        record(actor_of(request), "signed-out", request.user.jid)
    logout(request)
    return redirect("login")


@page(public=True)
def use_link(request: HttpRequest, token: str) -> HttpResponse:
    """A one-time link of `manage.py console-link`. Opening it only asks: previews of links open them too."""
    context: dict[str, Any] = {}
    if request.method == "POST":
        user = services.consume_login_link(token, address=address_of(request))
        if user is not None:
            login(request, user, backend=BACKEND)
            return redirect("dashboard")
        context["error"] = _(
            "This link has been used or is too old. Make another with manage.py console-link."
        )
    return render(request, "adminconsole/login_link.html", context, status=403 if context else 200)


urlpatterns = [
    path("login/", sign_in, name="login"),
    path("login/link/<str:token>/", use_link, name="login-link"),
    path("logout/", sign_out, name="logout"),
    path("language/", page(public=True)(require_POST(set_language)), name="set_language"),
]
