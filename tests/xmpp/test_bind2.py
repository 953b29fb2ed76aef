"""XEP-0386: a resource in one step with the login; names that are stable and tell nothing; one session a client."""

import re

import pytest
from asgiref.sync import sync_to_async

from accounts import registry
from tests.xmpp.test_login import _iterations  # noqa: F401
from tests.xmpp.test_sasl2 import (  # noqa: F401
    AGENT,
    BIND,
    PLAIN,
    USER_AGENT,
    Wire2,
    _alice,
    authenticate,
    encode,
)
from xmppd.models import OfflineMessage
from xmppd.protocol.element import E
from xmppd.server import hooks
from xmppd.server.module import Module, inline_bind, on

NS = "urn:xmpp:bind:0"
OTHER_AGENT = "<user-agent id='0ba7bb7a-8d0c-4a55-9d1f-29b5d3f22a11'/>"
TEST = "urn:test:bind"
MAM = "urn:xmpp:mam:2"
EMPTY = f"<metadata xmlns='{MAM}'/>"
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
    assert (
        f"</authorization-identifier><bound xmlns='{NS}'>{EMPTY}</bound></success><stream:features>" in answer
    )
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
    assert f"<bound xmlns='{NS}'>{EMPTY}<enabled xmlns='{TEST}' at='{full}'/></bound>" in answer
    assert TEST in wire.connection.session.interests


async def test_messages_find_the_session(server, bob):
    wire = Wire2(server)
    full = identity(await wire.logs_in(PLAIN, USER_AGENT, bind()))
    await bob.sends(f"<message to='{full}' type='chat'><body>hi</body></message>")
    assert "<body>hi</body>" in await wire.answer()


# -- the archive, XEP-0386 3.2


def message(number, extra=""):
    return f"<message to='alice@example.org' type='chat' id='{number}'><body>{number}</body>{extra}</message>"


async def ends(server, bob):
    """What an IQ says of alice's archive."""
    wire = Wire2(server)
    await wire.logs_in(PLAIN)
    wire.says(
        f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq><iq type='get' id='m'><metadata xmlns='{MAM}'/></iq>"
    )
    answer = await wire.answer()
    wire.connection.lost()
    return re.search(f"<metadata xmlns='{MAM}'>.*</metadata>", answer)[0]


async def test_state_of_the_archive(server, bob):
    for number in range(3):
        await bob.sends(message(number))
    wire = Wire2(server)
    answer = await wire.logs_in(PLAIN, USER_AGENT, bind())
    found = re.search(f"<bound xmlns='{NS}'>(<metadata .*</metadata>)</bound>", answer)[1]
    stamp = "20[0-9-]*T[0-9:.]*Z"
    start, end = (f"<{name} id='[0-9]+' timestamp='{stamp}'/>" for name in ("start", "end"))
    assert re.fullmatch(f"<metadata xmlns='{MAM}'>{start}{end}</metadata>", found)
    assert found == await ends(server, bob)


@sync_to_async
def stored():
    return [re.search("<body>(.*)</body>", row.stanza)[1] for row in OfflineMessage.objects.order_by("id")]


async def test_offline_messages_are_left_to_the_archive(server, bob):
    for number in range(3):
        await bob.sends(message(number))
    assert await stored() == ["0", "1", "2"]
    wire = Wire2(server)
    await wire.logs_in(PLAIN, USER_AGENT, bind())
    assert await stored() == []
    wire.says("<presence/>")
    assert "<body>" not in await wire.answer()
    await bob.sends(message(4))  # and messages from here on come
    assert "<body>4</body>" in await wire.answer()


async def test_what_comes_after_the_archive_was_looked_at_is_delivered(server, bob):
    """The client is told where its archive ends, and reads no further."""
    look_up = server.inline_login[NS, "bind"]

    async def slow(element, completion):
        await look_up(element, completion)
        bob.connection.receive(message(1).encode())
        await bob.settles()

    server.inline_login[NS, "bind"] = slow
    await bob.sends(message(0))
    wire = Wire2(server)
    await wire.logs_in(PLAIN, USER_AGENT, bind())
    assert await stored() == ["1"]
    wire.says("<presence/>")
    answer = await wire.answer()
    assert "<body>1</body>" in answer
    assert "<body>0</body>" not in answer


async def test_presence_in_the_same_packet(server, bob):
    await bob.sends(message(0))
    wire = Wire2(server)
    wire.says(
        f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{PLAIN}</initial-response>"
        f"{bind()}</authenticate><presence/>"
    )
    answer = await wire.answer()
    assert "<bound " in answer
    assert "<body>" not in answer
    assert await stored() == []


@pytest.mark.parametrize("is_available_first", [False, True])
async def test_what_the_archive_has_not_is_delivered(server, bob, actor, is_available_first):
    """Nothing that was acknowledged is lost: the specification takes for granted that the archive has everything."""
    await bob.sends(message("kept"))
    await sync_to_async(registry.set_value)("archive.enabled", False, actor=actor)
    await bob.sends(message("not kept"))
    assert await stored() == ["kept", "not kept"]
    wire = Wire2(server)
    if is_available_first:
        wire.says(authenticate(PLAIN, bind()) + "<presence/>")
    else:
        await wire.logs_in(PLAIN, bind())
        assert await stored() == ["not kept"]
        wire.says("<presence/>")
    answer = await wire.answer()
    assert "<body>not kept</body>" in answer
    assert "<body>kept</body>" not in answer
    assert await stored() == []


async def test_other_ways_to_bind_are_sent_everything(server, bob):
    await bob.sends(message(0))
    wire = Wire2(server)
    await wire.logs_in(PLAIN, USER_AGENT)
    wire.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq><presence/>")
    assert "<body>0</body>" in await wire.answer()


async def test_who_cannot_bind_leaves_them(server, bob, actor):
    await bob.sends(message(0))
    await sync_to_async(registry.set_value)("c2s.max_sessions_per_user", 1, actor=actor)
    first = Wire2(server)
    await first.logs_in(PLAIN)
    first.says(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    assert "<bound" not in await Wire2(server).logs_in(PLAIN, OTHER_AGENT, bind())
    assert await stored() == ["0"]


async def test_wrong_password_clears_nothing(server, bob):
    await bob.sends(message(0))
    await Wire2(server).logs_in(encode("\0alice\0wrong"), bind())
    assert await stored() == ["0"]
