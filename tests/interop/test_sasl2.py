"""XEP-0388, 0386, 0484 and 0198 on a real connection: back with all in one packet, before the server said a word."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from tests.hearth import PASSWORD

pytestmark = pytest.mark.interop
NS = "urn:xmpp:sasl:2"
TOKEN = "HT-SHA-256-ENDP"
AGENT = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>AwesomeXMPP</software></user-agent>"
BIND = "<bind xmlns='urn:xmpp:bind:0'><tag>Awesome</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>"


def authenticate(mechanism, data, *inline):
    text = base64.b64encode(data).decode()
    return (
        f"<authenticate xmlns='{NS}' mechanism='{mechanism}'><initial-response>{text}</initial-response>{AGENT}"
        f"{''.join(inline)}</authenticate>"
    )


async def test_password_once_then_a_token(wire, hearth):
    first = await wire().connect()
    await first.secure()
    assert f"<mechanism>{TOKEN}</mechanism>" in first.read
    first.send(
        authenticate(
            "PLAIN",
            f"\0juliet\0{PASSWORD}".encode(),
            BIND,
            f"<request-token xmlns='urn:xmpp:fast:0' mechanism='{TOKEN}'/>",
        )
    )
    success = (await first.expect("<success .*</success>"))[0]
    token = success.split(" token='")[1].split("'")[0]
    previd = success.split("<enabled xmlns='urn:xmpp:sm:3' id='")[1].split("'")[0]
    identity = "<authorization-identifier>juliet@example.org/Awesome/"
    assert identity in success
    await first.expect("</stream:features>")
    await first.ping()
    first.reset()

    again = await wire().connect("c2s_tls")
    await again.start_tls()
    certificate = hashlib.sha256(again.tls.getpeercert(binary_form=True)).digest()
    mac = hmac.digest(token.encode(), b"Initiator" + certificate, "sha256")
    again.send(
        again.header.replace(" to=", " from='juliet@example.org' to=")
        + authenticate(
            TOKEN,
            b"juliet\0" + mac,
            "<fast xmlns='urn:xmpp:fast:0' count='1'/>",
            f"<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='0'/>",
            BIND,
        )
        + "<iq type='get' id='at-once'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    success = (await again.expect("<success .*</success>"))[0]
    proof = hmac.digest(token.encode(), b"Responder" + certificate, "sha256")
    assert f"<additional-data>{base64.b64encode(proof).decode()}</additional-data>" in success
    assert identity in success
    assert f"<resumed xmlns='urn:xmpp:sm:3' previd='{previd}'" in success
    await again.expect("id='at-once'")
