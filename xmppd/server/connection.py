"""A client's connection, whatever carries it: from its first byte through TLS, login and binding to its session.

Transports subclass it and give it a wire: `send`, `start_tls`, `pause_reading`, `resume_reading`, `end`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID, JIDError, prepare_resource
from xmppd.protocol.sasl import ht
from xmppd.protocol.sasl.base import Mechanism
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.c2s import ClientStream
from xmppd.protocol.stream.events import (
    AuthRequested,
    AuthResponse,
    BindRequested,
    Closed,
    EarlyElement,
    EarlyIQ,
    Event,
    StartTLS,
    TaskChosen,
    TaskData,
)
from xmppd.protocol.stream.management import Management
from xmppd.protocol.stream.sasl2 import NOBODY, UserAgent
from xmppd.server import hooks
from xmppd.server.authentication import Login
from xmppd.server.limits import CONFLICT, MAX_SESSIONS
from xmppd.server.session import Session, ending, log_word
from xmppd.server.token_login import TokenLogin

if TYPE_CHECKING:
    from xmppd.server.account import Account
    from xmppd.server.completion import Completion
    from xmppd.server.server import Server

log = logging.getLogger("hearth.c2s")


class ClientConnection:
    """`session` is None until a resource is bound; `address` is the client's, as text."""

    __slots__ = (
        "_login",
        "account",
        "address",
        "allowance",
        "bytes_in",
        "bytes_out",
        "ending",
        "failed_for",
        "is_closed",
        "last_seen",
        "mechanism",
        "server",
        "session",
        "since",
        "stream",
        "user_agent",
    )

    transport_name = "tcp"

    def __init__(self, server: Server, address: str, *, is_direct_tls: bool = False) -> None:
        self.server = server
        self.address = address
        self.stream = ClientStream(server, is_direct_tls=is_direct_tls)
        self.session: Session | None = None
        self.account: Account | None = None
        self.since: datetime = server.clock.now()
        self.last_seen = server.tick  # seconds of the monotonic clock at the last bytes
        self.mechanism = ""
        self.user_agent: UserAgent = NOBODY  # what the client said of itself at its login (XEP-0388)
        self.allowance = 0  # bytes of a resumed session's queue, which may wait to be read beside new ones
        self.bytes_in = 0
        self.bytes_out = 0
        self.failed_for = ""  # the account whose failed login from here has been counted
        self.is_closed = False
        self.ending = ""  # why it ends, as the log says it
        self._login: Login | None = None

    # -- what a transport gives

    def send(self, data: bytes) -> None:
        raise TypeError("a transport defines send")

    def start_tls(self) -> None:
        """Begin TLS behind what has been sent; then call `tls_established`."""
        raise TypeError("a transport defines start_tls")

    def end(self, *, is_graceful: bool) -> None:
        """Close the wire once everything is written; gracefully: give the peer a moment to close its side."""
        raise TypeError("a transport defines end")

    def pause_reading(self) -> None:
        """Stop reading: a handler waits (back pressure on this client alone)."""

    def resume_reading(self) -> None:
        """Go on reading."""

    def channel_bindings(self, *, with_data: bool) -> Mapping[str, bytes]:
        """Channel binding types of this connection; with their data only when asked (it may cost)."""
        return {}

    @property
    def is_congested(self) -> bool:
        """The client reads slower than it is written to."""
        return False

    @property
    def tls_version(self) -> str:
        return ""

    @property
    def tls_cipher(self) -> str:
        return ""

    # -- bytes in

    def receive(self, data: bytes) -> None:
        """XML from the client (after TLS)."""
        session = self.session
        if session is not None:
            receive = session.receive
            for event in self.stream.receive(data):
                if type(event) is Stanza:
                    receive(event)
                else:
                    self._on_closed(event)  # type: ignore[arg-type]
            return
        events = self.stream.receive(data)
        self._write()
        for event in events:
            self._on_event(event)

    def after_verb(self) -> None:
        """A verb has been called on the stream: write its output, go on with what the client sent meanwhile."""
        self._write()
        if self.stream.is_closed:
            self._close_wire(is_graceful=False)
        elif not self.is_closed:
            self.receive(b"")

    def _write(self) -> None:
        output = self.stream.take_output()
        if output:
            self.send(output)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Stanza):
            if self.session is not None:
                self.session.receive(event)
        elif isinstance(event, AuthRequested):
            self.user_agent = event.request.user_agent if event.request is not None else NOBODY
            is_token = event.mechanism in ht.MECHANISMS
            self._login = TokenLogin(self, event) if is_token else Login(self, event)
            self._login.start(event.initial)
        elif isinstance(event, AuthResponse):
            assert self._login is not None
            self._login.respond(event.data)
        elif isinstance(event, TaskChosen):
            assert self._login is not None
            self._login.begin_task(event.name)
        elif isinstance(event, TaskData):
            assert self._login is not None
            self._login.finish_task(event.element)
        elif isinstance(event, BindRequested):
            self._bind(event)
        elif isinstance(event, EarlyIQ):
            self.server.spawn(self._answer_early(event.request))
        elif isinstance(event, EarlyElement):
            self.server.on_early_element(event.element, self)
        elif isinstance(event, StartTLS):
            self.start_tls()
        else:
            self._on_closed(event)

    # -- login and binding

    @property
    def candidate(self) -> Account | None:
        """Who is logged in here, or about to be: its name has been given and looked up."""
        return self.account or (self._login.account if self._login is not None else None)

    def logged_in(self, account: Account, mechanism: Mechanism, data: bytes | None) -> None:
        self.account = account
        self.mechanism = mechanism.name
        self._login = None
        self.stream.auth_succeeded(account.jid, data)
        self.after_verb()

    def authenticated(self, completion: Completion) -> None:
        """XEP-0388: the client is known; <success/> follows in the same turn of the loop."""
        self.account = completion.account
        self.mechanism = completion.mechanism.name
        self._login = None

    def login_completed(self, completion: Completion, inline: str) -> None:
        session = completion.session
        identity = session.jid if session is not None else completion.account.jid
        self.stream.login_completed(identity, completion.data, inline, is_resumed=completion.is_resumed)
        self._write()
        for call in completion.then:
            call()
        self.after_verb()

    async def _answer_early(self, request: Stanza) -> None:
        """An IQ before binding: in-band registration, or service-unavailable."""
        reply = await self.server.answer_early(request, self)
        if not self.is_closed:
            self.stream.answered(reply)
            self.after_verb()

    async def _reload_then_bind(self, event: BindRequested) -> None:
        """The account was written to since the login: read it again first."""
        assert self.account is not None
        try:
            account = await self.server.directory.load(self.account.jid)
        except Exception:  # the client must not wait for ever
            log.exception("binding on %s", self)
            self.close(StreamError("internal-server-error"))
            return
        if account is None or account.id != self.account.id or account.is_locked(self.server.clock.now()):
            self.close(StreamError("not-authorized", "the account is gone"))
        elif not self.is_closed:
            self.account = account
            self._bind(event)

    def _bind(self, event: BindRequested) -> None:
        assert self.account is not None
        if self.server.directory.get(self.account.jid) is not self.account:
            self.server.spawn(self._reload_then_bind(event))
            return
        try:
            jid = self.choose_resource(event.resource)
        except StanzaError as problem:
            self.stream.bind_failed(event.request, problem)
        else:
            session = self.open_session(jid)
            self.stream.bind_succeeded(event.request, jid)
            self._write()
            self.server.ask(hooks.session_bound, session)
        self.after_verb()

    def choose_resource(self, wanted: str, *, replaces: bool = False) -> JID:
        """RFC 6120 7.7: the client's wish, a name of ours where it has none or the wish cannot be had. Raises
        StanzaError. `replaces`: a session of this name ends, whatever the setting says.
        """
        account = self.account
        assert account is not None
        try:
            resource = prepare_resource(wanted) if wanted else ""
        except JIDError as problem:
            raise StanzaError("bad-request", str(problem)) from None
        taken = account.sessions.get(resource) if resource else None
        if taken is not None:
            policy = "replace" if replaces else CONFLICT.value
            if policy == "refuse":
                raise StanzaError("conflict")
            if policy == "replace":
                taken.close(StreamError("conflict"))
            else:
                resource = f"{resource.encode()[:900].decode(errors='ignore')}-{secrets.token_hex(3)}"
        if len(account.sessions) >= MAX_SESSIONS.value:
            # A client that begins anew each time leaves sessions behind, which wait for it for an hour.
            left = [session for session in account.sessions.values() if session.detached_at is not None]
            if not left:
                raise StanzaError("resource-constraint", "too many devices are connected")
            oldest = min(left, key=lambda session: session.detached_at or 0.0)
            oldest.close(StreamError("resource-constraint", "too many devices are connected"))
        return account.jid.with_resource(resource or secrets.token_urlsafe(9))

    def open_session(self, jid: JID) -> Session:
        """Bind the resource; the client is told by who calls this."""
        assert self.account is not None
        self.session = session = Session(self.server, self.account, jid, self)
        self.account.add(session)
        self.server.unauthenticated.discard(self)
        self.server.directory.now_online(self.account)
        self.server.changes += 1
        self._log_session("session-opened", session)
        return session

    def _log_session(self, event: str, session: Session) -> None:
        log.info(
            "%s jid=%s ip=%s mech=%s tls=%s",
            event,
            log_word(session.jid),
            self.address,
            self.mechanism,
            self.tls_version or "-",
        )

    def resume(self, session: Session, reply: bytes) -> None:
        """Take over a session of this account; its former connection ends (XEP-0198 5). Binding is done with that."""
        self.adopt(session)
        self.stream.resumed(reply)
        self._write()

    def give_way(self) -> None:
        """The client has come back on another connection (XEP-0198 5): this one ends, its session is to be adopted."""
        if not self.is_closed:
            self.ends("replaced", "conflict")
            self.stream.close(StreamError("conflict", "resumed on another connection"))
            self._write()
            self.lost()
            self.end(is_graceful=False)

    def adopt(self, session: Session) -> None:
        """Carry a session that another connection had; the client is told by who calls this."""
        former, session.connection = session.connection, self
        former.session = None
        former.close(StreamError("conflict", "resumed on another connection"))
        session.detached_at = None
        self.session = session
        self.allowance = session.management.queued_bytes if session.management is not None else 0
        self.bytes_in += former.bytes_in
        self.bytes_out += former.bytes_out
        if self.user_agent is NOBODY:
            self.user_agent = former.user_agent  # XEP-0388 asks at a whole login only
        self.server.unauthenticated.discard(self)
        self.server.changes += 1
        self._log_session("session-resumed", session)

    # -- the end

    def ends(self, reason: str, condition: str = "-") -> None:
        """Note for the log why it ends; what came first is the cause of the rest."""
        if not self.ending:
            self.ending = f"{reason} condition={condition}"

    def drop(self) -> None:
        """Give the connection up without a word: its client does not answer any more."""
        self.ends("timed-out")
        self.lost()
        self.end(is_graceful=False)

    def close(self, error: StreamError | None = None) -> None:
        """End the stream from our side; the session is over when this returns."""
        if self.is_closed:
            return
        self.ends(*ending(error))
        self.stream.close(error)
        self._write()
        self._close_wire(is_graceful=error is None or error.condition == "system-shutdown")

    def _on_closed(self, event: Closed) -> None:
        if self.stream.is_peer_closed:
            self.ends("closed-by-client")
        else:
            self.ends(*ending(event.error))
        if event.error is None and self.session is not None:
            self.session.when_done(self._peer_closed)  # what it sent before its closing tag counts
        else:
            self._peer_closed()

    def _peer_closed(self) -> None:
        self._write()
        self._close_wire(is_graceful=False)

    def _close_wire(self, *, is_graceful: bool) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.end(is_graceful=is_graceful)
            self._end_session()

    def lost(self) -> None:
        """The wire is gone, in whatever way; what had come whole before still counts."""
        self.is_closed = True
        self.ends("connection-lost")
        self.stream.close()
        session = self.session
        if session is None:
            self._end_session()
            return
        session.when_done(self._lose_session)
        if session.management is None and not session.is_closed:
            # It waits for the database, and nothing reaches its client any more: what is sent to it until its end is
            # handed over then, as what was not acknowledged (XEP-0198 5).
            session.management = Management()

    def _lose_session(self) -> None:
        """The session waits for its client to come back, where that was agreed (XEP-0198 5)."""
        session = self.session
        if session is not None and session.may_be_resumed and not self.stream.is_peer_closed:
            session.detached_at = self.server.tick
            self.server.changes += 1
            if not self.server.is_stopping:
                seconds = session.management.seconds if session.management is not None else 0
                log.info(
                    "session-detached jid=%s ip=%s reason=%s waits=%d",
                    log_word(session.jid),
                    self.address,
                    self.ending,
                    seconds,
                )
                self.server.ask(hooks.session_detached, session)
                return
        self._end_session()

    def _end_session(self) -> None:
        self.server.unauthenticated.discard(self)
        session, self.session = self.session, None
        if session is not None:
            session.end(self.ending)

    def __repr__(self) -> str:
        who = self.session.jid if self.session is not None else self.account.jid if self.account else "-"
        return f"<{type(self).__name__} {who} {self.address}>"
