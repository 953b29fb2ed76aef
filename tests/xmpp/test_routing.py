"""RFC 6121 8 and RFC 6120 10: where stanzas go. The tables are written out anew here, cell by cell."""

import pytest

from tests.conversation import settled
from tests.xmpp.test_roster import condition
from tests.xmpp.test_subscription import become_friends, presence
from xmppd.models import OfflineMessage

# What bob is: his resources, each with the priority of its presence (None: connected only).
STATES = {
    "no account": None,
    "away": {},
    "connected": {"laptop": None},
    "negative": {"laptop": -1},
    "one": {"laptop": 0},
    "one and deaf": {"laptop": 5, "tablet": -1, "watch": None},
    "two": {"laptop": 1, "phone": 0},
    "tied": {"laptop": 1, "phone": 1, "tablet": 0},
}

# Letters: E service-unavailable, S silence, O kept offline; else the resources that get it, by their initials.
# normal chat groupchat headline error
MESSAGE_CELLS = {
    ("no account", "bob"): "E E E S S",
    ("no account", "bob/laptop"): "E E E S S",
    ("away", "bob"): "O O E S S",
    ("away", "bob/laptop"): "E O E S S",
    ("connected", "bob"): "O O E S S",
    ("connected", "bob/laptop"): "l l l l l",
    ("connected", "bob/other"): "E O E S S",
    ("negative", "bob"): "O O E S S",
    ("negative", "bob/laptop"): "l l l l l",
    ("negative", "bob/other"): "E O E S S",
    ("one", "bob"): "l l E l S",
    ("one", "bob/laptop"): "l l l l l",
    ("one", "bob/other"): "E l E S S",
    ("one and deaf", "bob"): "l l E l S",
    ("one and deaf", "bob/tablet"): "t t t t t",
    ("one and deaf", "bob/watch"): "w w w w w",
    ("one and deaf", "bob/other"): "E l E S S",
    ("two", "bob"): "l l E lp S",
    ("two", "bob/phone"): "p p p p p",
    ("two", "bob/other"): "E l E S S",
    ("tied", "bob"): "lp lp E lpt S",
    ("tied", "bob/tablet"): "t t t t t",
    ("tied", "bob/other"): "E lp E S S",
}
MESSAGE_TYPES = ["normal", "chat", "groupchat", "headline", "error"]
MESSAGES = [
    (state, to, type, outcome)
    for (state, to), row in MESSAGE_CELLS.items()
    for type, outcome in zip(MESSAGE_TYPES, row.split(), strict=True)
]


@pytest.fixture
def bobs(log_in, new_user):
    """await bobs(state): his clients by resource, nothing left to read."""

    async def make(state):
        resources = STATES[state]
        if resources is None:
            return {}
        if not resources:
            await new_user("bob")
        clients = {}
        for resource, priority in resources.items():
            clients[resource] = client = await log_in(f"bob@example.org/{resource}")
            if priority is not None:
                await client.is_available(priority)
        for client in clients.values():
            await settled(client.server)
            client.forget_received()
        return clients

    return make


def address(text: str) -> str:
    name, slash, resource = text.partition("/")
    return f"{name}@example.org{slash}{resource}"


@pytest.mark.parametrize(("state", "to", "type", "outcome"), MESSAGES)
async def test_messages(alice, bobs, state, to, type, outcome):
    clients = await bobs(state)
    attribute = "" if type == "normal" else f" type='{type}'"
    await alice.sends(f"<message to='{address(to)}' id='m1'{attribute}><body>hi</body></message>")
    await settled(alice.server)
    if outcome == "E":
        reply = await alice.receives(
            f"<message type='error' id='m1' from='{address(to)}' to='{alice.full}'/>"
        )
        assert condition(reply) == "service-unavailable"
    await alice.receives_nothing()
    assert await OfflineMessage.objects.acount() == (1 if outcome == "O" else 0)
    receivers = set() if outcome in "EOS" else set(outcome)
    for resource, client in clients.items():
        if resource[0] in receivers:
            # A bare address stays bare (RFC 6121 8.5.2.1.1).
            await client.receives(
                f"<message from='{alice.full}' to='{address(to)}' id='m1'{attribute}><body>hi</body></message>"
            )
        await client.receives_nothing()


