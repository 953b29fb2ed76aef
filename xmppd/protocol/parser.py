"""Bytes to stanzas: the one front door for network XML (RFC 6120 11).

Every rule of the door holds before a byte has any effect: strict UTF-8, no DTD, comment, processing instruction or
entity, limits on bytes, depth, elements, attributes. Expat does the parsing. What is ours:

* A stanza is cut out of the input by expat's byte offsets, so that its letter stays the sender's own bytes.
* A parser belongs to nobody between two stanzas. All clients with the usual stream header have the same namespace
  context, so they borrow from one pool while a stanza is under way; an idle client holds no parser (17 KiB each).
* A parser is thrown away after MAX_PARSER_BYTES of input, which frees the name dictionaries that expat keeps.
* An unfinished tag is held back until it ends, since expat reads a tag from its start whenever bytes are added
  (quadratic, CVE-2023-52425).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from xml.parsers import expat

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import CLIENT, XML
from xmppd.protocol.stanza import CLIENT_CONTEXT, Kind, Stanza

MAX_PARSER_BYTES = 1024 * 1024
HOLD_ABOVE_BYTES = 1024  # an unfinished tag longer than this is held back

XML_LANG = f"{XML}\nlang"
WHITESPACE = b" \t\r\n"
_QUOTE_OR_END = re.compile(rb"[\"'>]")
_START_TAG = re.compile(rb"<[^\"'>]*(?:(?:\"[^\"]*\"|'[^']*')[^\"'>]*)*>")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stanza may cost. The defaults hold before login; RFC 6120 13.12 asks for >= 10,000 bytes after it."""

    max_bytes: int = 8192
    max_depth: int = 8
    max_elements: int = 32
    max_attributes: int = 32


AUTHENTICATED = Limits(max_bytes=256 * 1024, max_depth=64, max_elements=5000, max_attributes=256)


