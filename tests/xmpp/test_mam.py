"""XEP-0313: Message Archive Management, reading."""

from __future__ import annotations

import pytest

from tests.conversation import MemoryConnection, settled
from tests.xmpp.archive_queries import (
    CLIENT,
    DELAY,
    FORMS,
    FORWARD,
    FULLTEXT,
    NS,
    RSM,
    ask,
    bodies,
    form,
    rsm,
)
from xmppd.protocol.element import E
from xmppd.protocol.stanza import make
from xmppd.protocol.writer import escape
from xmppd.services import archive_query
from xmppd.services.properties import overridden


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


async def test_results_come_from_the_archive_to_the_asking_resource_before_the_result(history):
    history.connection.receive(f"<iq type='set' id='q'><query xmlns='{NS}'/></iq>".encode())
    await history.settles()
    stanzas = list(history.connection.received)
    assert [stanza.name for stanza in stanzas] == ["message"] * 11 + ["iq"]
    assert {(stanza.get("from"), stanza.get("to")) for stanza in stanzas[:-1]} == {
        (history.bare, history.full)
    }
    assert stanzas[-1].get("type") == "result"
    fin = stanzas[-1].find(NS, "fin")
    assert fin.get("stable") in ("", "true")
    page = fin.find(RSM, "set")
    assert [child.name for child in page.elements()] == ["first", "last"]  # counting was not asked for
    assert page.find(RSM, "first").get("index") == ""


async def test_own_archive_by_its_address(history):
    assert len((await ask(history, to=history.bare))[0]) == 11


async def test_query_id_is_given_back_whatever_is_in_it(history):
    results, _fin = await ask(history, rsm(max=1), queryid="&lt;&apos;&amp;&quot;")
    assert results[0].get("queryid") == "<'&\""
    results, _fin = await ask(history, rsm(max=1))
    assert "queryid" not in results[0].attrs


async def test_results_are_neither_copied_nor_archived(history, log_in):
    phone = await log_in("bob@example.org/phone")
    for client in (history, phone):
        await client.asks("<enable xmlns='urn:xmpp:carbons:2'/>", type="set")
    await ask(history)
    await phone.receives_nothing()
    assert len((await ask(history))[0]) == 11


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


async def test_page_that_ends_with_the_archive_is_complete(history):
    for page in (rsm(max=11), rsm(max=11, before="")):
        results, fin = await ask(history, page)
        assert (len(results), fin.get("complete")) == (11, "true")


async def test_page_behind_the_last_message_is_empty(history):
    last = (await ask(history))[0][-1].get("id")
    for page in (rsm(max=5, after=last), form(after_id=last)):
        results, fin = await ask(history, page)
        assert (results, fin.get("complete")) == ([], "true")
        assert list(fin.find(RSM, "set").elements()) == []


async def test_page_between_two_items(history):
    """XEP-0059 leaves it open; the range is what can be meant."""
    ids = [result.get("id") for result in (await ask(history))[0]]
    results, _fin = await ask(history, rsm(max=10, after=ids[1], before=ids[4]))
    assert bodies(results) == ["line 2", "line 3"]


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


async def test_with_myself_finds_notes_to_myself(history, alice, alice_phone):
    await alice.sends(f"<message to='{alice.bare}' type='chat'><body>milk</body></message>")
    await alice.sends(f"<message to='{alice_phone.full}' type='chat'><body>eggs</body></message>")
    assert bodies((await ask(alice, form(**{"with": alice.bare})))[0]) == ["milk", "eggs"]
    assert len((await ask(alice))[0]) == 12


async def test_with_a_domain_finds_what_it_said_itself(history, server):
    notice = make("message", E(CLIENT, "body", "maintenance"), from_=server.jid, to=history.jid.bare)
    await server.router.route(notice)
    assert bodies((await ask(history, form(**{"with": "example.org"})))[0]) == ["maintenance"]