@pytest.mark.parametrize("state", ["away", "one", "two"])
async def test_unknown_type_of_message_is_normal(alice, bobs, state):
    """RFC 6121 5.2.2."""
    clients = await bobs(state)
    await alice.sends("<message to='bob@example.org' type='shout'><body>hi</body></message>")
    await settled(alice.server)
    await alice.receives_nothing()
    if clients:
        await clients["laptop"].receives(f"<message from='{alice.full}'><body>hi</body></message>")
    else:
        assert await OfflineMessage.objects.acount() == 1


async def test_message_without_address_is_for_oneself(alice, alice_phone):
    await alice_phone.is_available()
    await alice.sends("<message type='chat'><body>note</body></message>")
    await alice_phone.receives(
        f"<message from='{alice.full}' to='{alice.bare}' type='chat'><body>note</body></message>"
    )
    await alice.receives_nothing()


# -- IQs: G reaches the resource, A the server answers for the account, E service-unavailable, S silence

PING = "<ping xmlns='urn:xmpp:ping'/>"
IQ_CELLS = [
    # state, asker, to, request, result
    ("no account", "stranger", "bob", "E", "S"),
    ("no account", "stranger", "bob/laptop", "E", "S"),
    ("away", "stranger", "bob", "A", "S"),
    ("away", "stranger", "bob/laptop", "E", "S"),
    ("one", "stranger", "bob", "A", "S"),
    ("one", "stranger", "bob/laptop", "E", "G"),
    ("one", "stranger", "bob/other", "E", "S"),
    ("one", "friend", "bob", "A", "S"),
    ("one", "friend", "bob/laptop", "G", "G"),
    ("one", "friend", "bob/other", "E", "S"),
    ("connected", "friend", "bob/laptop", "G", "G"),
    ("negative", "friend", "bob/laptop", "G", "G"),
]


@pytest.mark.parametrize(("state", "asker", "to", "request_", "result"), IQ_CELLS)
async def test_iqs(alice, bobs, state, asker, to, request_, result):
    clients = await bobs(state)
    if asker == "friend":
        await become_friends(alice, clients["laptop"])
    to = address(to)
    for type in ("get", "set"):
        payload = PING if type == "get" else "<query xmlns='urn:unknown'/>"
        await alice.sends(f"<iq type='{type}' id='q' to='{to}'>{payload}</iq>")
        await settled(alice.server)
        if request_ == "G":
            await clients["laptop"].receives(
                f"<iq type='{type}' id='q' from='{alice.full}' to='{to}'>{payload}</iq>"
            )
        elif request_ == "A" and type == "get":
            await alice.receives(f"<iq type='result' id='q' from='{to}'/>")
        else:  # an unknown set at a bare address is refused by the server
            reply = await alice.receives(f"<iq type='error' id='q' from='{to}' to='{alice.full}'/>")
            assert condition(reply) == "service-unavailable"
        for client in (alice, *clients.values()):
            await client.receives_nothing()
    for type in ("result", "error"):
        await alice.sends(f"<iq type='{type}' id='q' to='{to}'/>")
        await settled(alice.server)
        if result == "G":
            await clients["laptop"].receives(f"<iq type='{type}' id='q' from='{alice.full}'/>")
        for client in (alice, *clients.values()):
            await client.receives_nothing()


async def test_request_follows_the_subscription(alice, bob):
    """Bob's resource is reached by who may see it, not by whom he sees."""
    for client in (alice, bob):
        await client.is_available()
    await alice.sends(f"<presence type='subscribe' to='{bob.bare}'/>")
    await bob.sends(f"<presence type='subscribed' to='{alice.bare}'/>")
    await settled(alice.server)
    alice.forget_received()
    bob.forget_received()
    await alice.sends(f"<iq type='get' id='a' to='{bob.full}'>{PING}</iq>")
    await bob.receives("<iq type='get' id='a'/>")
    await bob.sends(f"<iq type='get' id='b' to='{alice.full}'>{PING}</iq>")
    assert condition(await bob.receives("<iq type='error' id='b'/>")) == "service-unavailable"
    await alice.receives_nothing()


async def test_own_resources_reach_each_other(alice, alice_phone):
    await alice.sends(f"<iq type='get' id='o' to='{alice_phone.full}'>{PING}</iq>")
    await alice_phone.receives(f"<iq type='get' id='o' from='{alice.full}'>{PING}</iq>")
    await alice_phone.sends(f"<iq type='result' id='o' to='{alice.full}'/>")
    await alice.receives(f"<iq type='result' id='o' from='{alice_phone.full}'/>")


