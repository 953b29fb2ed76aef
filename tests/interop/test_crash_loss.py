"""What was acknowledged (XEP-0198) is never lost: `kill -9` and SIGTERM under load, then the archives are read.

HEARTH_TEST_CRASH_ROUNDS=20 kills more often; HEARTH_TEST_CRASH_SEED=... repeats a run. The clients send again, with
the same id, what was not acknowledged before the connection broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import mariadb, postgresql
from tests.faults.client import Kept, archive_of
from tests.hearth import Hearth
from tests.wire import PATIENCE, Wire

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROUNDS = int(os.environ.get("HEARTH_TEST_CRASH_ROUNDS", "3"))
SEED = int(os.environ.get("HEARTH_TEST_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
STREAMS = [(name, f"r{number}") for name in ("juliet", "romeo") for number in range(3)]
ONLINE, OFFLINE = "nurse", "friar"
WINDOW = 24  # messages of one sender that wait for their acknowledgement
REQUEST = "<r xmlns='urn:xmpp:sm:3'/>"
REQUEST_AFTER = 5  # messages
SM = "urn:xmpp:sm:3"
MESSAGE = "<message to='{0}@example.org' type='chat' id='{1}'><body>{1} to {0}</body></message>"
_TOKEN = re.compile(
    r"<a [^>]*\bh=['\"](?P<h>\d+)['\"][^>]*/>"
    r"|(?P<request><r [^>]*/>)"
    r"|<message [^>]*?\bid=['\"](?P<message>[^'\"]+)['\"].*?</message>"
    r"|(?P<presence><presence[^>]*/>|<presence.*?</presence>)"
    r"|<stream:error>(?P<error>.*?)</stream:error>",
    re.DOTALL,
)

Pair = tuple[str, str]  # full JID of the sender, username of the recipient


@dataclass
class Sender:
    """Numbered messages to both recipients; the first `acknowledged` of `sent` are the server's to keep."""

    name: str
    resource: str
    sent: list[tuple[str, str]] = field(default_factory=list)  # (id, recipient)
    acknowledged: int = 0
    error: str = ""

    @property
    def jid(self) -> str:
        return f"{self.name}@example.org/{self.resource}"

    def to(self, recipient: str, *, acknowledged: bool = False) -> list[str]:
        sent = self.sent[: self.acknowledged] if acknowledged else self.sent
        return [identity for identity, to in sent if to == recipient]

    async def speak(self, wire: Wire, random: random.Random, heard: Callable[[], None]) -> None:
        """Send as fast as acknowledgements come, until the stream ends."""
        await self._send(wire, lambda: self.sent.append(self._compose(random)), heard)

    async def send_again(self, wire: Wire) -> None:
        """Send what was not acknowledged, and wait until it is."""
        async with asyncio.timeout(PATIENCE):
            await self._send(wire, None, lambda: None)
        assert self.acknowledged == len(self.sent)

    def _compose(self, random: random.Random) -> tuple[str, str]:
        return f"{self.name}-{self.resource}-{len(self.sent):07}", random.choice((ONLINE, OFFLINE))

    async def _send(self, wire: Wire, compose: Callable[[], None] | None, heard: Callable[[], None]) -> None:
        before = position = self.acknowledged
        while True:
            batch = []
            while position < self.acknowledged + WINDOW:
                if position == len(self.sent):
                    if compose is None:
                        break
                    compose()
                identity, to = self.sent[position]
                batch.append(MESSAGE.format(to, identity))
                position += 1
                if position % REQUEST_AFTER == 0:
                    batch.append(REQUEST)
            if compose is None and self.acknowledged == len(self.sent):
                return
            if batch:
                wire.send("".join(batch) + REQUEST)
            async for token in tokens(wire):
                assert token["message"] is None, token[0]  # an error instead of an acknowledgement
                if token["error"]:
                    self.error = token["error"]
                if token["h"]:
                    self.acknowledged = before + int(token["h"])
                    heard()
                    break
            else:
                return


async def tokens(wire: Wire) -> AsyncIterator[re.Match[str]]:
    """What the server says, until it closes."""
    while True:
        while found := _TOKEN.search(wire.read):
            wire.read = wire.read[found.end() :]
            yield found
        try:
            data = await wire.reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            return
        if not data:
            return
        wire.read += data.decode()


