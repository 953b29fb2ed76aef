"""A stanza is an envelope (kind, attributes, names of the children) and a letter (the verbatim bytes inside).

The router reads envelopes. Only a module that needs the letter opens it (`payload`, `element`), and a message that
nobody opened is delivered with a new head and the very bytes that its sender wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.writer import clean, escape_attr, write

Kind = Literal["message", "presence", "iq", ""]

# What stands between the stream's root and a stanza of a client whose header declared nothing unusual.
CLIENT_CONTEXT = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

_TAIL = {"message": b"</message>", "presence": b"</presence>", "iq": b"</iq>"}
_START = {"message": b"<message from='", "presence": b"<presence from='", "iq": b"<iq from='"}
_TYPE = {
    name: f" type='{name}'".encode()
    for name in [
        "chat",
        "groupchat",
        "headline",
        "normal",
        "error",
        "get",
        "set",
        "result",
        "unavailable",
        "subscribe",
        "subscribed",
        "unsubscribe",
        "unsubscribed",
        "probe",
    ]
}


class Stanza:
    """One first-level element of a stream.

    `kind` is '' for an element that is no stanza; then `tag` tells which ("uri\\nname", as in `children`).
    `from_` and `to` are set by the session and the router (RFC 6120 10.3); until then they may be None.
    """

    __slots__ = (
        "_element",
        "attrs",
        "body",
        "children",
        "context",
        "from_",
        "kind",
        "received",
        "sent_id",
        "tag",
        "to",
    )

    from_: JID
    to: JID
    received: datetime  # when it first came, of one that waited in a queue of ours; unset for all others

    def __init__(
        self,
        kind: Kind,
        attrs: dict[str, str],
        children: tuple[str, ...] = (),
        body: bytes = b"",
        tag: str = "",
        context: bytes = CLIENT_CONTEXT,
    ) -> None:
        self.kind = kind
        self.attrs = attrs
        self.children = children
        self.body = body
        self.tag = tag
        self.context = context
        self.sent_id = 0  # in its sender's archive, once it stands there; -1: it already did
        self._element: Element | None = None

    # -- envelope

    @property
    def id(self) -> str:
        return self.attrs.get("id", "")

    @property
    def type(self) -> str:
        """The type attribute; '' when absent."""
        return self.attrs.get("type", "")

    def has(self, ns: str, name: str) -> bool:
        """Whether there is such a child, without opening the letter."""
        return f"{ns}\n{name}" in self.children

    # -- letter

    @property
    def element(self) -> Element:
        """The whole stanza as a tree, parsed at the first use. Changing it does not change what is delivered."""
        if self._element is None:
            from xmppd.protocol.parser import attribute_name, parse_children

            uri, _, name = (self.tag or f"{CLIENT}\n{self.kind}").rpartition("\n")
            attrs = {attribute_name(key): value for key, value in self.attrs.items()}
            self._element = Element(uri, name, attrs, parse_children(self.context, uri, self.body))
        return self._element

    @property
    def payload(self) -> Element:
        """The first child element, which is all that an IQ has; bad-request when there is none (RFC 6120 8.2.3)."""
        payload = next(self.element.elements(), None)
        if payload is None:
            raise StanzaError("bad-request", "an element is missing")
        return payload

    def find(self, ns: str, name: str) -> Element | None:
        return self.element.find(ns, name) if self.has(ns, name) else None

    def replace_children(self, children: Iterable[Element | str]) -> None:
        """Give the stanza another letter (a forged element removed, a delay added)."""
        kept = list(children)
        self.body = "".join(
            write(child, CLIENT) if isinstance(child, Element) else escape_text(child) for child in kept
        ).encode()
        self.children = tuple(f"{child.ns}\n{child.name}" for child in kept if isinstance(child, Element))
        self.context = CLIENT_CONTEXT
        self._element = None

    def append(self, child: Element) -> None:
        """Add a child at the end of the letter without opening it."""
        self.body += write(child, CLIENT).encode()
        self.children = (*self.children, f"{child.ns}\n{child.name}")
        self._element = None

    def append_bytes(self, tag: str, data: bytes) -> None:
        """As `append`, for a child that is written already; `tag` is "uri\\nname"."""
        self.body += data
        self.children = (*self.children, tag)
        self._element = None

    # -- to the wire

    def to_bytes(self, to: JID | None = None) -> bytes:
        """The stanza for the wire, from `from_` to `to` (default: its own `to`)."""
        return self.prefix() + (to or self.to).attr + self.suffix()

    def prefix(self) -> bytes:
        """All that stands before the address in `to`; with `suffix`, one letter goes to many."""
        return _START[self.kind] + self.from_.attr + b"' to='"

    def suffix(self) -> bytes:
        """All that stands behind the address in `to`."""
        attrs = self.attrs
        head = b"'"
        kind = attrs.get("type")
        if kind is not None:
            head += _TYPE.get(kind) or f" type='{escape_attr(kind)}'".encode()
        identity = attrs.get("id")
        if identity is not None:
            head += b" id='" + escape_attr(identity).encode() + b"'"
        language = attrs.get("xml:lang")
        if language is not None:
            head += b" xml:lang='" + escape_attr(language).encode() + b"'"
        if not self.body:
            return head + b"/>"
        return head + b">" + self.body + _TAIL[self.kind]

    def copy(self) -> Stanza:
        """A stanza with the same letter whose envelope may be changed."""
        copy = Stanza(self.kind, dict(self.attrs), self.children, self.body, self.tag, self.context)
        copy._element = self._element
        for slot in ("from_", "to"):
            if hasattr(self, slot):
                setattr(copy, slot, getattr(self, slot))
        return copy

    def __repr__(self) -> str:
        return f"<Stanza {self.kind or self.tag!r} {self.attrs}>"


def escape_text(text: str) -> str:
    from xmppd.protocol.writer import escape

    return escape(clean(text))


def make(
    kind: Kind,
    *children: Element | None,
    from_: JID | None = None,
    to: JID | None = None,
    type: str | None = None,
    id: str | None = None,
) -> Stanza:
    """A stanza of the server's own making."""
    attrs = {key: value for key, value in (("type", type), ("id", id)) if value is not None}
    elements = [child for child in children if child is not None]
    stanza = Stanza(
        kind,
        attrs,
        tuple(f"{child.ns}\n{child.name}" for child in elements),
        "".join(write(child, CLIENT) for child in elements).encode(),
    )
    if from_ is not None:
        stanza.from_ = from_
    if to is not None:
        stanza.to = to
    return stanza


def result(request: Stanza, payload: Element | bytes | None = None) -> bytes:
    """The result of an IQ, to its sender, with the same id (RFC 6120 8.2.3).

    A request without an id (xmpp4r's roster query) is answered by a result without one: its author matches replies by
    order, and an error would tell it that it has no roster.
    """
    head = b"<iq type='result' from='" + request.to.attr + b"' to='" + request.from_.attr + b"'"
    identity = request.attrs.get("id")
    if identity is not None:
        head += b" id='" + escape_attr(identity).encode() + b"'"
    if payload is None:
        return head + b"/>"
    body = payload if isinstance(payload, bytes) else write(payload, CLIENT).encode()
    return head + b">" + body + b"</iq>"


def error(request: Stanza, problem: StanzaError) -> Stanza | None:
    """The error answer to a stanza, addresses swapped; None where no answer is allowed (RFC 6120 8.3.1)."""
    if request.type == "error" or (request.kind == "iq" and request.type == "result"):
        return None
    answer = make(request.kind, problem.to_element(), from_=request.to, to=request.from_, type="error")
    if "id" in request.attrs:
        answer.attrs["id"] = request.attrs["id"]
    return answer
