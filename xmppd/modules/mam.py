"""XEP-0313: Message Archive Management, its reading half, with preferences (XEP-0441) and search (XEP-0431)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from xmppd.bus import channel
from xmppd.bus.messages import UserDeleted
from xmppd.modules.archive import Archive
from xmppd.protocol import dataforms, rsm
from xmppd.protocol.dataforms import Field, Form
from xmppd.protocol.delay import format_datetime, parse_datetime
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import DATA_FORMS, DELAY, FORWARD, MAM
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.writer import escape_attr
from xmppd.server.account import Account
from xmppd.server.limits import MAX_QUEUED_BYTES
from xmppd.server.module import ACCOUNT, NOBODY, SELF, Module, Xep, iq_get, iq_set
from xmppd.server.pacing import is_gone, send_all
from xmppd.server.session import Session
from xmppd.services import archive_query, archive_retention
from xmppd.services.archive import is_id, time_of
from xmppd.services.archive_query import MAX_PAGE_BYTES, Page, Preferences, Query
from xmppd.services.db import db

NS = MAM
FULLTEXT = "{urn:xmpp:fulltext:0}fulltext"
GROUPCHAT = f"{NS}#groupchat-field"
DEFAULT_PAGE = 50
MAX_PAGE = 250
MAX_IDS = 250
MAX_LISTED = 1000  # addresses in each list of preferences
PURGE_INTERVAL = timedelta(hours=24)

FORM = Form(
    NS,
    [
        Field("with", "jid-single"),
        Field("start", "text-single"),
        Field("end", "text-single"),
        Field("before-id", "text-single"),
        Field("after-id", "text-single"),
        Field("ids", "list-multi", is_open=True),
        Field(
            "include-groupchat", "boolean"
        ),  # rooms have archives of their own: there is nothing to leave out
        Field(FULLTEXT, "text-single"),
    ],
)


class ArchiveQueries(Module):
    """A user pages through the own archive; nobody has a route to another's."""

    xep = Xep(313, "1.1.3", name="Message Archive Management")
    also = [
        Xep(441, "0.2.0", name="Message Archive Management Preferences"),
        Xep(431, "0.2.0", name="Full Text Search in MAM"),
    ]
    account_features = [NS, f"{NS}#extended", GROUPCHAT, "urn:xmpp:fulltext:0"]

    async def start(self) -> None:
        self._archive: Archive = self.server.module(Archive)
        self.server.problems["archive"] = lambda: self._archive.is_failing
        self._next_purge = self.server.tick
        self.server.sweeps.append(self.purge)
        self._loop = asyncio.get_running_loop()
        self._ends: list[Callable[[], None]] = [channel.subscribe(UserDeleted, self._hear)]

    async def stop(self) -> None:
        while self._ends:
            self._ends.pop()()

    # -- queries, XEP-0313 4

    @iq_get(NS, "query", to=SELF)
    def form(self, iq: Stanza, origin: Session) -> Element:
        """What can be searched by (4.1.5)."""
        return E(NS, "query", FORM.to_element("form"))

    @iq_set(NS, "query", to=SELF)
    async def query(self, iq: Stanza, origin: Session) -> Element:
        asked = iq.payload
        if asked.get("node"):
            raise StanzaError("feature-not-implemented", "there are no archives of nodes")  # XEP-0442
        query = _parse(asked)
        request = rsm.parse(asked) or rsm.Request()
        if request.index is not None:
            raise StanzaError("feature-not-implemented", "pages are asked for by id")  # XEP-0059 2.6
        limit = request.limit(MAX_PAGE if query.ids else DEFAULT_PAGE, MAX_PAGE)
        if limit == 0:
            number = await self._count(origin, query)
            return E(NS, "fin", rsm.response(count=number), complete="true" if not number else None)
        page = await self._page(origin, query, request, limit)
        rows = page.rows
        flipped = asked.find(NS, "flip-page") is not None
        await send_all(
            origin,
            (
                _result(identity, stanza, origin, asked.get("queryid"))
                for identity, stanza in (reversed(rows) if flipped else rows)
            ),
        )
        first, last = (str(rows[0][0]), str(rows[-1][0])) if rows else (None, None)
        return E(NS, "fin", rsm.response(first, last), complete="true" if page.is_complete else None)

    async def _page(self, session: Session, query: Query, request: rsm.Request, limit: int) -> Page:
        """A search goes through the archive in steps, between which others have their turn with the database."""
        after, before = _id(request.after), _id(request.before)
        max_bytes = _room(session)
        rows: list[tuple[int, str]] = []
        reached: int | None = None
        while True:
            used = sum(len(stanza.encode()) for _, stanza in rows)
            page = await db(
                archive_query.page,
                session.account.id,
                query,
                limit=limit - len(rows) if used < max_bytes else 0,
                after=after,
                before=before,
                last=request.is_backwards,
                max_bytes=max_bytes - used,
                reached=reached,
            )
            rows = page.rows + rows if request.is_backwards else rows + page.rows
            reached = page.reached
            if reached is None or is_gone(session):
                return Page(rows, page.is_complete)

    async def _count(self, session: Session, query: Query) -> int:
        """2.7 of XEP-0059."""
        if not query.text:
            return await db(archive_query.count, session.account.id, query)
        number = 0
        reached: int | None = None
        while True:
            page = await db(archive_query.page, session.account.id, query, limit=MAX_PAGE, reached=reached)
            number += len(page.rows)
            if page.is_complete or is_gone(session):
                return number
            reached = page.reached or page.rows[-1][0]

    @iq_get(NS, "metadata", to=SELF)
    async def metadata(self, iq: Stanza, origin: Session) -> Element:
        """The first and last message, so that a client knows how far it is behind (4.2)."""
        found = await db(archive_query.bounds, origin.account.id)
        ends = [] if found is None else list(zip(("start", "end"), found, strict=True))
        return E(NS, "metadata", *(E(NS, name, id=i, timestamp=_stamp(i)) for name, i in ends))

    @iq_get(NS, "query", to=[ACCOUNT, NOBODY])
    @iq_set(NS, "query", to=[ACCOUNT, NOBODY])
    @iq_get(NS, "metadata", to=[ACCOUNT, NOBODY])
    def refuse(self, iq: Stanza, origin: Session) -> None:
        """8.1. An address that is no account gets the same answer."""
        raise StanzaError("forbidden", "an archive is for its owner")

    # -- preferences, XEP-0441

    @iq_get(NS, "prefs", to=SELF)
    def get_preferences(self, iq: Stanza, origin: Session) -> Element:
        return _prefs(self._of(origin.account))

    @iq_set(NS, "prefs", to=SELF)
    async def set_preferences(self, iq: Stanza, origin: Session) -> Element:
        asked = iq.payload
        if asked.get("default") not in ("always", "never", "roster"):
            raise StanzaError("bad-request", "the default is always, never or roster")
        preferences = Preferences(asked.get("default"), _listed(asked, "always"), _listed(asked, "never"))
        await db(archive_query.set_preferences, origin.account.id, preferences)
        self._archive.preferences[origin.account.id] = preferences
        return _prefs(preferences)

    def _of(self, account: Account) -> Preferences:
        return self._archive.preferences.get(account.id, Preferences())

    # -- retention

    def purge(self) -> None:
        """Once a day, what is older or more than the settings keep."""
        if self.server.tick >= self._next_purge:
            self._next_purge = self.server.tick + PURGE_INTERVAL.total_seconds()
            self.server.spawn(db(archive_retention.purge, self.server.clock.time()))

    def _hear(self, message: UserDeleted) -> None:
        """Bus messages come on any thread. What is missed here, the next purge finds."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._forget, message.user_id)

    def _forget(self, user_id: int) -> None:
        self.server.spawn(db(archive_retention.forget, user_id))


def _parse(asked: Element) -> Query:
    x = asked.find(DATA_FORMS, "x")
    if x is None:
        return Query()
    if dataforms.form_type_of(x) != NS:
        raise StanzaError("bad-request", "the form is of another FORM_TYPE")
    given = FORM.parse(x, refuse_unknown=True)
    peer = given.get("with")
    ids = given.get("ids") or []
    assert isinstance(ids, list)
    if len(ids) > MAX_IDS:
        raise StanzaError("policy-violation", f"at most {MAX_IDS} ids")
    return Query(
        start=_time(given.get("start")),
        end=_time(given.get("end")),
        peer=peer.bare_str if isinstance(peer, JID) else "",
        peer_resource=peer.resource if isinstance(peer, JID) else "",
        after_id=_id(given.get("after-id")),
        before_id=_id(given.get("before-id")),
        ids=tuple(i for i in (_id(text) for text in ids) if i is not None),
        text=str(given.get(FULLTEXT) or "")[:200],
    )


def _room(session: Session) -> int:
    """Bytes of a page: no more than its client can leave unacknowledged without being given up (XEP-0198)."""
    if session.management is None:
        return MAX_PAGE_BYTES
    return min(MAX_PAGE_BYTES, (MAX_QUEUED_BYTES.value - session.management.queued_bytes) // 4)


def _time(value: object) -> float | None:
    if not value:
        return None
    try:
        return parse_datetime(str(value)).timestamp()
    except ValueError:
        raise StanzaError("bad-request", "not a date and time of XEP-0082") from None


def _id(value: object) -> int | None:
    """One of our ids; anything else is an item that is not there. '' (the last page) is none."""
    text = str(value or "")
    if not text:
        return None
    if not is_id(text):
        raise StanzaError("item-not-found")
    return int(text)


def _stamp(identity: int) -> str:
    return format_datetime(datetime.fromtimestamp(time_of(identity), UTC))


def _result(identity: int, stanza: str, session: Session, query_id: str) -> bytes:
    """4.1.2: the message as it was, forwarded with the time of its archiving. Text in, text out: nothing is parsed."""
    query = f" queryid='{escape_attr(query_id)}'" if query_id else ""
    return (
        f"<message from='{session.account.jid.attr.decode()}' to='{session.jid.attr.decode()}'>"
        f"<result xmlns='{NS}' id='{identity}'{query}><forwarded xmlns='{FORWARD}'>"
        f"<delay xmlns='{DELAY}' stamp='{_stamp(identity)}'/>"
        f"<message xmlns='jabber:client'{stanza[len('<message') :]}</forwarded></result></message>"
    ).encode()


def _listed(asked: Element, name: str) -> frozenset[str]:
    found = asked.find(NS, name)
    jids = [] if found is None else [child.text.strip() for child in found.findall(NS, "jid")]
    if len(jids) > MAX_LISTED:
        raise StanzaError("policy-violation", f"at most {MAX_LISTED} addresses")
    try:
        return frozenset(JID.parse(text).full_str for text in jids)
    except JIDError as problem:
        raise StanzaError("jid-malformed", str(problem)) from None


def _prefs(preferences: Preferences) -> Element:
    lists = (("always", preferences.always), ("never", preferences.never))
    return E(
        NS,
        "prefs",
        *(E(NS, name, *(E(NS, "jid", jid) for jid in sorted(jids))) for name, jids in lists),
        default=preferences.default,
    )