async def test_times_are_those_that_results_show(history, alice, clock):
    clock.advance(milliseconds=123)
    for text in ("one", "two"):
        await alice.sends(f"<message to='{history.bare}' type='chat'><body>{text}</body></message>")
        clock.advance(milliseconds=1)
    found = (await ask(history, rsm(max=2, before="")))[0]
    stamps = [result.find(FORWARD, "forwarded").find(DELAY, "delay").get("stamp") for result in found]
    assert bodies((await ask(history, form(start=stamps[0], end=stamps[0])))[0]) == ["one"]
    assert bodies((await ask(history, form(start=stamps[1])))[0]) == ["two"]
    later = stamps[0].removesuffix("000Z") + "500Z"
    assert bodies((await ask(history, form(start=later)))[0]) == ["two"]
    assert bodies((await ask(history, form(end=later) + rsm(max=1, before="")))[0]) == ["one"]


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"start": "2026-01-01T12:08:00Z"}, 3),
        ({"start": "2026-01-01T14:08:00+02:00"}, 3),
        ({"end": "2026-01-01T12:01:00.999999Z"}, 2),
        ({"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z"}, 11),
        ({"start": "9999-12-31T23:59:59Z"}, 0),
        ({"end": "1969-12-31T23:59:59Z"}, 0),
        ({"start": "2026-01-01T12:05:00Z", "end": "2026-01-01T12:04:00Z"}, 0),
    ],
)
async def test_times(history, fields, number):
    results, fin = await ask(history, form(**fields))
    assert (len(results), fin.get("complete")) == (number, "true")


async def test_between_two_times(history):
    results, _fin = await ask(history, form(start="2026-01-01T12:03:00Z", end="2026-01-01T12:05:00Z"))
    assert bodies(results) == ["line 3", "line 4", "line 5"]


async def test_between_ids_and_by_ids(history):
    ids = [result.get("id") for result in (await ask(history))[0]]
    assert bodies((await ask(history, form(after_id=ids[2], before_id=ids[5])))[0]) == ["line 3", "line 4"]
    assert bodies((await ask(history, form(ids=[ids[7], ids[1]])))[0]) == ["line 1", "line 7"]


@pytest.mark.parametrize(
    ("letter", "found", "missed"),
    [
        (
            "<body>Romeo</body>",
            ["ROMEO", "ome"],
            ["body", "message", "chat", "Juliet", "alice", "example.org"],
        ),
        ("<body>if a &lt; b &amp;&amp; b &gt; c</body>", ["a < b", "&&", "B > C"], ["lt;", "amp"]),
        ('<body>it\'s "so"</body>', ["it's", '"SO"'], ["apos"]),
        ("<body>&#98;ad w&#x6f;rds</body>", ["bad words"], ["#98"]),
        ("<body><![CDATA[<b>fat</b>]]></body>", ["<B>FAT"], ["cdata"]),
        ("<body>Äpfel, ПРИВЕТ, ΟΔΟΣ</body>", ["äPFEL", "привет", "οδος", "οδοσ"], ["apfel"]),
        ("<body>你好，世界</body>", ["好，世"], ["好世"]),
        ("<body>300 \u212a</body>", ["300 k"], ["300 c"]),
        ("<body>100%_sure</body>", ["100%", "%_s"], ["100_", "1%e"]),
        ("<subject>Verona</subject><body>x</body>", ["verona"], ["subject"]),
        ("<body xml:lang='de'>Guten Tag</body><body>Hello</body>", ["guten", "hello"], ["taghello", "lang"]),
        ("<body>x</body><note xmlns='urn:x' a='secret'>hidden</note>", ["x"], ["secret", "hidden", "urn:x"]),
        ("<n:note xmlns:n='urn:x' a='2>1'/><body>a>b</body>", ["a>b"], ["2>1", "note"]),
        ("<body>two\r\nlines</body>", ["two\nlines"], ["twolines"]),
    ],
)
async def test_search_is_in_what_people_read(alice, bob, letter, found, missed):
    await bob.is_available()
    await alice.sends(f"<message to='{bob.bare}' type='chat' id='needle'>{letter}</message>")
    for text in found:
        results, fin = await ask(bob, form(**{FULLTEXT: escape(text)}))
        assert (len(results), fin.get("complete")) == (1, "true"), text
    for text in missed:
        results, fin = await ask(bob, form(**{FULLTEXT: escape(text)}))
        assert (results, fin.get("complete")) == ([], "true"), text


