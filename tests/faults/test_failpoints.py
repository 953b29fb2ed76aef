"""The server dies at the worst moments of a message's way: before and after the commit, and when its sender has been
told and its recipient has not (F1).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.client import archive_of
from tests.faults.conftest import IS_LONG

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DATABASES = ["sqlite", "postgresql"] if IS_LONG else ["sqlite"]
CASES = [("before commit", "friar"), ("after commit", "friar"), ("after acknowledgement", "nurse")]
if IS_LONG:
    CASES += [("before commit", "nurse"), ("after commit", "nurse"), ("after acknowledgement", "friar")]
FAILPOINTS = Path(__file__).with_name("failpoints")


@pytest.mark.parametrize(("moment", "recipient"), CASES)
async def test_death_loses_and_repeats_nothing(place, client, moment, recipient):
    hearth, database = place
    failpoint = hearth.home / "failpoint"
    if "PYTHONPATH" not in hearth.environ or str(FAILPOINTS) not in hearth.environ["PYTHONPATH"]:
        assert hearth.stop() == 0
        hearth.environ |= {"PYTHONPATH": str(FAILPOINTS), "HEARTH_TEST_FAILPOINT": str(failpoint)}
        await asyncio.to_thread(hearth.start)
    juliet = await client("juliet")
    nurse = await client("nurse")
    first = juliet.say(recipient)
    await juliet.settle(recipient)
    failpoint.write_text(moment)
    try:
        second = juliet.say(recipient)
        assert await asyncio.to_thread(hearth.process_wait, 30) == -9
    finally:
        failpoint.unlink()
        hearth.kill()
        await asyncio.to_thread(hearth.start)
    await juliet.is_over()
    await nurse.is_over()
    was_acknowledged = second in juliet.kept
    assert was_acknowledged == (moment == "after acknowledgement")
    kept = [row.id for row in await archive_of(hearth, recipient)]
    assert kept.count(first) == 1
    assert kept.count(second) == (0 if moment == "before commit" else 1)
    again = await client("juliet")
    if not was_acknowledged:
        again.say(recipient, juliet.bodies[second], id=second)
        await again.settle(recipient)
        kept = [row.id for row in await archive_of(hearth, recipient)]
    assert kept.count(second) == 1
    own = [row.id for row in await archive_of(hearth, "juliet")]
    assert (own.count(first), own.count(second)) == (1, 1)
    if recipient == "friar":
        friar = await client("friar")
        await friar.until(lambda: second in [id for id, _ in friar.received])
        ids = [id for id, _ in friar.received]
        assert (ids.count(first), ids.count(second)) == (1, 1)
    database.check()
