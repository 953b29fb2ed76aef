"""XEP-0313: Message Archive Management, reading; XEP-0441: preferences."""

from __future__ import annotations

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from xmppd.protocol.element import Element
from xmppd.services import archive_retention
from xmppd.services.properties import overridden

NS, RSM, FORWARD, DELAY = (
    "urn:xmpp:mam:2",
    "http://jabber.org/protocol/rsm",
    "urn:xmpp:forward:0",
    "urn:xmpp:delay",
)
CLIENT = "jabber:client"


def form(**fields):
    given = "".join(
        f"<field var='{name.replace('_', '-')}'>"
        + "".join(f"<value>{value}</value>" for value in (values if isinstance(values, list) else [values]))
        + "</field>"
        for name, values in fields.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{NS}</value></field>{given}</x>"


async def ask(client, inner="", **attrs) -> tuple[list[Element], Element]:
    """(results, the <fin/> or the error stanza)."""
    client.forget_received()
    attributes = "".join(f" {key}='{value}'" for key, value in attrs.items())
    await client.sends(f"<iq type='set' id='q'><query xmlns='{NS}'{attributes}>{inner}</query></iq>")
    results = []
    while True:
        got = await client.next()
        if got.name == "iq":
            return results, got.find(NS, "fin") or got
        results.append(got.find(NS, "result"))


def bodies(results):
    found = []
    for result in results:
        message = result.find(FORWARD, "forwarded").find(CLIENT, "message")
        found.append(message.text_of(CLIENT, "body"))
    return found


def rsm(**fields):
    inner = "".join(
        f"<{key}>{value}</{key}>" if value != "" else f"<{key}/>" for key, value in fields.items()
    )
    return f"<set xmlns='{RSM}'>{inner}</set>"


@pytest_asyncio.fixture
async def history(alice, bob, stranger, clock):
    """Ten messages from alice to bob, one a minute from 12:00, and one from a stranger at 12:10."""
    await bob.is_available()
    for number in range(10):
        await alice.sends(f"<message to='{bob.bare}' type='chat'><body>line {number}</body></message>")
        clock.advance(minutes=1)
    await stranger.sends(f"<message to='{bob.full}' type='chat'><body>psst</body></message>")
    bob.forget_received()
    return bob


async def test_whole_archive_in_order(history, alice):
    results, fin = await ask(history, queryid="f27")
    assert bodies(results) == [f"line {n}" for n in range(10)] + ["psst"]
    assert fin.get("complete") == "true"
    first = results[0]
    assert first.get("queryid") == "f27"
    forwarded = first.find(FORWARD, "forwarded")
    assert forwarded.find(DELAY, "delay").get("stamp").startswith("2026-01-01T12:00:00")
    message = forwarded.find(CLIENT, "message")
    assert (message.get("from"), message.get("to"), message.get("type")) == (alice.full, history.bare, "chat")
    page = fin.find(RSM, "set")
    assert (page.text_of(RSM, "first"), page.text_of(RSM, "last")) == (first.get("id"), results[-1].get("id"))


async def test_sender_has_the_same_history(history, alice):
    results, _fin = await ask(alice)
    assert bodies(results) == [f"line {n}" for n in range(10)]


async def test_pages_forward(history):
    results, fin = await ask(history, rsm(max=4))
    assert (bodies(results), fin.get("complete")) == (["line 0", "line 1", "line 2", "line 3"], "")
    results, fin = await ask(history, rsm(max=4, after=results[-1].get("id")))
    assert bodies(results) == ["line 4", "line 5", "line 6", "line 7"]
    results, fin = await ask(history, rsm(max=4, after=results[-1].get("id")))
    assert (bodies(results), fin.get("complete")) == (["line 8", "line 9", "psst"], "true")


async def test_last_page_and_the_one_before(history):
    results, fin = await ask(history, rsm(max=3, before=""))
    assert (bodies(results), fin.get("complete")) == (["line 8", "line 9", "psst"], "")
    results, _fin = await ask(history, rsm(max=3, before=results[0].get("id")))
    assert bodies(results) == ["line 5", "line 6", "line 7"]


async def test_flipped_page(history):
    results, fin = await ask(history, rsm(max=2, before="") + f"<flip-page xmlns='{NS}'/>")
    assert bodies(results) == ["psst", "line 9"]
    assert fin.find(RSM, "set").text_of(RSM, "first") == results[1].get("id")


async def test_with_one_person(history, stranger, alice):
    assert bodies((await ask(history, form(**{"with": stranger.bare})))[0]) == ["psst"]
    assert len((await ask(history, form(**{"with": alice.full})))[0]) == 10
    assert (await ask(history, form(**{"with": f"{alice.bare}/elsewhere"})))[0] == []
    assert (await ask(history, form(**{"with": history.bare})))[0] == []


async def test_between_two_times(history):
    results, _fin = await ask(history, form(start="2026-01-01T12:03:00Z", end="2026-01-01T12:05:00Z"))
    assert bodies(results) == ["line 3", "line 4", "line 5"]


async def test_between_ids_and_by_ids(history):
    ids = [result.get("id") for result in (await ask(history))[0]]
    assert bodies((await ask(history, form(after_id=ids[2], before_id=ids[5])))[0]) == ["line 3", "line 4"]
    assert bodies((await ask(history, form(ids=[ids[7], ids[1]])))[0]) == ["line 1", "line 7"]


async def test_search_for_a_word(history):
    results, _fin = await ask(history, form(**{"{urn:xmpp:fulltext:0}fulltext": "PSST"}))
    assert bodies(results) == ["psst"]


async def test_count_alone(history):
    results, fin = await ask(history, rsm(max=0))
    assert (results, fin.find(RSM, "set").text_of(RSM, "count")) == ([], "11")


async def test_page_size_is_bounded(history, monkeypatch):
    monkeypatch.setattr("xmppd.modules.mam.MAX_PAGE", 5)
    assert len((await ask(history, rsm(max=1000)))[0]) == 5


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        (rsm(max=5, after="123"), "item-not-found"),
        (rsm(max=5, before="no-id"), "item-not-found"),
        (form(ids=["99"]), "item-not-found"),
        (form(start="yesterday"), "bad-request"),
        (form(colour="blue"), "feature-not-implemented"),
        (form(**{"with": "@@"}), "jid-malformed"),
    ],
)
async def test_refused(history, inner, condition):
    _results, error = await ask(history, inner)
    assert error.find(CLIENT, "error").find("urn:ietf:params:xml:ns:xmpp-stanzas", condition) is not None


