"""Addresses of XMPP, RFC 7622: local@domain/resource, prepared and compared by their prepared form."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna
from precis_i18n import get_profile
from precis_i18n.profile import Profile

MAX_PART_BYTES = 1023  # RFC 7622 3.2-3.4, each part after preparation
MAX_BYTES = 3 * MAX_PART_BYTES + 2  # and the two separators
MAX_CACHED_CHARS = (
    256  # strangers choose what is parsed: long addresses are parsed anew instead of remembered
)

# What preparation would leave alone or only lower-case. Nearly every address seen is of this kind.
_PLAIN_LOCAL = re.compile(r"[!#$%()*+,\-.0-9;=?A-Z\[\\\]^_`a-z{|}~]{1,1023}")
_PLAIN_RESOURCE = re.compile(r"[ -~]{1,1023}")
_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_DOTTED_QUAD = re.compile(r"[0-9]+(?:\.[0-9]+){3}")

_NOT_IN_LOCAL = frozenset("\"&'/:<>@")  # RFC 7622 3.3.1
_USERNAME = get_profile("UsernameCaseMapped")
_OPAQUE = get_profile("OpaqueString")


class JIDError(ValueError):
    """The text is not a JID; answered with jid-malformed where a stanza carried it."""


class JID:
    """A prepared address; immutable, equal and hashed by its full text.

    The parts are taken as they are: pass what `prepare_*` returned, or use `JID.parse`. An absent part is ''.
    `attr` is the full JID as bytes, escaped for an XML attribute in single quotes.
    """

    __slots__ = ("_bare", "attr", "bare_str", "domain", "full_str", "local", "resource")

    def __init__(self, local: str, domain: str, resource: str = "") -> None:
        self.local = local
        self.domain = domain
        self.resource = resource
        self.bare_str = f"{local}@{domain}" if local else domain
        self.full_str = f"{self.bare_str}/{resource}" if resource else self.bare_str
        self.attr = _escape(self.full_str).encode() if resource else self.bare_str.encode()
        self._bare: JID | None = None

    @staticmethod
    def parse(text: str) -> JID:
        """Return the prepared JID; raise JIDError. Cut at the first '/', then at the first '@' (3.1)."""
        if len(text) <= MAX_CACHED_CHARS:
            return _parse_cached(text)
        return _parse(text)

    @property
    def bare(self) -> JID:
        """local@domain; the JID itself when it has no resource."""
        if not self.resource:
            return self
        if self._bare is None:
            self._bare = JID(self.local, self.domain)
        return self._bare

    @property
    def full(self) -> str:
        return self.full_str

    @property
    def is_bare(self) -> bool:
        return not self.resource

    def with_resource(self, resource: str) -> JID:
        """The same address with another, already prepared, resource."""
        return JID(self.local, self.domain, resource)

    def __str__(self) -> str:
        return self.full_str

    def __repr__(self) -> str:
        return f"JID({self.full_str!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JID):
            return self.full_str == other.full_str
        return NotImplemented

    def __lt__(self, other: JID) -> bool:
        return self.full_str < other.full_str

    def __hash__(self) -> int:
        return hash(self.full_str)

    def __reduce__(self) -> tuple[type[JID], tuple[str, str, str]]:
        return JID, (self.local, self.domain, self.resource)


def prepare_local(text: str) -> str:
    """RFC 7622 3.3: PRECIS UsernameCaseMapped without the eight characters that delimit or need escaping."""
    if _PLAIN_LOCAL.fullmatch(text):
        local = text.lower()
    else:
        local = _enforce(_USERNAME, text, "localpart")
        if not _NOT_IN_LOCAL.isdisjoint(local):  # width mapping may bring them in, so look at the result
            raise JIDError("localpart holds one of \"&'/:<>@")
    if local.startswith("\\20") or local.endswith("\\20"):  # XEP-0106 4.1
        raise JIDError("localpart starts or ends with an escaped space")
    return local


def prepare_resource(text: str) -> str:
    """RFC 7622 3.4: PRECIS OpaqueString."""
    if _PLAIN_RESOURCE.fullmatch(text):
        return text
    return _enforce(_OPAQUE, text, "resourcepart")


@lru_cache(maxsize=4096)
def prepare_domain(text: str) -> str:
    """RFC 7622 3.2: lower-case U-labels without the trailing dot, an IPv4 address or a bracketed IPv6 one."""
    if len(text) > MAX_PART_BYTES + 1:
        raise JIDError("domainpart is too long")
    if text.startswith("["):
        return _prepare_ipv6(text)
    name = text.lower() if text.isascii() else _map_domain(text)
    name = name.removesuffix(".")
    if _DOTTED_QUAD.fullmatch(name):
        _check_ipv4(name)
    elif not _PLAIN_DOMAIN.fullmatch(name):
        name = _to_u_labels(name)
    _check_length(name, "domainpart")
    return name


def _parse(text: str) -> JID:
    if len(text) > MAX_BYTES:
        raise JIDError("address is too long")
    address, slash, resource = text.partition("/")
    local, at, domain = address.partition("@")
    if not at:
        local, domain = "", address
    return JID(
        prepare_local(local) if at else "",
        prepare_domain(domain),
        prepare_resource(resource) if slash else "",
    )


_parse_cached = lru_cache(maxsize=65536)(_parse)  # an exception is never remembered


def _enforce(profile: Profile, text: str, part: str) -> str:
    """Apply the profile until nothing changes, three times at most (RFC 8264 7)."""
    if len(text) > MAX_PART_BYTES:
        raise JIDError(f"{part} is too long")
    for _ in range(4):
        try:
            prepared = profile.enforce(text)
        except UnicodeError as error:
            raise JIDError(f"{part} is empty or holds a character that is not allowed") from error
        if prepared == text:
            _check_length(text, part)
            return text
        text = prepared
    raise JIDError(f"{part} has no stable form")


def _check_length(prepared: str, part: str) -> None:
    if not 1 <= len(prepared.encode()) <= MAX_PART_BYTES:
        raise JIDError(f"{part} must have 1 to {MAX_PART_BYTES} bytes")


def _map_domain(text: str) -> str:
    try:
        return idna.uts46_remap(text)
    except (UnicodeError, ValueError) as error:
        raise JIDError("domainpart is not an internationalized domain name") from error


def _to_u_labels(name: str) -> str:
    """IDNA2008 checks of every label; A-labels become the U-labels that are compared (RFC 7622 3.2.1)."""
    if name.endswith("."):
        raise JIDError("domainpart ends with an empty label")
    try:
        labels = idna.decode(idna.encode(name))
        if idna.encode(labels) != idna.encode(name):
            raise JIDError("domainpart holds an A-label that is not its own U-label")
    except (UnicodeError, ValueError) as error:
        raise JIDError("domainpart is not a domain name") from error
    return labels


def _prepare_ipv6(text: str) -> str:
    if not text.endswith("]") or "%" in text:
        raise JIDError("domainpart is not an IPv6 address in brackets")
    try:
        return f"[{IPv6Address(text[1:-1])}]"
    except AddressValueError as error:
        raise JIDError("domainpart is not an IPv6 address in brackets") from error


def _check_ipv4(name: str) -> None:
    try:
        IPv4Address(name)
    except AddressValueError as error:
        raise JIDError("domainpart is not an IPv4 address") from error


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
