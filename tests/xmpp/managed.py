"""Clients with stream management (XEP-0198): what they say and are told."""

from __future__ import annotations

from tests.conversation import Client, authenticate, settled
from xmppd.protocol.element import Element

NS = "urn:xmpp:sm:3"
DELAY_OF_OURS = b"<delay xmlns='urn:xmpp:delay' from='example.org'"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


async def answer(client: Client, xml: str) -> Element:
    await client.sends(xml)
    return await client.next()


async def acknowledged(client: Client) -> int:
    """What the server says that it has handled."""
    a = await answer(client, f"<r xmlns='{NS}'/>")
    assert a.tag == (NS, "a")
    return int(a.get("h"))


async def resume(server, client: Client, previd: str, h: int) -> Client:
    """Come back on a new connection; what the server answers stands in the client's queue."""
    connection = await authenticate(server, client.full)
    connection.begin_parsing()
    connection.receive(f"<resume xmlns='{NS}' previd='{previd}' h='{h}'/>".encode())
    await settled(server)
    return Client(connection, client.jid)
