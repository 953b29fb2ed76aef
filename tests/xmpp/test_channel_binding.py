"""XEP-0440 and XEP-0474: which channel bindings there are, and lists that a client can verify."""

import base64
import hashlib

from tests.xmpp.test_login import HEADER, Wire, _iterations, payload  # noqa: F401

BINDINGS = {"tls-exporter": b"the channel", "tls-server-end-point": b"the certificate"}


async def test_types_are_told_with_the_mechanisms(server):
    """XEP-0440 example 1; tls-server-end-point is the one that every server must have."""
    wire = Wire(server, bindings=BINDINGS)
    assert (
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>"
        "<channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
    ) in wire.features


async def test_nothing_is_told_where_there_is_none_or_after_the_login(server, new_user):
    await new_user("alice")
    assert "sasl-channel-binding" not in Wire(server).features
    wire = Wire(server, bindings=BINDINGS)
    assert "<success" in await wire.plain("alice")
    wire.says(HEADER)
    assert "sasl-channel-binding" not in wire.rest()


async def test_clients_can_verify_the_lists(server, new_user):
    """XEP-0474 3: the hash covers what this stream was offered."""
    await new_user("alice")
    for bindings, suffix in ((BINDINGS, b"\x1ftls-exporter\x1etls-server-end-point"), (None, b"")):
        for name in ("sha1", "sha256", "sha512"):
            wire = Wire(server, bindings=bindings)
            mechanisms = wire.features[: wire.features.index("</mechanisms>")]
            offered = sorted(text.split("<")[0] for text in mechanisms.split("<mechanism>")[1:])
            mechanism = f"SCRAM-SHA-{name[3:]}"
            challenge = payload(await wire.auth(mechanism, b"n,,n=alice,r=abc"))
            fields = dict(part.split("=", 1) for part in challenge.split(","))
            wanted = hashlib.new(name, "\x1e".join(offered).encode() + suffix).digest()
            assert base64.b64decode(fields["h"]) == wanted


async def test_login_with_the_attribute(server, new_user):
    await new_user("alice")
    wire = Wire(server, bindings=BINDINGS)
    answer = await wire.scram(
        "SCRAM-SHA-256-PLUS", "alice", binding=("tls-server-end-point", b"the certificate")
    )
    assert "<success" in answer
