"""The header that opens a stream (RFC 6120 4.7)."""

from __future__ import annotations

import codecs
import re
from xml.parsers import expat

from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import CLIENT, STREAMS
from xmppd.protocol.parser import WHITESPACE, XML_LANG, new_expat
from xmppd.protocol.stanza import CLIENT_CONTEXT
from xmppd.protocol.writer import escape_attr

MAX_KNOWN_HEADERS = 500
MAX_KNOWN_BYTES = 300
# seen -> root, attributes, declared namespaces
_known_headers: dict[bytes, tuple[tuple[str, str], dict[str, str], dict[str, str]]] = {}


class HeaderParser:
    """Reads the stream header (RFC 6120 4.7): the root's start tag, with an XML declaration before it or not."""

    MAX_BYTES = 4096

    def __init__(self) -> None:
        self._seen = b""
        self._expat: expat.XMLParserType | None = None
        self._parsed = 0  # of the bytes seen, what expat has had
        self.root: tuple[str, str] | None = None  # namespace, name
        self.attrs: dict[str, str] = {}
        self.declared: dict[str, str] = {}  # prefix ('' = default) -> namespace

    def feed(self, data: bytes) -> int | None:
        """How many of these bytes belong to the header; None when it is not complete yet. Raises StreamError."""
        position = 0
        if (
            not self._seen
        ):  # keepalives of the stream before; nothing may stand in front of an XML declaration
            position = len(data) - len(data.lstrip(WHITESPACE))
        while self.root is None:
            end = data.find(b">", position) + 1
            piece = data[position : end or len(data)]
            self._check(piece)
            self._read()
            position += len(piece)
            if not end:
                return position if self.root else None
        return position

    def _read(self) -> None:
        """Clients of one kind say the same, three times at each login: what was read once is known."""
        seen = self._seen
        known = _known_headers.get(seen)
        if known is not None and not self._parsed:
            self.root, self.attrs, self.declared = known
        elif seen.endswith(b"?>") and not self._parsed:
            return  # the declaration: the header's root follows
        else:
            self._parse()
            if self.root is not None and len(seen) <= MAX_KNOWN_BYTES:
                if len(_known_headers) >= MAX_KNOWN_HEADERS:
                    _known_headers.clear()
                _known_headers[seen] = self.root, self.attrs, self.declared

    def _parse(self) -> None:
        parser = self._expat
        if parser is None:
            self._expat = parser = new_expat()
            parser.XmlDeclHandler = self._on_declaration
            parser.StartNamespaceDeclHandler = self._on_namespace
            parser.StartElementHandler = self._on_start
        try:
            parser.Parse(self._seen[self._parsed :])
        except expat.ExpatError as problem:
            raise StreamError("not-well-formed") from problem
        self._parsed = len(self._seen)

    def _check(self, piece: bytes) -> None:
        self._seen += piece
        if len(self._seen) > self.MAX_BYTES:
            raise StreamError("policy-violation", f"a stream header may have {self.MAX_BYTES} bytes")
        if b"\0" in piece:
            raise StreamError("unsupported-encoding", "the stream must be UTF-8")
        if not self._seen.isascii():
            self._check_utf8()
        if self._seen.lstrip(b"\xef\xbb\xbf" + WHITESPACE)[:1] not in (b"", b"<"):
            raise StreamError("not-well-formed")

    def _check_utf8(self) -> None:
        try:
            codecs.getincrementaldecoder("utf-8")("strict").decode(self._seen)
        except UnicodeDecodeError as problem:
            raise StreamError("unsupported-encoding", "the stream must be UTF-8") from problem

    def _on_declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            raise StreamError("unsupported-encoding", "the stream must be UTF-8")

    def _on_namespace(self, prefix: str | None, uri: str) -> None:
        if len(self.declared) >= 32:
            raise StreamError("policy-violation", "too many namespaces")
        self.declared[prefix or ""] = uri

    def _on_start(self, name: str, attrs: dict[str, str]) -> None:
        uri, _, local = name.rpartition("\n")
        self.root = uri, local
        self.attrs = {("xml:lang" if key == XML_LANG else key): value for key, value in attrs.items()}

    def context(self) -> bytes:
        """The start tag under which this stream's stanzas are parsed."""
        extra = {prefix: uri for prefix, uri in self.declared.items() if prefix not in ("", "stream")}
        if not extra and self.declared.get("") == CLIENT and self.declared.get("stream") == STREAMS:
            return CLIENT_CONTEXT
        declarations = "".join(
            f" xmlns{':' if prefix else ''}{prefix}='{escape_attr(uri)}'"
            for prefix, uri in self.declared.items()
        )
        return b"<" + self._root_name() + declarations.encode() + b">"

    def _root_name(self) -> bytes:
        """The root's name with its prefix as written, which the end tag of the stream repeats."""
        match = re.search(rb"<([^\s<>/?!]+)[^<]*$", self._seen)
        return match.group(1) if match else b"root"
