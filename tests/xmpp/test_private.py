"""XEP-0049: Private XML Storage."""

from __future__ import annotations

from asgiref.sync import sync_to_async

from xmppd.services import properties

NS = "jabber:iq:private"
PREFS = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"
ASK = f"<query xmlns='{NS}'><exodus xmlns='exodus:prefs'/></query>"


def query(inner):
    return f"<query xmlns='{NS}'>{inner}</query>"


async def test_client_stores_and_retrieves(alice, alice_phone):
    await alice.sends(f"<iq type='set' id='1001'>{query(PREFS)}</iq>")
    await alice.receives(f"<iq type='result' id='1001' from='{alice.bare}' to='{alice.full}'/>")
    await alice_phone.sends(f"<iq type='get' id='1002'>{ASK}</iq>")
    await alice_phone.receives(f"<iq type='result' id='1002' from='{alice.bare}'>{query(PREFS)}</iq>")


async def test_bookmarks_keep_what_the_server_does_not_know(alice):
    storage = (
        "<storage xmlns='storage:bookmarks'><conference jid='council@rooms.example.org' autojoin='true'>"
        "<nick>Puck &amp; co</nick><x xmlns='urn:example:x' a='&lt;1&gt;'/></conference></storage>"
    )
    assert (await alice.asks(query(storage), type="set")).get("type") == "result"
    ask = query("<storage xmlns='storage:bookmarks'/>")
    await alice.sends(f"<iq type='get' id='b1'>{ask}</iq>")
    await alice.receives(f"<iq type='result' id='b1'>{query(storage)}</iq>")


async def test_what_is_missing_comes_back_empty(alice):
    await alice.sends(f"<iq type='get' id='1002'>{ASK}</iq>")
    await alice.receives(f"<iq type='result' id='1002'>{ASK}</iq>")


async def test_several_elements_are_stored_together_or_not_at_all(alice, actor):
    other = "<prefs xmlns='urn:example:prefs'><a/></prefs>"
    assert (await alice.asks(query(PREFS + other), type="set")).get("type") == "result"
    ask = query("<prefs xmlns='urn:example:prefs'/>")
    await alice.sends(f"<iq type='get' id='g1'>{ask}</iq>")
    await alice.receives(f"<iq type='result' id='g1'>{query(other)}</iq>")

    await sync_to_async(properties.set_value)("private.max_size", 1024, actor=actor)
    changed = PREFS.replace("Hamlet", "Yorick")
    large = f"<big xmlns='urn:example:big'>{'x' * 1024}</big>"
    assert "not-acceptable" in str(await alice.asks(query(changed + large), type="set"))
    await alice.sends(f"<iq type='get' id='g2'>{ASK}</iq>")
    await alice.receives(f"<iq type='result' id='g2'>{query(PREFS)}</iq>")


async def test_data_of_another_is_out_of_reach(alice, bob):
    await alice.asks(query(PREFS), type="set")
    for to in (alice.bare, "nobody@example.org", "example.org"):
        for kind in ("get", "set"):
            answer = await bob.asks(query(PREFS), to=to, type=kind)
            assert answer.get("type") == "error"
            assert "service-unavailable" in str(answer)
    await bob.sends(f"<iq type='get' id='g1'>{ASK}</iq>")
    await bob.receives(f"<iq type='result' id='g1'>{ASK}</iq>")


async def test_malformed_requests_are_refused(alice):
    assert "bad-request" in str(await alice.asks(query("")))
    assert "bad-request" in str(await alice.asks(query("<a xmlns='urn:1'/><b xmlns='urn:2'/>")))
    assert "not-acceptable" in str(await alice.asks(query(""), type="set"))
    for kind in ("get", "set"):
        assert "not-acceptable" in str(await alice.asks(query("<unscoped/>"), type=kind))
    assert "not-acceptable" in str(await alice.asks(query(f"<a xmlns='urn:{'x' * 5000}'>1</a>"), type="set"))


async def test_number_of_elements_is_bounded(alice, actor):
    await sync_to_async(properties.set_value)("private.max_elements", 2, actor=actor)
    for number in range(2):
        stored = await alice.asks(query(f"<a xmlns='urn:example:{number}'>1</a>"), type="set")
        assert stored.get("type") == "result"
    assert "not-allowed" in str(await alice.asks(query("<a xmlns='urn:example:3'>1</a>"), type="set"))
