"""XEP-0198: Stream Management. Acknowledgements, and sessions that wait for their client when the wire breaks."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.utils.translation import gettext_lazy as _

from xmppd.modules.carbons import has_copy, is_copy
from xmppd.protocol import delay
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import MAM, STANZA_ID, STANZAS, STREAM_MANAGEMENT
from xmppd.protocol.parser import Limits, StanzaParser
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.features import Has
from xmppd.protocol.stream.management import MODULUS, REQUEST, Management
from xmppd.server import hooks
from xmppd.server.account import Account
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

log = logging.getLogger("hearth.sm")
NS = STREAM_MANAGEMENT
MAX_ENDED = 10_000  # sessions of which we can still say how much they had handled
REQUEST_EVERY = 50  # stanzas that are sent again: over a slow wire no single answer would come in time
RETRY_SECONDS = 2.0  # until a message is handed over once more that the database did not take
OURS = Limits(1 << 30, 1 << 16, 1 << 30, 1 << 16)  # what we wrote ourselves, such as a long roster


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
        self._ended: OrderedDict[str, tuple[JID, Management]] = OrderedDict()
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
        """XEP-0198 3. A client tries once, or its stream ends."""
        if session.management is not None:
            session.connection.send(_failed("unexpected-request"))
            raise StreamError("policy-violation", "stream management is enabled already")
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
        session.connection.send(f"<a xmlns='{NS}' h='{session.management.tell()}'/>".encode())

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
        account = connection.stream.authenticated
        session = self._resumable_by(element, account)
        if session is None:
            self._refuse(connection, self._not_found(element, account))
        elif not _is_count(element.attrs.get("h", "")):
            self._refuse(connection, _failed_element("bad-request"))
        else:
            session.connection.give_way()
            session.when_done(lambda: self._resume(session, element, connection))

    def _refuse(self, connection: ClientConnection, failed: Element) -> None:
        """Binding stays possible."""
        connection.stream.answered(failed.to_bytes())
        connection.after_verb()

    def _resume(self, session: Session, element: Stanza, connection: ClientConnection) -> None:
        """Once all is counted that came over the old connection."""
        management = session.management
        if connection.is_closed:
            return
        if management is None or session.is_closed:
            self._refuse(connection, self._not_found(element, session.account.jid))
            return
        try:
            management.acknowledge(_h(element))
        except StreamError as problem:
            connection.close(problem)
            return
        reply = f"<resumed xmlns='{NS}' previd='{management.id}' h='{management.tell()}'/>"
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
        session = self._resumable_by(element, completion.account.jid)
        if session is None:
            return
        session.connection.give_way()
        is_done = asyncio.Event()
        session.when_done(is_done.set)
        await is_done.wait()

    @inline_session(NS, "resume", priority=FIRST)
    def resume_inline(self, element: Element, completion: Completion) -> Element:
        """Where it fails, binding follows if it was asked for."""
        account = completion.account.jid
        session = self._resumable_by(element, account)
        if session is None or session.management is None:
            return self._not_found(element, account)
        if not _is_count(element.get("h")):
            return _failed_element("bad-request")
        management = session.management
        management.acknowledge(_h(element))
        completion.resume(session)
        completion.then.append(lambda: self._go_on(session, management))
        return E(NS, "resumed", previd=management.id, h=management.tell())

    def _resumable_by(self, element: Stanza | Element, account: JID | None) -> Session | None:
        session = self._resumable.get(element.attrs.get("previd", ""))
        return session if session is not None and session.account.jid == account else None

    def _not_found(self, element: Stanza | Element, account: JID | None) -> Element:
        """5: of a session that is over, how much it had handled, so that its client sends again only what it must."""
        owner, management = self._ended.get(element.attrs.get("previd", ""), (None, None))
        if management is None or owner != account:
            return _failed_element("item-not-found")
        return _failed_element("item-not-found", h=management.tell())

    def _go_on(self, session: Session, management: Management) -> None:
        """What the client missed, with the time at which it came. The queue keeps it as it was: what is handed over
        later has gone to others or not (`_went_to_others`), which the stamp of a stanza that came late would hide.
        """
        connection = session.connection
        for position, (data, since) in enumerate(management.unacknowledged(), 1):
            written = session.stamped(data, since)
            connection.allowance += len(written) - len(data)
            connection.send(written)
            if position % REQUEST_EVERY == 0:
                connection.send(REQUEST)
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
            elif session.is_overfull(management):
                session.give_up()

    # -- the end of a session

    @on(hooks.session_closed, priority=LAST)
    def session_closed(self, session: Session) -> Awaitable[None] | None:
        """XEP-0198 5: what was not acknowledged is treated as if the resource had not been there."""
        management = session.management
        if management is None:
            return None
        self._managed.discard(session)
        if self._resumable.pop(management.id, None) is not None:
            self._ended[management.id] = (session.account.jid, management)
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        waiting = management.clear()
        return self._hand_over_all(waiting, session) if waiting else None

    async def _hand_over_all(self, waiting: list[tuple[bytes, float]], session: Session) -> None:
        now, tick = self.server.clock.now(), self.server.tick
        parser = StanzaParser(OURS)
        for data, since in waiting:
            for stanza in parser.feed(data):
                sent = now - timedelta(seconds=max(0.0, tick - since))
                try:
                    await self._hand_over(stanza, session, since, sent)
                except DatabaseError:  # the server stops
                    raise
                except Exception as broken:  # the others are still to be had
                    fingerprint = self.server.metrics.failed(broken)
                    log.exception("hand-over-failed jid=%s fingerprint=%s", session.jid, fingerprint)
        parser.close()

    async def _hand_over(self, stanza: Stanza, session: Session, since: float, sent: datetime) -> None:
        try:
            stanza.from_ = JID.parse(stanza.attrs.get("from", self.server.domain))
        except JIDError:
            return
        account = session.account
        if stanza.kind == "iq" and stanza.type in ("get", "set"):
            stanza.to = session.jid
            self.server.router.answer_error(stanza, StanzaError("service-unavailable"))
        if stanza.kind != "message" or stanza.type not in ("", "normal", "chat"):
            return
        if stanza.has(MAM, "result"):
            return  # a page of the archive, which the client asks for again
        if is_copy(stanza, account) or has_copy(stanza, account, since):
            return
        held = delay.held_since(stanza, self.server.domains)
        if held is None and _went_to_others(stanza, account, since):
            return
        stanza.to = account.jid
        stanza.received = held or sent
        if held is None:
            stanza.append(delay.delay(sent, from_=self.server.jid))
        await self._deliver(stanza, account)

    async def _deliver(self, stanza: Stanza, account: Account) -> None:
        """To another resource or the offline store, however long the database is away; an error to the sender where
        nobody has the message."""
        while True:
            try:
                waiting: Awaitable[object] | None = self.server.router.hand_out(stanza, account)
                if waiting is not None:
                    await waiting
            except StanzaError as problem:
                if not stanza.has(STANZA_ID, "stanza-id"):  # else it stands in the archive
                    self.server.router.answer_error(stanza, problem)
            except DatabaseError:
                if self.server.is_stopping:
                    raise
                log.warning("hand-over-waits jid=%s", account.jid)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            return


def _went_to_others(stanza: Stanza, account: Account, sent: float) -> bool:
    """Whether another resource that is still there, or waits for its client, was sent the message as well: one to the
    bare JID goes to all that are most available (RFC 6121 8.5.2.1.1). `sent`: server.tick at that moment.
    """
    return stanza.attrs.get("to") == account.jid.bare_str and any(
        session.best_since is not None and session.best_since <= sent for session in account.best
    )


def _h(element: Stanza | Element) -> int:
    text = element.attrs.get("h", "")
    if not _is_count(text):
        raise StreamError("invalid-xml", "h is a number below 2**32")
    return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < MODULUS


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
