"""TLS on the wire: versions, STARTTLS and direct, ALPN, certificates renewed while streams live, channel bindings."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import shutil
import signal
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.hearth import PASSWORD, Hearth
from tests.wire import PATIENCE, SASL, Wire, trusting
from xmppd.services.certificates import make_self_signed

pytestmark = pytest.mark.interop
TLS = ssl.TLSVersion


# -- versions and ways in


@pytest.mark.parametrize(("version", "name"), [(TLS.TLSv1_2, "TLSv1.2"), (TLS.TLSv1_3, "TLSv1.3")])
@pytest.mark.parametrize("port", ["c2s", "c2s_tls"])
async def test_both_versions_both_ways(wire, hearth, version, name, port):
    client = await wire(context=trusting(hearth, minimum_version=version, maximum_version=version)).connect(
        port
    )
    if port == "c2s":
        await client.secure()
    else:
        await client.start_tls()
        client.send(client.header)
        await client.expect("</stream:features>", keep=True)
    assert client.tls.version() == name
    assert "starttls" not in client.read
    assert "<mechanism>SCRAM-SHA-256-PLUS</mechanism>" in client.read


@pytest.mark.parametrize("version", [TLS.TLSv1, TLS.TLSv1_1])
async def test_old_versions_are_refused(wire, hearth, version):
    context = trusting(hearth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = TLS.TLSv1
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server who refuses
    client = await wire(context=context).connect("c2s_tls")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version|unsupported protocol"):
        await client.start_tls()


async def test_cipher_without_forward_secrecy_is_refused(wire, hearth):
    context = trusting(hearth, maximum_version=TLS.TLSv1_2)
    context.set_ciphers("AES256-GCM-SHA384:AES128-SHA")
    client = await wire(context=context).connect("c2s_tls")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake failure"):
        await client.start_tls()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["xmpp-client"], "xmpp-client"), (["h2", "xmpp-client"], "xmpp-client"), (["h2"], None)],
)
async def test_alpn(wire, hearth, offered, chosen):
    context = trusting(hearth)
    context.set_alpn_protocols(offered)
    client = await wire(context=context).connect("c2s_tls")
    await client.start_tls()
    assert client.tls.selected_alpn_protocol() == chosen


async def test_starttls_on_the_direct_port_is_not_offered_twice(wire):
    client = await wire().connect("c2s_tls")
    await client.start_tls()
    client.send(client.header)
    await client.expect("</stream:features>")
    client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert "<failure" in await client.end()


# -- channel bindings: the mechanism with the data of this very connection, computed by the client


def end_point(client: Wire) -> bytes:
    return hashlib.sha256(client.tls.getpeercert(binary_form=True)).digest()


class Scram:
    """RFC 5802, the client's side, with a channel binding."""

    def __init__(self, binding: str, data: bytes, digest: str = "sha256") -> None:
        self.digest = digest
        self.gs2 = f"p={binding},,"
        self.data = data
        self.bare = f"n=juliet,r={secrets.token_hex(12)}"

    @property
    def first(self) -> str:
        return base64.b64encode((self.gs2 + self.bare).encode()).decode()

    def final(self, challenge: str) -> str:
        server_first = base64.b64decode(challenge).decode()
        fields = dict(field.split("=", 1) for field in server_first.split(","))
        binding = base64.b64encode(self.gs2.encode() + self.data).decode()
        without_proof = f"c={binding},r={fields['r']}"
        salted = hashlib.pbkdf2_hmac(
            self.digest, PASSWORD.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        message = f"{self.bare},{server_first},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", self.digest)
        signature = hmac.digest(hashlib.new(self.digest, client_key).digest(), message, self.digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.verifier = hmac.digest(hmac.digest(salted, b"Server Key", self.digest), message, self.digest)
        return base64.b64encode(f"{without_proof},p={base64.b64encode(proof).decode()}".encode()).decode()


MECHANISM = {"sha1": "SCRAM-SHA-1-PLUS", "sha256": "SCRAM-SHA-256-PLUS", "sha512": "SCRAM-SHA-512-PLUS"}


async def authenticate(client: Wire, scram: Scram) -> str:
    """“success”, or the condition of the failure."""
    client.send(f"<auth xmlns='{SASL}' mechanism='{MECHANISM[scram.digest]}'>{scram.first}</auth>")
    challenge = (await client.expect("<challenge[^>]*>([^<]*)</challenge>"))[1]
    client.send(f"<response xmlns='{SASL}'>{scram.final(challenge)}</response>")
    outcome = await client.expect("<success[^>]*>([^<]*)</success>|<failure[^>]*><([a-z-]+)")
    if outcome[2]:
        return outcome[2]
    verifier = base64.b64encode(scram.verifier).decode()
    assert base64.b64decode(outcome[1]).decode() == f"v={verifier}"
    return "success"


@pytest.mark.parametrize("version", [TLS.TLSv1_2, TLS.TLSv1_3])
@pytest.mark.parametrize("digest", MECHANISM)
async def test_scram_plus_with_the_certificate(wire, hearth, version, digest):
    client = await wire(context=trusting(hearth, minimum_version=version, maximum_version=version)).connect()
    await client.secure()
    client.read = ""
    assert await authenticate(client, Scram("tls-server-end-point", end_point(client), digest)) == "success"
    assert await client.bind("bound") == "juliet@example.org/bound"


async def test_scram_plus_through_somebody_in_the_middle_fails(wire):
    """The client saw another certificate than ours."""
    client = await wire().connect()
    await client.secure()
    client.read = ""
    scram = Scram("tls-server-end-point", hashlib.sha256(b"another certificate").digest())
    assert await authenticate(client, scram) == "not-authorized"


class ExporterWire(Wire):
    """TLS 1.3 by pyOpenSSL, which has the exporter that Python's ssl lacks. It blocks, so it runs on a thread."""

    async def connect(self, port: str = "c2s_tls", *, receive_buffer: int = 0) -> Wire:
        await asyncio.to_thread(self._connect, self.hearth.ports[port])
        return self

    def _connect(self, port: int) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.load_verify_locations(str(self.hearth.home / "certificates" / "server.crt"))
        context.set_verify(SSL.VERIFY_PEER)
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._connection = SSL.Connection(context, self._socket)
        self._connection.set_connect_state()
        self._connection.do_handshake()

    def exporter(self) -> bytes:
        """RFC 9266 2."""
        return self._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def send(self, data: str | bytes) -> None:
        self._connection.sendall(data.encode() if isinstance(data, str) else data)

    async def expect(self, pattern: str, *, keep: bool = False) -> re.Match[str]:
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.read)):
                self.read += (await asyncio.to_thread(self._connection.recv, 65536)).decode()
        if not keep:
            self.read = self.read[found.end() :]
        return found

    def close(self) -> None:
        self._socket.close()


