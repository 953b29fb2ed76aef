"""XEP-0386: a resource in one step with the login; names that are stable and tell nothing; one session a client."""

import re

import pytest
from asgiref.sync import sync_to_async

from accounts import registry
from tests.xmpp.test_login import _iterations  # noqa: F401
from tests.xmpp.test_sasl2 import AGENT, BIND, PLAIN, USER_AGENT, Wire2, _alice, encode  # noqa: F401
from xmppd.protocol.element import E
from xmppd.server import hooks
from xmppd.server.module import Module, inline_bind, on

NS = "urn:xmpp:bind:0"
OTHER_AGENT = "<user-agent id='0ba7bb7a-8d0c-4a55-9d1f-29b5d3f22a11'/>"
TEST = "urn:test:bind"
PING = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"


def bind(tag="AwesomeXMPP", *children):
    name = f"<tag>{tag}</tag>" if tag else ""
    return f"<bind xmlns='{NS}'>{name}{''.join(children)}</bind>"


def identity(answer):
    return re.search("<authorization-identifier>([^<]*)</authorization-identifier>", answer)[1]


async def resource_of(server, request, agent=USER_AGENT):
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, agent, request)
    assert f"<bound xmlns='{NS}'" in answer, answer
    return identity(answer).removeprefix("alice@example.org/")


class Extras(Module):
    bind_features = ("urn:test:b", TEST)

    async def start(self):
        self.bound = []

    @inline_bind(TEST, "enable")
    def enable(self, element, session):
        return E(TEST, "enabled", at=session.jid)

    @inline_bind(TEST, "quiet")
    def quiet(self, element, session):
        session.interests |= {TEST}

    @inline_bind(TEST, "broken")
    def broken(self, element, session):
        raise RuntimeError("broken on purpose")

    @on(hooks.session_bound)
    def session_bound(self, session):
        self.bound.append(session.jid.resource)


async def test_offer(server):
    server.add_module(Extras)
    assert re.search(
        f"<inline>.*<bind xmlns='{NS}'><inline>.*<feature var='urn:test:b'/><feature var='{TEST}'/>.*</inline></bind>",
        Wire2(server).features,
    )


async def test_bind(server):
    """XEP-0386 3.2: the full JID in <success/>, the features behind it, stanzas at once."""
    module = server.add_module(Extras)
    await module.start()
    wire = Wire2(server)
    wire.says(
        f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{PLAIN}</initial-response>"
        f"{USER_AGENT}{bind()}</authenticate>{PING}"
    )
    answer = await wire.answer()
    name = re.search("<authorization-identifier>alice@example.org/AwesomeXMPP/([A-Za-z0-9_-]{12})<", answer)[
        1
    ]
    assert f"</authorization-identifier><bound xmlns='{NS}'/></success><stream:features>" in answer
    assert f"<bind xmlns='{BIND}'/>" not in answer
    assert answer.index("</stream:features>") < answer.index("id='p'")
    assert AGENT not in answer
    assert module.bound == [f"AwesomeXMPP/{name}"]
    assert not server.unauthenticated


async def test_without_bind_nothing_is_bound(server):
    wire = Wire2(server)
    assert "bound" not in await wire.logs_in(PLAIN, USER_AGENT)
    assert wire.connection.session is None


async def test_names_are_stable_for_one_client(server, new_user):
    first = await resource_of(server, bind())
    assert await resource_of(server, bind()) == first
    assert (await resource_of(server, bind("Other"))).removeprefix("Other/") == first.removeprefix(
        "AwesomeXMPP/"
    )
    assert await resource_of(server, bind(), OTHER_AGENT) != first
    assert await resource_of(server, bind(""), USER_AGENT) == first.removeprefix("AwesomeXMPP/")


async def test_clients_without_an_id_get_new_names(server):
    assert await resource_of(server, bind(), "") != await resource_of(server, bind(), "")
    assert len(server.directory.online["alice@example.org"].sessions) == 2


async def test_another_user_with_the_same_client_has_another_name(server, new_user):
    await new_user("bob")
    mine = await resource_of(server, bind())
    wire = Wire2(server, from_="bob@example.org")
    answer = await wire.logs_in(encode("\0bob\0correct horse"), USER_AGENT, bind())
    assert identity(answer).removeprefix("bob@example.org/") != mine
    assert len(server.sessions()) == 2


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [
        ("Kaidan (2)", "Kaidan (2)/"),
        ("&lt;&amp;", "&lt;&amp;/"),
        ("a\u0009b", ""),  # no character of a resource
        ("  ", ""),
        ("x" * 2000, "x" * 512 + "/"),
    ],
)
async def test_tags(server, tag, wanted):
    name = await resource_of(server, bind(tag))
    assert re.fullmatch(re.escape(wanted) + "[A-Za-z0-9_-]{12}", name)


@pytest.mark.parametrize("policy", ["replace", "refuse", "rename"])
async def test_earlier_session_of_the_same_client_ends(server, actor, policy):
    await sync_to_async(registry.set_value)("c2s.resource_conflict", policy, actor=actor)
    first = Wire2(server)
    await first.logs_in(PLAIN, USER_AGENT, bind())
    other = Wire2(server)
    await other.logs_in(PLAIN, OTHER_AGENT, bind())
    again = Wire2(server)
    assert "<bound" in await again.logs_in(PLAIN, USER_AGENT, bind("NewName"))
    assert first.connection.is_ended
    assert "<conflict " in first.rest()
    assert not other.connection.is_ended
    assert len(server.sessions()) == 2


async def test_wrong_password_ends_nobody(server):
    first = Wire2(server)
    await first.logs_in(PLAIN, USER_AGENT, bind())
    answer = await Wire2(server).logs_in(encode("\0alice\0wrong"), USER_AGENT, bind())
    assert "<failure" in answer
    assert not first.connection.is_ended


async def test_too_many_sessions(server, actor):
    """The login holds; asking by an IQ tells why there is no resource."""
    await sync_to_async(registry.set_value)("c2s.max_sessions_per_user", 1, actor=actor)
    first = Wire2(server)
    await first.logs_in(PLAIN, USER_AGENT, bind())
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, OTHER_AGENT, bind())
    assert "<authorization-identifier>alice@example.org</authorization-identifier></success>" in answer
    assert f"<bind xmlns='{BIND}'/>" in answer
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    assert "<resource-constraint " in wire.rest()
    # the same client counts once
    assert "<bound" in await Wire2(server).logs_in(PLAIN, USER_AGENT, bind())


async def test_features_of_the_session_are_set_before_the_client_knows(server):
    module = server.add_module(Extras)
    await module.start()
    wire = Wire2(server)
    children = (f"<{name} xmlns='{TEST}'/>" for name in ("broken", "quiet", "unknown", "enable"))
    answer = await wire.logs_in(PLAIN, USER_AGENT, bind("T", *children))
    full = identity(answer)
    assert f"<bound xmlns='{NS}'><enabled xmlns='{TEST}' at='{full}'/></bound>" in answer
    assert TEST in wire.connection.session.interests


async def test_messages_find_the_session(server, bob):
    wire = Wire2(server)
    full = identity(await wire.logs_in(PLAIN, USER_AGENT, bind()))
    await bob.sends(f"<message to='{full}' type='chat'><body>hi</body></message>")
    assert "<body>hi</body>" in await wire.answer()
