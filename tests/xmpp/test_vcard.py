"""XEP-0054: vcard-temp."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from xmppd.services import properties

ASK = "<vCard xmlns='vcard-temp'/>"
CARD = (
    "<vCard xmlns='vcard-temp'><FN>Peter Saint-Andre</FN>"
    "<N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN><MIDDLE/></N>"
    "<NICKNAME>stpeter</NICKNAME><URL>http://www.xmpp.org/xsf/people/stpeter.shtml</URL></vCard>"
)


@pytest.fixture
async def alice_has_card(alice):
    await alice.sends(f"<iq id='v2' type='set'>{CARD}</iq>")
    await alice.receives("<iq id='v2' type='result' from='alice@example.org'/>")


async def test_owner_writes_and_reads(alice, alice_has_card):
    await alice.sends("<iq id='v1' type='get'><vCard xmlns='vcard-temp'/></iq>")
    await alice.receives(f"<iq id='v1' type='result' from='{alice.bare}'>{CARD}</iq>")
    await alice.sends(f"<iq id='v3' type='get' to='{alice.bare}'>{ASK}</iq>")
    await alice.receives(f"<iq id='v3' type='result' from='{alice.bare}'>{CARD}</iq>")


async def test_others_read_it_whether_online_or_not(alice, bob, alice_has_card):
    for _ in range(2):
        await bob.sends(f"<iq id='v3' type='get' to='{alice.bare}'>{ASK}</iq>")
        await bob.receives(f"<iq id='v3' type='result' from='{alice.bare}'>{CARD}</iq>")
        await alice.disconnects()


async def test_writing_replaces_the_whole_and_an_empty_one_deletes(alice, bob, alice_has_card):
    other = "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>"
    assert (await alice.asks(other, type="set")).get("type") == "result"
    await alice.sends(f"<iq id='v1' type='get'>{ASK}</iq>")
    await alice.receives(f"<iq id='v1' type='result'>{other}</iq>")
    assert (await alice.asks(ASK, type="set")).get("type") == "result"
    assert "service-unavailable" in str(await bob.asks(ASK, to=alice.bare))


async def test_owner_of_none_gets_an_empty_one(alice):
    await alice.sends(f"<iq id='v1' type='get'>{ASK}</iq>")
    await alice.receives(f"<iq id='v1' type='result' from='{alice.bare}'>{ASK}</iq>")


async def test_no_vcard_and_no_account_look_alike(alice, bob):
    answers = [await alice.asks(ASK, to=to) for to in (bob.bare, "nobody@example.org")]
    assert list(answers[0].elements()) == list(answers[1].elements())
    assert "service-unavailable" in str(answers[0])


async def test_nobody_writes_the_card_of_another(alice, bob, alice_has_card):
    for to in (alice.bare, "nobody@example.org", "example.org"):
        assert "service-unavailable" in str(await bob.asks(CARD.replace("Peter", "Eve"), to=to, type="set"))
    await alice.sends(f"<iq id='v1' type='get'>{ASK}</iq>")
    await alice.receives(f"<iq id='v1' type='result'>{CARD}</iq>")


async def test_too_large_a_card_is_refused_and_the_old_one_stays(alice, alice_has_card, actor):
    await sync_to_async(properties.set_value)("vcard.max_size", 2000, actor=actor)
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{'A' * 2000}</BINVAL></PHOTO>"
    answer = await alice.asks(f"<vCard xmlns='vcard-temp'>{photo}</vCard>", type="set")
    assert "not-acceptable" in str(answer)
    await alice.sends(f"<iq id='v1' type='get'>{ASK}</iq>")
    await alice.receives(f"<iq id='v1' type='result'>{CARD}</iq>")


async def test_stanza_behind_the_question_is_answered_after_it(alice, alice_has_card):
    await alice.sends(
        f"<iq id='v1' type='get'>{ASK}</iq><iq id='p1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    await alice.receives(f"<iq id='v1' type='result'>{CARD}</iq>")
    await alice.receives("<iq id='p1' type='result'/>")
