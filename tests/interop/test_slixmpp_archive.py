"""slixmpp over TCP with the message archive: what clients do at start, while scrolling back and after days away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from slixmpp.exceptions import IqError

from tests.clients import Person
from tests.interop.test_slixmpp_modern import synchronized, with_plugins

pytestmark = pytest.mark.interop

TESTS = 10
_pairs = iter(range(TESTS))
ARCHIVE = ("xep_0313", "xep_0441", "xep_0359", "xep_0030")


@pytest.fixture(scope="module")
def hearth(hearth: Any) -> Any:
    """People of this file alone, so that their archives hold what a test put there."""
    for number in range(TESTS):
        for name in ("alice", "bob"):
            hearth.add_user(f"{name}{number}")
    return hearth


@pytest.fixture
def pair() -> int:
    """The number of the two people of this test."""
    return next(_pairs)


@pytest_asyncio.fixture
async def couple(hearth, person, pair):
    """Two clients that are online, and twenty-five messages between them."""
    alice = with_plugins(person(f"alice{pair}", "phone"), *ARCHIVE)
    bob = with_plugins(person(f"bob{pair}", "desktop"), *ARCHIVE)
    for client in (alice, bob):
        await client.goes_online()
    for number in range(25):
        sender, receiver = (alice, bob) if number % 2 else (bob, alice)
        sender.says(receiver.boundjid.bare, f"line {number}")
        await receiver.sees("message", lambda m, number=number: m["body"] == f"line {number}")
    return alice, bob


LINES = [f"line {number}" for number in range(25)]


def body(result: Any) -> str:
    return result["mam_result"]["forwarded"]["stanza"]["body"]


async def bodies(client: Person, **kwargs: Any) -> list[str]:
    return [body(result) async for result in client.plugin["xep_0313"].iterate(**kwargs)]


async def test_client_finds_the_archive_and_its_fields(couple):
    alice, _bob = couple
    found = await alice.plugin["xep_0030"].get_info(jid=alice.boundjid.bare)
    features = found["disco_info"]["features"]
    assert {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0"} <= set(features)
    fields = (await alice.plugin["xep_0313"].get_fields()).get_fields()
    assert fields["with"]["type"] == "jid-single"
    assert fields["ids"]["type"] == "list-multi"
    assert {"start", "end", "before-id", "after-id", "{urn:xmpp:fulltext:0}fulltext"} <= set(fields)


async def test_whole_history_in_pages_both_ways(couple):
    for client in couple:
        assert await bodies(client) == LINES
        assert await bodies(client, reverse=True) == LINES[::-1]
        assert await bodies(client, rsm={"max": 7}) == LINES
        assert await bodies(client, jid=client.boundjid.bare, rsm={"max": 25}) == LINES
    assert await bodies(couple[0], reverse=True, total=3) == ["line 24", "line 23", "line 22"]


async def test_filters(couple):
    alice, bob = couple
    assert await bodies(alice, with_jid=bob.boundjid.bare) == LINES
    assert await bodies(alice, with_jid="juliet@example.org") == []
    now = datetime.now(UTC)
    assert await bodies(alice, start=now - timedelta(minutes=5), end=now) == LINES
    assert await bodies(alice, start=now + timedelta(minutes=5)) == []
    page = await alice.plugin["xep_0313"].retrieve(with_jid=bob.boundjid.bare, rsm={"max": 2})
    assert [body(result) for result in page["mam"]["results"]] == LINES[:2]
    result = page["mam"]["results"][0]["mam_result"]
    assert abs(now - result["forwarded"]["delay"]["stamp"]) < timedelta(minutes=5)
    assert result["forwarded"]["stanza"]["from"] == bob.boundjid


async def test_words_are_searched_for(couple):
    alice, _bob = couple
    query = alice.make_iq_set()
    query["mam"].set_custom_field("{urn:xmpp:fulltext:0}fulltext", "LINE 2")
    query["mam"]["rsm"]["max"] = "0"
    found = await query.send()
    assert found["mam_fin"]["rsm"]["count"] == "6"  # line 2, and 20 to 24


async def test_messages_name_their_place_in_the_archive(couple):
    """What a client saw live, it recognises in the archive, and goes on behind it."""
    alice, bob = couple
    bob.says(alice.boundjid.bare, "mark")
    live = await alice.sees("message", lambda m: m["body"] == "mark")
    assert live["stanza_id"]["by"] == alice.boundjid.bare
    known = live["stanza_id"]["id"]
    bob.says(alice.boundjid.bare, "news")
    await alice.sees("message", lambda m: m["body"] == "news")
    page = await alice.plugin["xep_0313"].retrieve(rsm={"max": 5, "after": known})
    assert [body(result) for result in page["mam"]["results"]] == ["news"]
    found = await alice.plugin["xep_0313"].get_archive_metadata()
    assert found["mam_metadata"]["end"]["id"] == page["mam"]["results"][0]["mam_result"]["id"]
    assert found["mam_metadata"]["start"]["timestamp"] <= found["mam_metadata"]["end"]["timestamp"]


async def test_two_devices_and_days_away(couple, person, pair):
    """A tablet that was off meanwhile fetches what the phone has seen and sent, and gets nothing of it twice."""
    alice, bob = couple
    tablet = with_plugins(person(f"alice{pair}", "tablet"), *ARCHIVE)
    await tablet.goes_online()
    last = (await tablet.plugin["xep_0313"].get_archive_metadata())["mam_metadata"]["end"]["id"]
    await tablet.disconnect(wait=1)
    await tablet.sees("disconnected")
    alice.says(bob.boundjid.bare, "I am on the phone")
    await bob.sees("message", lambda m: m["body"] == "I am on the phone")
    await alice.disconnect(wait=1)
    await alice.sees("disconnected")
    bob.says(alice.boundjid.bare, "are you there?")
    await synchronized(bob)
    await tablet.goes_online()
    offline = await tablet.sees("message", lambda m: m["body"] == "are you there?")
    page = await tablet.plugin["xep_0313"].retrieve(rsm={"max": 50, "after": last})
    results = page["mam"]["results"]
    assert [body(result) for result in results] == ["I am on the phone", "are you there?"]
    assert offline["stanza_id"]["id"] == results[-1]["mam_result"]["id"]


async def test_preferences(couple, person):
    alice, bob = couple
    preferences = alice.plugin["xep_0441"]
    assert await preferences.get_preferences() == ("always", set(), set())
    await preferences.set_preferences("never", always=["nurse@example.org"], never=[])
    assert await preferences.get_preferences() == ("never", {"nurse@example.org"}, set())
    bob.says(alice.boundjid.bare, "off the record")
    await alice.sees("message", lambda m: m["body"] == "off the record")
    assert await bodies(alice) == LINES
    assert await bodies(bob) == [*LINES, "off the record"]


async def test_archives_of_others_are_closed(couple):
    alice, bob = couple
    for address in (bob.boundjid.bare, "nobody@example.org"):
        with pytest.raises(IqError) as refused:
            await alice.plugin["xep_0313"].retrieve(jid=address)
        assert refused.value.condition == "forbidden"


async def test_large_messages_over_a_managed_stream(hearth, person, pair):
    """More than the server keeps unacknowledged, sent as fast as the client reads and acknowledges."""
    bob = person(f"bob{pair}")
    await bob.goes_online()
    texts = [f"{number} {'x' * 8000}" for number in range(100)]
    for text in texts:
        bob.says(f"alice{pair}@example.org", text)
    await synchronized(bob)
    phone = with_plugins(person(f"alice{pair}", "phone"), *ARCHIVE, "xep_0198")
    await phone.goes_online()
    for text in texts:  # what waited for it
        assert (await phone.sees("message"))["body"] == text
    for _ in range(3):
        assert await bodies(phone, rsm={"max": 250}) == texts
    assert await bodies(phone, reverse=True, rsm={"max": 250}) == texts[::-1]
    assert phone.is_connected()


async def test_queries_in_flight_together(couple):
    alice, bob = couple
    found = await asyncio.gather(*(bodies(alice, rsm={"max": size}) for size in (3, 10, 25, 250)))
    assert found == [LINES] * 4
    bob.says(alice.boundjid.bare, "after all that")
    await alice.sees("message", lambda m: m["body"] == "after all that")