@dataclass
class Reader:
    """A recipient who acknowledges what comes."""

    ids: list[str] = field(default_factory=list)
    error: str = ""

    async def listen(self, wire: Wire, until: Callable[[], bool] = lambda: False) -> None:
        handled, is_open = 0, True
        async for token in tokens(wire):
            self.error = token["error"] or self.error
            if token["message"]:
                self.ids.append(token["message"])
            handled += bool(token["message"] or token["presence"])
            if token["request"] and is_open:
                wire.send(f"<a xmlns='{SM}' h='{handled}'/>")
            if is_open and until():
                wire.send(f"<a xmlns='{SM}' h='{handled}'/></stream:stream>")
                is_open = False  # what comes until the server's end is read as well


async def log_in(hearth: Hearth, name: str, resource: str, *, presence: str = "") -> Wire:
    wire = Wire(hearth)
    await wire.connect()
    await wire.log_in(name, resource)
    wire.send(f"<enable xmlns='{SM}' resume='true'/>")
    await wire.expect("<enabled [^>]*/>")
    wire.send(presence)
    return wire


@dataclass
class Archives:
    """What the people find in their archives (XEP-0313). Each round reads on from where the last one ended; `again`
    reads everything once more.
    """

    hearth: Hearth
    rows: dict[str, list[Kept]] = field(default_factory=dict)

    async def read_on(self) -> dict[tuple[str, Pair], list[str]]:
        """(owner, pair) -> ids in the archive's order."""
        kept: dict[tuple[str, Pair], list[str]] = {}
        for owner in ("juliet", "romeo", ONLINE, OFFLINE):
            rows = self.rows.setdefault(owner, [])
            rows += await archive_of(self.hearth, owner, rows[-1].stanza_id if rows else "")
            stanza_ids = [int(row.stanza_id) for row in rows]
            assert stanza_ids == sorted(set(stanza_ids)), f"stanza-ids of {owner}"
            for row in rows:
                pair = (row.sender, row.to.partition("@")[0])
                kept.setdefault((owner, pair), []).append(row.id)
        return kept

    async def again(self) -> dict[tuple[str, Pair], list[str]]:
        self.rows.clear()
        return await self.read_on()


def check_acknowledged(kept: dict[tuple[str, Pair], list[str]], senders: list[Sender]) -> int:
    """Both archives hold the same first messages of each pair, and all acknowledged ones; how many beyond these."""
    beyond = 0
    for sender in senders:
        for recipient in (ONLINE, OFFLINE):
            pair = (sender.jid, recipient)
            own, theirs = kept.get((sender.name, pair), []), kept.get((recipient, pair), [])
            assert own == theirs, pair
            assert theirs == sender.to(recipient)[: len(theirs)], pair
            surplus = len(theirs) - len(sender.to(recipient, acknowledged=True))
            assert surplus >= 0, f"{-surplus} acknowledged messages of {pair} are lost"
            beyond += surplus
    return beyond


def check_all(kept: dict[tuple[str, Pair], list[str]], senders: list[Sender]) -> None:
    """Each message once and in order, in both archives."""
    expected = {
        (owner, (sender.jid, recipient)): sender.to(recipient)
        for sender in senders
        for recipient in (ONLINE, OFFLINE)
        for owner in (sender.name, recipient)
        if sender.to(recipient)
    }
    assert kept == expected


@dataclass
class Load:
    """All senders at full speed, one recipient online, one not."""

    hearth: Hearth
    random: random.Random
    senders: list[Sender] = field(default_factory=lambda: [Sender(*stream) for stream in STREAMS])
    nurse: Reader = field(default_factory=Reader)
    friar: Reader = field(default_factory=Reader)

    async def run(self, strike: Callable[[], None]) -> None:
        """Strike once a random number of messages was acknowledged, a random moment later; until all streams ended."""
        reached = asyncio.Event()
        target = sum(sender.acknowledged for sender in self.senders) + self.random.randrange(50, 1500)

        def heard() -> None:
            if sum(sender.acknowledged for sender in self.senders) >= target:
                reached.set()

        listening = await log_in(self.hearth, ONLINE, "phone", presence="<presence/>")
        await listening.expect("<presence.*?(/>|</presence>)")
        wires = [await log_in(self.hearth, sender.name, sender.resource) for sender in self.senders]
        async with asyncio.TaskGroup() as group:
            group.create_task(self.nurse.listen(listening))
            for sender, wire in zip(self.senders, wires, strict=True):
                group.create_task(sender.speak(wire, self.random, heard))
            async with asyncio.timeout(PATIENCE * 3):
                await reached.wait()
            # Not a wait for something: the moment within the server's work must not hang on an acknowledgement.
            await asyncio.sleep(self.random.random() * 0.05)
            strike()
        for wire in (listening, *wires):
            wire.close()

    async def send_again(self) -> None:
        for sender in self.senders:
            if sender.acknowledged < len(sender.sent):
                wire = await log_in(self.hearth, sender.name, sender.resource)
                await sender.send_again(wire)
                wire.close()

    async def come_back(self, reader: Reader, name: str) -> None:
        """Log in, and stay until all that was ever sent to this account has been read."""
        everything = {identity for sender in self.senders for identity in sender.to(name)}
        wire = await log_in(self.hearth, name, "phone", presence="<presence/>")
        missing = set(everything)

        def is_complete() -> bool:
            missing.difference_update(reader.ids[-1:])
            return not missing

        missing.difference_update(reader.ids)
        try:
            async with asyncio.timeout(PATIENCE):
                await reader.listen(wire, is_complete)
        except TimeoutError:
            raise AssertionError(
                f"{len(missing)} messages never reached {name}: {sorted(missing)[:5]}"
            ) from None
        finally:
            wire.close()


