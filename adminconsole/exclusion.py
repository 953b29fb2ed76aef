"""Settings of the console that would shut out the very visitor who saves them: said before, done only when meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from adminconsole import hosts
from adminconsole.cautions import Caution
from xmppd.services.properties import Setting
from xmppd.services.setup import LOCALHOST_ONLY


def exclusion(request: HttpRequest, setting: Setting[Any], value: Any) -> Caution | None:
    """What this value of the setting would do to who asks; None where it does nothing to them."""
    finders: dict[str, Callable[[HttpRequest, Any], tuple[str, str] | None]] = {
        LOCALHOST_ONLY.name: _by_localhost_only,
        hosts.ALLOWED_HOSTS.name: _by_host,
        hosts.TRUSTED_PROXIES.name: _by_proxies,
    }
    find = finders.get(setting.name)
    found = find(request, value) if find else None
    return Caution(setting.name, bool, *found) if found else None


def check(setting: Setting[Any], value: Any) -> None:
    """ValidationError for entries that could never match: they would be kept and do nothing."""
    if setting.name == hosts.TRUSTED_PROXIES.name:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError as error:
                message = _("“%(value)s” is neither an address nor a network such as 10.0.0.0/8.")
                raise ValidationError(message % {"value": text}) from error
    elif setting.name == hosts.ALLOWED_HOSTS.name:
        for text in value:
            if not hosts.is_host_name(text):
                message = _(
                    "“%(value)s” is not a host name. Leave out https://, the port and what follows it."
                )
                raise ValidationError(message % {"value": text})


def _by_localhost_only(request: HttpRequest, value: bool) -> tuple[str, str] | None:
    if not value or hosts.is_local(request):
        return None
    return (
        _("You would lock yourself out"),
        _(
            "You come from %(address)s, not from the machine that Hearth runs on. With this setting on, nobody but "
            "people on that machine reaches the console, by http://127.0.0.1 or an SSH tunnel."
        )
        % {"address": request.META.get("REMOTE_ADDR", "")},
    )


def _by_host(request: HttpRequest, value: Sequence[str]) -> tuple[str, str] | None:
    host = hosts.host_of(request)
    if hosts.is_allowed_host(host, further=value):
        return None
    return (
        _("You would lock yourself out"),
        _(
            "You have opened the console as %(host)s, which is not in this list. It would be refused under that "
            "name; addresses and the XMPP domain go on working."
        )
        % {"host": host},
    )


def _by_proxies(request: HttpRequest, value: Sequence[str]) -> tuple[str, str] | None:
    peer_text = hosts.peer_of(request)
    peer = hosts.parse_address(peer_text)
    if getattr(request, "is_proxied", False) and not hosts.is_trusted_proxy(peer, value):
        text = _(
            "You came through the proxy %(proxy)s. It would not be believed any more: everybody behind it would "
            "seem to be the proxy, and signing in over HTTPS could fail."
        )
        return _("The proxy that you use would not be trusted"), text % {"proxy": peer_text}
    client = hosts.parse_address(request.META.get("REMOTE_ADDR", ""))
    if client is not None and not client.is_loopback and hosts.is_trusted_proxy(client, value):
        text = _(
            "Your own address %(address)s would count as a proxy. Whoever has an address like yours could pretend "
            "to come from anywhere, so lock-outs and “localhost only” would not stop them."
        )
        return _("Your own address would be trusted as a proxy"), text % {"address": client}
    return None
