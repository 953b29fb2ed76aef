"""TLS inside our own connections: `ssl.SSLObject` over memory BIOs (a fifteenth of the memory of asyncio's TLS), the
server's certificate with live reload, and channel bindings (RFC 5929 4, RFC 9266).
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import ssl
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

log = logging.getLogger("hearth.tls")

READ_BYTES = 64 * 1024
EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 2
EXPORTER_BYTES = 32
END_POINT = "tls-server-end-point"
EXPORTER = "tls-exporter"


class TLSError(Exception):
    """The handshake or a record failed; the text is OpenSSL's reason."""


class TLS:
    """One connection's TLS: ciphertext in, plaintext out, and the other way round."""

    __slots__ = ("_incoming", "_object", "_outgoing", "is_established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_established = False

    def feed(self, data: bytes) -> bytes:
        """Take ciphertext; return the plaintext it completes. Raises TLSError."""
        self._incoming.write(data)
        try:
            if not self.is_established:
                self._object.do_handshake()
                self.is_established = True
            first = self._object.read(READ_BYTES)
            if len(first) < 16 * 1024 and not self._object.pending() and not self._incoming.pending:
                return first
            return first + self._read_more()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            return b""  # the peer closed its side; its FIN follows
        except ssl.SSLError as error:
            raise TLSError(error.reason or str(error)) from error

    def _read_more(self) -> bytes:
        chunks = []
        try:
            while chunk := self._object.read(READ_BYTES):
                chunks.append(chunk)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(chunks)

    def pending_output(self) -> bytes:
        """Handshake bytes and the like that are to be sent."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Plaintext to what goes on the wire."""
        self._object.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The bytes that tell the peer of the end (RFC 8446 6.1)."""
        with suppress(ssl.SSLError, ValueError):  # it wants the peer's answer, which nobody waits for
            self._object.unwrap()
        return self._outgoing.read()

    @property
    def version(self) -> str:
        """ "TLSv1.3"; '' before the handshake."""
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        cipher = self._object.cipher()
        return cipher[0] if cipher else ""

    def exporter(self) -> bytes:
        """The channel binding tls-exporter of this connection (TLS 1.3)."""
        return _export(self._object)


class Certificate:
    """The server's certificate and key; `context` always serves the newest pair that can be loaded (F14)."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._stamp: tuple[float, float] | None = None
        self.context: ssl.SSLContext | None = None
        self.end_point = b""  # tls-server-end-point: the hash of the certificate
        self.reload()

    def reload(self) -> bool:
        """Read the files again if they changed. A pair that does not fit leaves the old one in use, with a log line."""
        try:
            stamp = (self._certificate.stat().st_mtime, self._key.stat().st_mtime)
        except OSError:
            return False
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            context = _new_context()
            context.load_cert_chain(self._certificate, self._key, _no_passphrase)
            end_point = _end_point_hash(self._certificate.read_bytes())
        except (OSError, ssl.SSLError, ValueError) as error:
            log.error("certificate %s cannot be used, the one before stays: %s", self._certificate, error)
            return False
        self.context, self.end_point = context, end_point
        log.info("certificate loaded from %s", self._certificate)
        return True


def _no_passphrase() -> str:
    """OpenSSL would ask at the terminal, and everything would stand still until somebody answers."""
    raise ValueError("the key is encrypted")


def _new_context() -> ssl.SSLContext:
    """RFC 9325: TLS 1.2 with forward secrecy or 1.3, no compression, no renegotiation (reliability row 19)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # sessions are never resumed: SASL has to run anyway, and tickets cost memory
    context.set_alpn_protocols(["xmpp-client"])  # XEP-0368; a client that offers none is served as well
    return context


def _end_point_hash(pem: bytes) -> bytes:
    """RFC 5929 4.1: by the hash of the certificate's signature, SHA-256 where that is weaker."""
    certificate = x509.load_pem_x509_certificates(pem)[0]
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return hashlib.new(algorithm.name, certificate.public_bytes(Encoding.DER)).digest()


# CPython has no API for the exporter (gh-82133). SSL_export_keying_material is called in the very library that _ssl
# uses, on the SSL* that stands behind the object's head; a self-test at start decides whether that can be relied on.


def _export(connection: ssl.SSLObject) -> bytes:
    library = _libssl()
    raw = connection._sslobj  # type: ignore[attr-defined]
    # PyObject_HEAD (refcount, type), PyObject *Socket, SSL *ssl
    pointer = ctypes.c_void_p.from_address(
        id(raw) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    ).value
    buffer = ctypes.create_string_buffer(EXPORTER_BYTES)
    done = library.SSL_export_keying_material(
        ctypes.c_void_p(pointer), buffer, EXPORTER_BYTES, EXPORTER_LABEL, len(EXPORTER_LABEL), b"", 0, 1
    )
    if done != 1:
        raise TLSError("no keying material")
    return buffer.raw


def _libssl() -> ctypes.CDLL:
    import _ssl

    library = ctypes.CDLL(_ssl.__file__)
    library.SSL_export_keying_material.restype = ctypes.c_int
    library.SSL_export_keying_material.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
    ]
    return library


def exporter_works(certificate: Path, key: Path) -> bool:
    """Whether both ends of a TLS 1.3 connection in memory export the same 32 bytes, and other ones the second time.

    Runs in a child process: what reads a wrong place may crash, and must not crash the server.
    """
    import subprocess
    import sys

    code = "import sys; from xmppd.transports.tls import self_test; sys.exit(0 if self_test(*sys.argv[1:]) else 1)"
    root = Path(__file__).resolve().parents[2]
    try:
        run = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code, str(certificate), str(key)],
            cwd=root,
            timeout=20,
            check=False,
            capture_output=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def self_test(certificate: str, key: str) -> bool:
    values = []
    for _ in range(2):
        context = _new_context()
        context.load_cert_chain(certificate, key)
        server = TLS(context)
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.check_hostname = False
        client_context.verify_mode = ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(incoming, outgoing)
        for _step in range(4):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
            server.feed(outgoing.read())
            incoming.write(server.pending_output())
        if server.version != "TLSv1.3":
            return False
        values += [server.exporter(), _export(client)]
    return values[0] == values[1] and values[2] == values[3] and values[0] != values[2]
