"""A session: one bound resource of an account (RFC 6120 7), and what it says on its way to the router."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from xmppd.protocol import delay
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import DELAY
from xmppd.protocol.stanza import Stanza, error
from xmppd.protocol.stream.client_state import Holding
from xmppd.protocol.stream.management import REQUEST, Management
from xmppd.server import blocking, hooks
from xmppd.server.deferred import Deferred
from xmppd.server.hooks import STOP
from xmppd.server.limits import MAX_QUEUED_BYTES, MAX_QUEUED_STANZAS
from xmppd.services.db import OUT_OF_REACH, refusal

if TYPE_CHECKING:
    from xmppd.server.account import Account
    from xmppd.server.connection import ClientConnection
    from xmppd.server.server import Server

log = logging.getLogger("hearth.session")
ends_log = logging.getLogger("hearth.c2s")  # beside the lines of how sessions begin
MAX_BACKLOG = 16  # stanzas that queue behind a waiting one before the client is not read any more
OVERFLOW_SECONDS = 5.0  # in which a client must acknowledge something when too much is on its way to it
LATE_SECONDS = (
    3.0  # what comes that much later bears a stamp (XEP-0203); the times in queues are a second coarse
)
FAR_TOO_MUCH = 4  # times what may be unacknowledged: not even for so long
_DELAY = f"{DELAY}\ndelay"


class Session:
    """`presence` is the last available presence sent to all; None while the resource is connected but not available.

    `interests` holds the namespaces whose pushes this resource asked for (the roster's: RFC 6121 2.2).
    """

    __slots__ = (
        "_at_end",
        "_backlog",
        "_is_given_up",
        "_is_paused",
        "account",
        "best_since",
        "connection",
        "copies_since",
        "detached_at",
        "directed",
        "holding",
        "interests",
        "is_closed",
        "jid",
        "lang",
        "management",
        "presence",
        "priority",
        "server",
        "show",
        "since",
        "software",
        "stanzas_in",
        "stanzas_out",
        "status_text",
    )

    def __init__(self, server: Server, account: Account, jid: JID, connection: ClientConnection) -> None:
        self.server = server
        self.account = account
        self.jid = jid
        self.connection = connection
        self.presence: Stanza | None = None
        self.show = ""  # of the last available presence (RFC 6121 4.7.2), for those who look at many sessions
        self.status_text = ""
        self.priority = 0
        self.directed: set[JID] | None = None  # who got our presence directly (RFC 6121 4.6)
        self.interests: frozenset[str] = frozenset()
        self.lang = connection.stream.lang
        self.since: datetime = server.clock.now()
        self.software = ""  # what the client answered to a version query (XEP-0092)
        self.stanzas_in = 0
        self.stanzas_out = 0
        self.is_closed = False
        self.management: Management | None = None  # counters of XEP-0198, once the client enabled it
        self.detached_at: float | None = None  # since when it waits for its client to come back (server.tick)
        self.copies_since: float | None = None  # since when it gets copies (XEP-0280; server.tick)
        self.holding: Holding | None = None  # what waits while nobody looks at the client (XEP-0352)
        self._backlog: deque[Stanza] | None = None  # what came while a handler waits for the database
        self.best_since: float | None = (
            None  # since when it is among those that take bare messages (server.tick)
        )
        self._is_paused = False
        self._is_given_up = False
        self._at_end: tuple[Callable[[], None], ...] = ()

    # -- out

    def send(self, data: bytes) -> None:
        """Write bytes of a whole stanza to the client; gathered into one write per loop turn."""
        if self.holding is not None and self._holds(data, self.holding):
            return
        self.stanzas_out += 1
        management = self.management
        if management is None:
            self.connection.send(data)
        else:
            self._send_managed(data, management)

    def _holds(self, data: bytes, holding: Holding) -> bool:
        """Whether the stanza waits; one that does not takes along what came before it."""
        if holding.takes(data, self.server.tick):
            return True
        self.flush()
        return False

    def flush(self) -> None:
        """Send what waited for the client's user, in order."""
        holding, self.holding = self.holding, None
        if holding is not None:
            for data, since in holding.release():
                self._send_late(data, since)
            self.holding = holding

    def _send_late(self, data: bytes, since: float) -> None:
        """What waited keeps the time at which it came, in the queue of XEP-0198 too."""
        self.stanzas_out += 1
        management = self.management
        if management is None:
            self.connection.send(self.stamped(data, since))
        else:
            self._send_managed(data, management, since)

    def stamped(self, data: bytes, since: float) -> bytes:
        """The stanza as it is written now although it came then (server.tick), if that is a while ago (XEP-0203)."""
        server = self.server
        if server.tick - since < LATE_SECONDS:
            return data
        came = server.clock.now() - timedelta(seconds=server.clock.monotonic() - since)
        return delay.stamped(data, came.replace(microsecond=0), server.jid, server.domains)

    def _send_managed(self, data: bytes, management: Management, since: float | None = None) -> None:
        """XEP-0198 4: kept until the client says that it has it. A detached session's stanzas wait for it. `since`: of
        what has waited already.
        """
        is_due = management.add(data, self.server.tick if since is None else since)
        if self.detached_at is None:
            self.connection.send(data if since is None else self.stamped(data, since))
            if is_due:
                self.request_acknowledgement(management)
        if len(management) > MAX_QUEUED_STANZAS.value or management.queued_bytes > MAX_QUEUED_BYTES.value:
            self._overflow(management)

    def _overflow(self, management: Management) -> None:
        """More is unacknowledged than may be kept. A client that is there is given some seconds to say what it has: one
        turn of the loop may bring a page of the archive or all occupants of a room.
        """
        if not self._is_given_up and self._has_too_much(management):
            self._is_given_up = True
            # Not from inside the delivery that noticed it.
            asyncio.get_running_loop().call_soon(self.give_up)

    def _has_too_much(self, management: Management) -> bool:
        if self.is_attached:
            return self.is_overfull(management)
        return len(management) > MAX_QUEUED_STANZAS.value or management.queued_bytes > MAX_QUEUED_BYTES.value

    def is_overfull(self, management: Management) -> bool:
        """Whether a client that is there has had its time, or there is far too much."""
        stanzas, size = MAX_QUEUED_STANZAS.value, MAX_QUEUED_BYTES.value
        if len(management) <= stanzas and management.queued_bytes <= size:
            return False
        asked = management.requested_at
        return (
            (asked is not None and self.server.tick - asked >= OVERFLOW_SECONDS)
            or len(management) > FAR_TOO_MUCH * stanzas
            or management.queued_bytes > FAR_TOO_MUCH * size
        )

    def give_up(self) -> None:
        """There is too much: the session waits for its client where that was agreed; one that waits is at its end."""
        self._is_given_up = False
        management = self.management
        if self.is_closed or management is None or not self._has_too_much(management):
            return
        self.server.metrics.count("overflowed_sessions")
        if self.is_attached and management.is_resumable:
            self.connection.drop()
        else:
            self.close(StreamError("resource-constraint", "nothing is acknowledged"))

    def request_acknowledgement(self, management: Management) -> None:
        management.requested(self.server.tick)
        self.connection.send(REQUEST)

    def close(self, error: StreamError) -> None:
        """End the session, whether its client is there or not."""
        if self.is_attached:
            self.connection.close(error)
        else:
            self.connection.session = None
            if self.detached_at is not None and error.condition == "connection-timeout":
                self.end("expired")
            else:
                reason, condition = ending(error)
                self.end(f"{reason} condition={condition}")

    def end(self, reason: str) -> None:
        """It is over, for whatever reason; "expired": its client did not come back (XEP-0198 5)."""
        if self.is_closed:
            return
        if reason == "expired":
            count = len(self.management or ()) + len(self.holding.lasting() if self.holding else ())
            ends_log.info("session-expired jid=%s handed-over=%d", log_word(self.jid), count)
        else:
            ends_log.info(
                "session-closed jid=%s ip=%s reason=%s", log_word(self.jid), self.connection.address, reason
            )
        self.server.session_ended(self)

    @property
    def may_be_resumed(self) -> bool:
        """Whether it waits for its client when the connection breaks (XEP-0198 5)."""
        return self.management is not None and self.management.is_resumable

    @property
    def is_attached(self) -> bool:
        """Whether it has a connection that lives, as far as we know."""
        return self.detached_at is None and not self.connection.is_closed

    def send_error(self, stanza: Stanza, problem: StanzaError) -> None:
        """Answer a stanza of this session by an error, where an answer is allowed."""
        answer = error(stanza, problem)
        if answer is not None:
            self.send(answer.to_bytes())
            if self.account.carbons and stanza.kind == "message":
                self.server.ask(hooks.message_refused, answer, stanza, self)

    # -- in

    def receive(self, stanza: Stanza) -> None:
        """A first-level element from the client. In order: while one waits, the next ones queue (RFC 6120 10.1)."""
        backlog = self._backlog
        if backlog is not None:
            backlog.append(stanza)
            if len(backlog) >= MAX_BACKLOG:
                self._pause()
            return
        if self.is_closed:
            return  # it was read together with the stanza that ended the stream
        waiting = self._try(stanza)
        if waiting is None:
            self._count(stanza)
        else:
            self._backlog = deque()
            self._wait(waiting, stanza)

    def _try(self, stanza: Stanza) -> Awaitable[object] | None:
        """Handle it; what is returned has to be waited for."""
        try:
            return self._handle(stanza)
        except Exception as problem:
            self._refused(stanza, problem)
        return None

    def _wait(self, waiting: Awaitable[object], stanza: Stanza) -> None:
        """For a commit without a task, since every message waits for one; else in a task."""
        if isinstance(waiting, Deferred):
            waiting.then(lambda: self._settled(stanza, waiting.problem))
        else:
            self._pause()
            self.server.spawn(self._await(waiting, stanza))

    def _pause(self) -> None:
        """Read no more from this client until its stanzas are dealt with."""
        if not self._is_paused:
            self._is_paused = True
            self.connection.pause_reading()

    async def _await(self, waiting: Awaitable[object], stanza: Stanza) -> None:
        try:
            await waiting
        except Exception as problem:  # in no variable that outlives this: its traceback holds this frame
            self._settled(stanza, problem)
        else:
            self._settled(stanza, None)

    def _settled(self, stanza: Stanza, problem: Exception | None) -> None:
        """Done waiting for this stanza: count it, and go on with what queued behind it."""
        if problem is not None:
            self._refused(stanza, problem)
        self._count(stanza)
        backlog = self._backlog
        while backlog and not self.is_closed:
            stanza = backlog.popleft()
            waiting = self._try(stanza)
            if waiting is not None:
                self._wait(waiting, stanza)
                return
            self._count(stanza)
        self._backlog = None
        if self._is_paused:
            self._is_paused = False
            self.connection.resume_reading()
        at_end, self._at_end = self._at_end, ()
        for call in at_end:
            call()

    def _count(self, stanza: Stanza) -> None:
        """Done with it, whatever came of it: it counts as handled (XEP-0198 4)."""
        if self.management is not None and stanza.kind:
            self.management.handled += 1

    def _refused(self, stanza: Stanza, problem: Exception) -> None:
        """Answer what a handler raised. When one broke, only this stanza suffers."""
        if isinstance(problem, StanzaError):
            self.send_error(stanza, problem)
        elif isinstance(problem, StreamError):
            self.connection.close(problem)
        elif isinstance(problem, OUT_OF_REACH) and stanza.kind:  # the log says so once for all
            self.send_error(stanza, refusal(problem))
        else:
            fingerprint = self.server.metrics.failed(problem)
            log.error(
                "stanza-failed jid=%s fingerprint=%s %r", self.jid, fingerprint, stanza, exc_info=problem
            )
            self.server.metrics.count("stanza_failures")
            if stanza.kind:
                self.send_error(stanza, StanzaError("internal-server-error"))
            else:  # no way to say it of this element alone
                self.connection.close(StreamError("internal-server-error"))

    def when_done(self, call: Callable[[], None]) -> None:
        """Call it once all that has come from the client is dealt with; at once when nothing waits."""
        if self._backlog is None:
            call()
        else:
            self._at_end = (*self._at_end, call)

    def _handle(self, stanza: Stanza) -> Awaitable[object] | None:
        """Stamp the addresses (RFC 6120 8.1.2.1, 10.3), ask the policy hooks, route."""
        attrs = stanza.attrs
        self.stanzas_in += 1
        if not stanza.kind:
            return self.server.on_nonza(stanza, self)
        claimed = attrs.get("from")
        if claimed is not None and not self._is_own(claimed):
            raise StreamError("invalid-from")
        stanza.from_ = self.jid
        text = attrs.get("to")
        if text is None:
            stanza.to = self.account.jid
        else:
            try:
                stanza.to = JID.parse(text)
            except JIDError as problem:
                stanza.to = self.account.jid
                raise StanzaError("jid-malformed", str(problem)) from None
        if _DELAY in stanza.children:
            delay.remove(stanza, self.server.domains)
        if self.lang and "xml:lang" not in attrs:
            attrs["xml:lang"] = self.lang  # RFC 6120 8.1.5
        if self.account.blocked and self.account.blocks(stanza.to):
            raise blocking.refuse_outgoing()
        server = self.server
        handlers = server.handlers[hooks.from_user]
        if handlers:
            outcome = hooks.run(handlers, stanza, self)
            if outcome is STOP:
                return None
            if outcome is not None:
                return self._route_after(outcome, stanza)  # type: ignore[arg-type]
        return server.router.from_session(stanza, self)

    async def _route_after(self, outcome: Awaitable[hooks.Outcome], stanza: Stanza) -> None:
        if await outcome is STOP:
            return
        waiting = self.server.router.from_session(stanza, self)
        if waiting is not None:
            await waiting

    def _is_own(self, text: str) -> bool:
        """Whether a client may write this in `from`: its full or bare JID."""
        if text == self.jid.full_str:
            return True
        try:
            claimed = JID.parse(text)
        except JIDError:
            return False
        return claimed in (self.jid, self.account.jid)

    def __repr__(self) -> str:
        return f"<Session {self.jid}>"


def ending(error: StreamError | None) -> tuple[str, str]:
    """Reason and condition of an end from our side, as the log says them."""
    if error is None:
        return "closed-by-server", "-"
    reason = {"conflict": "replaced", "connection-timeout": "timed-out"}.get(
        error.condition, "closed-by-server"
    )
    return reason, error.condition


def log_word(jid: JID) -> str:
    """The address as one word of a log line: a resource may have spaces."""
    return jid.full_str.replace(" ", "\\u0020")
