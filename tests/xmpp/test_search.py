"""XEP-0055: Jabber Search."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async

from tests.conversation import connect
from xmppd.modules.search import Search
from xmppd.protocol import dataforms
from xmppd.protocol.namespaces import DATA_FORMS, DISCO_INFO, DISCO_ITEMS
from xmppd.services import properties

NS = "jabber:iq:search"
ASK = f"<query xmlns='{NS}'/>"
DOORS = ["example.org", "search.example.org"]


def legacy(**terms):
    fields = "".join(f"<{name}>{text}</{name}>" for name, text in terms.items())
    return f"<query xmlns='{NS}'>{fields}</query>"


def submission(*fields):
    inner = "".join(f"<field var='{var}'><value>{text}</value></field>" for var, text in fields)
    form_type = f"<field type='hidden' var='FORM_TYPE'><value>{NS}</value></field>"
    return f"<query xmlns='{NS}'><x xmlns='jabber:x:data' type='submit'>{form_type}{inner}</x></query>"


def rows(answer):
    """The items of a form of results, as dicts without empty values."""
    x = answer.find(NS, "query").find(DATA_FORMS, "x")
    found = [dataforms.values_of(item) for item in x.findall(DATA_FORMS, "item")]
    return [{var: "".join(values) for var, values in row.items() if any(values)} for row in found]


async def set_value(name, value, actor):
    await sync_to_async(properties.set_value)(name, value, actor=actor)


@pytest.fixture
async def people(new_user, log_in):
    """Juliet and Tybalt Capulet, who say so in their vCards."""
    for first, nick, email in (("Juliet", "JuliC", "juliet@post.example"), ("Tybalt", "ty", "")):
        await new_user(first.lower(), email=email)
        client = await log_in(f"{first.lower()}@example.org/home")
        card = f"<N><FAMILY>Capulet</FAMILY><GIVEN>{first}</GIVEN></N><NICKNAME>{nick}</NICKNAME>"
        await client.asks(f"<vCard xmlns='vcard-temp'>{card}</vCard>", type="set")


@pytest.mark.parametrize("door", DOORS)
async def test_fields_are_told_with_and_without_a_form(alice, door):
    query = (await alice.asks(ASK, to=door)).find(NS, "query")
    names = [child.name for child in query.elements()]
    assert names == ["instructions", "first", "last", "nick", "email", "x"]
    form = query.find(DATA_FORMS, "x")
    assert form.get("type") == "form"
    values = dataforms.values_of(form)
    assert values["FORM_TYPE"] == [NS]
    assert {"first", "last", "nick", "email", "x-username"} <= values.keys()


@pytest.mark.parametrize("door", DOORS)
async def test_search_by_family_name(alice, people, door):
    await alice.sends(f"<iq type='set' id='search2' to='{door}'>{legacy(last='Capulet')}</iq>")
    await alice.receives(f"""
        <iq type='result' id='search2' from='{door}' to='{alice.full}'><query xmlns='{NS}'>
          <item jid='juliet@example.org'><first>Juliet</first><last>Capulet</last><nick>juliet</nick>
            <email>juliet@post.example</email></item>
          <item jid='tybalt@example.org'><first>Tybalt</first><last>Capulet</last><nick>tybalt</nick>
            <email/></item>
        </query></iq>""")


async def test_nobody_found_is_an_empty_answer(alice, people):
    for terms in (legacy(last="Montague"), legacy(), legacy(last="  ")):
        await alice.sends(f"<iq type='set' id='search2' to='search.example.org'>{terms}</iq>")
        await alice.receives(f"<iq type='result' id='search2'><query xmlns='{NS}'/></iq>")


async def test_search_by_form_names_its_columns(alice, people):
    answer = await alice.asks(submission(("nick", "juli*"), ("last", "cap")), to=DOORS[1], type="set")
    assert rows(answer) == [
        {
            "jid": "juliet@example.org",
            "x-username": "juliet",
            "first": "Juliet",
            "last": "Capulet",
            "nick": "JuliC",
            "email": "juliet@post.example",
        }
    ]
    x = answer.find(NS, "query").find(DATA_FORMS, "x")
    reported = {field.get("var"): field.get("type") for field in x.find(DATA_FORMS, "reported").elements()}
    assert reported["jid"] == "jid-single"
    assert reported["last"] == "text-single"


async def test_account_without_a_vcard_is_found_by_its_user_name(alice, bob):
    for terms in (legacy(nick="bo"), submission(("x-username", "bo"))):
        assert "bob@example.org" in str(await alice.asks(terms, to=DOORS[1], type="set"))


async def test_more_than_the_limit_is_cut_and_said(alice, people, actor):
    await set_value("search.max_results", 1, actor)
    answer = await alice.asks(submission(("last", "Capulet")), to=DOORS[0], type="set")
    assert [row["jid"] for row in rows(answer)] == ["juliet@example.org"]
    assert answer.find(NS, "query").find(DATA_FORMS, "x").find(DATA_FORMS, "title") is not None


async def test_malformed_and_costly_searches_are_refused(alice):
    other_type = submission().replace(f"<value>{NS}", "<value>urn:example:other")
    assert "bad-request" in str(await alice.asks(other_type, to=DOORS[0], type="set"))
    not_submitted = submission(("first", "a")).replace("'submit'", "'result'")
    assert "bad-request" in str(await alice.asks(not_submitted, to=DOORS[0], type="set"))
    for term in ("x" * 500, "*a" * 10):
        assert "not-acceptable" in str(await alice.asks(legacy(first=term), to=DOORS[0], type="set"))


async def test_clients_find_the_service_by_disco(alice):
    items = (await alice.asks(f"<query xmlns='{DISCO_ITEMS}'/>", to="example.org")).find(DISCO_ITEMS, "query")
    assert DOORS[1] in [item.get("jid") for item in items.elements()]
    await alice.sends(f"<iq type='get' id='d1' to='{DOORS[1]}'><query xmlns='{DISCO_INFO}'/></iq>")
    answer = await alice.receives("<iq type='result' id='d1' from='search.example.org'/>")
    query = answer.find(DISCO_INFO, "query")
    identity = query.find(DISCO_INFO, "identity")
    assert (identity.get("category"), identity.get("type")) == ("directory", "user")
    assert NS in [feature.get("var") for feature in query.findall(DISCO_INFO, "feature")]
    await alice.sends(f"<iq type='get' id='d2' to='{DOORS[1]}'><query xmlns='{DISCO_ITEMS}'/></iq>")
    await alice.receives(f"<iq type='result' id='d2'><query xmlns='{DISCO_ITEMS}'/></iq>")
    await alice.sends(f"<iq type='get' id='d3' to='{DOORS[1]}'><vCard xmlns='vcard-temp'/></iq>")
    await alice.receives(
        "<iq type='result' id='d3'><vCard xmlns='vcard-temp'><FN>User search</FN></vCard></iq>"
    )
    await alice.sends(f"<iq type='get' id='d4' to='{DOORS[1]}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await alice.receives(f"<iq type='result' id='d4' from='{DOORS[1]}'/>")


async def test_service_answers_each_request_and_nothing_else(alice):
    for request in (
        f"<query xmlns='{DISCO_INFO}' node='x'/>",
        f"<query xmlns='{DISCO_ITEMS}' node='x'/>",
    ):
        assert "item-not-found" in str(await alice.asks(request, to=DOORS[1]))
    assert "service-unavailable" in str(await alice.asks("<a xmlns='urn:example:a'/>", to=DOORS[1]))
    assert "service-unavailable" in str(await alice.asks(ASK, to=f"someone@{DOORS[1]}"))
    await alice.sends(f"<message to='{DOORS[1]}' id='m1'><body>Hi</body></message>")
    await alice.receives(f"<message type='error' id='m1' from='{DOORS[1]}'/>")
    await alice.sends(f"<presence to='{DOORS[1]}'/>")
    await alice.sends(f"<iq type='result' id='r1' to='{DOORS[1]}'/>")
    await alice.receives_nothing()


async def test_there_is_nothing_while_searching_is_off(server, alice, people, actor):
    await set_value("search.enabled", False, actor)
    server.sweep()
    assert DOORS[1] not in server.services
    info = await alice.asks(f"<query xmlns='{DISCO_INFO}'/>", to="example.org")
    assert NS not in str(info)
    for kind, payload in (("get", ASK), ("set", legacy(last="Capulet"))):
        assert "service-unavailable" in str(await alice.asks(payload, to="example.org", type=kind))
        assert (await alice.asks(payload, to=DOORS[1], type=kind)).get("type") == "error"
    await set_value("search.enabled", True, actor)
    server.sweep()
    assert server.services[DOORS[1]] == server.module(Search).receive


async def test_users_find_only_those_of_their_own_domain(server, alice, people):
    server.domains.add("example.net")
    server.module(Search).follow_setting()
    for door in ("example.net", "search.example.net"):
        assert "forbidden" in str(await alice.asks(legacy(last="Capulet"), to=door, type="set"))


async def test_form_speaks_the_clients_language_where_it_can(server, alice, new_user):
    for number, lang in enumerate(("zh-CN", "xx", "../../etc")):
        await new_user(f"polyglot{number}")
        client = await connect(server, f"polyglot{number}@example.org/home", lang=lang)
        assert (await client.asks(ASK, to=DOORS[0])).get("type") == "result"
