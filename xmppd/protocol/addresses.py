"""IP addresses as sockets, domains and URIs write them: with brackets (RFC 3986 3.2.2) or a zone (RFC 4007 11.2)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=1024)  # a login asks several times for the same
def parse_address(text: str) -> Address | None:
    """The address without its zone, IPv4 inside IPv6 (RFC 4291 2.5.5.2) as IPv4; None for any other text."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_address(text: str) -> bool:
    return parse_address(text) is not None


def is_loopback(text: str) -> bool:
    """Whether it is an address of this machine to itself; names are not."""
    address = parse_address(text)
    return address is not None and address.is_loopback
