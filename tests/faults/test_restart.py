"""PostgreSQL is restarted the hard way, again and again, while people talk (F3)."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.faults.client import Client, check_history
from tests.faults.conftest import IS_LONG
from tests.faults.databases import control

pytestmark = [pytest.mark.interop, pytest.mark.postgresql, pytest.mark.slow]

RESTARTS = 20 if IS_LONG else 5
DATABASES = ["postgresql"]
WINDOW = 8  # messages of one sender that wait for their acknowledgement
RECIPIENTS = ("nurse", "friar")


async def speak(sender: Client, chosen: random.Random, is_over: asyncio.Event) -> None:
    """Keep a few messages under way; what was refused is said again with the same id."""
    while not is_over.is_set():
        await sender.until(lambda: len(sender.sent) - sender.h < WINDOW)
        again = next((id for id in sender.handled if id in sender.refused), None)
        if again is not None:
            sender.say(sender.messages[again].partition("@")[0], id=again)
        else:
            sender.say(chosen.choice(RECIPIENTS))


async def test_restarts_lose_nothing_and_end_no_session(hearth, database, client):
    if IS_LONG:  # more is said than is kept offline by default
        for setting in ("offline.max_messages", "offline.quota"):
            await asyncio.to_thread(hearth.manage, "settings", "set", setting, "1000000000")
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    senders = [await client(name) for name in ("juliet", "romeo", "guest0", "guest1")]
    nurse, benvolio = await client("nurse"), await client("benvolio")
    sessions = control(hearth, "status")["sessions"]
    is_over = asyncio.Event()
    speaking = [asyncio.create_task(speak(sender, chosen, is_over)) for sender in senders]
    took: list[float] = []
    said_before = len(hearth.text())
    for _ in range(RESTARTS):
        goal = len(senders[0].kept) + chosen.randrange(5, 60)
        await senders[0].until(lambda goal=goal: len(senders[0].kept) >= goal)
        restarting = asyncio.ensure_future(asyncio.to_thread(lambda: database.stop()()))
        while not restarting.done():
            took.append(await benvolio.ping())
        await restarting
        began = time.monotonic()
        romeo = await client("guest2")  # a login at once after it
        reached = len(senders[1].kept) + 1
        await senders[1].until(lambda reached=reached: len(senders[1].kept) >= reached)
        print(f"restart: login and message {time.monotonic() - began:.2f} s after the database was back")
        await romeo.close()
    is_over.set()
    await asyncio.gather(*speaking)
    assert control(hearth, "status")["sessions"] == sessions
    for sender in senders:
        for recipient in RECIPIENTS:
            await sender.settle(recipient)
        assert not sender.is_closed
    said = [id for sender in senders for id, to in sender.messages.items() if to.startswith("nurse")]
    await nurse.until(lambda: len(nurse.received) >= len(said))
    assert sorted(id for id, _ in nurse.received) == sorted(said)
    friar = await client("friar")
    said = [id for sender in senders for id, to in sender.messages.items() if to.startswith("friar")]
    await friar.until(lambda: set(said) <= {id for id, _ in friar.received})
    assert sorted(id for id, _ in friar.received) == sorted(said)
    await check_history(hearth, senders)
    text = hearth.text()[said_before:]
    assert "Traceback" not in text, text
    print(f"{len(took)} pings during the restarts, longest {max(took) * 1000:.0f} ms")
    assert text.count("the archive cannot be written") <= RESTARTS
    assert text.count("the database cannot be used") <= RESTARTS
