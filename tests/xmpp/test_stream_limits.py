"""XEP-0478: the limits that are told are those that hold."""

from asgiref.sync import sync_to_async

from accounts import registry
from tests.xmpp.test_login import HEADER, Wire

NS = "urn:xmpp:stream-limits:0"


async def test_strangers_learn_the_size_of_an_element(server):
    assert f"<limits xmlns='{NS}'><max-bytes>8192</max-bytes></limits>" in Wire(server).features


async def test_users_learn_size_and_silence(server, new_user, actor):
    await new_user("alice")
    await sync_to_async(registry.set_value)("c2s.max_stanza_size", 20_000, actor=actor)
    wire = Wire(server)
    await wire.plain("alice")
    wire.says(HEADER)
    assert (
        f"<limits xmlns='{NS}'><max-bytes>20000</max-bytes><idle-seconds>360</idle-seconds></limits>"
        in wire.rest()
    )


async def test_what_is_told_holds(server, alice, actor):
    await sync_to_async(registry.set_value)("c2s.max_stanza_size", 20_000, actor=actor)
    await alice.sends(f"<message to='{alice.full}' type='chat'><body>{'x' * 19_000}</body></message>")
    assert (await alice.next()).name == "message"
    await alice.sends(f"<message to='{alice.full}' type='chat'><body>{'x' * 20_000}</body></message>")
    await alice.is_disconnected("policy-violation")


async def test_nothing_but_starttls_before_tls(server):
    server.has_tls = True
    assert "limits" not in Wire(server, tls=False).features