@pytest.mark.parametrize("window", [1, 2, 3, 11, 100])
async def test_search_goes_on_where_one_step_ended(history, alice, monkeypatch, window):
    monkeypatch.setattr(archive_query, "SEARCH_ROWS", window)
    monkeypatch.setattr(archive_query, "READ_ROWS", 2)
    wanted = form(**{FULLTEXT: "line"})
    results, fin = await ask(history, wanted + rsm(max=4))
    assert (bodies(results), fin.get("complete")) == ([f"line {n}" for n in range(4)], "")
    results, fin = await ask(history, wanted + rsm(max=6, after=results[-1].get("id")))
    assert (bodies(results), fin.get("complete")) == ([f"line {n}" for n in range(4, 10)], "true")
    results, fin = await ask(history, wanted + rsm(max=7, before=""))
    assert (bodies(results), fin.get("complete")) == ([f"line {n}" for n in range(3, 10)], "")
    results, fin = await ask(history, wanted + rsm(max=7, before=results[0].get("id")))
    assert (bodies(results), fin.get("complete")) == ([f"line {n}" for n in range(3)], "true")
    results, fin = await ask(history, form(**{FULLTEXT: "nowhere"}))
    assert (results, fin.get("complete")) == ([], "true")
    _results, fin = await ask(history, wanted + rsm(max=0))
    assert fin.find(RSM, "set").text_of(RSM, "count") == "10"


async def test_ids_in_pages_and_with_other_filters(history, stranger):
    ids = [result.get("id") for result in (await ask(history))[0]]
    wanted = form(ids=[ids[10], ids[1], ids[7]])
    results, fin = await ask(history, wanted + rsm(max=2))
    assert (bodies(results), fin.get("complete")) == (["line 1", "line 7"], "")
    results, _fin = await ask(history, form(ids=[ids[10], ids[1]], **{"with": stranger.bare}))
    assert bodies(results) == ["psst"]


async def test_search_ends_with_its_client(history, server, monkeypatch):
    monkeypatch.setattr(archive_query, "SEARCH_ROWS", 1)
    steps = 0

    def page(*args, real=archive_query.page, **kwargs):
        nonlocal steps
        steps += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(archive_query, "page", page)
    history.connection.receive(
        f"<iq type='set' id='q'><query xmlns='{NS}'>{form(**{FULLTEXT: 'nowhere'})}</query></iq>".encode()
    )
    await history.disconnects()
    await settled(server)
    assert steps == 1


async def test_all_that_was_asked_for_by_id_comes(history, monkeypatch):
    monkeypatch.setattr("xmppd.modules.mam.DEFAULT_PAGE", 2)
    ids = [result.get("id") for result in (await ask(history, rsm(max=11)))[0]]
    results, fin = await ask(history, form(ids=ids))
    assert ([result.get("id") for result in results], fin.get("complete")) == (ids, "true")


async def test_count_is_of_what_matches(history, alice, stranger):
    for fields, number in (({"with": stranger.bare}, "1"), ({"with": alice.bare}, "10")):
        _results, fin = await ask(history, form(**fields) + rsm(max=0))
        assert fin.find(RSM, "set").text_of(RSM, "count") == number
    _results, error = await ask(history, form(ids=["99"]) + rsm(max=0))
    assert error.get("type") == "error"
    _results, fin = await ask(history, form(**{FULLTEXT: "LINE"}) + rsm(max=0))
    assert fin.find(RSM, "set").text_of(RSM, "count") == "10"
    _results, fin = await ask(history, form(**{FULLTEXT: "body"}) + rsm(max=0))
    assert (fin.find(RSM, "set").text_of(RSM, "count"), fin.get("complete")) == ("0", "true")


