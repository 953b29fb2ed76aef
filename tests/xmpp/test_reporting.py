"""XEP-0377: Blocking Command Reports."""

from datetime import datetime

import pytest
from asgiref.sync import sync_to_async

from tests.conversation import settled
from tests.xmpp.test_blocking import NS, listed
from xmppd.models import Report
from xmppd.services import properties, reports

REPORTING = "urn:xmpp:reporting:1"
SPAM, ABUSE = "urn:xmpp:reporting:spam", "urn:xmpp:reporting:abuse"


def report(reason=SPAM, inner=""):
    attribute = f" reason='{reason}'" if reason else ""
    return f"<report xmlns='{REPORTING}'{attribute}>{inner}</report>"


async def block(client, *items):
    """Each item is (jid, its content)."""
    inner = "".join(f"<item jid='{jid}'>{content}</item>" for jid, content in items)
    answer = await client.asks(f"<block xmlns='{NS}'>{inner}</block>", type="set")
    assert answer.get("type") == "result", answer
    await settled(client.server)


async def kept():
    return [row async for row in Report.objects.select_related("reporter", "reported").order_by("id")]


async def features(client):
    answer = await client.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="example.org")
    return [child.get("var") for child in next(answer.elements()).elements()]


@pytest.fixture
def set_setting(transactional_db, actor):
    return lambda setting, value: sync_to_async(properties.set_value)(setting.name, value, actor=actor)


async def test_report_is_kept_with_all_it_says(alice, bob):
    inner = (
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{alice.bare}' id='28482-98726-73623'/>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{alice.bare}' id='38383-38018-18385'/>"
        "<text xml:lang='en'> Never came trouble to my house like this. </text><report-origin/><third-party/>"
    )
    await block(alice, (bob.bare, report(SPAM, inner)))
    (row,) = await kept()
    assert (row.reporter_jid, row.reporter.username) == (alice.bare, "alice")
    assert (row.reported_jid, row.reported.username) == (bob.bare, "bob")
    assert (row.reason, row.reason_uri, row.state) == ("spam", SPAM, "open")
    assert row.text == "Never came trouble to my house like this."
    assert row.stanza_ids == [
        {"by": alice.bare, "id": "28482-98726-73623", "missing": "foreign"},
        {"by": alice.bare, "id": "38383-38018-18385", "missing": "foreign"},
    ]
    assert row.may_go_to == ["report-origin", "third-party"]
    assert await listed(alice) == [bob.bare]


async def test_each_item_has_its_own_report(alice):
    await block(
        alice,
        ("pest@example.net/bot", report(ABUSE)),
        ("quiet@example.net", ""),
        ("spam.example", report(SPAM)),
    )
    assert [(row.reported_jid, row.reason, row.reported) for row in await kept()] == [
        ("pest@example.net/bot", "abuse", None),
        ("spam.example", "spam", None),
    ]


async def test_block_without_a_report_reports_nothing(alice, bob):
    await block(alice, (bob.bare, ""))
    assert await kept() == []


@pytest.mark.parametrize(
    "content",
    [
        report(reason=""),
        report(reason="urn:example:unheard-of", inner="<more xmlns='urn:x'/>"),
        report(inner="<stanza-id xmlns='urn:xmpp:sid:0'/><stanza-id xmlns='urn:xmpp:sid:0' by='a@b'/>"),
        report(inner="<text><b/></text><text>second</text>"),
        report(inner=f"<text>{'x' * 20000}</text>"),
        "<report xmlns='urn:xmpp:reporting:0'/>",
        "<report xmlns='urn:xmpp:reporting:1'><report xmlns='urn:xmpp:reporting:1'/></report>",
    ],
)
async def test_block_stands_whatever_the_report_is_like(alice, bob, content):
    await block(alice, (bob.bare, content))
    assert await listed(alice) == [bob.bare]
    for row in await kept():
        assert row.stanza_ids == []
        assert len(row.text) <= reports.MAX_TEXT_CHARS


