"""slixmpp over TCP with what clients of today turn on: carbons, client states, stream management."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients import Person

pytestmark = pytest.mark.interop


def with_plugins(client: Person, *names: str, events: tuple[str, ...] = ()) -> Person:
    for name in names:
        client.register_plugin(name)
    for event in events:
        client.add_event_handler(event, client._keep(event))
    return client


async def see_each_other(one: Person, other: Person) -> None:
    for asking, asked in ((one, other), (other, one)):
        asking.send_presence_subscription(pto=asked.boundjid.bare)
        await asked.sees("presence_subscribe", lambda p, asking=asking: p["from"] == asking.boundjid.bare)
        asked.send_presence(pto=asking.boundjid.bare, ptype="subscribed")
        await asking.sees("presence_available", lambda p, asked=asked: p["from"] == asked.boundjid)


async def test_carbons(hearth, person):
    events = ("carbon_sent", "carbon_received")
    phone = with_plugins(person("juliet", "phone"), "xep_0280", events=events)
    desktop, romeo = person("juliet", "desktop"), person("romeo")
    for client in (phone, desktop, romeo):
        await client.goes_online()
    await phone.plugin["xep_0280"].enable()
    romeo.says(desktop.boundjid.full, "Lady, by yonder blessed moon I swear")
    await desktop.sees("message", lambda m: m["body"].startswith("Lady"))
    copy = await phone.sees("carbon_received")
    assert copy["carbon_received"]["body"] == "Lady, by yonder blessed moon I swear"
    assert copy["carbon_received"]["from"] == romeo.boundjid
    desktop.says(romeo.boundjid.bare, "O, swear not by the moon")
    copy = await phone.sees("carbon_sent")
    assert (copy["carbon_sent"]["body"], copy["carbon_sent"]["to"]) == (
        "O, swear not by the moon",
        romeo.boundjid.bare,
    )


async def test_client_state(hearth, person):
    phone = with_plugins(person("romeo"), "xep_0352", events=("presence_dnd",))
    juliet = person("juliet")
    for client in (phone, juliet):
        await client.goes_online()
    await see_each_other(phone, juliet)
    phone.plugin["xep_0352"].send_inactive()
    await synchronized(phone)
    while not phone.events.empty():
        phone.events.get_nowait()
    juliet.send_presence(pshow="away", pstatus="asleep")
    juliet.send_presence(pshow="dnd", pstatus="the nurse is here")
    juliet.says(phone.boundjid.bare, "Anon, good nurse!")
    async with asyncio.timeout(20):
        name, presence = await phone.events.get()
    assert (name, presence["status"]) == (
        "presence_dnd",
        "the nurse is here",
    )  # that she was away came and went
    await phone.sees("message", lambda m: m["body"] == "Anon, good nurse!")


async def synchronized(client: Person) -> None:
    """What the client has sent so far is dealt with."""
    client.register_plugin("xep_0199")
    await client.plugin["xep_0199"].ping(client.boundjid.domain)


async def test_session_is_resumed_after_the_wire_broke(hearth, person):
    events = ("sm_enabled", "session_resumed", "stanza_acked")
    phone = with_plugins(person("romeo", "phone"), "xep_0198", events=events)
    juliet = person("juliet")
    await juliet.goes_online()
    await phone.goes_online()
    previd = phone.plugin["xep_0198"].sm_id
    assert previd
    juliet.says(phone.boundjid.full, "before")
    await phone.sees("message", lambda m: m["body"] == "before")
    phone.transport.abort()
    await phone.sees("disconnected")
    for number in range(3):
        juliet.says(phone.boundjid.bare, f"while away {number}")
    await synchronized(juliet)
    phone.says(juliet.boundjid.full, "said while offline")
    phone.connect("127.0.0.1", hearth.ports["c2s"])
    await phone.sees("session_resumed")
    assert phone.plugin["xep_0198"].sm_id == previd
    for number in range(3):
        message = await phone.sees("message")
        assert message["body"] == f"while away {number}"
    juliet.says(phone.boundjid.full, "after")
    message = await phone.sees("message")
    assert message["body"] == "after"  # and nothing twice
    await juliet.sees("message", lambda m: m["body"] == "said while offline")
    phone.plugin["xep_0198"].request_ack()
    async with asyncio.timeout(20):
        while phone.plugin["xep_0198"].unacked_queue:
            await phone.sees("stanza_acked")
