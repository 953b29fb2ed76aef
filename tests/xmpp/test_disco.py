"""XEP-0030: Service Discovery; XEP-0115: Entity Capabilities; XEP-0128: extended information."""

from __future__ import annotations

import re

from tests.conversation import subscribe
from xmppd.modules import disco
from xmppd.modules.disco import CAPS_NODE, Disco
from xmppd.protocol import caps, dataforms
from xmppd.protocol.element import E
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CAPS, DATA_FORMS, DISCO_INFO, DISCO_ITEMS, RSM
from xmppd.server.module import DiscoItem, DiscoNode, Identity, Module

INFO = f"<query xmlns='{DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{DISCO_ITEMS}'/>"
UNAVAILABLE = (
    "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)


def features(answer):
    return {feature.get("var") for feature in answer.find(DISCO_INFO, "query").findall(DISCO_INFO, "feature")}


def identities(answer):
    return {
        (each.get("category"), each.get("type"))
        for each in answer.find(DISCO_INFO, "query").findall(DISCO_INFO, "identity")
    }


# --- the domain


async def test_domain_tells_what_it_is_and_can(server, alice):
    answer = await alice.asks(INFO, to="example.org")
    assert answer.get("from") == "example.org"
    assert ("server", "im") in identities(answer)
    assert {DISCO_INFO, DISCO_ITEMS, "urn:xmpp:ping", "msgoffline"} <= features(answer)
    assert "node" not in answer.find(DISCO_INFO, "query").attrs


async def test_answer_is_well_formed_for_caps(server, alice):
    query = (await alice.asks(INFO, to="example.org")).find(DISCO_INFO, "query")
    assert caps.ver_of(query) == server.module(Disco).caps_hash()


async def test_domain_lists_the_services_at_addresses_of_their_own(server, alice):
    server.services["rooms.example.org"] = lambda stanza: None
    query = (await alice.asks(ITEMS, to="example.org")).find(DISCO_ITEMS, "query")
    jids = [item.get("jid") for item in query.elements()]
    assert "rooms.example.org" in jids
    assert jids == sorted(jids)


async def test_service_stands_under_the_domain_that_it_belongs_to(server):
    server.domains.add("sub.example.org")
    for name in ("rooms.sub.example.org", "rooms.example.org", "gateway.example.net"):
        server.services[name] = lambda stanza: None
    module = server.module(Disco)
    assert module._services_of("sub.example.org") == ["rooms.sub.example.org"]
    assert {"rooms.example.org", "gateway.example.net"} <= set(module._services_of("example.org"))


async def test_unknown_node_is_not_found(alice):
    for ns in (DISCO_INFO, DISCO_ITEMS):
        for to in ("example.org", alice.bare):
            for node in ("http://jabber.org/protocol/tune", f"{CAPS_NODE}#AAAA", "x" * 5000):
                answer = await alice.asks(f"<query xmlns='{ns}' node='{node}'/>", to=to)
                assert answer.get("type") == "error"
                assert "item-not-found" in str(answer)


# --- nodes of other modules


class Music(Module):
    """Has one node on the domain and waits for another."""

    def disco_node(self, node, target, requester):
        if node == "music":
            return DiscoNode(
                [Identity("hierarchy", "branch")],
                ["urn:example:music"],
                items=[DiscoItem(target, f"music/{letter}", letter) for letter in "ABCDE"],
            )
        return self.read() if node == "library" else None

    async def read(self):
        return DiscoNode([Identity("hierarchy", "leaf", "Library")])


async def test_module_serves_a_node_and_the_node_is_mirrored(server, alice):
    server.add_module(Music)
    await alice.sends(
        f"<iq type='get' id='i1' to='example.org'><query xmlns='{DISCO_INFO}' node='music'/></iq>"
    )
    await alice.receives(f"""
        <iq type='result' id='i1' from='example.org'><query xmlns='{DISCO_INFO}' node='music'>
          <identity category='hierarchy' type='branch'/><feature var='urn:example:music'/></query></iq>""")
    await alice.sends(
        f"<iq type='get' id='i2' to='example.org'><query xmlns='{DISCO_INFO}' node='library'/></iq>"
    )
    await alice.receives(f"""
        <iq type='result' id='i2' from='example.org'><query xmlns='{DISCO_INFO}' node='library'>
          <identity category='hierarchy' type='leaf' name='Library'/></query></iq>""")


async def test_items_come_in_pages(server, alice):
    server.add_module(Music)
    page = f"<set xmlns='{RSM}'><max>2</max><after>example.org\nmusic/B</after></set>"
    answer = await alice.asks(f"<query xmlns='{DISCO_ITEMS}' node='music'>{page}</query>", to="example.org")
    query = answer.find(DISCO_ITEMS, "query")
    assert [item.get("name") for item in query.findall(DISCO_ITEMS, "item")] == ["C", "D"]
    assert query.find(RSM, "set").text_of(RSM, "count") == "5"


async def test_many_items_are_cut_into_pages_unasked(monkeypatch):
    monkeypatch.setattr(disco, "PAGE_ITEMS", 3)
    found = [DiscoItem(JID.parse("example.org"), str(number)) for number in range(5)]
    answer = disco.items(E(DISCO_ITEMS, "query"), found)
    assert len(list(answer.findall(DISCO_ITEMS, "item"))) == 3
    assert answer.find(RSM, "set").text_of(RSM, "count") == "5"


# --- accounts


async def test_owner_sees_the_account_and_its_available_resources(alice, alice_phone):
    await alice_phone.is_available()
    answer = await alice.asks(INFO)
    assert identities(answer) >= {("account", "registered")}
    assert "urn:xmpp:ping" in features(answer)
    await alice.sends(f"<iq type='get' id='i1' to='{alice.bare}'>{ITEMS}</iq>")
    await alice.receives(
        f"<iq type='result' id='i1' from='{alice.bare}'>"
        f"<query xmlns='{DISCO_ITEMS}'><item jid='{alice_phone.full}'/></query></iq>"
    )


async def test_subscriber_sees_the_account(alice, bob):
    await subscribe(bob, alice)
    await alice.is_available()
    answer = await bob.asks(INFO, to=alice.bare)
    assert ("account", "registered") in identities(answer)
    items = await bob.asks(ITEMS, to=alice.bare)
    assert [item.get("jid") for item in items.find(DISCO_ITEMS, "query").elements()] == [alice.full]


async def test_stranger_cannot_tell_an_account_from_a_missing_one(alice, stranger):
    await alice.is_available()
    for to in (alice.bare, "nobody@example.org"):
        for node in ("", " node='music'"):
            await stranger.sends(f"<iq type='get' id='i1' to='{to}'><query xmlns='{DISCO_INFO}'{node}/></iq>")
            await stranger.receives(f"<iq type='error' id='i1' from='{to}'>{UNAVAILABLE}</iq>")
            await stranger.sends(
                f"<iq type='get' id='i2' to='{to}'><query xmlns='{DISCO_ITEMS}'{node}/></iq>"
            )
            await stranger.receives(
                f"<iq type='result' id='i2' from='{to}'><query xmlns='{DISCO_ITEMS}'{node}/></iq>"
            )


async def test_nothing_can_be_set(alice):
    for to in ("example.org", alice.bare):
        answer = await alice.asks(INFO, to=to, type="set")
        assert answer.get("type") == "error"


# --- capabilities


async def test_stream_features_carry_a_hash_that_can_be_asked_for(server, alice):
    header = alice.connection.text
    offers = re.findall(r"<c [^>]*ver='([^']+)'", header)
    assert len(offers) == 2  # before and after the login
    assert header.count(f"<c xmlns='{CAPS}' hash='sha-1' node='{CAPS_NODE}' ") == 2
    node = f"{CAPS_NODE}#{offers[-1]}"
    answer = await alice.asks(f"<query xmlns='{DISCO_INFO}' node='{node}'/>", to="example.org")
    query = answer.find(DISCO_INFO, "query")
    assert query.get("node") == node
    assert caps.ver_of(query) == offers[-1]


class Extended(Module):
    features = ["urn:example:more"]

    def domain_forms(self):
        return [dataforms.Form("urn:example:form", []).to_element("result")]


async def test_hash_changes_with_what_is_advertised(server, alice):
    module = server.module(Disco)
    before = module.caps_hash()
    assert module.caps_hash() == before
    server.add_module(Extended)
    assert module.caps_hash() != before
    query = (await alice.asks(INFO, to="example.org")).find(DISCO_INFO, "query")
    assert query.find(DATA_FORMS, "x") is not None
    assert caps.ver_of(query) == module.caps_hash()
