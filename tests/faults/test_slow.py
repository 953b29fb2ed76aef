"""PostgreSQL behind a slow, a dead and a broken network: a proxy stands between (F4)."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.faults.client import Client, archive_of, check_history
from tests.faults.conftest import IS_LONG
from tests.faults.databases import LATE_COMERS, control
from xmppd import bootstrap
from xmppd.services.database_check import _connected as connected

pytestmark = [pytest.mark.interop, pytest.mark.postgresql, pytest.mark.slow]

DATABASES = ["postgresql"]
DELAY_SECONDS = 5.0 if IS_LONG else 1.0  # for each statement
ANSWERED = ("result", "error")
ROSTER_SET = "<query xmlns='jabber:iq:roster'><item jid='{}@example.net' name='{}'/></query>"


async def ping_until(client: Client, is_done) -> list[float]:
    took = [await client.ping()]
    while not is_done():
        took.append(await client.ping())
    return took


async def test_slow_statements_delay_who_needs_them_and_nobody_else(hearth, database, client):
    juliet, romeo = await client("juliet"), await client("romeo")
    nurse, benvolio, guest = await client("nurse"), await client("benvolio"), await client("guest0")
    sessions = control(hearth, "status")["sessions"]
    await juliet.answer(juliet.ask(ROSTER_SET.format("mercutio", "Mercutio"), "set"))
    juliet.say("nurse")
    await juliet.settle(
        "nurse"
    )  # connections stand: to make one takes longer, at this pace, than may be waited
    with database.proxy.slow(DELAY_SECONDS):
        juliet.say("nurse")
        romeo.say("friar")
        question = guest.ask(ROSTER_SET.format("mercutio", "Mercutio"), "set")
        took = await ping_until(benvolio, lambda: len(juliet.handled) == 2)
        assert len(took) > 20  # answered while each of the statements was under way
    await juliet.all_handled()
    await romeo.all_handled()
    assert juliet.refused == romeo.refused == {}
    assert (await guest.answer(question)).get("type") in ANSWERED
    await nurse.until(lambda: len(nurse.received) == 2)
    assert control(hearth, "status")["sessions"] == sessions
    friar = await client("friar")
    await friar.until(lambda: len(friar.received) == 1)
    await check_history(hearth, [juliet, romeo])
    assert "Traceback" not in hearth.text()
    print(f"{DELAY_SECONDS} s per statement: {len(took)} pings, longest {max(took) * 1000:.0f} ms")


async def test_standing_still_stops_writers_and_goes_on_by_itself(hearth, database, client):
    senders = [await client(f"guest{number}") for number in range(10)]
    nurse, benvolio = await client("nurse"), await client("benvolio")
    with database.proxy.standing_still():
        for sender in senders:
            sender.say("nurse")
        questions = [sender.ask(ROSTER_SET.format("tybalt", "Tybalt"), "set") for sender in senders]
        took = [await benvolio.ping() for _ in range(500)]
        assert all(sender.handled == [] and sender.refused == {} for sender in senders)
        assert nurse.received == []
    for sender, question in zip(senders, questions, strict=True):
        assert (await sender.answer(question)).get("type") == "result"
        await sender.settle("nurse")
    await nurse.until(lambda: len(nurse.received) == len(senders))
    await check_history(hearth, senders)
    print(f"standing still: {len(took)} pings, longest {max(took) * 1000:.0f} ms")


@pytest.mark.parametrize("place_of_cut", ["INSERT INTO", "COMMIT"])
async def test_answer_that_is_lost_neither_loses_nor_repeats_a_message(
    hearth, database, client, place_of_cut
):
    """The server has done what was asked, and the connection breaks before it can say so."""
    juliet, nurse = await client("juliet"), await client("nurse")
    before = juliet.say("nurse")
    await juliet.settle("nurse")
    cuts = database.proxy.cuts
    database.proxy.cut_after = place_of_cut.encode()
    cut = juliet.say("nurse")
    await juliet.settle("nurse")
    assert database.proxy.cuts == cuts + 1
    after = juliet.say("nurse")
    await juliet.settle("nurse")
    await nurse.until(lambda: after in [id for id, _ in nurse.received])
    assert [id for id, _ in nurse.received] == [before, cut, after]
    await check_history(hearth, [juliet])
    assert "Traceback" not in hearth.text()


async def test_login_and_questions_when_every_connection_has_gone(hearth, database, client):
    """What a firewall does to quiet connections: none of them is given to a client as an error of ours."""
    juliet = await client("juliet")
    await juliet.request("<vCard xmlns='vcard-temp'/>")
    database.proxy.drop_all()
    guests = await asyncio.gather(*(client(f"guest{number}") for number in range(10)))
    for guest in guests:
        assert (await guest.request("<vCard xmlns='vcard-temp'/>")).get("type") in ("result", "error")
        assert await guest.archive() is not None
    assert (await juliet.request(ROSTER_SET.format("paris", "Paris"), "set")).get("type") == "result"
    assert "Traceback" not in hearth.text()


async def test_logins_that_wait_for_a_table_hold_nobody_up(hearth, database, client):
    """More than the pool has threads, of accounts that nobody has asked for before."""
    juliet, nurse, benvolio = await client("juliet"), await client("nurse"), await client("benvolio")
    with database.locked("ACCESS EXCLUSIVE", "xmppd_roster"):
        logins = [asyncio.ensure_future(client(name)) for name in LATE_COMERS]
        took = [await benvolio.ping() for _ in range(500)]
        said = juliet.say("nurse")
        await juliet.all_handled()  # needs none of these tables
        assert juliet.kept == [said]
        await nurse.until(lambda: nurse.received)
        assert not any(login.done() for login in logins)
        took += [await benvolio.ping() for _ in range(500)]
    for late in await asyncio.gather(*logins):
        assert (await late.request("<query xmlns='jabber:iq:roster'/>")).get("type") == "result"
    print(f"{len(logins)} logins waiting: {len(took)} pings, longest {max(took) * 1000:.0f} ms")


async def test_message_whose_sender_left_before_it_was_kept_is_in_both_archives_or_none(
    hearth, database, client
):
    """Its recipient is asked for in the database meanwhile."""
    juliet, benvolio = await client("juliet"), await client("benvolio")
    with database.locked("ACCESS EXCLUSIVE", "xmppd_roster"):
        said = juliet.say("paris")
        await benvolio.ping()
        assert control(hearth, "close", jid=juliet.jid)
        await juliet.is_over()
    paris = await client("paris")
    theirs = [row.id for row in await paris.archive()]
    own = [row.id for row in await archive_of(hearth, "juliet")]
    assert theirs.count(said) == own.count(said)


def test_server_that_vanishes_without_a_word_is_noticed_in_time(database):
    """The system is told so for each connection; what the administrator says in the URL goes before."""

    def patience(url: str) -> int:
        with connected(bootstrap.database_config(url, Path())) as probe:
            made = probe.get_new_connection(probe.get_connection_params())
            with made, socket.socket(fileno=os.dup(made.fileno())) as of_it:
                assert of_it.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert of_it.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
                return of_it.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert patience(database.url) == 30_000
    assert patience(f"{database.url}?tcp_user_timeout=5000") == 5_000