async def test_count_alone(history):
    results, fin = await ask(history, rsm(max=0))
    assert (results, fin.find(RSM, "set").text_of(RSM, "count")) == ([], "11")


async def test_page_size_is_bounded(history, monkeypatch):
    monkeypatch.setattr("xmppd.modules.mam.MAX_PAGE", 5)
    assert len((await ask(history, rsm(max=1000)))[0]) == 5


async def test_page_is_bounded_in_bytes_too(alice, bob, monkeypatch):
    await bob.is_available()
    for number in range(6):
        await alice.sends(f"<message to='{bob.bare}'><body>{number}{'x' * 30_000}</body></message>")
    monkeypatch.setattr("xmppd.modules.mam.MAX_PAGE_BYTES", 100_000)
    results, fin = await ask(bob)
    assert ([body[0] for body in bodies(results)], fin.get("complete")) == (["0", "1", "2"], "")
    results, fin = await ask(bob, rsm(after=results[-1].get("id")))
    assert ([body[0] for body in bodies(results)], fin.get("complete")) == (["3", "4", "5"], "true")
    results, fin = await ask(bob, form(**{FULLTEXT: "xx"}) + rsm(before=""))
    assert ([body[0] for body in bodies(results)], fin.get("complete")) == (["3", "4", "5"], "")
    monkeypatch.setattr("xmppd.modules.mam.MAX_PAGE_BYTES", 10)
    assert len((await ask(bob))[0]) == 1  # or nobody would get on


async def test_page_leaves_room_for_what_is_unacknowledged(alice, bob):
    """A client that acknowledges nothing for some pages is not given up for it."""
    await bob.is_available()
    for number in range(6):
        await alice.sends(f"<message to='{bob.bare}'><body>{number}{'x' * 30_000}</body></message>")
    await bob.sends("<enable xmlns='urn:xmpp:sm:3'/>")
    with overridden(sm__max_queue_size=300_000):
        results, _fin = await ask(bob)
        assert len(results) == 2
        results, _fin = await ask(bob, rsm(after=results[-1].get("id")))
        assert len(results) == 1
    assert bob.is_connected


async def test_slow_client_gets_its_page_at_its_pace(alice, bob, stranger, monkeypatch):
    await bob.is_available()
    for number in range(8):
        await alice.sends(f"<message to='{bob.bare}'><body>{number}{'x' * 30_000}</body></message>")
    slow = {bob.connection}
    monkeypatch.setattr(MemoryConnection, "is_congested", property(lambda self: self in slow))
    bob.forget_received()
    bob.connection.receive(f"<iq type='set' id='q'><query xmlns='{NS}'/></iq>".encode())
    while len(bob.connection.received) < 3:
        bob.connection.arrived.clear()
        await bob.connection.arrived.wait()
    await stranger.receives_nothing()
    assert len(bob.connection.received) == 3  # 64 KiB, and no more until they are read
    slow.clear()
    await bob.settles()
    assert [stanza.name for stanza in bob.connection.received] == ["message"] * 8 + ["iq"]


