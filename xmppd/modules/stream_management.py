"""XEP-0198: Stream Management. Acknowledgements, and sessions that wait for their client when the wire breaks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from datetime import timedelta

from django.utils.translation import gettext_lazy as _

from xmppd.modules.carbons import has_copy, is_copy
from xmppd.protocol import delay
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import DELAY, MAM, STANZAS, STREAM_MANAGEMENT
from xmppd.protocol.parser import AUTHENTICATED, StanzaParser
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.features import Has
from xmppd.protocol.stream.management import MODULUS, Management
from xmppd.server import hooks
from xmppd.server.completion import Completion
from xmppd.server.connection import ClientConnection
from xmppd.server.module import (
    FIRST,
    LAST,
    Module,
    StreamFeature,
    Xep,
    inline_bind,
    inline_login,
    inline_session,
    on,
)
from xmppd.server.session import Session
from xmppd.services.properties import Setting

NS = STREAM_MANAGEMENT


class StreamManagement(Module):
    """Counters stand in protocol/stream/management.py; here are the elements, time-outs and what becomes of a queue."""

    xep = Xep(198, "1.6.3", name="Stream Management")
    bind_features = [NS]
    stream_features = [StreamFeature(f"<sm xmlns='{NS}'/>".encode(), needs=Has.AUTH)]

    resumption = Setting(
        "sm.resumption_time",
        timedelta,
        timedelta(hours=1),
        _(
            "How long a session waits for its client after the connection broke; phones come back after long sleeps."
        ),
        label=_("Time to come back after a broken connection"),
        zero=_("none"),
        minimum=timedelta(0),
        maximum=timedelta(days=1),
    )
    patience = Setting(
        "sm.acknowledgement_timeout",
        timedelta,
        timedelta(seconds=60),
        _("A client that does not acknowledge stanzas within this time is taken for disconnected."),
        label=_("Longest wait for an acknowledgement"),
        minimum=timedelta(seconds=10),
        maximum=timedelta(minutes=30),
    )

    async def start(self) -> None:
        self._resumable: dict[str, Session] = {}
        self._managed: set[Session] = set()
        self._next_look = 0.0
        nonzas = self.server.nonzas
        nonzas[f"{NS}\nenable"] = self.enable
        nonzas[f"{NS}\nr"] = self.answer_request
        nonzas[f"{NS}\na"] = self.acknowledged
        nonzas[f"{NS}\nresume"] = self.too_late_to_resume
        self.server.early_elements[f"{NS}\nresume"] = self.resume
        self.server.early_elements[f"{NS}\nenable"] = self.too_early_to_enable
        self.server.sweeps.append(self.look)

    # -- elements of the client

    def enable(self, element: Stanza, session: Session) -> None:
        """XEP-0198 3. A second one is an error that leaves the first in force."""
        if session.management is not None:
            session.connection.send(_failed("unexpected-request"))
            return
        session.management = management = self.new_management(element, session)
        session.connection.send(_enabled(management))

    def new_management(self, element: Stanza | Element, session: Session) -> Management:
        """Counters for a session whose client asks for <enable/>."""
        self._managed.add(session)
        wanted = element.attrs.get("resume") in ("true", "1")
        seconds = int(self.resumption.total_seconds())
        asked = element.attrs.get("max", "")
        if asked.isascii() and asked.isdecimal() and len(asked) < 10:
            seconds = min(seconds, int(asked))
        if not wanted or not seconds:
            return Management()
        management = Management(secrets.token_urlsafe(18), seconds)
        self._resumable[management.id] = session
        return management

    def answer_request(self, element: Stanza, session: Session) -> None:
        """XEP-0198 4: it stood in the queue behind the stanzas that came before, so these are counted."""
        if session.management is None:
            raise StreamError("unsupported-stanza-type")
        session.connection.send(f"<a xmlns='{NS}' h='{session.management.handled % MODULUS}'/>".encode())

    def acknowledged(self, element: Stanza, session: Session) -> None:
        if session.management is None:
            raise StreamError("unsupported-stanza-type")
        session.management.acknowledge(_h(element))

    def too_early_to_enable(self, element: Stanza, connection: ClientConnection) -> None:
        connection.stream.answered(_failed("unexpected-request"))
        connection.after_verb()

    def too_late_to_resume(self, element: Stanza, session: Session) -> None:
        session.connection.send(_failed("unexpected-request"))

    # -- resumption, XEP-0198 5

    def resume(self, element: Stanza, connection: ClientConnection) -> None:
        session = self._resumable.get(element.attrs.get("previd", ""))
        if (
            session is None
            or session.account.jid != connection.stream.authenticated
            or session.management is None
        ):
            connection.stream.answered(_failed("item-not-found"))  # binding stays possible
            connection.after_verb()
            return
        session.when_done(lambda: self._resume(session, element, connection))

    def _resume(self, session: Session, element: Stanza, connection: ClientConnection) -> None:
        """Once all is counted that came over the old connection."""
        management = session.management
        if management is None or session.is_closed or connection.is_closed:
            connection.stream.answered(_failed("item-not-found"))
            connection.after_verb()
            return
        try:
            management.acknowledge(_h(element))
        except StreamError as problem:
            connection.close(problem)
            return
        reply = f"<resumed xmlns='{NS}' previd='{management.id}' h='{management.handled % MODULUS}'/>"
        connection.resume(session, reply.encode())
        self._go_on(session, management)
        connection.after_verb()

    # -- inside a login, XEP-0198 9

    def login_offers(self, binding_types: tuple[str, ...]) -> str:
        return f"<sm xmlns='{NS}'/>"

    @inline_bind(NS, "enable")
    def enable_inline(self, element: Element, session: Session) -> Element:
        session.management = management = self.new_management(element, session)
        return _enabled_element(management)

    @inline_login(NS, "resume")
    async def let_go(self, element: Element, completion: Completion) -> None:
        """The old connection ends, and all that came over it is dealt with, before anything is counted."""
        session = self._resumable_by(element, completion)
        if session is None:
            return
        if session.detached_at is None:
            session.connection.drop()
        is_done = asyncio.Event()
        session.when_done(is_done.set)
        await is_done.wait()

    @inline_session(NS, "resume", priority=FIRST)
    def resume_inline(self, element: Element, completion: Completion) -> Element:
        """Where it fails, binding follows if it was asked for."""
        session = self._resumable_by(element, completion)
        if session is None or session.management is None:
            return _failed_element("item-not-found")
        management = session.management
        management.acknowledge(_h(element))
        completion.resume(session)
        completion.then.append(lambda: self._go_on(session, management))
        return E(NS, "resumed", previd=management.id, h=management.handled % MODULUS)

    def _resumable_by(self, element: Element, completion: Completion) -> Session | None:
        session = self._resumable.get(element.get("previd"))
        return session if session and session.account.jid == completion.account.jid else None

    def _go_on(self, session: Session, management: Management) -> None:
        """What the client missed."""
        for data, _since in management.unacknowledged():
            session.connection.send(data)
        if len(management):
            session.request_acknowledgement(management)
        self.server.metrics.count("resumptions")
        self.server.ask(hooks.session_resumed, session)

    # -- time

    def look(self) -> None:
        """Ask for what is overdue, give up clients that do not answer, end sessions that waited long enough."""
        now = self.server.tick
        if now < self._next_look:
            return
        self._next_look = now + 1.0
        patience = self.patience.total_seconds()
        for session in list(self._managed):
            management = session.management
            assert management is not None
            if session.detached_at is not None:
                if now - session.detached_at >= management.seconds:
                    session.close(StreamError("connection-timeout"))
            elif management.is_request_due:
                session.request_acknowledgement(management)
            elif management.requested_at is not None and now - management.requested_at > patience:
                session.connection.drop()

    # -- the end of a session

    @on(hooks.session_closed, priority=LAST)
    async def session_closed(self, session: Session) -> None:
        """XEP-0198 5: what was not acknowledged is treated as if the resource had not been there."""
        management = session.management
        if management is None:
            return
        self._managed.discard(session)
        self._resumable.pop(management.id, None)
        waiting = management.clear()
        if not waiting:
            return
        parser = StanzaParser(AUTHENTICATED)
        for data, since in waiting:
            for stanza in parser.feed(data):
                await self._hand_over(stanza, session, since)
        parser.close()

    async def _hand_over(self, stanza: Stanza, session: Session, since: float) -> None:
        try:
            stanza.from_ = JID.parse(stanza.attrs.get("from", self.server.domain))
        except JIDError:
            return
        account = session.account
        stanza.to = account.jid
        if stanza.kind == "iq" and stanza.type in ("get", "set"):
            stanza.to = session.jid
            self.server.router.answer_error(stanza, StanzaError("service-unavailable"))
        if stanza.kind != "message" or stanza.type not in ("", "normal", "chat"):
            return
        stamp = self.server.clock.now() - timedelta(seconds=max(0.0, self.server.tick - since))
        if stanza.has(MAM, "result"):
            return  # a page of the archive, which the client asks for again
        if is_copy(stanza, account) or has_copy(stanza, account, stamp):
            return
        if not any(child == f"{DELAY}\ndelay" for child in stanza.children):
            stanza.append(delay.delay(stamp, from_=self.server.jid))
        try:
            waiting: Awaitable[object] | None = self.server.router.hand_out(stanza, account)
            if waiting is not None:
                await waiting
        except StanzaError as problem:
            self.server.router.answer_error(stanza, problem)


def _h(element: Stanza | Element) -> int:
    text = element.attrs.get("h", "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) >= MODULUS:
        raise StreamError("invalid-xml", "h is a number below 2**32")
    return int(text)


def _enabled(management: Management) -> bytes:
    return _enabled_element(management).to_bytes()


def _enabled_element(management: Management) -> Element:
    if not management.is_resumable:
        return E(NS, "enabled")
    return E(NS, "enabled", id=management.id, resume=True, max=management.seconds)


def _failed(condition: str, *, h: int | None = None) -> bytes:
    return _failed_element(condition, h=h).to_bytes()


def _failed_element(condition: str, *, h: int | None = None) -> Element:
    return E(NS, "failed", E(STANZAS, condition), h=h)
