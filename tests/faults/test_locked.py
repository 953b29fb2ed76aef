"""A database that nobody can write to for a while: a second connection holds the lock (F4)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.client import PATIENCE, Client, archive_of, check_history
from tests.faults.conftest import IS_LONG
from tests.faults.databases import control

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HELD_SECONDS = 8.0 if IS_LONG else 4.0
FLOOD = 400  # messages of 10 kB
ROSTER_SET = "<query xmlns='jabber:iq:roster'><item jid='{}@example.net' name='{}'/></query>"
PRIVATE = "<query xmlns='jabber:iq:private'>{}</query>"
VCARD = "<vCard xmlns='vcard-temp'>{}</vCard>"
ANSWERED = ("result", "error")


async def ping_for(client: Client, seconds: float) -> list[float]:
    """Ping, one after the other, for this time; how long each took."""
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        took.append(await client.ping())
    return took


def report(what: str, took: list[float]) -> None:
    took = sorted(took)
    median, last = took[len(took) // 2], took[-1]
    print(f"{what}: {len(took)} pings, median {median * 1000:.1f} ms, longest {last * 1000:.0f} ms")


async def test_messages_wait_for_the_lock_and_nobody_else_does(hearth, database, client):
    juliet, romeo = await client("juliet"), await client("romeo")
    nurse, benvolio = await client("nurse"), await client("benvolio")
    sessions = control(hearth, "status")["sessions"]
    with database.locked():
        for number in range(10):
            juliet.say("nurse" if number % 2 else "friar")
            romeo.say("nurse")
        report(f"{database.name} locked", await ping_for(benvolio, HELD_SECONDS))
        await client("guest0")  # logs in meanwhile
        assert control(hearth, "status")["sessions"] == sessions + 1
        assert juliet.handled == romeo.handled == nurse.received == []
    await juliet.all_handled()
    await romeo.all_handled()
    assert juliet.refused == romeo.refused == {}
    await nurse.until(lambda: len(nurse.received) == 15)
    friar = await client("friar")
    await friar.until(lambda: len(friar.received) == 5)
    assert [id for id, _ in friar.received] == [
        id for id in juliet.messages if juliet.messages[id].startswith("friar")
    ]
    assert len(set(nurse.received)) == 15
    assert len(await archive_of(hearth, "guest0")) == 0
    await check_history(hearth, [juliet, romeo])
    database.check()
    assert "Traceback" not in hearth.text()


async def test_one_client_has_one_message_with_the_writer_and_is_not_read_beyond_a_bound(
    hearth, database, client
):
    juliet, romeo = await client("juliet"), await client("romeo")
    nurse, benvolio = await client("nurse", is_managed=False), await client("benvolio")

    def row(of: Client) -> dict[str, int]:
        return next(row for row in control(hearth, "sessions") if row["jid"] == of.jid)

    before = {of.jid: row(of) for of in (juliet, romeo)}
    body = "x" * 10_000
    with database.locked():
        romeo.say("nurse")
        for _ in range(FLOOD):
            juliet.say("nurse", body)
        await ping_for(benvolio, 2.0)
        first = row(juliet)
        await ping_for(benvolio, 0.5)
        flooding, modest = row(juliet), row(romeo)
        # The rest waits in the network, as the client notices: not in our memory.
        assert flooding["bytes_in"] == first["bytes_in"]
        assert flooding["bytes_in"] - before[juliet.jid]["bytes_in"] < FLOOD * len(body) / 8
        assert flooding["stanzas_in"] - before[juliet.jid]["stanzas_in"] == 1
        assert modest["stanzas_in"] - before[romeo.jid]["stanzas_in"] == 1
        print(
            f"{flooding['bytes_in'] - before[juliet.jid]['bytes_in']} bytes were read before the lock was given back"
        )
    await romeo.all_handled()  # is not behind the flood
    await juliet.all_handled()
    assert len(juliet.kept) == FLOOD, juliet.refused
    await nurse.until(lambda: len(nurse.received) == FLOOD + 1)
    assert len({id for id, _ in nurse.received}) == FLOOD + 1
    await check_history(hearth, [juliet, romeo])


async def test_others_who_write_get_an_answer_and_hold_nobody_up(hearth, database, client):
    """More writers than the pool has threads."""
    benvolio, juliet = await client("benvolio"), await client("juliet")
    guests = await asyncio.gather(*(client(f"guest{number}") for number in range(20)))
    payloads = (
        ROSTER_SET.format("mercutio", "Mercutio"),
        PRIVATE.format("<storage xmlns='storage:bookmarks'><url name='Verona'/></storage>"),
        VCARD.format("<FN>A guest</FN>"),
    )
    with database.locked():
        asked = [(guest, guest.ask(payload, "set")) for guest in guests for payload in payloads]
        took = await ping_for(benvolio, 1.0)
        # Who only reads passes those who wait: a login, what stands in private storage and archive.
        romeo = await client("romeo")
        assert (await romeo.request(PRIVATE.format("<storage xmlns='storage:bookmarks'/>"))).get(
            "type"
        ) == "result"
        assert await juliet.archive() is not None
        report(f"{database.name} locked, {len(asked)} writers", took + await ping_for(benvolio, 1.0))
        assert not any(guest.is_answered(id) for guest, id in asked)
    for guest, id in asked:
        assert (await guest.answer(id)).get("type") == "result"
    for guest in guests:
        roster = await guest.request("<query xmlns='jabber:iq:roster'/>")
        assert [item.get("name") for item in roster[0]] == ["Mercutio"]
        bookmarks = await guest.request(PRIVATE.format("<storage xmlns='storage:bookmarks'/>"))
        assert bookmarks[0][0][0].get("name") == "Verona"
        card = await guest.request("<vCard xmlns='vcard-temp'/>")
        assert card[0][0].text == "A guest"
    database.check()


@pytest.mark.skipif(not IS_LONG, reason="takes half a minute: HEARTH_TEST_FAULTS=long")
async def test_lock_that_is_not_given_back_ends_in_errors_and_not_in_losses(hearth, database, client):
    juliet, nurse, benvolio = await client("juliet"), await client("nurse"), await client("benvolio")
    guest = await client("guest1")
    before = len(hearth.text())
    with database.locked():
        first = juliet.say("nurse")
        question = guest.ask(ROSTER_SET.format("tybalt", "Tybalt"), "set")
        async with asyncio.timeout(PATIENCE):
            while not (juliet.refused and guest.is_answered(question)):
                await benvolio.ping()
        assert "archive" in {row["name"] for row in control(hearth, "problems")}
        answer = await guest.answer(question)
        assert answer.get("type") == "error"
        assert answer.find("{jabber:client}error").get("type") == "wait"
        assert juliet.refused == {first: "internal-server-error"}
        second = juliet.say("nurse")
    await juliet.settle("nurse")
    assert set(juliet.kept) == {first, second}
    await nurse.until(lambda: len(nurse.received) == 2)
    await check_history(hearth, [juliet])
    said = hearth.text()[before:]
    assert said.count("cannot be written") == 1, said
    assert "Traceback" not in said