@pytest.mark.parametrize(
    ("iq", "expected"),
    [
        ("<iq type='get' id='i'/>", "bad-request"),
        ("<iq type='set' id='i'/>", "bad-request"),
        (f"<iq type='get' id='i'>{PING}{PING}</iq>", "bad-request"),
        (f"<iq type='set'>{PING}</iq>", "bad-request"),
        (f"<iq type='ask' id='i'>{PING}</iq>", "bad-request"),
        (f"<iq id='i'>{PING}</iq>", "bad-request"),
        ("<iq type='get' id='i'><query xmlns='urn:unknown'/></iq>", "service-unavailable"),
        ("<iq type='set' id='i'><query xmlns='urn:unknown'/></iq>", "service-unavailable"),
        ("<iq type='get' id='i' to='example.org'><query xmlns='urn:unknown'/></iq>", "service-unavailable"),
        (f"<iq type='set' id='i' to='example.org'>{PING}</iq>", "service-unavailable"),
        (
            "<iq type='get' id='i' to='example.org/echo'><query xmlns='urn:unknown'/></iq>",
            "service-unavailable",
        ),
    ],
)
async def test_requests_that_are_refused(alice, iq, expected):
    await alice.sends(iq)
    assert condition(await alice.receives("<iq type='error'/>")) == expected
    await alice.receives_nothing()


async def test_get_without_id_gets_a_result_without_id(alice):
    await alice.sends(f"<iq type='get' to='example.org'>{PING}</iq>")
    reply = await alice.receives("<iq type='result' from='example.org'/>")
    assert "id" not in reply.attrs


@pytest.mark.parametrize(
    "to", ["", " to='example.org'", " to='alice@example.org'", " to='nobody@example.org'"]
)
@pytest.mark.parametrize("type", ["result", "error"])
async def test_replies_to_nothing_are_dropped(alice, to, type):
    await alice.sends(f"<iq type='{type}' id='never-asked'{to}><query xmlns='urn:unknown'/></iq>")
    await alice.receives_nothing()


async def test_errors_are_never_answered(alice):
    """RFC 6120 8.3.1: no loop of errors."""
    broken = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    for to in ("nobody@example.org", "nobody@example.org/x", "example.org", "romeo@elsewhere.example", "@@"):
        for kind in ("message", "presence", "iq"):
            await alice.sends(f"<{kind} type='error' id='e' to='{to}'>{broken}</{kind}>")
    await alice.receives_nothing()


# -- presence: D to all available, F to the addressed one, S silence

PRESENCE_CELLS = [
    ("no account", "bob", "S"),
    ("no account", "bob/laptop", "S"),
    ("away", "bob", "S"),
    ("away", "bob/laptop", "S"),
    ("connected", "bob", "S"),
    ("connected", "bob/laptop", "l"),
    ("negative", "bob", "l"),
    ("one and deaf", "bob", "lt"),
    ("one and deaf", "bob/watch", "w"),
    ("two", "bob", "lp"),
    ("two", "bob/phone", "p"),
    ("two", "bob/other", "S"),
]


@pytest.mark.parametrize(("state", "to", "outcome"), PRESENCE_CELLS)
@pytest.mark.parametrize("type", ["", "unavailable"])
async def test_directed_presence(alice, bobs, state, to, outcome, type):
    clients = await bobs(state)
    attribute = f" type='{type}'" if type else ""
    await alice.sends(f"<presence to='{address(to)}'{attribute}><status>hi</status></presence>")
    await settled(alice.server)
    for resource, client in clients.items():
        if outcome != "S" and resource[0] in outcome:
            await client.receives(
                f"<presence from='{alice.full}' to='{address(to)}'{attribute}><status>hi</status></presence>"
            )
        await client.receives_nothing()
    await alice.receives_nothing()


@pytest.mark.parametrize(("to", "outcome"), [("bob", "S"), ("bob/laptop", "l"), ("bob/other", "S")])
async def test_presence_of_type_error(alice, bobs, to, outcome):
    clients = await bobs("one")
    await alice.sends(f"<presence to='{address(to)}' type='error'/>")
    if outcome == "l":
        await clients["laptop"].receives(f"<presence type='error' from='{alice.full}'/>")
    await clients["laptop"].receives_nothing()
    await alice.receives_nothing()