async def test_slow_client_that_goes_is_not_waited_for(alice, bob, server, monkeypatch):
    await bob.is_available()
    for number in range(8):
        await alice.sends(f"<message to='{bob.bare}'><body>{number}{'x' * 30_000}</body></message>")
    monkeypatch.setattr(MemoryConnection, "is_congested", property(lambda self: self is bob.connection))
    bob.forget_received()
    bob.connection.receive(f"<iq type='set' id='q'><query xmlns='{NS}'/></iq>".encode())
    while len(bob.connection.received) < 3:
        bob.connection.arrived.clear()
        await bob.connection.arrived.wait()
    session = bob.session
    await bob.disconnects()
    await settled(server)
    assert session.is_closed
    assert [stanza.name for stanza in bob.connection.received].count("message") == 3


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        (rsm(max=5, after="123"), "item-not-found"),
        (rsm(max=5, before="no-id"), "item-not-found"),
        (rsm(max=5, before="9" * 30), "item-not-found"),
        (rsm(max="many"), "bad-request"),
        (rsm(max=5, index=3), "feature-not-implemented"),
        (form(ids=["99"]), "item-not-found"),
        (form(after_id="99"), "item-not-found"),
        (form(before_id="28482-98726-73623"), "item-not-found"),
        (form(ids=[str(number) for number in range(300)]), "policy-violation"),
        (form(start="yesterday"), "bad-request"),
        (form(end="2026-01-01"), "bad-request"),
        (form(start="2026-02-30T00:00:00Z"), "bad-request"),
        (form(colour="blue"), "feature-not-implemented"),
        (form(include_groupchat="perhaps"), "bad-request"),
        (form(**{"with": "@@"}), "jid-malformed"),
        (form(**{"with": ["a@b", "c@d"]}), "bad-request"),
        (form().replace(f"<value>{NS}</value>", "<value>urn:xmpp:mam:1</value>"), "bad-request"),
        (form().replace("'submit'", "'form'"), "bad-request"),
    ],
)
async def test_refused(history, inner, condition):
    results, error = await ask(history, inner)
    assert results == []
    assert error.find(CLIENT, "error").find("urn:ietf:params:xml:ns:xmpp-stanzas", condition) is not None


async def test_archives_of_nodes_are_not_there(history):
    _results, error = await ask(history, node="fdp/submitted/capulet.lit/sonnets")
    assert error.get("type") == "error"


@pytest.mark.parametrize("value", ["true", "false", "1", "0"])
async def test_groupchat_field_is_understood(history, value):
    assert len((await ask(history, form(include_groupchat=value)))[0]) == 11


@pytest.mark.parametrize("username", ["bob", "nobody"])
@pytest.mark.parametrize(
    ("type", "payload"), [("set", "query"), ("get", "query"), ("get", "metadata")], ids=str
)
async def test_archive_of_another_is_forbidden_as_is_one_that_does_not_exist(
    history, alice, username, type, payload
):
    got = await alice.asks(f"<{payload} xmlns='{NS}'/>", type=type, to=f"{username}@example.org")
    error = got.find(CLIENT, "error")
    assert error.find("urn:ietf:params:xml:ns:xmpp-stanzas", "forbidden") is not None
    await alice.receives_nothing()


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
    for to in (None, alice.bare):
        got = (await alice.asks(f"<query xmlns='{NS}'/>", to=to)).find(NS, "query")
        x = got.find(FORMS, "x")
        assert x.get("type") == "form"
        types = {field.get("var"): field.get("type") for field in x.findall(FORMS, "field")}
        assert types == {
            "FORM_TYPE": "hidden",
            "with": "jid-single",
            "start": "text-single",
            "end": "text-single",
            "before-id": "text-single",
            "after-id": "text-single",
            "ids": "list-multi",
            "include-groupchat": "boolean",
            FULLTEXT: "text-single",
        }
        fields = {field.get("var"): field for field in x.findall(FORMS, "field")}
        assert fields["FORM_TYPE"].text_of(FORMS, "value") == NS
        validate = fields["ids"].find("http://jabber.org/protocol/xdata-validate", "validate")
        assert [child.name for child in validate.elements()] == ["open"]
        assert fields["ids"].find(FORMS, "option") is None
        assert all(field.find(FORMS, "required") is None for field in fields.values())


async def test_account_tells_that_it_has_an_archive(alice, stranger):
    """What clients look for: on the bare JID, not the server's."""
    got = await alice.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=alice.bare)
    features = {f.get("var") for f in got.find("http://jabber.org/protocol/disco#info", "query").elements()}
    assert {
        NS,
        f"{NS}#extended",
        f"{NS}#groupchat-field",
        "urn:xmpp:sid:0",
        "urn:xmpp:fulltext:0",
    } <= features
    got = await alice.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="example.org")
    features = {f.get("var") for f in got.find("http://jabber.org/protocol/disco#info", "query").elements()}
    assert NS not in features
