"""A client that notes what it sent, what was acknowledged (XEP-0198), what came and what was refused; and the check
of these notes against the archives, read over the wire as a client reads them (XEP-0313).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Self
from xml.etree.ElementTree import Element, XMLPullParser

from tests.hearth import Hearth
from tests.wire import Wire

PATIENCE = 60.0  # the longest that anything may take, on a slow machine
SM = "urn:xmpp:sm:3"
MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
ENABLE = f"<enable xmlns='{SM}' resume='true'/>"
REQUEST = f"<r xmlns='{SM}'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"
OPENING = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
CLIENT = "{jabber:client}"
PAGE = 250
_numbers = count(1)  # no two messages or streams have the same name


@dataclass(frozen=True)
class Kept:
    """A row of an archive, as its owner reads it."""

    stanza_id: str
    id: str
    sender: str  # full JID
    to: str  # bare JID


class Client:
    """`sent` are the ids of its stanzas in order; the first `h` of them have been acknowledged."""

    def __init__(self, hearth: Hearth, name: str) -> None:
        self.hearth = hearth
        self.name = name
        self.resource = f"r{next(_numbers)}"
        self.jid = f"{name}@{hearth.domain}/{self.resource}"
        self.wire = Wire(hearth)
        self.sent: list[str] = []
        self.messages: dict[str, str] = {}  # id of each message of ours: bare JID of its recipient
        self.bodies: dict[str, str] = {}
        self.h = 0
        self.refused: dict[str, str] = {}  # id of a message: condition of the error that came for it
        self.received: list[tuple[str, str]] = []  # (id, stanza-id) of the messages that came
        self.rows: list[Kept] = []  # results of a query in the archive
        self.is_closed = False
        self.stream_error = ""
        self._is_managed = False
        self._handled = 0
        self._answers: dict[str, Element] = {}
        self._parser = XMLPullParser(("start", "end"))
        self._depth = 0
        self._root: Element | None = None
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    # -- the stream

    async def open(self, *, presence: str = "<presence/>", is_managed: bool = True) -> Self:
        await self.wire.connect()
        try:
            await self.wire.log_in(self.name, self.resource)
        except TimeoutError:
            raise AssertionError(f"{self} cannot log in: {self.wire.read}") from None
        self._is_managed = is_managed
        if is_managed:
            self.wire.send(ENABLE)
            await self.wire.expect("<enabled [^>]*/>")
        self._feed(OPENING + self.wire.read)
        self._reading = asyncio.create_task(self._read())
        if presence:
            self.sent.append("")
            self.wire.send(presence)
            await self.ping()  # answered behind what the presence brings about
        return self

    async def _read(self) -> None:
        try:
            while data := await self.wire.reader.read(65536):
                self._feed(data.decode())
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.is_closed = True
            self._news.set()

    def _feed(self, text: str) -> None:
        self._parser.feed(text)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
                continue
            self._depth -= 1
            if self._depth == 1:
                self._take(element)
                self._root.clear()
        self._news.set()

    def _take(self, element: Element) -> None:
        if element.tag == f"{{{SM}}}a":
            self.h = int(element.get("h"))
        elif element.tag == f"{{{SM}}}r":
            self.wire.send(f"<a xmlns='{SM}' h='{self._handled}'/>")
        elif element.tag == "{http://etherx.jabber.org/streams}error":
            self.stream_error = element[0].tag
        elif element.tag.startswith(CLIENT):
            self._handled += 1
            if element.tag == f"{CLIENT}iq":
                self._answers[element.get("id")] = element
            elif element.tag == f"{CLIENT}message":
                self._take_message(element)

    def _take_message(self, element: Element) -> None:
        result = element.find(f"{{{MAM}}}result")
        if result is not None:
            said = result.find(f"{{urn:xmpp:forward:0}}forwarded/{CLIENT}message")
            to = said.get("to").partition("/")[0]
            self.rows.append(Kept(result.get("id"), said.get("id"), said.get("from"), to))
        elif element.get("type") == "error":
            self.refused[element.get("id")] = (
                element.find(f"{CLIENT}error")[0].tag.partition("}")[2].partition(" ")[0]
            )
        else:
            by = element.find("{urn:xmpp:sid:0}stanza-id")
            self.received.append((element.get("id"), by.get("id") if by is not None else ""))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what came from the server makes it true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    assert not self.is_closed, f"the stream of {self.jid} ended: {self.stream_error}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self} waits in vain") from None

    async def is_over(self) -> None:
        """Wait until the server has closed."""
        await asyncio.wait_for(self._reading, PATIENCE)

    async def close(self) -> None:
        """End the stream, so that no session waits for this client and nothing is handed over for it."""
        if self._reading is not None:
            acknowledgement = f"<a xmlns='{SM}' h='{self._handled}'/>" if self._is_managed else ""
            self.wire.send(f"{acknowledgement}</stream:stream>")
            await asyncio.wait([self._reading], timeout=PATIENCE)
        self.wire.close()

    def __repr__(self) -> str:
        return (
            f"<Client {self.jid}: {len(self.sent)} sent, {self.h} acknowledged, {len(self.refused)} refused, "
            f"{len(self.received)} received>"
        )

    # -- what it says

    def say(self, to: str, body: str = "", *, id: str = "") -> str:
        """A message, and the question whether it was handled; returns its id."""
        id = id or f"{self.name}-{self.resource}-{next(_numbers):05}"
        bare = f"{to}@{self.hearth.domain}"
        self.messages[id] = bare
        self.refused.pop(id, None)
        self.sent.append(id)
        body = body or f"{id} to {to}"
        self.bodies[id] = body
        self.wire.send(f"<message to='{bare}' type='chat' id='{id}'><body>{body}</body></message>{REQUEST}")
        return id

    def ask(self, payload: str, type: str = "get") -> str:
        """Send an IQ to the server or the own account; returns its id."""
        id = f"q{next(_numbers)}"
        self.sent.append(id)
        to = f" to='{self.hearth.domain}'" if payload == PING else ""
        self.wire.send(f"<iq type='{type}' id='{id}'{to}>{payload}</iq>")
        return id

    async def answer(self, id: str) -> Element:
        await self.until(lambda: id in self._answers)
        return self._answers.pop(id)

    def is_answered(self, id: str) -> bool:
        return id in self._answers

    async def request(self, payload: str, type: str = "get") -> Element:
        return await self.answer(self.ask(payload, type))

    async def ping(self) -> float:
        """Seconds until the answer came."""
        began = time.monotonic()
        answer = await self.request(PING)
        assert answer.get("type") == "result"
        return time.monotonic() - began

    # -- what it knows

    @property
    def handled(self) -> list[str]:
        """Ids of the messages that were acknowledged, in the order in which they were sent."""
        return [id for id in self.sent[: self.h] if id in self.messages]

    @property
    def kept(self) -> list[str]:
        """Ids of those that were acknowledged and not refused: the server's to keep."""
        return [id for id in self.handled if id not in self.refused]

    async def all_handled(self) -> None:
        self.wire.send(REQUEST)
        await self.until(lambda: self.h == len(self.sent))

    async def settle(self, to: str) -> None:
        """Wait for every acknowledgement, and send again what was refused, until all is kept."""
        await self.all_handled()
        while self.refused:
            for id in list(self.refused):
                self.say(to, id=id)
            await self.all_handled()

    async def archive(self, after: str = "") -> list[Kept]:
        """The own archive, page after page; from behind a stanza-id, if one is given."""
        self.rows = []
        while True:
            rsm = f"<max>{PAGE}</max>" + (f"<after>{after}</after>" if after else "")
            answer = await self.request(f"<query xmlns='{MAM}'><set xmlns='{RSM}'>{rsm}</set></query>", "set")
            fin = answer.find(f"{{{MAM}}}fin")
            assert fin is not None, answer.get("type")
            if fin.get("complete") == "true":
                return self.rows
            after = self.rows[-1].stanza_id