@pytest.mark.parametrize("to", ["bob", "bob/laptop", "bob/other"])
async def test_subscription_stanzas_are_for_the_account(alice, bobs, to):
    clients = await bobs("two")
    await alice.sends(f"<presence to='{address(to)}' type='subscribe'/>")
    for client in clients.values():
        await client.receives(presence("subscribe", alice.bare, "bob@example.org"))
        await client.receives_nothing()


# -- other addresses


@pytest.mark.parametrize("to", ["elsewhere.example", "romeo@elsewhere.example", "romeo@elsewhere.example/x"])
async def test_other_servers_are_not_found(alice, to):
    await alice.sends(f"<message to='{to}' id='r'><body>hi</body></message>")
    assert (
        condition(await alice.receives(f"<message type='error' id='r' from='{to}'/>"))
        == "remote-server-not-found"
    )
    await alice.sends(f"<iq to='{to}' id='r' type='get'>{PING}</iq>")
    assert (
        condition(await alice.receives(f"<iq type='error' id='r' from='{to}'/>")) == "remote-server-not-found"
    )
    await alice.sends(f"<presence to='{to}'/>")
    await alice.receives_nothing()


@pytest.mark.parametrize("to", ["example.org", "example.org/x"])
async def test_messages_to_the_domain_are_refused(alice, to):
    await alice.sends(f"<message to='{to}' id='d'><body>hi</body></message>")
    assert (
        condition(await alice.receives(f"<message type='error' id='d' from='{to}'/>"))
        == "service-unavailable"
    )
    await alice.sends(f"<message to='{to}' type='headline'><body>hi</body></message>")
    await alice.sends(f"<presence to='{to}'/>")
    await alice.receives_nothing()


async def test_addresses_are_compared_prepared(alice, bob):
    await bob.is_available()
    await alice.sends("<message to='BOB@Example.ORG.' type='chat'><body>hi</body></message>")
    await bob.receives(f"<message from='{alice.full}' to='bob@example.org'><body>hi</body></message>")
    await alice.sends("<message to='bob@example.org/LAPTOP' type='headline'><body>not yours</body></message>")
    await bob.receives_nothing()


@pytest.mark.parametrize(
    "to",
    [
        "",
        "@example.org",
        "a@",
        "a@b@c",
        "bob@example.org/",
        "bob@exa mple.org",
        "x" * 4000,
        "bob@example.org/&#x9;",
    ],
)
@pytest.mark.parametrize("kind", ["message", "iq", "presence"])
async def test_malformed_addresses(alice, to, kind):
    type = " type='get'" if kind == "iq" else ""
    await alice.sends(f"<{kind} id='j' to='{to}'{type}><x xmlns='urn:x'/></{kind}>")
    assert (
        condition(await alice.receives(f"<{kind} type='error' id='j' to='{alice.full}'/>")) == "jid-malformed"
    )
    await alice.receives_nothing()


async def test_accounts_in_memory_are_bounded(alice, server):
    """Addresses that strangers name fill no table."""
    for number in range(200):
        await alice.sends(f"<message type='headline' to='nobody{number}@example.org'><body/></message>")
    assert len(server.directory._idle) == 0
    assert not server.directory._loading
    assert not server.directory._outdated


async def test_missing_account_and_hidden_one_look_alike(alice, stranger):
    """RFC 6120 13.11: the same stanzas get the same answers."""
    await stranger.is_available()
    answers = []
    for name in ("stranger", "nobody"):
        got = []
        for xml in (
            "<iq id='1' type='get' to='{}@example.org/home'><query xmlns='jabber:iq:version'/></iq>",
            "<iq id='2' type='get' to='{}@example.org/none'><query xmlns='jabber:iq:version'/></iq>",
            "<iq id='3' type='get' to='{}@example.org'><query xmlns='urn:unknown'/></iq>",
            "<iq id='4' type='set' to='{}@example.org'><query xmlns='jabber:iq:roster'/></iq>",
            "<presence id='5' type='probe' to='{}@example.org'/>",
            "<presence id='6' type='subscribe' to='{}@example.org'/>",
            "<presence id='7' type='unsubscribe' to='{}@example.org'/>",
            "<presence id='8' to='{}@example.org'/>",
            "<message id='9' type='headline' to='{}@example.org/none'><body/></message>",
        ):
            await alice.sends(xml.format(name))
            await settled(alice.server)
            got += [str(each).replace(name, "X") for each in alice.connection.received]
            alice.forget_received()
        answers.append(got)
    assert answers[0] == answers[1]
    assert len(answers[0]) >= 4
