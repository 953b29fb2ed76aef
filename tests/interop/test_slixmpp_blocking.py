"""slixmpp blocks somebody (XEP-0191) over TCP: what it hears, what the other one hears."""

from __future__ import annotations

import pytest
from slixmpp.exceptions import IqError

pytestmark = pytest.mark.interop


async def test_who_is_blocked_is_neither_heard_nor_told(hearth, person):
    juliet, romeo = person("juliet"), person("romeo")
    for one in (juliet, romeo):
        one.register_plugin("xep_0191")
        one.register_plugin("xep_0199")
        for event in ("message_error", "blocked", "unblocked"):
            one.add_event_handler(event, one._keep(event))
        await one.goes_online()
    one, other = juliet.plugin["xep_0191"], romeo.boundjid.bare
    assert await one.get_blocked_jids() == set()
    await one.block(other)
    await juliet.sees("blocked", lambda iq: [str(item["jid"]) for item in iq["block"]] == [other])
    assert await one.get_blocked_jids() == {other}

    romeo.send_message(mto=juliet.boundjid.bare, mbody="Art thou there?", mtype="chat")
    refusal = await romeo.sees("message_error")
    assert (refusal["type"], refusal["error"]["condition"]) == ("error", "service-unavailable")
    with pytest.raises(IqError, match="service-unavailable"):
        await romeo.plugin["xep_0199"].send_ping(juliet.boundjid)
    with pytest.raises(IqError) as refused:
        await juliet.plugin["xep_0199"].send_ping(romeo.boundjid)
    assert refused.value.condition == "not-acceptable"

    await one.unblock(other)
    await juliet.sees("unblocked")
    romeo.send_message(mto=juliet.boundjid.bare, mbody="And now?", mtype="chat")
    assert (await juliet.sees("message"))["body"] == "And now?"
