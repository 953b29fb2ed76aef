# ruff: noqa: F401, F811 - fixtures of tests/xmpp are imported, and then are arguments
"""A phone on a bad network, at random: whatever becomes of its wires and sessions, it gets every message, in order, and
none twice (XEP-0198 4, 5). The one exception is the specification's own: what it handled and could not acknowledge
before its session ended.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.conversation import Client, ManualClock, authenticate, settled
from tests.xmpp.conftest import alice, clock, log_in, new_user, server
from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.server.server import Server
from xmppd.services.properties import overridden

SM = "urn:xmpp:sm:3"
PHONE = "bob@example.org/phone"
WAIT_SECONDS = 300
STEPS = 80


class Phone:
    """`seen` are the ids of messages in the order in which the user saw them; `h` counts stanzas as XEP-0198 does."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.client: Client | None = None
        self.previd = ""
        self.h = 0
        self.acknowledged = 0
        self.unsure: set[str] = set()  # handled, and the session that carried it ended before we could say so
        self.recent: list[
            str
        ] = []  # ids of messages by the stanza count at which they came, since the last answer
        self.seen: list[str] = []

    @property
    def is_on(self) -> bool:
        return self.client is not None and self.client.is_connected

    # -- what the network does

    async def loses_the_wire(self) -> None:
        """Some of what was on its way never arrives."""
        assert self.client is not None
        arrived = len(self.client.connection.received)
        self.reads(self.chance.randint(0, arrived))
        await self.client.disconnects()
        self.client = None

    async def falls_silent(self) -> None:
        """Half-open: the server learns of it by time alone; the client comes back before or after that."""
        assert self.client is not None
        self.reads(self.chance.randint(0, len(self.client.connection.received)))
        self.client = None

    # -- what the phone does

    def reads(self, count: int | None = None) -> None:
        assert self.client is not None
        received = self.client.connection.received
        for _ in range(len(received) if count is None else count):
            stanza = received.popleft()
            if stanza.ns == SM:
                continue
            self.h += 1
            if stanza.name == "message":
                self.seen.append(stanza.get("id"))
                self.recent.append(stanza.get("id"))

    async def answers(self) -> None:
        assert self.client is not None
        self.reads()
        await self.client.sends(f"<a xmlns='{SM}' h='{self.h}'/>")
        self.recent.clear()

    async def comes_back(self) -> None:
        connection = await authenticate(self.server, PHONE)
        connection.begin_parsing()
        self.client = Client(connection, JID.parse(PHONE))
        if self.previd:
            connection.receive(f"<resume xmlns='{SM}' previd='{self.previd}' h='{self.h}'/>".encode())
            await settled(self.server)
            if (await self.client.next()).name == "resumed":
                self.recent.clear()
                return
            self.unsure.update(self.recent)
        self.recent.clear()
        self.h = 0
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind>"
        connection.receive(f"<iq type='set' id='b'>{bind}</iq>".encode())
        await self.client.next()
        await self.client.sends(f"<enable xmlns='{SM}' resume='true' max='{WAIT_SECONDS}'/>")
        self.previd = (await self.client.next()).get("id")
        await self.client.sends("<presence/>")
        await settled(self.server)

    async def leaves(self) -> None:
        """In good order."""
        assert self.client is not None
        self.reads()
        await self.client.sends(f"<a xmlns='{SM}' h='{self.h}'/></stream:stream>")
        await settled(self.server)
        self.client = None
        self.previd = ""
        self.recent.clear()


