"""The server's certificate: make a self-signed one, read facts about one. RFC 6120 13.7.1, RFC 7590 3.4."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from django.utils.translation import gettext as _

from xmppd import bootstrap
from xmppd.bootstrap import Config

SERVICES = ("conference", "pubsub", "upload", "proxy", "search")
LIFETIME = timedelta(days=825)  # what Apple's clients accept at most

XMPP_ADDR = ObjectIdentifier("1.3.6.1.5.5.7.8.5")  # id-on-xmppAddr, RFC 6120 13.7.1.4
DNS_SRV = ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985
UTF8_STRING, IA5_STRING = 0x0C, 0x16  # ASN.1 tags


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What the console shows of a certificate. `names`: dNSName, iPAddress and xmppAddr entries without
    repetition.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_self_signed: bool
    key: str  # "ECDSA secp256r1", "RSA 2048"
    serial: str
    sha256: str  # of the DER form, in pairs with colons

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until it ends; negative when it has ended."""
        return (self.not_after - (now or datetime.now(UTC))).days

    def covers(self, domain: str) -> bool:
        """Whether a client that looks for the domain finds it."""
        wanted = to_ascii(domain)
        parent = wanted.partition(".")[2]
        return any(name in (domain, wanted) or (parent and name == f"*.{parent}") for name in self.names)


def make_self_signed(domain: str, hostname: str = "", now: datetime | None = None) -> tuple[str, str]:
    """(certificate, private key) in PEM: ECDSA P-256, for the domain, its services and the host name."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = now or datetime.now(UTC)
    name = _subject(domain)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a client's clock may be behind
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(domain, hostname)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode()


def install_self_signed(config: Config, domain: str, hostname: str = "") -> CertificateFacts:
    """Make a certificate and put it where the server reads it, both files mode 0600."""
    certificate, key = make_self_signed(domain, hostname)
    bootstrap.write_private(config.key_path, key)
    bootstrap.write_private(config.certificate_path, certificate)
    return read_facts(config.certificate_path)


def has_certificate(config: Config) -> bool:
    """Whether there is anything to keep. What an administrator has put in place is never replaced, usable or not."""
    return config.certificate_path.exists() or config.key_path.exists()


def problem(config: Config) -> str | None:
    """Why the pair cannot be used; None when it can."""
    try:
        certificate = x509.load_pem_x509_certificate(config.certificate_path.read_bytes())
        key = serialization.load_pem_private_key(config.key_path.read_bytes(), password=None)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except TypeError:
        return _("the key is encrypted; Hearth needs it without a passphrase")
    except ValueError:
        return _("one of the files is no PEM certificate or key")
    if _spki(certificate.public_key()) != _spki(key.public_key()):
        return _("the key does not belong to the certificate")
    return None


def read_facts(path: Path) -> CertificateFacts:
    """Facts of the first certificate in a PEM file; raises OSError or ValueError."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_self_signed=_is_self_signed(certificate),
        key=_key_kind(certificate),
        serial=f"{certificate.serial_number:X}",
        sha256=":".join(fingerprint[i : i + 2] for i in range(0, len(fingerprint), 2)),
    )


def to_ascii(domain: str) -> str:
    """The name as DNS and certificates have it (A-labels); an address without brackets."""
    bare = domain.strip("[]")
    if bare.isascii():
        return bare
    return idna.encode(bare).decode("ascii")


def _subject(domain: str) -> x509.Name:
    name = to_ascii(domain)
    # A common name has 64 characters at most (RFC 5280); clients look at the alternative names anyway.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name if len(name) <= 64 else "Hearth")])


def _alternative_names(domain: str, hostname: str) -> list[x509.GeneralName]:
    ascii_domain = to_ascii(domain)
    names: list[x509.GeneralName] = [_dns_or_address(ascii_domain)]
    is_address = isinstance(names[0], x509.IPAddress)
    services = [f"{service}.{domain}" for service in SERVICES]
    if not is_address:
        names += [x509.DNSName(to_ascii(service)) for service in services]
    if hostname and (host := _dns_or_address(to_ascii(hostname))) not in names:
        names.append(host)
    if not is_address:
        names += [
            x509.OtherName(DNS_SRV, _der(IA5_STRING, f"_{service}.{ascii_domain}".encode()))
            for service in ("xmpp-client", "xmpp-server")
        ]
    return names + [
        x509.OtherName(XMPP_ADDR, _der(UTF8_STRING, name.encode())) for name in [domain, *services]
    ]


def _dns_or_address(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _der(tag: int, data: bytes) -> bytes:
    """Tag, length, value."""
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + data


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        commons = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(common.value) for common in commons)
    found: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, x509.DNSName | x509.IPAddress):
            found[str(entry.value)] = None
        elif isinstance(entry, x509.OtherName) and entry.type_id == XMPP_ADDR:
            found[_der_text(entry.value)] = None
    return tuple(found)


def _der_text(data: bytes) -> str:
    skip = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    return data[skip:].decode("utf-8", "replace")


def _is_self_signed(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except Exception:  # wrong signature, or an algorithm that is not known: signed by another key
        return False
    return True


def _key_kind(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return f"{'RSA' if isinstance(key, rsa.RSAPublicKey) else 'DSA'} {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return "Ed448" if isinstance(key, ed448.Ed448PublicKey) else type(key).__name__


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