async def test_archive_of_another_has_no_route(history, alice):
    got = await alice.asks(f"<query xmlns='{NS}'/>", type="set", to=history.bare)
    assert got.get("type") == "error"


async def test_an_id_of_another_archive_is_not_found(history, alice):
    theirs = (await ask(history))[0][0].get("id")
    _results, error = await ask(alice, rsm(after=theirs))
    assert error.get("type") == "error"


async def test_metadata(history, stranger, log_in):
    ids = [result.get("id") for result in (await ask(history))[0]]
    got = (await history.asks(f"<metadata xmlns='{NS}'/>")).find(NS, "metadata")
    assert (got.find(NS, "start").get("id"), got.find(NS, "end").get("id")) == (ids[0], ids[-1])
    assert got.find(NS, "end").get("timestamp").startswith("2026-01-01T12:10:00")
    nurse = await log_in("nurse@example.org/x")
    assert list((await nurse.asks(f"<metadata xmlns='{NS}'/>")).find(NS, "metadata").elements()) == []


async def test_form_lists_the_fields(alice):
    got = (await alice.asks(f"<query xmlns='{NS}'/>")).find(NS, "query")
    names = {field.get("var") for field in got.find("jabber:x:data", "x").elements()}
    assert {"with", "start", "end", "before-id", "after-id", "ids"} <= names


async def test_account_tells_that_it_has_an_archive(alice):
    got = await alice.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=alice.bare)
    features = {f.get("var") for f in got.find("http://jabber.org/protocol/disco#info", "query").elements()}
    assert {NS, f"{NS}#extended", "urn:xmpp:sid:0"} <= features


# -- preferences


async def prefs(client, default, never=(), always=()):
    lists = "".join(
        f"<{name}>" + "".join(f"<jid>{jid}</jid>" for jid in jids) + f"</{name}>"
        for name, jids in (("always", always), ("never", never))
    )
    return await client.asks(f"<prefs xmlns='{NS}' default='{default}'>{lists}</prefs>", type="set")


async def test_preferences_are_always_until_set_and_are_given_back(alice, bob):
    assert (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs").get("default") == "always"
    await prefs(alice, "roster", never=[bob.full])
    got = (await alice.asks(f"<prefs xmlns='{NS}'/>")).find(NS, "prefs")
    assert got.get("default") == "roster"
    assert [jid.text for jid in got.find(NS, "never").elements()] == [bob.full]
    assert list(got.find(NS, "always").elements()) == []


async def test_never_keeps_nothing_of_mine_and_the_other_side_keeps_its_own(alice, bob):
    await bob.is_available()
    await prefs(alice, "never")
    await alice.sends(f"<message to='{bob.bare}' type='chat'><body>between us</body></message>")
    assert (await ask(alice))[0] == []
    assert bodies((await ask(bob))[0]) == ["between us"]


async def test_roster_keeps_contacts_only(alice, bob, stranger):
    await bob.is_available()
    await prefs(bob, "roster", always=[stranger.bare])
    for sender in (alice, stranger):
        await sender.sends(f"<message to='{bob.bare}' type='chat'><body>hi</body></message>")
    results, _fin = await ask(bob)
    assert len(results) == 1


@pytest.mark.parametrize("default", ["", "sometimes"])
async def test_preferences_that_make_no_sense(alice, default):
    assert (await prefs(alice, default)).get("type") == "error"


# -- retention


async def test_old_messages_go(history, clock):
    clock.advance(days=40)
    with overridden(archive__keep_days=30):
        assert await sync_to_async(archive_retention.purge)(clock.time()) == 22  # both sides of eleven
    assert (await ask(history))[0] == []


async def test_the_oldest_go_when_it_is_too_much(history, clock):
    size = (await sync_to_async(archive_retention.usage)(history.connection.account.id)).bytes
    with overridden(archive__keep_size=size // 2):
        await sync_to_async(archive_retention.purge)(clock.time())
    assert bodies((await ask(history))[0])[-1] == "psst"
    assert (await sync_to_async(archive_retention.usage)(history.connection.account.id)).bytes <= size // 2