async def walk(
    server: Server,
    clock: ManualClock,
    alice: Client,
    phone: Phone,
    chance: random.Random,
    others: Sequence[Client] = (),
) -> tuple[list[str], list[str]]:
    """Some dozens of steps; the ids of the messages that alice sent to bob, and to his phone."""
    sent: dict[str, list[str]] = {"bob@example.org": [], PHONE: []}

    async def alice_writes() -> None:
        number = sum(map(len, sent.values()))
        to = chance.choice(list(sent))
        sent[to].append(f"m{number:03}")
        await alice.sends(f"<message to='{to}' type='chat' id='m{number:03}'><body>{number}</body></message>")
        await settled(server)

    async def time_passes() -> None:
        seconds = chance.choice([1, 5, 40, 100, WAIT_SECONDS + 1])
        for _ in range(3):
            clock.advance(seconds=seconds / 3)
            for client in (alice, *others):
                client.connection.last_seen = clock.monotonic()
            if phone.is_on:
                phone.client.connection.last_seen = clock.monotonic()
                await phone.answers()
            server.sweep()
            await settled(server)

    for _ in range(STEPS):
        steps: list[Callable[[], Awaitable[Any]]] = [alice_writes, alice_writes, alice_writes, time_passes]
        if phone.is_on:
            steps += [phone.answers, phone.loses_the_wire, phone.falls_silent]
            if chance.random() < 0.2:
                steps.append(phone.leaves)
        else:
            steps += [phone.comes_back, phone.comes_back]
        await chance.choice(steps)()
    if not phone.is_on:
        await phone.comes_back()
    for _ in range(3):
        await phone.answers()
        clock.advance(seconds=2)
        server.sweep()
        await settled(server)
    phone.reads()
    return sent["bob@example.org"], sent[PHONE]


@pytest.mark.parametrize("has_archive", [True, False], ids=["archive", "no archive"])
@pytest.mark.parametrize("seed", range(12))
async def test_phone_misses_nothing_and_sees_nothing_twice(server, clock, alice, new_user, seed, has_archive):
    chance = random.Random(seed)
    await new_user("bob")
    phone = Phone(server, chance)
    with overridden(archive__enabled=has_archive, sessions__ask_client_version=False):
        to_bob, to_phone = await walk(server, clock, alice, phone, chance)
    assert [stanza.get("id") for stanza in alice.connection.received if stanza.get("type") == "error"] == []
    counts = Counter(phone.seen)
    assert {name for name, count in counts.items() if count > 1} <= phone.unsure
    assert list(counts) == sorted(to_bob + to_phone)  # in the order in which they were first seen


@pytest.mark.parametrize("has_carbons", [False, True], ids=["no carbons", "carbons"])
@pytest.mark.parametrize("seed", range(100, 112))
async def test_with_a_tablet_that_is_always_on(server, clock, alice, log_in, seed, has_carbons):
    """What the phone's sessions do not live to deliver goes to the tablet, unless that has it already; each device sees
    each message once, and none is missed by both."""
    chance = random.Random(seed)
    with overridden(sessions__ask_client_version=False):
        tablet = await log_in("bob@example.org/tablet")
        await tablet.is_available()
        if has_carbons:
            await tablet.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
        clock.advance(seconds=10)
        server.sweep()
        phone = Phone(server, chance)
        to_both, to_phone = await walk(server, clock, alice, phone, chance, [tablet])

    assert [stanza.get("id") for stanza in alice.connection.received if stanza.get("type") == "error"] == []
    on_phone = Counter(phone.seen)
    on_tablet = Counter(
        _message_id(stanza) for stanza in tablet.connection.received if stanza.name == "message"
    )
    assert {name for name, count in on_phone.items() if count > 1} <= phone.unsure
    assert {name for name, count in on_tablet.items() if count > 1} == set()
    assert set(to_both) <= set(on_tablet)
    assert set(to_phone) <= set(on_phone) | set(on_tablet)
    if has_carbons:
        assert set(to_phone) <= set(on_tablet)
    else:
        assert set(to_phone) & set(on_phone) & set(on_tablet) <= phone.unsure


def _message_id(stanza: Element) -> str:
    """Of the message itself, or of the one that a copy carries."""
    copy = stanza.find("urn:xmpp:carbons:2", "received")
    if copy is None:
        return stanza.get("id")
    forwarded = copy.find("urn:xmpp:forward:0", "forwarded")
    assert forwarded is not None
    message = forwarded.find("jabber:client", "message")
    assert message is not None
    return message.get("id")
