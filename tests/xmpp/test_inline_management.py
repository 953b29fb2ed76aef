"""XEP-0198 9 in XEP-0388 and XEP-0386: counting from the first stanza, and coming back in one step with the login."""

import re

from asgiref.sync import sync_to_async

from accounts.models import User
from tests.conversation import settled
from tests.xmpp.test_bind2 import OTHER_AGENT, bind, identity
from tests.xmpp.test_devices import known
from tests.xmpp.test_login import _iterations  # noqa: F401
from tests.xmpp.test_sasl2 import PLAIN, USER_AGENT, Wire2, _alice, encode  # noqa: F401
from xmppd.services import devices

NS = "urn:xmpp:sm:3"
ENABLE = f"<enable xmlns='{NS}' resume='true'/>"


def resume(previd, h=0):
    return f"<resume xmlns='{NS}' previd='{previd}' h='{h}'/>"


async def comes(server, *inline, agent=USER_AGENT):
    wire = Wire2(server)
    return wire, await wire.logs_in(PLAIN, agent, *inline)


async def manages(server):
    """A client with acknowledgements and its key."""
    wire, answer = await comes(server, bind("Awesome", ENABLE))
    return wire, re.search(f"<enabled xmlns='{NS}' id='([^']*)' resume='true' max='3600'/></bound>", answer)[
        1
    ]


async def test_offer(server):
    features = Wire2(server).features
    assert f"<sm xmlns='{NS}'/>" in features
    assert f"<feature var='{NS}'/>" in features


async def test_enabled_with_the_resource(server):
    wire, _ = await manages(server)
    wire.says(f"<presence/><r xmlns='{NS}'/>")
    assert f"<a xmlns='{NS}' h='1'/>" in await wire.answer()


async def test_resumed_with_the_login(server, bob):
    """Nothing is missed or seen twice; there are no features; <bind/> is ignored."""
    wire, previd = await manages(server)
    full = wire.connection.session.jid
    session = wire.connection.session
    await bob.sends(f"<message to='{full}' type='chat'><body>one</body></message>")
    await settled(server)
    wire.connection.lost()
    await bob.sends(f"<message to='{full}' type='chat'><body>two</body></message>")
    await settled(server)
    back, answer = await comes(server, resume(previd), bind("Other"))
    assert identity(answer) == str(full)
    assert f"<resumed xmlns='{NS}' previd='{previd}' h='0'/></success><message" in answer
    assert "features" not in answer
    assert "<bound" not in answer
    assert answer.count("<body>one</body>") == answer.count("<body>two</body>") == 1
    assert answer.index("one") < answer.index("two") < answer.index(f"<r xmlns='{NS}'/>")
    assert back.connection.session is session
    assert session.connection is back.connection
    back.says("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert "id='p'" in await back.answer()
    assert len(session.account.sessions) == 1


async def test_what_was_acknowledged_does_not_come_again(server, bob):
    wire, previd = await manages(server)
    for text in ("one", "two"):
        await bob.sends(
            f"<message to='{wire.connection.session.jid}' type='chat'><body>{text}</body></message>"
        )
    await settled(server)
    wire.connection.lost()
    _, answer = await comes(server, resume(previd, 1))
    assert "<body>one</body>" not in answer
    assert "<body>two</body>" in answer


async def test_old_connection_is_still_open(server, bob):
    wire, previd = await manages(server)
    wire.says(f"<message to='{bob.full}' type='chat'><body>hi</body></message>")
    back, answer = await comes(server, resume(previd))
    assert f"<resumed xmlns='{NS}' previd='{previd}' h='1'/>" in answer
    assert wire.connection.is_ended
    assert "<conflict " in wire.connection.text
    assert not back.connection.is_ended
    await bob.receives("<message type='chat'><body>hi</body></message>")


async def test_of_a_session_that_is_over_the_count_is_told(server):
    wire, previd = await manages(server)
    wire.says("<presence/></stream:stream>")
    await settled(server)
    _, answer = await comes(server, resume(previd), bind("Awesome", ENABLE))
    assert f"<failed xmlns='{NS}' h='1'><item-not-found " in answer
    assert "<bound" in answer


async def test_resuming_without_a_count_then_binding(server):
    wire, previd = await manages(server)
    _, answer = await comes(server, resume(previd, "x"), bind("Awesome", ENABLE), agent=OTHER_AGENT)
    assert f"<failed xmlns='{NS}'><bad-request " in answer
    assert "<bound" in answer


async def test_failure_then_binding(server):
    wire, answer = await comes(server, resume("unknown"), bind("Awesome", ENABLE))
    assert (
        f"<failed xmlns='{NS}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        in answer
    )
    assert "<bound" in answer
    assert "<stream:features>" in answer
    assert wire.connection.session is not None


async def test_failure_without_binding(server):
    wire, answer = await comes(server, resume("unknown"))
    assert "<item-not-found " in answer
    assert identity(answer) == "alice@example.org"
    assert "xmpp-bind'/>" in answer
    assert wire.connection.session is None


async def test_session_of_another_account(server, new_user):
    wire, previd = await manages(server)
    await new_user("bob")
    other = Wire2(server, from_="bob@example.org")
    answer = await other.logs_in(encode("\0bob\0correct horse"), USER_AGENT, resume(previd))
    assert "<item-not-found " in answer
    assert not wire.connection.is_ended


async def test_wrong_password_disturbs_nobody(server):
    wire, previd = await manages(server)
    answer = await Wire2(server).logs_in(encode("\0alice\0wrong"), USER_AGENT, resume(previd))
    assert "<failure" in answer
    assert not wire.connection.is_ended


async def test_too_much_is_acknowledged(server):
    """XEP-0198 4."""
    wire, previd = await manages(server)
    wire.connection.lost()
    back, answer = await comes(server, resume(previd, 7), bind())
    assert "<handled-count-too-high " in answer
    assert "<success" not in answer
    assert back.connection.is_ended


async def test_binding_anew_ends_the_session_that_waits(server):
    wire, previd = await manages(server)
    wire.connection.lost()
    assert len(server.sessions()) == 1
    await comes(server, bind("Awesome", ENABLE), agent=OTHER_AGENT)
    assert len(server.sessions()) == 2
    await comes(server, bind("Awesome", ENABLE))
    assert len(server.sessions()) == 2
    _, answer = await comes(server, resume(previd))
    assert "<item-not-found " in answer


async def test_signing_a_device_out_ends_what_waits(server, actor):
    wire, previd = await manages(server)
    wire.connection.lost()
    assert len(await known(server)) == 1
    user = await User.objects.aget(username="alice")
    await sync_to_async(devices.revoke_all)(user, actor=actor)
    await settled(server)
    _, answer = await comes(server, resume(previd))
    assert "<item-not-found " in answer
