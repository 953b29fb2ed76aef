"""Who asks for which host and path: client addresses behind proxies (RFC 7239), the console's names."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.db import Error
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import services
from xmppd.protocol.addresses import is_address
from xmppd.services.certificates import to_ascii
from xmppd.services.properties import Setting

TRUSTED_PROXIES: Setting[list[str]] = Setting(
    "console.trusted_proxies",
    list,
    [],
    _(
        "Addresses or networks of reverse proxies in front of the console, for example 127.0.0.1 or "
        "10.0.0.0/8. Only from these the headers Forwarded, X-Forwarded-For and X-Forwarded-Proto are "
        "believed."
    ),
    label=_("Trusted reverse proxies"),
    maximum=100,
)
ALLOWED_HOSTS: Setting[list[str]] = Setting(
    "console.allowed_hosts",
    list,
    [],
    _(
        "Further host names under which the console may be opened. Addresses, this machine's own names and "
        "the XMPP domain always work."
    ),
    label=_("Host names of the console"),
    maximum=100,
)

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})
FORWARDING_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_HOST")
DOMAINS_SECONDS = 10.0  # how long the list of domains is believed

Address = IPv4Address | IPv6Address


# --- the client's address ---


def parse_address(text: str) -> Address | None:
    """An address as headers and sockets write it: with port, brackets, quotes or zone; else None."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_trusted_proxy(address: Address | None, proxies: Sequence[str] | None = None) -> bool:
    """Whether the setting, or `proxies` in its place, names this address."""
    if address is None:
        return False
    for text in TRUSTED_PROXIES.value if proxies is None else proxies:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        if address.version == network.version and address in network:
            return True
    return False


def forwarded_addresses(request: HttpRequest) -> list[Address | None]:
    """The chain that the proxies wrote, the client first; None where an entry is no address."""
    if header := request.META.get("HTTP_X_FORWARDED_FOR", ""):
        return [parse_address(part) for part in header.split(",")]
    header = request.META.get("HTTP_FORWARDED", "")
    return [
        parse_address(match) for match in re.findall(r'(?:^|[;,])\s*for=("[^"]*"|[^;,\s]+)', header, re.I)
    ]


def peer_of(request: HttpRequest) -> str:
    """The address at the other end of the connection: the proxy's where one is believed."""
    return str(getattr(request, "peer_address", request.META.get("REMOTE_ADDR", "")))


def client_address(request: HttpRequest) -> str:
    """The nearest address in the chain that is no trusted proxy: what is further left may be forged."""
    peer = parse_address(request.META.get("REMOTE_ADDR", ""))
    client = peer
    for address in reversed(forwarded_addresses(request)):
        if not is_trusted_proxy(client) or address is None:
            break
        client = address
    return str(client) if client else request.META.get("REMOTE_ADDR", "")


def is_local(request: HttpRequest) -> bool:
    """Whether a person on this machine asks. Behind a proxy here that is not trusted nobody is local:
    everybody would seem to be.
    """
    address = parse_address(request.META.get("REMOTE_ADDR", ""))
    if address is None or not address.is_loopback:
        return False
    via_proxy: bool = getattr(request, "is_proxied", False)
    return via_proxy or not any(name in request.META for name in FORWARDING_HEADERS)


# --- the host asked for ---


def host_of(request: HttpRequest) -> str:
    """The Host header without port, lower case; an IPv6 address without brackets."""
    host = request.META.get("HTTP_HOST", "")
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", host):
        return ""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def is_allowed_host(name: str, further: Sequence[str] | None = None) -> bool:
    """Whether the console is served under this name; `further` in place of the setting."""
    if not name:
        return False
    if name in LOOPBACK_NAMES or name.endswith(".localhost") or is_address(name):
        return True
    listed = ALLOWED_HOSTS.value if further is None else further
    known = {settings.CONFIG.hostname, os.environ.get("HEARTH_DOMAIN", ""), *listed}
    return name in {_ascii(host) for host in known if host} or name in _domains()


def is_host_name(text: str) -> bool:
    """Whether a Host header could ever say this: a name or address without scheme, port and path."""
    if is_address(text):
        return True
    return bool(re.fullmatch(r"[A-Za-z0-9._-]+", _ascii(text)))


def _ascii(name: str) -> str:
    try:
        return to_ascii(name).lower()
    except ValueError:
        return name.lower()


_known_domains: frozenset[str] = frozenset()
_known_until = 0.0


def _domains() -> frozenset[str]:
    """The domains served, as DNS writes them; the last known ones while the database does not answer."""
    global _known_domains, _known_until
    now = time.monotonic()
    if now >= _known_until:
        _known_until = now + DOMAINS_SECONDS
        try:
            names = services.domain_names()
        except Error:
            return _known_domains
        _known_domains = frozenset(_ascii(name) for name in names)
    return _known_domains


def forget_domains() -> None:
    """Read them again at the next request."""
    global _known_until
    _known_until = 0.0


# --- paths ---

# Spellings that servers, proxies and frameworks read differently. None of our addresses needs one of them.
_ODD_RAW = re.compile(rb"%(?:2e|2f|5c|25|00|3b|u)|\\|//|;", re.I)
_ODD = re.compile(r"//|\\|%|;|[\x00-\x20\x7f]|(?:^|/)\.{1,2}(?:/|$)")


def is_canonical_path(request: HttpRequest) -> bool:
    """Whether the path has exactly one reading: no dot segments, no double or encoded separators, no %u."""
    scope = getattr(request, "scope", None)
    raw: bytes = (scope or {}).get("raw_path") or b""
    return not _ODD.search(request.path_info) and not _ODD_RAW.search(raw.partition(b"?")[0])