class StanzaParser:
    """Cuts the input into first-level elements inside one namespace context.

    `kinds` maps the expat names of the three stanzas of this stream ("jabber:client\\nmessage"...) to their kind.
    """

    __slots__ = (
        "_attrs",
        "_base",
        "_children",
        "_count",
        "_decoder",
        "_depth",
        "_expat",
        "_fed",
        "_held",
        "_is_holding",
        "_kinds",
        "_limits",
        "_marks",
        "_name",
        "_pending",
        "_quote",
        "_start",
        "context",
        "is_canonical",
        "is_ended",
    )

    def __init__(self, limits: Limits, context: bytes = CLIENT_CONTEXT, ns: str = CLIENT) -> None:
        self.context = context
        self.is_canonical = context == CLIENT_CONTEXT
        self.is_ended = False  # the stream's end tag was read
        self._limits = limits
        self._kinds: dict[str, Kind] = {
            f"{ns}\nmessage": "message",
            f"{ns}\npresence": "presence",
            f"{ns}\niq": "iq",
        }
        self._decoder: codecs.IncrementalDecoder | None = None
        self._pending = bytearray()  # input since the last stanza's end
        self._held = bytearray()  # the end of it, which expat has not seen: an unfinished long tag
        self._is_holding = False
        self._quote = b""  # the open quotation mark of a held tag, b"" outside quotes
        self._depth = 0
        self._children: list[str] = []
        self._marks: list[tuple[int, int, str, dict[str, str], list[str]]] = []
        self._expat = new_expat()
        self._expat.StartElementHandler = self._on_start
        self._expat.EndElementHandler = self._on_end
        self._expat.Parse(context)
        self._base = self._fed = len(context)

    @property
    def is_idle(self) -> bool:
        """Between two stanzas, with nothing of the next one read: somebody else may use the parser."""
        return not self._pending and self._depth == 1 and self._decoder is None

    @property
    def is_worn(self) -> bool:
        """Expat's dictionaries have grown enough; take a new one at the next boundary."""
        return self._fed > MAX_PARSER_BYTES

    def close(self) -> None:
        """Break the reference cycle with expat, so that memory is free at once."""
        self._expat.StartElementHandler = None
        self._expat.EndElementHandler = None

    def renewed(self) -> StanzaParser:
        """A new parser that has read what this one did since the last complete stanza."""
        parser = StanzaParser(self._limits, self.context)
        parser._kinds = self._kinds
        self.close()
        if self._pending:
            parser.feed(bytes(self._pending))
        return parser

    def feed(self, data: bytes) -> list[Stanza]:
        """Return the stanzas that these bytes complete; raise StreamError."""
        if self._decoder is not None or not data.isascii():
            self._check_utf8(data)
        buffer = data
        if self._pending:
            self._pending += data
            if len(self._pending) > self._limits.max_bytes and not self._marks:
                self._check_size(len(self._pending) - len(data))
            if self._is_holding:
                self._held += data
                if not self._tag_ends(data):
                    self._check_size(len(self._pending))
                    return []
                data = bytes(self._held)
                self._held.clear()
                self._is_holding = False
        try:
            self._expat.Parse(data)
        except expat.ExpatError as problem:
            if not self.is_ended:  # what stands behind the stream's end tag is no part of it
                raise _stream_error(problem) from problem
        self._fed += len(data)
        if not self._marks:
            if self.is_ended:
                return []
            if not self._pending:
                self._pending += data
            self._check_rest()
            return []
        stanzas, rest = self._cut(bytes(self._pending) if self._pending else buffer)
        if self._pending or rest:
            self._pending = bytearray(rest)
            if rest and not self.is_ended:
                self._check_rest()
        return stanzas

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise StreamError("policy-violation", f"a stanza may have {self._limits.max_bytes} bytes")

    def _cut(self, buffer: bytes) -> tuple[list[Stanza], bytes]:
        """Turn the marks that expat's callbacks left into stanzas; with them, what stands behind the last one."""
        stanzas = []
        base = self._base
        last = 0
        for start, stop, name, attrs, children in self._marks:
            start -= base
            stop -= base
            if start > last and buffer[last:start].strip(WHITESPACE):
                raise StreamError("bad-format", "text between stanzas")
            head_end = _end_of_start_tag(buffer, start)
            if buffer[head_end - 2] == 0x2F:  # <empty/>
                body = b""
                last = head_end
            else:
                body = buffer[head_end:stop]
                last = buffer.index(b">", stop) + 1
            self._check_size(last - start)
            kind = self._kinds.get(name, "")
            if XML_LANG in attrs:
                attrs["xml:lang"] = attrs.pop(XML_LANG)
            stanza = Stanza(kind, attrs, tuple(children), body, "" if kind else name, self.context)
            if not self.is_canonical or b"<![CDATA[" in body or b"xmlns:" in buffer[start:head_end]:
                self._rewrite(stanza, buffer[start:head_end])
            stanzas.append(stanza)
        self._marks.clear()
        self._base = base + last
        return stanzas, buffer[last:]

    def _rewrite(self, stanza: Stanza, head: bytes) -> None:
        """The letter leans on declarations that its next reader does not have: write it anew from the tree."""
        if not stanza.kind:
            stanza._element = parse_element(head + stanza.body + _end_tag(head), self.context)
            return
        tree = parse_element(head + stanza.body + _end_tag(head), self.context)
        stanza.replace_children(tree.children)

    def _check_rest(self) -> None:
        """What is left over is the beginning of the next stanza, or nothing."""
        pending = self._pending
        if self._depth == 1:
            rest = pending.lstrip(WHITESPACE)
            self._base += len(pending) - len(rest)
            self._pending = pending = rest
            if not rest:  # whitespace keepalive, RFC 6120 4.6.1
                return
            if rest[0] != 0x3C:
                raise StreamError("bad-format", "text between stanzas")
        self._check_size(len(pending))
        unread = self._fed - self._expat.CurrentByteIndex
        if unread > HOLD_ABOVE_BYTES:
            self._hold(bytes(pending[-unread:]))

    def _hold(self, tag: bytes) -> None:
        """Wait for the end of an unfinished tag, looking at each byte once."""
        if tag.startswith((b"<!--", b"<?", b"<!D", b"&")):  # no reference that XML defines is so long
            raise StreamError("restricted-xml")
        if tag.startswith(b"<"):
            self._quote = b""
            self._is_holding = not self._tag_ends(tag)

    def _tag_ends(self, data: bytes) -> bool:
        """Scan on for an unquoted '>'."""
        position = 0
        while True:
            if self._quote:
                position = data.find(self._quote, position) + 1
                if not position:
                    return False
                self._quote = b""
            match = _QUOTE_OR_END.search(data, position)
            if match is None:
                return False
            if match.group() == b">":
                return True
            self._quote = match.group()
            position = match.end()

    def _check_utf8(self, data: bytes) -> None:
        """RFC 6120 11.6: UTF-8 and nothing else, before expat could guess another encoding."""
        decoder = self._decoder or codecs.getincrementaldecoder("utf-8")("strict")
        try:
            decoder.decode(data)
        except UnicodeDecodeError as problem:
            raise StreamError("unsupported-encoding", "the stream must be UTF-8") from problem
        self._decoder = decoder if decoder.getstate()[0] else None

    # -- expat's callbacks: two for each element, so they do little

    def _on_start(self, name: str, attrs: dict[str, str]) -> None:
        depth = self._depth
        self._depth = depth + 1
        if depth == 2:
            self._children.append(name)
        elif depth == 1:
            self._start = self._expat.CurrentByteIndex
            self._name = name
            self._attrs = attrs
            self._children = []
            self._count = 0
        elif depth >= self._limits.max_depth + 1:
            raise StreamError("policy-violation", f"elements may nest {self._limits.max_depth} deep")
        self._count = count = self._count + 1 if depth else 0
        if count > self._limits.max_elements:
            raise StreamError("policy-violation", f"a stanza may have {self._limits.max_elements} elements")
        if len(attrs) > self._limits.max_attributes:
            raise StreamError(
                "policy-violation", f"an element may have {self._limits.max_attributes} attributes"
            )

    def _on_end(self, name: str) -> None:
        self._depth = depth = self._depth - 1
        if depth == 1:
            self._marks.append(
                (self._start, self._expat.CurrentByteIndex, self._name, self._attrs, self._children)
            )
        elif depth == 0:
            self.is_ended = True


