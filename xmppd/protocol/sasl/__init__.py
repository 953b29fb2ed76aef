"""SASL: which mechanisms are offered, in which order, and the one that a client chose."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl.base import Mechanism
from xmppd.protocol.sasl.plain import Plain
from xmppd.protocol.sasl.scram import HASHES, ITERATIONS, Scram

ALL_HASHES = tuple(HASHES.values())  # hashlib's names, strongest first

_SCRAM = {f"SCRAM-{name}": hash_name for name, hash_name in HASHES.items()}
MECHANISMS = (*(f"{name}-PLUS" for name in _SCRAM), *_SCRAM, "PLAIN")  # the order of preference


def offered(
    *,
    tls: bool,
    plus_types: Collection[str] = (),
    allow_plain: bool = True,
    hashes: Collection[str] = ALL_HASHES,
) -> list[str]:
    """Return the mechanisms for <mechanisms/>, best first.

    `plus_types` are the channel binding types for which this stream has data; `hashes` the ones whose
    SCRAM keys are kept for accounts of this domain (none, where passwords are checked elsewhere).
    """
    scram = [name for name, hash_name in _SCRAM.items() if hash_name in hashes]
    plus = [f"{name}-PLUS" for name in scram] if tls and plus_types else []
    return [*plus, *scram, *(["PLAIN"] if tls and allow_plain else [])]


def create(
    name: str,
    *,
    domain: str,
    secret: bytes,
    offered: Collection[str] = MECHANISMS,
    channel_bindings: Mapping[str, bytes] | None = None,
    iterations: int = ITERATIONS,
    attributes: tuple[tuple[str, str], ...] = (),
) -> Mechanism:
    """Return the mechanism for one attempt; invalid-mechanism unless it was `offered` on this stream.

    `domain` is prepared. For the rest see `Scram`.
    """
    if name not in offered or name not in MECHANISMS:
        raise SASLError("invalid-mechanism")
    if name == "PLAIN":
        return Plain(name, domain)
    return Scram(
        name,
        domain,
        secret=secret,
        channel_bindings=channel_bindings,
        iterations=iterations,
        attributes=attributes,
    )
