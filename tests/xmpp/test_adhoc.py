"""XEP-0050: Ad-Hoc Commands, with commands made for the tests."""

import pytest

from xmppd.modules.adhoc import AdHoc, Ask, Command, Done
from xmppd.protocol.dataforms import INTEGER, Field, Form
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError

NS = "http://jabber.org/protocol/commands"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
X = "jabber:x:data"


async def greet(call):
    return Done(f"Hello, {call.actor.name}.")


async def fail(call):
    raise StanzaError("conflict")


async def count(call):
    """Two numbers, asked one after the other, are added."""

    async def first(call, values):
        async def second(call, more):
            if values["a"] == 13:
                return Done("Unlucky.", is_failure=True)
            return Done(payload=E("urn:test", "sum", str(values["a"] + more["b"])))

        return Ask(Form("test", [number("b")]), second)

    return Ask(Form("test", [number("a")], title="A number"), first, is_last=False)


def number(var):
    return Field(var, label=var, datatype=INTEGER, is_required=True)


async def address(call):
    async def then(call, values):
        return Done(str(values["who"]))

    return Ask(Form("test", [Field("who", "jid-single", is_required=True)]), then)


@pytest.fixture
def commands(server):
    engine = server.module(AdHoc)
    engine.add(
        Command("greet", "Greet", greet),
        Command("count", "Count", count),
        Command("fail", "Fail", fail),
        Command("address", "Address", address),
        Command("secret", "Secret", greet, "settings.change"),
    )
    return engine


async def run(client, node, *children, to="example.org", **attributes):
    """The <command/> of the answer, or the <error/>."""
    more = "".join(f" {key}='{value}'" for key, value in attributes.items())
    payload = f"<command xmlns='{NS}' node='{node}'{more}>{''.join(children)}</command>"
    answer = await client.asks(payload, type="set", to=to)
    return answer.find(NS, "command") or answer.find("jabber:client", "error")


def submit(**values):
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    return f"<x xmlns='{X}' type='submit'>{fields}</x>"


def actions(command):
    element = command.find(NS, "actions")
    return element.get("execute"), [child.name for child in element.elements()]


def conditions(error):
    return {(child.ns, child.name) for child in error.elements()}


def is_error(error, condition, specific=None):
    assert error.name == "error", str(error)
    return (STANZAS, condition) in conditions(error) and (not specific or (NS, specific) in conditions(error))


# -- running


@pytest.mark.parametrize("to", ["example.org", None])
async def test_command_without_questions(commands, alice, to):
    command = await run(alice, "greet", action="execute", to=to)
    assert (command.get("status"), command.get("node")) == ("completed", "greet")
    assert command.get("sessionid")
    assert command.find(NS, "note").text == "Hello, alice@example.org."
    assert command.find(NS, "note").get("type") == "info"


async def test_stages_forward(commands, alice):
    first = await run(alice, "count")
    assert first.get("status") == "executing"
    assert actions(first) == ("next", ["next"])
    assert first.find(X, "x").get("type") == "form"
    session = first.get("sessionid")
    second = await run(alice, "count", submit(a=2), sessionid=session, action="next")
    assert actions(second) == ("complete", ["prev", "complete"])
    assert second.get("sessionid") == session
    last = await run(alice, "count", submit(b=40), sessionid=session)  # execute is the default
    assert last.get("status") == "completed"
    assert last.text_of("urn:test", "sum") == "42"


async def test_back_shows_what_was_answered(commands, alice):
    session = (await run(alice, "count")).get("sessionid")
    await run(alice, "count", submit(a=2), sessionid=session)
    first = await run(alice, "count", sessionid=session, action="prev")
    assert actions(first) == ("next", ["next"])
    field = next(f for f in first.find(X, "x").findall(X, "field") if f.get("var") == "a")
    assert field.text_of(X, "value") == "2"
    await run(alice, "count", submit(a=3), sessionid=session)
    last = await run(alice, "count", submit(b=4), sessionid=session, action="complete")
    assert last.text_of("urn:test", "sum") == "7"


async def test_failure_is_a_note(commands, alice):
    session = (await run(alice, "count")).get("sessionid")
    await run(alice, "count", submit(a=13), sessionid=session)
    last = await run(alice, "count", submit(b=4), sessionid=session)
    assert last.get("status") == "completed"
    assert last.find(NS, "note").get("type") == "error"


async def test_cancel_ends_the_session(commands, alice):
    session = (await run(alice, "count")).get("sessionid")
    canceled = await run(alice, "count", sessionid=session, action="cancel")
    assert canceled.get("status") == "canceled"
    assert is_error(
        await run(alice, "count", submit(a=1), sessionid=session), "not-allowed", "session-expired"
    )


async def test_error_of_a_command_is_the_answer(commands, alice):
    assert is_error(await run(alice, "fail"), "conflict")


# -- errors, 4.5


async def test_unknown_action(commands, alice):
    assert is_error(await run(alice, "greet", action="dance"), "bad-request", "malformed-action")


@pytest.mark.parametrize("action", ["next", "prev", "complete", "cancel"])
async def test_only_execute_begins(commands, alice, action):
    assert is_error(await run(alice, "count", action=action), "bad-request", "bad-action")


@pytest.mark.parametrize("action", ["complete", "prev"])
async def test_action_that_the_stage_does_not_offer(commands, alice, action):
    session = (await run(alice, "count")).get("sessionid")
    refused = await run(alice, "count", submit(a=1), sessionid=session, action=action)
    assert is_error(refused, "bad-request", "bad-action")
    assert (await run(alice, "count", submit(a=1), sessionid=session)).get("status") == "executing"


