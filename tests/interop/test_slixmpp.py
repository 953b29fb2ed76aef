"""slixmpp, an independent client library, over TCP: subscribe, presence, chat, offline, restart."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.interop


async def test_two_people_subscribe_see_each_other_and_chat(hearth, person):
    juliet, romeo = person("juliet"), person("romeo")
    await juliet.goes_online()
    await romeo.goes_online()
    for one, other in ((juliet, romeo), (romeo, juliet)):
        one.send_presence_subscription(pto=other.boundjid.bare)
        await other.sees("presence_subscribe", lambda p, one=one: p["from"] == one.boundjid.bare)
        other.send_presence(pto=one.boundjid.bare, ptype="subscribed")
        await one.sees("presence_available", lambda p, other=other: p["from"] == other.boundjid)
    await juliet.get_roster()
    assert juliet.client_roster[romeo.boundjid.bare]["subscription"] == "both"

    juliet.send_message(mto=romeo.boundjid.bare, mbody="Wherefore art thou <Romeo> & co. 🌹", mtype="chat")
    message = await romeo.sees("message")
    assert (message["body"], message["from"]) == ("Wherefore art thou <Romeo> & co. 🌹", juliet.boundjid)

    romeo.send_presence(pshow="away", pstatus="in exile")
    presence = await juliet.sees("presence_away")
    assert presence["status"] == "in exile"
    await romeo.disconnect()
    await juliet.sees("presence_unavailable", lambda p: p["from"] == romeo.boundjid)


async def test_message_to_somebody_offline_waits_for_them(hearth, person):
    juliet = person("juliet")
    await juliet.goes_online()
    juliet.send_message(mto=f"nurse@{hearth.domain}", mbody="Come hither", mtype="chat")
    juliet.register_plugin("xep_0199")
    await juliet.plugin["xep_0199"].ping(hearth.domain)  # answered behind the message, so that one is stored
    nurse = person("nurse")
    nurse.register_plugin("xep_0203")
    await nurse.goes_online()
    message = await nurse.sees("message")
    assert message["body"] == "Come hither"
    assert message["delay"]["stamp"] is not None


async def test_roster_and_subscriptions_survive_a_restart(hearth, person):
    juliet = person("juliet")
    await juliet.goes_online()
    await juliet.update_roster(f"friar@{hearth.domain}", name="Friar", groups=["Church"])
    await juliet.disconnect()
    ports = {f"HEARTH_{name.upper()}_PORT": str(port) for name, port in hearth.ports.items()}
    hearth.environ.update(ports)
    assert await asyncio.to_thread(hearth.stop) == 0
    await asyncio.to_thread(hearth.start)
    again = person("juliet")
    await again.goes_online()
    item = again.client_roster[f"friar@{hearth.domain}"]
    assert (item["name"], item["groups"]) == ("Friar", ["Church"])


async def test_direct_tls(hearth, person):
    juliet = person("juliet")
    juliet.enable_direct_tls = True
    juliet.enable_starttls = False
    await juliet.goes_online(port="c2s_tls")


async def test_wrong_password_is_refused(hearth, person):
    juliet = person("juliet", password="wrong password")
    juliet.connect("127.0.0.1", hearth.ports["c2s"])
    await juliet.sees("failed_auth")
