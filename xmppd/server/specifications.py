"""What protocol, server and transports implement; the modules declare their own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from xmppd.server.module import Module, Xep

# Number, title, what of it.
RFCS: tuple[tuple[int, str, str], ...] = (
    (4616, "The PLAIN SASL Mechanism", ""),
    (5802, "SCRAM SASL Mechanisms", "SCRAM-SHA-1, with and without channel binding"),
    (5929, "Channel Bindings for TLS", "tls-server-end-point"),
    (6120, "XMPP: Core", "client to server"),
    (6121, "XMPP: Instant Messaging and Presence", "between the accounts of one server"),
    (7590, "Use of TLS in XMPP", "client to server"),
    (7622, "XMPP: Address Format", ""),
    (7677, "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS", ""),
    (8265, "PRECIS: Usernames and Passwords", ""),
    (9266, "Channel Bindings for TLS 1.3", "tls-exporter"),
)

XEPS: tuple[Xep, ...] = (
    Xep(4, "2.13.2", name="Data Forms"),
    Xep(59, "1.0", name="Result Set Management"),
    Xep(68, "1.3.0", name="Field Standardization for Data Forms"),
    Xep(82, "1.1.1", name="XMPP Date and Time Profiles"),
    Xep(86, "1.0", name="Error Condition Mappings"),
    Xep(
        122,
        "1.0.2",
        "ranges of numbers, lengths of lists, open lists",
        "Data Forms Validation",
        is_partial=True,
    ),
    Xep(203, "2.0", name="Delayed Delivery"),
    Xep(388, "1.0.4", name="Extensible SASL Profile"),
    Xep(440, "1.0.0", "tls-exporter, tls-server-end-point", "SASL Channel-Binding Type Capability"),
    Xep(474, "0.5.0", name="SASL SCRAM Downgrade Protection"),
    Xep(368, "1.1.0", "client to server", "SRV Records for XMPP over TLS", is_partial=True),
)


def implemented(classes: Iterable[type[Module]]) -> list[Xep]:
    """All XEPs by number; two declarations of one are a mistake of ours."""
    found = list(XEPS)
    for cls in classes:
        found += [xep for xep in (cls.xep, *cls.also) if xep is not None]
    found.sort(key=lambda xep: xep.number)
    for one, two in pairwise(found):
        if one.number == two.number:
            raise RuntimeError(f"{one.label} is declared twice")
    return found
