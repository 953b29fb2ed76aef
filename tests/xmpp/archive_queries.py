"""Questions to a message archive (XEP-0313), and what they bring."""

from __future__ import annotations

from xmppd.protocol.element import Element

NS, RSM, FORWARD, DELAY = (
    "urn:xmpp:mam:2",
    "http://jabber.org/protocol/rsm",
    "urn:xmpp:forward:0",
    "urn:xmpp:delay",
)
CLIENT = "jabber:client"
FORMS = "jabber:x:data"
FULLTEXT = "{urn:xmpp:fulltext:0}fulltext"


def form(**fields):
    given = "".join(
        f"<field var='{name.replace('_', '-')}'>"
        + "".join(f"<value>{value}</value>" for value in (values if isinstance(values, list) else [values]))
        + "</field>"
        for name, values in fields.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{NS}</value></field>{given}</x>"


async def ask(client, inner="", *, to="", **attrs) -> tuple[list[Element], Element]:
    """(results, the <fin/> or the error stanza)."""
    client.forget_received()
    attributes = "".join(f" {key}='{value}'" for key, value in attrs.items())
    address = f" to='{to}'" if to else ""
    await client.sends(f"<iq type='set' id='q'{address}><query xmlns='{NS}'{attributes}>{inner}</query></iq>")
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
