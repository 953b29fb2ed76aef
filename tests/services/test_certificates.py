"""Certificates: the self-signed one that set-up makes, and the facts that the console shows."""

import ssl
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from xmppd.services import certificates


@pytest.fixture
def config(tmp_path):
    return replace(settings.CONFIG, home=tmp_path)


def test_pair_is_written_for_the_owner_alone_and_loads(config):
    facts = certificates.install_self_signed(config, "example.org", "chat.example.org")
    for path in (config.certificate_path, config.key_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        config.certificate_path, config.key_path
    )
    assert facts.is_self_signed
    assert facts.key == "ECDSA secp256r1"
    assert facts.subject == facts.issuer == "CN=example.org"
    assert facts.days_left() == 824
    assert {"example.org", "conference.example.org", "upload.example.org", "chat.example.org"} <= set(
        facts.names
    )


def handshake(config, name):
    """A client that trusts the certificate and checks it for the name, over memory."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(config.certificate_path, config.key_path)
    client = ssl.create_default_context(cafile=config.certificate_path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _turn in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("example.org", ["example.org", "conference.example.org", "chat.example.org"]),
        ("localhost", ["localhost", "conference.localhost"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("[::1]", ["::1"]),
        ("bücher.example", ["xn--bcher-kva.example"]),
    ],
)
def test_client_that_trusts_it_finds_every_name(config, domain, names):
    certificates.install_self_signed(config, domain, "chat.example.org")
    for name in names:
        assert handshake(config, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(config, "other.example")


def test_names_of_the_protocol_stand_in_it(config):
    certificates.install_self_signed(config, "bücher.example")
    certificate = x509.load_pem_x509_certificate(config.certificate_path.read_bytes())
    others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    values = {(o.type_id.dotted_string, o.value) for o in others if isinstance(o, x509.OtherName)}
    assert ("1.3.6.1.5.5.7.8.5", b"\x0c\x0f" + "bücher.example".encode()) in values
    srv = b"_xmpp-client.xn--bcher-kva.example"
    assert ("1.3.6.1.5.5.7.8.7", bytes([0x16, len(srv)]) + srv) in values


def test_long_domain_fits(config):
    domain = ".".join(["a" * 60] * 3)
    facts = certificates.install_self_signed(config, domain)
    assert domain in facts.names


def test_end_is_counted_in_days(config):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    pem, _key = certificates.make_self_signed("example.org", now=now)
    config.certificate_path.parent.mkdir()
    config.certificate_path.write_text(pem)
    facts = certificates.read_facts(config.certificate_path)
    assert facts.days_left(now) == 825
    assert facts.days_left(now + timedelta(days=900)) < 0


def test_certificate_of_an_authority_is_not_called_self_signed(config):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    authority, leaf = (ec.generate_private_key(ec.SECP256R1()) for _n in range(2))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)  # of the same name, which proves nothing
        .public_key(leaf.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(authority, certificates.hashes.SHA256())
    )
    config.certificate_path.parent.mkdir()
    config.certificate_path.write_bytes(certificate.public_bytes(certificates.serialization.Encoding.PEM))
    facts = certificates.read_facts(config.certificate_path)
    assert not facts.is_self_signed
    assert facts.names == ("example.org",)


def test_domains_covered():
    facts = certificates.CertificateFacts(
        "",
        "",
        ("example.org", "*.example.net", "xn--bcher-kva.example"),
        *[datetime.now(UTC)] * 2,
        True,
        "",
        "",
        "",
    )
    assert facts.covers("example.org")
    assert facts.covers("chat.example.net")
    assert facts.covers("bücher.example")
    assert not facts.covers("example.net")
    assert not facts.covers("a.b.example.net")


def test_pair_can_be_used_only_when_it_fits_together(config):
    assert not certificates.has_certificate(config)
    certificates.install_self_signed(config, "example.org")
    assert certificates.problem(config) is None
    config.key_path.write_text(certificates.make_self_signed("example.org")[1])
    assert "does not belong" in certificates.problem(config)
    config.key_path.write_text("rubbish")
    assert "no PEM" in certificates.problem(config)
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = serialization.BestAvailableEncryption(b"secret")
    config.key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
    )
    assert "encrypted" in certificates.problem(config)
    assert certificates.has_certificate(config)  # what somebody put there is never replaced


def test_file_that_is_no_certificate_is_an_error(config):
    config.certificate_path.parent.mkdir()
    config.certificate_path.write_text("rubbish")
    with pytest.raises(ValueError, match="PEM"):
        certificates.read_facts(config.certificate_path)