@pytest.mark.parametrize(
    "payload",
    ["", submit(), submit(a="many"), submit(a=1).replace("submit", "result"), "<x xmlns='urn:other'/>"],
)
async def test_bad_payload_can_be_mended(commands, alice, payload):
    session = (await run(alice, "count")).get("sessionid")
    assert is_error(await run(alice, "count", payload, sessionid=session), "bad-request", "bad-payload")
    assert (await run(alice, "count", submit(a=1), sessionid=session)).get("status") == "executing"


async def test_malformed_address_is_told_in_a_note(commands, alice):
    session = (await run(alice, "address")).get("sessionid")
    done = await run(alice, "address", submit(who="a@@b"), sessionid=session)
    assert done.find(NS, "note").get("type") == "error"


async def test_session_is_its_owners_and_its_commands(commands, alice, alice_phone, bob):
    session = (await run(alice, "count")).get("sessionid")
    for client in (bob, alice_phone):
        refused = await run(client, "count", submit(a=1), sessionid=session)
        assert is_error(refused, "bad-request", "bad-sessionid")
    assert is_error(
        await run(alice, "address", submit(a=1), sessionid=session), "bad-request", "bad-sessionid"
    )
    assert is_error(await run(alice, "count", sessionid="invented"), "bad-request", "bad-sessionid")


@pytest.mark.parametrize("sweeps", [True, False])
async def test_sessions_expire(server, commands, clock, alice, sweeps):
    session = (await run(alice, "count")).get("sessionid")
    clock.advance(minutes=9)
    assert (await run(alice, "count", submit(a=1), sessionid=session)).get("status") == "executing"
    clock.advance(minutes=10)
    if sweeps:
        server.tick = clock.monotonic()
        commands._expire()
        assert not commands._runs
    assert is_error(
        await run(alice, "count", submit(b=1), sessionid=session), "not-allowed", "session-expired"
    )


async def test_sessions_of_a_user_are_bounded(commands, alice, bob):
    other = (await run(bob, "count")).get("sessionid")
    sessions = [(await run(alice, "count")).get("sessionid") for _ in range(11)]
    assert is_error(
        await run(alice, "count", submit(a=1), sessionid=sessions[0]), "not-allowed", "session-expired"
    )
    assert (await run(alice, "count", submit(a=1), sessionid=sessions[1])).get("status") == "executing"
    assert (await run(bob, "count", submit(a=1), sessionid=other)).get("status") == "executing"


async def test_sessions_end_with_their_stream(commands, alice):
    await run(alice, "count")
    assert commands._runs
    await alice.disconnects()
    assert not commands._runs


async def test_unknown_node(commands, alice):
    assert is_error(await run(alice, "nothing"), "item-not-found")


# -- who may


async def test_permission(commands, alice, new_user, log_in):
    assert is_error(await run(alice, "secret"), "forbidden")
    await new_user("boss", role="admin")
    boss = await log_in("boss@example.org/desk")
    assert (await run(boss, "secret")).get("status") == "completed"


async def test_permission_taken_away_holds_for_the_next_stage(commands, new_user, log_in):
    from accounts.models import User

    commands.add(Command("secret-count", "Count", count, "settings.change"))
    await new_user("boss", role="admin")
    boss = await log_in("boss@example.org/desk")
    session = (await run(boss, "secret-count")).get("sessionid")
    await User.objects.filter(username="boss").aupdate(role="")
    assert is_error(await run(boss, "secret-count", submit(a=1), sessionid=session), "forbidden")


# -- discovery, 2.2


async def nodes(client, to="example.org"):
    answer = await client.asks(f"<query xmlns='{ITEMS}' node='{NS}'/>", to=to)
    return {item.get("node"): item.get("name") for item in answer.find(ITEMS, "query").elements()}


async def test_list_shows_what_the_requester_may_use(commands, alice, new_user, log_in):
    await new_user("boss", role="admin")
    boss = await log_in("boss@example.org/desk")
    listed = await nodes(alice)
    assert listed["greet"] == "Greet"
    assert "secret" not in listed
    assert "secret" in await nodes(boss)
    assert "secret" in await nodes(boss, boss.bare)


async def test_list_and_command_have_identities(commands, alice):
    answer = await alice.asks(f"<query xmlns='{INFO}' node='{NS}'/>", to="example.org")
    identity = answer.find(INFO, "query").find(INFO, "identity")
    assert (identity.get("category"), identity.get("type")) == ("automation", "command-list")
    answer = await alice.asks(f"<query xmlns='{INFO}' node='greet'/>", to="example.org")
    query = answer.find(INFO, "query")
    identity = query.find(INFO, "identity")
    assert (identity.get("type"), identity.get("name")) == ("command-node", "Greet")
    assert {feature.get("var") for feature in query.findall(INFO, "feature")} == {NS, X}


async def test_command_that_the_requester_may_not_use_is_not_described(commands, alice):
    answer = await alice.asks(f"<query xmlns='{INFO}' node='secret'/>", to="example.org")
    assert is_error(answer.find("jabber:client", "error"), "forbidden")


async def test_node_is_declared_once(commands):
    with pytest.raises(RuntimeError):
        commands.add(Command("greet", "Greet", greet))


async def test_texts_are_in_the_requesters_language(commands, alice):
    from django.utils import translation

    seen = []

    async def tell(call):
        seen.append(translation.get_language())
        return Done()

    commands.add(Command("tell", "Tell", tell))
    for language, expected in (("zh-CN", "zh-hans"), ("zh", "zh-hans"), ("fr", "en"), ("xx-invalid'", "en")):
        await alice.sends(
            f'<iq type="set" id="1" to="example.org" xml:lang="{language}">'
            f'<command xmlns="{NS}" node="tell"/></iq>'
        )
        await alice.next()
        assert seen[-1] == expected