async def connect_when_exporter_is_offered(hearth: Hearth) -> ExporterWire:
    """The server tests itself while it serves already."""
    deadline = time.monotonic() + PATIENCE
    while True:
        client = ExporterWire(hearth)
        await client.connect()
        client.send(client.header)
        await client.expect("</stream:features>")
        scram = Scram("tls-exporter", b"")
        client.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>{scram.first}</auth>")
        if (await client.expect("<(challenge|failure)"))[1] == "challenge":
            client.send(f"<abort xmlns='{SASL}'/>")
            await client.expect("<aborted")
            return client
        client.close()
        assert time.monotonic() < deadline


@pytest.mark.parametrize("is_right", [True, False])
async def test_scram_plus_with_the_exporter(hearth, is_right):
    client = await connect_when_exporter_is_offered(hearth)
    try:
        data = client.exporter() if is_right else bytes(32)
        outcome = await authenticate(client, Scram("tls-exporter", data))
        assert outcome == ("success" if is_right else "not-authorized")
        if is_right:
            assert await client.bind("bound") == "juliet@example.org/bound"
    finally:
        client.close()


# -- renewal


@pytest.fixture
def renewable(hearth: Hearth, tmp_path: Path) -> Iterator[Path]:
    """The folder with server.crt and server.key, put back at the end."""
    folder = hearth.home / "certificates"
    shutil.copytree(folder, tmp_path / "before")
    yield folder
    shutil.copytree(tmp_path / "before", folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    hearth.process.send_signal(signal.SIGHUP)


async def served(hearth: Hearth) -> bytes:
    """The certificate that a new connection gets, DER."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = Wire(hearth, context=context)
    await (await client.connect("c2s_tls")).start_tls()
    certificate = client.tls.getpeercert(binary_form=True)
    client.close()
    return certificate


async def test_renewed_certificate_is_served_and_old_streams_live(wire, hearth, renewable):
    old = await served(hearth)
    client = await wire().connect()
    await client.log_in("juliet")
    certificate, key = make_self_signed("example.org")
    (renewable / "server.key").write_text(key)
    (renewable / "server.crt").write_text(certificate)
    hearth.process.send_signal(signal.SIGHUP)
    new = ssl.PEM_cert_to_DER_cert(certificate)
    async with asyncio.timeout(PATIENCE):
        while await served(hearth) != new:
            pass
    assert new != old
    await client.ping()
    fresh = await wire().connect()  # trusts what stands on disk
    await fresh.secure()
    fresh.read = ""
    assert await authenticate(fresh, Scram("tls-server-end-point", end_point(fresh))) == "success"


async def test_pair_that_does_not_fit_keeps_the_old_one(wire, hearth, renewable):
    old = await served(hearth)
    certificate, _ = make_self_signed("example.org")
    (renewable / "server.crt").write_text(certificate)  # with the old key
    hearth.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while "cannot be used, the one before stays" not in hearth.text():
            await asyncio.sleep(0.05)
    assert await served(hearth) == old
    (renewable / "server.crt").unlink()
    hearth.process.send_signal(signal.SIGHUP)
    assert await served(hearth) == old
