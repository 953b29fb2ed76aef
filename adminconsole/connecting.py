"""What somebody needs to connect a client: address, server, ports, and the steps in well-known clients."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from adminconsole import hosts
from adminconsole.setup import advice
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
            gettext_lazy("“I already have an account”, then XMPP address {jid} and the password."),
            gettext_lazy(
                "Where DNS does not know the domain: Settings, Expert settings, “Extended connection "
                "options”; then host name {host} and port {port}."
            ),
            gettext_lazy("Accept the certificate when asked."),
        ),
    ),
    ClientHelp(
        "Gajim",
        "Windows, macOS, Linux",
        (
            gettext_lazy("“Log in” with XMPP address {jid} and the password."),
            gettext_lazy(
                "Where DNS does not know the domain: “Advanced settings”, host name {host}, port {port}, "
                "type STARTTLS."
            ),
            gettext_lazy("Confirm the certificate once."),
        ),
    ),
    ClientHelp(
        "Dino",
        "Linux",
        (
            gettext_lazy("“Sign in” with JID {jid} and the password."),
            gettext_lazy("Dino asks DNS for the domain, so the name must lead to {host}."),
        ),
    ),
    ClientHelp(
        "Pidgin",
        "Windows, Linux",
        (
            gettext_lazy("Add an account of type XMPP; user name and domain are the two parts of {jid}."),
            gettext_lazy("“Advanced”: require encryption, connect port {port}, connect server {host}."),
        ),
    ),
    ClientHelp(
        "profanity",
        gettext_lazy("terminal"),  # type: ignore[arg-type]
        ("/connect {jid} server {host} port {port} tls force", "/tls always"),
    ),
)


def facts(request: HttpRequest, user: User) -> dict[str, Any]:
    """`host`, where the account's clients connect; `address`, this machine's own where DNS does not know the host;
    `ports` by listener; `clients` with their steps; `summary`, all of it as text to send.
    """
    host = settings.CONFIG.hostname or user.domain.name
    address = "" if advice.seems_to_resolve(host) else own_address(request)
    listeners = {entry["name"]: entry["port"] for entry in _listeners()}
    ports = {**settings.CONFIG.ports, **listeners}
    values = {"jid": user.jid, "host": address or host, "port": ports["c2s"] or 5222}
    clients = [
        {
            "name": client.name,
            "system": client.system,
            "steps": [str(text).format(**values) for text in client.steps],
        }
        for client in CLIENTS
    ]
    lines = [_("XMPP address: %(jid)s") % values, _("Server: %(host)s, port %(port)s") % values]
    return {
        "host": host,
        "address": address,
        "ports": ports,
        "clients": clients,
        "summary": "\n".join(lines),
    }


def own_address(request: HttpRequest) -> str:
    """The address under which other machines reach this one, as far as it can be told; nothing is sent for that."""
    asked = hosts.parse_address(hosts.host_of(request))
    if asked is not None and not asked.is_loopback:
        return str(asked)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(
                ("192.0.2.1", 9)
            )  # RFC 5737: chooses the way out, and a datagram socket sends nothing yet
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _listeners() -> list[dict[str, Any]]:
    try:
        return list(live.status()["listeners"])
    except live.NotRunningError:
        return []
