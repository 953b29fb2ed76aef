"""A client's stream without I/O: RFC 6120 4 (streams), 5 (STARTTLS), 6 (SASL), 7 (binding).

`receive` takes bytes and returns events; it never raises: a broken peer becomes `Closed(error)`. The caller answers
with verbs (`tls_established`, `auth_succeeded`, `bind_succeeded`...), writes what `take_output` returns, and calls
`receive(b"")` after a verb, since a client may have sent its next step already (XEP-0305).

Until a resource is bound the input is read tag by tag, so that the stream stops at the very byte where its state
changes. Afterwards there are only stanzas, and whole chunks go through a borrowed parser.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from xmppd.protocol.element import Element
from xmppd.protocol.errors import SASLError, StanzaError, StreamError
from xmppd.protocol.jid import JID, JIDError, prepare_domain
from xmppd.protocol.namespaces import (
    BIND,
    CLIENT,
    SASL,
    SASL2,
    STREAM_ERRORS,
    STREAMS,
    TLS,
)
from xmppd.protocol.parser import Limits, ParserPool, StanzaParser
from xmppd.protocol.sasl.base import decode_payload, encode_payload
from xmppd.protocol.stanza import CLIENT_CONTEXT, Stanza
from xmppd.protocol.stream import features, sasl2
from xmppd.protocol.stream.events import (
    AuthRequested,
    AuthResponse,
    BindRequested,
    Closed,
    EarlyElement,
    EarlyIQ,
    Event,
    Policy,
    StartTLS,
    TaskChosen,
    TaskData,
)
from xmppd.protocol.stream.features import Has
from xmppd.protocol.stream.header import HeaderParser
from xmppd.protocol.writer import escape_attr, write

MAX_WAITING_BYTES = 64 * 1024  # what a client may send ahead while we answer its last step
BEFORE_LOGIN = ParserPool(Limits())


class ClientStream:
    """One stream, through all its restarts."""

    __slots__ = (
        "_auth_failures",
        "_expected",
        "_header",
        "_input",
        "_is_waiting",
        "_output",
        "_parser",
        "_policy",
        "_profile",
        "authenticated",
        "binding_types",
        "claimed",
        "domain",
        "has",
        "id",
        "is_closed",
        "is_direct_tls",
        "is_header_sent",
        "is_peer_closed",
        "lang",
        "offered",
    )

    def __init__(self, policy: Policy, *, is_direct_tls: bool = False) -> None:
        self._policy = policy
        self.has: int = Has.TLS if is_direct_tls else Has.NOTHING
        self.is_direct_tls = is_direct_tls
        self.domain = ""  # the one that the client asked for, prepared
        self.id = ""
        self.lang = ""
        self.claimed = ""  # `from` of the last header, as the client wrote it
        self.authenticated: JID | None = None
        self.binding_types: tuple[str, ...] = ()  # channel bindings for which this connection has data
        self.offered: tuple[str, ...] = ()  # mechanisms of the last features
        self.is_closed = False
        self.is_peer_closed = False
        self.is_header_sent = False
        self._auth_failures = 0
        self._profile = ""  # namespace of the login under way: SASL or SASL2
        self._expected = "response"  # what its client has to send next
        self._is_waiting = False
        self._input = b""
        self._output: list[bytes] = []
        self._header: HeaderParser | None = HeaderParser()
        self._parser: StanzaParser | None = None

    # -- bytes

    def receive(self, data: bytes) -> Sequence[Event]:
        """The events that these bytes complete. b"" goes on with what was left when the last verb was awaited."""
        if self.is_closed:
            return []
        try:
            if self.has & Has.BOUND and not self._input:
                return self._receive_stanzas(data)
            return self._receive_steps(data)
        except StreamError as error:
            return [self._fail(error)]

    def take_output(self) -> bytes:
        """What is to be written now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def _receive_stanzas(self, data: bytes) -> Sequence[Event]:
        parser = self._parser
        if parser is None:
            parser = self._policy.pool.borrow()
        try:
            stanzas = parser.feed(data)
        except StreamError as error:
            # What came before the fault in the same read is lost with it: no order could be promised.
            self._parser = None
            parser.close()
            return [self._fail(error)]
        if parser.is_ended:
            self._parser = None
            parser.close()
            return [*stanzas, self._peer_closed()]
        if not parser.is_idle:
            # A client that always has begun the next stanza must not keep one parser for ever.
            self._parser = parser.renewed() if parser.is_worn and stanzas else parser
        elif parser.is_canonical:
            self._parser = None
            self._policy.pool.give_back(parser)
        elif parser.is_worn:
            self._parser = StanzaParser(self._policy.pool.limits, parser.context)
            parser.close()
        else:
            self._parser = parser
        return stanzas

    def _receive_steps(self, data: bytes) -> list[Event]:
        self._input += data
        events: list[Event] = []
        while self._input and not self._is_waiting and not self.is_closed:
            if self.has & Has.BOUND:
                rest, self._input = self._input, b""
                return [*events, *self._receive_stanzas(rest)]
            end = self._input.find(b">") + 1 or len(self._input)
            piece, self._input = self._input[:end], self._input[end:]
            event = self._step(piece)
            if event is not None:
                events.append(event)
        if self.is_closed and not (events and isinstance(events[-1], Closed)):
            events.append(Closed())  # a step has ended the stream, such as the last failed login
        if len(self._input) > MAX_WAITING_BYTES:
            raise StreamError("policy-violation", "too much sent ahead")
        return events

    def _step(self, piece: bytes) -> Event | None:
        if self._header is not None:
            self._header.feed(piece)
            if self._header.root is not None:
                header, self._header = self._header, None
                self._open(header)
            return None
        assert self._parser is not None
        stanzas = self._parser.feed(piece)
        if self._parser.is_ended:
            return self._peer_closed()
        return self._negotiate(stanzas[0]) if stanzas else None

    # -- opening, RFC 6120 4.2-4.7

    def _open(self, header: HeaderParser) -> None:
        attrs = header.attrs
        self.id = secrets.token_urlsafe(12)
        self.lang = attrs.get("xml:lang", "")[:35]
        problem = self._header_problem(header)
        context = header.context()
        if context == CLIENT_CONTEXT:
            self._parser = BEFORE_LOGIN.borrow()
        else:
            self._parser = StanzaParser(BEFORE_LOGIN.limits, context)
        self._send_header(attrs.get("from", "") if problem is None else "")
        if problem is not None:
            raise problem
        self._send_features()

    def _header_problem(self, header: HeaderParser) -> StreamError | None:
        attrs = header.attrs
        self.claimed = attrs.get("from", "")
        if header.root != (STREAMS, "stream"):
            return StreamError(
                "invalid-namespace" if header.root and header.root[1] == "stream" else "bad-format"
            )
        if header.declared.get("", CLIENT) != CLIENT or "" not in header.declared:
            return StreamError("invalid-namespace")
        if not _is_version_1(attrs.get("version", "")):
            return StreamError("unsupported-version")
        try:
            domain = prepare_domain(attrs["to"]) if "to" in attrs else self._policy.default_domain
        except JIDError:
            return StreamError("host-unknown")
        if not self._policy.serves(domain):
            return StreamError("host-unknown")
        if self.authenticated is not None:
            # The identity belongs to one host for good (reliability: virtual host changed across a restart).
            if domain != self.authenticated.domain:
                return StreamError("not-authorized", "the stream was authenticated for another host")
            if not self.is_claimed_by(self.authenticated):
                return StreamError("invalid-from")
        self.domain = domain
        return None

    def is_claimed_by(self, account: JID) -> bool:
        """RFC 6120 4.7.1: `from` in the header, where there is one, names the account."""
        if not self.claimed:
            return True
        try:
            return JID.parse(self.claimed).bare == account
        except JIDError:
            return False

    def _send_header(self, to: str) -> None:
        domain = self.domain or self._policy.default_domain
        language = self.lang or "en"
        self._write(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams' id='{self.id}' from='{escape_attr(domain)}'"
            + (f" to='{escape_attr(to)}'" if to else "")
            + f" version='1.0' xml:lang='{escape_attr(language)}'>"
        )
        self.is_header_sent = True

    def _send_features(self) -> None:
        if self.has & Has.AUTH or self.needs_tls_first:
            self.offered = ()
        else:
            self.offered = tuple(self._policy.mechanisms(self))
        self._write(features.write(self, self._policy))

    @property
    def needs_tls_first(self) -> bool:
        return self._policy.is_tls_required and not self.has & Has.TLS

    # -- negotiation

    def _negotiate(self, stanza: Stanza) -> Event | None:
        ns, _, name = stanza.tag.rpartition("\n")
        if self._profile == SASL2 and ns != SASL2:
            raise StreamError("policy-violation", "a login is under way")  # XEP-0388 2.4
        if ns == TLS and name == "starttls":
            return self._on_starttls()
        if ns == SASL2:
            return self._on_sasl2(name, stanza)
        if ns == SASL:
            return self._on_sasl(name, stanza)
        if stanza.kind == "iq" and stanza.type in ("get", "set"):
            return self._on_iq(stanza)
        if self.has & Has.AUTH and not stanza.kind:
            self._is_waiting = True
            return EarlyElement(stanza)
        if stanza.kind:
            raise StreamError("not-authorized")  # RFC 6120 4.9.3.12: nothing before a resource is bound
        raise StreamError("unsupported-stanza-type")

    def _on_starttls(self) -> StartTLS | None:
        if self.has & (Has.TLS | Has.AUTH) or not self._policy.has_tls:
            self._write(f"<failure xmlns='{TLS}'/>")  # RFC 6120 5.4.2.2
            self.close()
            return None
        if self._input.strip(b" \t\r\n"):
            # Bytes behind <starttls/> were not encrypted: an attacker may have put them there (RFC 6120 5.3.2).
            # White space says nothing and is dropped with the rest: go-xmpp ends the element by a line feed.
            raise StreamError("policy-violation", "data behind starttls")
        self._write(f"<proceed xmlns='{TLS}'/>")
        self._is_waiting = True
        return StartTLS()

    def tls_established(self, binding_types: tuple[str, ...] = ()) -> None:
        """TLS is up: the stream begins anew, nothing that was said before counts (RFC 6120 5.4.3.3)."""
        self.has |= Has.TLS
        self.binding_types = binding_types
        self._input = b""  # whatever still came in the clear
        self._restart()

    def _restart(self) -> None:
        self._header = HeaderParser()
        self.is_header_sent = False
        self._drop_parser()
        self._is_waiting = False

    def _on_sasl(self, name: str, stanza: Stanza) -> Event | None:
        if self.has & Has.AUTH:
            raise StreamError("policy-violation", "already authenticated")
        if name == "auth":
            self._profile = ""
            text = stanza.element.text.strip()
            return self._on_auth(SASL, stanza.attrs.get("mechanism", ""), text, None)
        return self._on_exchange(SASL, name, stanza)

    def _on_sasl2(self, name: str, stanza: Stanza) -> Event | None:
        if self.has & Has.AUTH:
            raise StreamError("policy-violation", "already authenticated")  # XEP-0388 3.6
        if name != "authenticate":
            return self._on_exchange(SASL2, name, stanza)
        if self._profile:
            raise StreamError("policy-violation", "a login is under way")
        if not self.has & Has.TLS:
            self._refuse(SASL2, SASLError("encryption-required"))
            return None
        element = stanza.element
        return self._on_auth(
            SASL2, element.get("mechanism"), sasl2.initial_response(element), sasl2.Request.read(element)
        )

    def _on_exchange(
        self, profile: str, name: str, stanza: Stanza
    ) -> AuthResponse | TaskChosen | TaskData | None:
        if name == "abort":
            self._refuse(profile, SASLError("aborted"))
        elif name != self._expected:
            raise StreamError("unsupported-stanza-type")  # XEP-0388 2.4
        elif self._profile != profile:
            self._refuse(profile, SASLError("malformed-request"))
        elif name != "response":
            self._is_waiting = True
            return TaskChosen(stanza.element.get("task")) if name == "next" else TaskData(stanza.element)
        else:
            data = self._decode(stanza.element.text.strip())
            if self._profile:
                self._is_waiting = True
                return AuthResponse(data or b"")
        return None

    def _on_auth(
        self, profile: str, mechanism: str, text: str | None, request: sasl2.Request | None
    ) -> AuthRequested | None:
        if self.needs_tls_first:
            self._refuse(profile, SASLError("encryption-required"))
            return None
        if mechanism not in self.offered and not (
            request and mechanism in self._policy.token_mechanisms(self)
        ):
            # Only what this stream was offered (Openfire OF-3273)
            self._refuse(profile, SASLError("invalid-mechanism"))
            return None
        self._profile, self._expected = profile, "response"
        initial = self._decode(text)
        if not self._profile:
            return None
        self._is_waiting = True
        return AuthRequested(mechanism, initial, request)

    def _decode(self, text: str | None) -> bytes | None:
        """The client's data; None when it sent none, or what is not base64 and was refused already."""
        try:
            if self._profile == SASL2:
                return sasl2.decode(text)
            return decode_payload(text or "")
        except SASLError as error:
            self.auth_failed(error)
            return None

    def auth_challenge(self, data: bytes) -> None:
        self._write(f"<challenge xmlns='{self._profile}'>{encode_payload(data or None)}</challenge>")
        self._is_waiting = False

    def auth_continue(self, data: bytes | None, task: str) -> None:
        """XEP-0388 2.6.3: `data` goes along with the proof; the client has to begin this task next."""
        self._write(sasl2.continuation(data, task))
        self._expected = "next"
        self._is_waiting = False

    def task_data(self, content: Element) -> None:
        self._write(sasl2.task_data(content))
        self._expected = "task-data"
        self._is_waiting = False

    def auth_succeeded(self, account: JID, data: bytes | None = None) -> None:
        """The client is this account (bare JID); it opens its stream anew (RFC 6120 6.4.6)."""
        self._write(f"<success xmlns='{SASL}'>{encode_payload(data)}</success>")
        self.authenticated = account.bare
        self.has |= Has.AUTH
        self._profile = ""
        self._restart()

    def login_completed(
        self, identity: JID, data: bytes | None, inline: str = "", *, is_resumed: bool = False
    ) -> None:
        """XEP-0388 2.6.1: the stream goes on without a restart. A full JID is a resource that is bound already;
        of a session that `is_resumed` the client knows the features.
        """
        self._write(sasl2.success(identity, data, inline))
        self.authenticated = identity.bare
        self.has |= Has.AUTH
        self._profile = ""
        if not identity.is_bare:
            self._carry_stanzas()
        if not is_resumed:
            self._send_features()
        self._is_waiting = False

    def auth_failed(self, error: SASLError) -> None:
        """Say so; after too many failures the stream ends (RFC 6120 6.4.5)."""
        self._refuse(self._profile or SASL, error)

    def _refuse(self, profile: str, error: SASLError) -> None:
        self._write(write(error.to_element(profile), CLIENT))
        self._profile, self._expected = "", "response"
        self._is_waiting = False
        self._auth_failures += 1
        if self._auth_failures >= self._policy.max_auth_failures:
            self.close(StreamError("policy-violation", "too many failed attempts to log in"))

    def _on_iq(self, request: Stanza) -> Event | None:
        self._is_waiting = True
        if request.type == "set" and self.has & Has.AUTH and request.has(BIND, "bind"):
            resource = next((c.text for c in request.payload.findall(BIND, "resource")), "")
            return BindRequested(request, resource)
        return EarlyIQ(request)

    def resumed(self, reply: bytes) -> None:
        """A session of before goes on with this stream (XEP-0198 5): it carries stanzas from here on."""
        self._output.append(reply)
        self._carry_stanzas()

    def bind_succeeded(self, request: Stanza, jid: JID) -> None:
        """RFC 6120 7.6.1. From here on the stream carries stanzas."""
        self._write(
            f"<iq type='result' id='{escape_attr(request.id)}'><bind xmlns='{BIND}'>"
            f"<jid>{escape_attr(jid.full_str)}</jid></bind></iq>"
        )
        self._carry_stanzas()

    def _carry_stanzas(self) -> None:
        assert self._parser is not None
        context = self._parser.context
        self._drop_parser()
        self.has |= Has.BOUND
        self._is_waiting = False
        self._parser = None if context == CLIENT_CONTEXT else StanzaParser(self._policy.pool.limits, context)

    def bind_failed(self, request: Stanza, error: StanzaError) -> None:
        self._write(
            f"<iq type='error' id='{escape_attr(request.id)}'>{write(error.to_element(), CLIENT)}</iq>"
        )
        self._is_waiting = False

    def answered(self, reply: bytes) -> None:
        """The answer to an EarlyIQ or EarlyElement."""
        self._output.append(reply)
        self._is_waiting = False

    # -- the end, RFC 6120 4.4, 4.9

    def close(self, error: StreamError | None = None) -> None:
        """Send the error if there is one, and the closing tag; nothing is read any more after an error."""
        if self.is_closed:
            return
        if not self.is_header_sent:
            self._send_header("")
        if error is not None:
            self._write(_error_element(error))
        self._write("</stream:stream>")
        self.is_closed = True
        self._drop_parser()
        self._input = b""

    def _fail(self, error: StreamError) -> Closed:
        if self._parser is not None:  # it may have stopped anywhere: nobody else may get it
            self._parser.close()
            self._parser = None
        self.close(error)
        return Closed(error)

    def _peer_closed(self) -> Closed:
        self.is_peer_closed = True
        self.close()
        return Closed()

    def _drop_parser(self) -> None:
        """The parser of the negotiation is over; a usual one goes back to where it came from."""
        parser, self._parser = self._parser, None
        if parser is None:
            return
        if parser.is_canonical and parser.is_idle and not self.has & Has.BOUND:
            BEFORE_LOGIN.give_back(parser)
        else:
            parser.close()

    def _write(self, text: str) -> None:
        self._output.append(text.encode())


def _error_element(error: StreamError) -> str:
    text = (
        f"<text xmlns='{STREAM_ERRORS}' xml:lang='en'>{escape_attr(error.text)}</text>" if error.text else ""
    )
    extra = "".join(write(element) for element in error.extra)
    content = escape_attr(error.content or "")
    return (
        f"<stream:error><{error.condition} xmlns='{STREAM_ERRORS}'>{content}</{error.condition}>"
        f"{text}{extra}</stream:error>"
    )


def _is_version_1(version: str) -> bool:
    """RFC 6120 4.7.5: the lower of both majors; we speak 1.x only."""
    major, _, minor = version.partition(".")
    return major.isdecimal() and minor.isdecimal() and int(major) >= 1
