"""The first page after set-up: services starting, the first users, how to connect a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from adminconsole.access import page
from adminconsole.views.health import not_ready
from xmppd.services import live


@dataclass(frozen=True, slots=True)
class ClientHelp:
    """How to enter an account in one client; `steps` may name {jid}, {host} and {port}."""

    name: str
    system: str
    steps: tuple[str | Promise, ...]


CLIENTS = (
    ClientHelp(
        "Conversations",
        "Android",
        (
            _("“I already have an account”, then XMPP address {jid} and the password."),
            _(
                "Where DNS does not know the domain: Settings, Expert settings, “Extended connection "
                "options”; then host name {host} and port {port}."
            ),
            _("Accept the certificate when asked."),
        ),
    ),
    ClientHelp(
        "Gajim",
        "Windows, macOS, Linux",
        (
            _("“Log in” with XMPP address {jid} and the password."),
            _(
                "Where DNS does not know the domain: “Advanced settings”, host name {host}, port {port}, "
                "type STARTTLS."
            ),
            _("Confirm the certificate once."),
        ),
    ),
    ClientHelp(
        "Dino",
        "Linux",
        (
            _("“Sign in” with JID {jid} and the password."),
            _("Dino asks DNS for the domain, so the name must lead to {host}."),
        ),
    ),
    ClientHelp(
        "Pidgin",
        "Windows, Linux",
        (
            _("Add an account of type XMPP; user name and domain are the two parts of {jid}."),
            _("“Advanced”: require encryption, connect port {port}, connect server {host}."),
        ),
    ),
    ClientHelp(
        "profanity",
        _("terminal"),  # type: ignore[arg-type]
        ("/connect {jid} server {host} port {port} tls force", "/tls always"),
    ),
)


@page(permission="dashboard.view")
def welcome(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    host = settings.CONFIG.hostname or request.user.domain.name
    listeners = _listeners()
    port = next(
        (entry["port"] for entry in listeners if entry["name"] == "c2s"), settings.CONFIG.ports["c2s"] or 5222
    )
    values = {"jid": request.user.jid, "host": host, "port": port}
    context: dict[str, Any] = {
        "waiting": not_ready(),
        "host": host,
        "ports": {**settings.CONFIG.ports, **{each["name"]: each["port"] for each in listeners}},
        "user_create_url": reverse("user-create"),
        "group_create_url": reverse("group-create"),
        "clients": [
            {
                "name": client.name,
                "system": client.system,
                "steps": [str(text).format(**values) for text in client.steps],
            }
            for client in CLIENTS
        ],
    }
    return render(request, "setup/welcome.html", context)


def _listeners() -> list[dict[str, Any]]:
    try:
        return list(live.status()["listeners"])
    except live.NotRunningError:
        return []


urlpatterns = [path("welcome/", welcome, name="welcome")]