class ParserPool:
    """Parsers for all streams with the usual header and one set of limits."""

    __slots__ = ("_free", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._free: list[StanzaParser] = []

    def borrow(self) -> StanzaParser:
        return self._free.pop() if self._free else StanzaParser(self.limits)

    def give_back(self, parser: StanzaParser) -> None:
        """Only an idle parser of this pool's limits; a worn one is thrown away."""
        if parser.is_worn or parser.is_ended or len(self._free) >= 64:
            parser.close()
        else:
            self._free.append(parser)


def parse_element(data: bytes, context: bytes = b"<root>") -> Element:
    """One complete element as a tree; raises StreamError. For what passed a StanzaParser, or is of our own stores."""
    nodes = [
        child for child in _build(context + data + _end_tag(context)).children if isinstance(child, Element)
    ]
    if len(nodes) != 1:
        raise StreamError("not-well-formed")
    return nodes[0]


def parse_children(context: bytes, ns: str, body: bytes) -> list[Element | str]:
    """The content of a stanza in namespace `ns` as trees and text."""
    if not body:
        return []
    if not any(special in body for special in b"<&\r"):  # text alone, as in SASL
        return [body.decode()]
    head = b"<stanza xmlns='" + ns.encode() + b"'>"
    root = _build(context + head + body + b"</stanza>" + _end_tag(context))
    return next(root.elements()).children


def _build(document: bytes) -> Element:
    parser = new_expat()
    parser.buffer_text = True
    stack = [Element("", "")]

    def on_start(name: str, attrs: dict[str, str]) -> None:
        uri, _, local = name.rpartition("\n")
        element = Element(uri, local)
        if attrs:
            element.attrs = {attribute_name(key): value for key, value in attrs.items()}
        stack[-1].children.append(element)
        stack.append(element)

    def on_end(name: str) -> None:
        stack.pop()

    def on_text(text: str) -> None:
        stack[-1].children.append(text)

    parser.StartElementHandler = on_start
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = on_text
    try:
        parser.Parse(document, True)
    except expat.ExpatError as problem:
        raise StreamError("not-well-formed") from problem
    return next(stack[0].elements())


def attribute_name(name: str) -> str:
    """Expat's name of an attribute as elements have it."""
    if "\n" not in name:
        return name
    uri, _, local = name.rpartition("\n")
    return f"xml:{local}" if uri == XML else f"{{{uri}}}{local}"


def _end_of_start_tag(buffer: bytes, start: int) -> int:
    """The index behind the '>' of the start tag at `start`; a '>' inside a quoted value does not count."""
    end = buffer.index(b">", start)
    head = buffer[start:end]
    # With one kind of quote in the tag, an even number of them means that the '>' stands outside.
    if b'"' not in head:
        if head.count(b"'") % 2 == 0:
            return end + 1
    elif b"'" not in head and head.count(b'"') % 2 == 0:
        return end + 1
    match = _START_TAG.match(buffer, start)
    if match is None:  # expat has accepted this tag, so it has an end
        raise StreamError("not-well-formed")
    return match.end()


def _end_tag(start_tag: bytes) -> bytes:
    """The end tag to a start tag; b"" when that one closes itself."""
    if start_tag.endswith(b"/>"):
        return b""
    name = re.match(rb"<([^\s/>]+)", start_tag)
    return b"</" + name.group(1) + b">" if name else b""


def _stream_error(problem: expat.ExpatError) -> StreamError:
    if problem.code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
        return StreamError("restricted-xml")
    return StreamError("not-well-formed")


def _refuse(*_: object) -> None:
    """RFC 6120 11.1: no comments, processing instructions, DTD or entities."""
    raise StreamError("restricted-xml")


def new_expat() -> expat.XMLParserType:
    parser = expat.ParserCreate("utf-8", "\n")
    # No dictionary of names shared between parsers: a stranger's names die with the parser that read them.
    if hasattr(parser, "SetReparseDeferralEnabled"):
        parser.SetReparseDeferralEnabled(False)  # expat >= 2.6 would wait for more input than a stanza has
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.CommentHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    return parser