async def test_unknown_reason_is_kept_as_it_is(alice, bob):
    await block(alice, (bob.bare, report(reason="urn:example:unheard-of")))
    (row,) = await kept()
    assert (row.reason, row.reason_uri) == ("other", "urn:example:unheard-of")


async def test_reports_have_a_daily_limit_and_blocks_do_not(alice, set_setting):
    await set_setting(reports.MAX_PER_DAY, 2)
    await block(alice, *[(f"pest{number}@example.net", report()) for number in range(3)])
    await block(alice, ("pest3@example.net", report()))
    assert [row.reported_jid for row in await kept()] == ["pest0@example.net", "pest1@example.net"]
    assert len(await listed(alice)) == 4


async def test_reports_can_be_switched_off(alice, bob, set_setting):
    assert REPORTING in await features(alice)
    await set_setting(reports.ENABLED, False)
    assert REPORTING not in await features(alice)
    await block(alice, (bob.bare, report()))
    assert await kept() == []
    assert await listed(alice) == [bob.bare]


async def test_refused_block_reports_nothing(alice):
    inner = f"<item jid='{alice.bare}'>{report()}</item>"
    answer = await alice.asks(f"<block xmlns='{NS}'>{inner}</block>", type="set")
    assert answer.get("type") == "error"
    await settled(alice.server)
    assert await kept() == []


# -- references to messages, 5


def mark(by, identity):
    return f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{identity}'/>"


async def said(sender, receiver, text) -> str:
    """The id that the message has in its receiver's archive."""
    await sender.sends(f"<message to='{receiver.bare}' type='chat'><body>{text}</body></message>")
    return (await receiver.next()).find("urn:xmpp:sid:0", "stanza-id").get("id")


async def test_reported_messages_are_kept_with_the_report(alice, bob, clock):
    await alice.is_available()
    ids = [await said(bob, alice, text) for text in ("Buy &lt;pills&gt;", "x" * 5000, "not reported")]
    await block(alice, (bob.bare, report(SPAM, "".join(mark(alice.bare, i) for i in ids[:2]))))
    (row,) = await kept()
    first, second = row.stanza_ids
    assert (first["by"], first["id"], first["text"]) == (alice.bare, ids[0], "Buy <pills>")
    assert datetime.fromisoformat(first["sent"]) == clock.now()
    assert second["text"] == "x" * reports.MAX_MESSAGE_CHARS


async def test_nobody_else_is_read_because_of_a_report(alice, bob, stranger):
    """Not the reporter's own words, nor a third person's, nor another archive's."""
    for client in (alice, bob):
        await client.is_available()
    theirs = await said(stranger, alice, "from a third person")
    in_bobs = await said(alice, bob, "my own words")
    of_bob = await said(bob, alice, "reported")
    marks = [
        (alice.bare, theirs, "other-sender"),
        (alice.bare, in_bobs, "gone"),
        (bob.bare, in_bobs, "foreign"),
        (bob.bare, of_bob, "foreign"),
        (alice.bare, "no-id", "foreign"),
        (alice.bare, "9" * 30, "foreign"),
        (alice.bare, "1", "gone"),
    ]
    await block(alice, (bob.bare, report(ABUSE, "".join(mark(by, identity) for by, identity, _ in marks))))
    (row,) = await kept()
    assert row.stanza_ids == [
        {"by": by, "id": identity, "missing": missing} for by, identity, missing in marks
    ]


async def test_report_of_a_resource_or_a_domain(alice, bob):
    await alice.is_available()
    identity = await said(bob, alice, "hello")
    reference = report(SPAM, mark(alice.bare, identity))
    await block(alice, (bob.full, reference), (f"{bob.bare}/other", reference))
    assert ["text" in row.stanza_ids[0] for row in await kept()] == [True, False]


async def test_forwarding_is_left_out_whatever_the_reporter_agrees_to(alice, bob):
    """4: nothing is done that was not agreed to; this server sends no report anywhere."""
    await bob.is_available()
    await block(alice, (bob.bare, report(SPAM, "<report-origin/><third-party/>")))
    await bob.receives_nothing()