SERVERS = {"postgresql": postgresql, "mariadb": mariadb}


@pytest.fixture(
    params=["sqlite", *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in SERVERS)]
)
def hearth(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hearth]:
    with contextlib.ExitStack() as stack:
        environ = {}
        if request.param in SERVERS:
            server = SERVERS[request.param]
            environ["DATABASE_URL"] = server.new_database(stack.enter_context(server.running()))
        hearth = Hearth(tmp_path / "home", environ=environ)
        hearth.set_up()
        for username in ("juliet", "romeo", ONLINE, OFFLINE):
            hearth.add_user(username)
        hearth.manage("settings", "set", "offline.max_messages", "1000000")
        hearth.manage("settings", "set", "offline.quota", "1000000000")
        hearth.start()
        yield hearth
        hearth.kill()


async def test_kill_at_a_random_moment_loses_nothing_acknowledged(hearth):
    print(f"HEARTH_TEST_CRASH_SEED={SEED}")
    load, archives = Load(hearth, random.Random(SEED)), Archives(hearth)
    for number in range(1, ROUNDS + 1):
        process = hearth.process
        await load.run(process.kill)
        await asyncio.to_thread(hearth.kill)
        acknowledged = sum(sender.acknowledged for sender in load.senders)
        await asyncio.to_thread(hearth.start)
        beyond = check_acknowledged(await archives.read_on(), load.senders)
        again = sum(len(sender.sent) for sender in load.senders) - acknowledged
        print(
            f"round {number}: {acknowledged} acknowledged, 0 lost; {again} sent again, {beyond} of them kept"
        )
        await load.send_again()
        await load.come_back(load.friar, OFFLINE)
        check_all(await archives.read_on(), load.senders)
    check_all(await archives.again(), load.senders)
    for sender in load.senders:
        mine = [
            identity
            for identity in load.friar.ids
            if identity.startswith(f"{sender.name}-{sender.resource}-")
        ]
        assert mine == sender.to(OFFLINE)  # each once, in order
    assert load.friar.error == ""
    assert len(load.nurse.ids) == len(set(load.nurse.ids))
    assert "Traceback" not in hearth.text()


async def test_sigterm_loses_nothing_and_tells_everybody(hearth):
    print(f"HEARTH_TEST_CRASH_SEED={SEED}")
    load = Load(hearth, random.Random(SEED))
    process = hearth.process
    struck: list[float] = []

    def strike() -> None:
        struck.append(time.monotonic())
        process.terminate()

    await load.run(strike)
    assert await asyncio.to_thread(hearth.process_wait, 10) == 0
    seconds = time.monotonic() - struck[0]
    assert seconds < 10
    for client in (*load.senders, load.nurse):
        assert "<system-shutdown " in client.error
    await asyncio.to_thread(hearth.start)
    beyond = check_acknowledged(await Archives(hearth).read_on(), load.senders)
    acknowledged = sum(sender.acknowledged for sender in load.senders)
    print(f"{acknowledged} acknowledged, 0 lost, {beyond} more kept; exit after {seconds:.1f} s")
    assert len(load.nurse.ids) == len(set(load.nurse.ids))
    await load.send_again()
    await load.come_back(load.nurse, ONLINE)
    await load.come_back(load.friar, OFFLINE)
    check_all(await Archives(hearth).read_on(), load.senders)
    assert len(load.friar.ids) == len(set(load.friar.ids))
    assert load.friar.error == ""
    assert "Traceback" not in hearth.text()