async def archive_of(hearth: Hearth, name: str, after: str = "") -> list[Kept]:
    """Read by a client that sends no presence, so that offline messages stay where they are."""
    reader = Client(hearth, name)
    try:
        await reader.open(presence="", is_managed=False)
        return await reader.archive(after)
    finally:
        await reader.close()


async def check_history(hearth: Hearth, senders: Iterable[Client]) -> None:
    """Both archives hold all that was kept, once, in the order of sending, and nothing that nobody sent."""
    archives: dict[str, list[Kept]] = {}
    for sender in senders:
        for recipient in {bare.partition("@")[0] for bare in sender.messages.values()}:
            bare = f"{recipient}@{hearth.domain}"
            # Of one that was refused and sent again, the last sending counts.
            last = list(dict.fromkeys(reversed(sender.kept)))
            expected = [id for id in reversed(last) if sender.messages[id] == bare]
            for owner in (sender.name, recipient):
                if owner not in archives:
                    archives[owner] = await archive_of(hearth, owner)
                rows = [row for row in archives[owner] if (row.sender, row.to) == (sender.jid, bare)]
                ids = [row.id for row in rows]
                lost = [id for id in expected if id not in ids]
                assert not lost, f"acknowledged messages of {sender.jid} are not in the archive of {owner}"
                assert len(ids) == len(set(ids)), f"twice in the archive of {owner}: {_repeated(ids)}"
                assert set(ids) <= set(sender.messages)
                wanted = set(expected)
                assert [id for id in ids if id in wanted] == expected, f"order in the archive of {owner}"
    for owner, rows in archives.items():
        stanza_ids = [int(row.stanza_id) for row in rows]
        assert stanza_ids == sorted(set(stanza_ids)), f"stanza-ids of {owner}"


def _repeated(ids: list[str]) -> list[str]:
    return sorted({id for id in ids if ids.count(id) > 1})
