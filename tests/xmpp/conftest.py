"""Actors: a Server object with all modules on the test database, and clients that are logged in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from tests.conversation import Client, ManualClock, connect
from tests.xmpp.managed import NS as STREAM_MANAGEMENT
from tests.xmpp.managed import answer
from xmppd.server.live import Live
from xmppd.server.server import Server
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock() -> ManualClock:
    """The server's time: clock.advance(minutes=5)."""
    return ManualClock()


@pytest.fixture
def new_user(transactional_db: None, actor: Any) -> Callable[..., Awaitable[Any]]:
    """await new_user("juliet", name="Juliet"): an account of example.org."""
    from accounts import services
    from accounts.models import Domain

    @sync_to_async
    def create(username: str, password: str = "correct horse", **kwargs: Any) -> Any:
        domain = Domain.objects.get_or_create(name="example.org", defaults={"is_primary": True})[0]
        return services.create_user(
            username=username, password=password, domain=domain, actor=actor, **kwargs
        )

    return create


@pytest_asyncio.fixture
async def server(transactional_db: None, clock: ManualClock) -> AsyncIterator[Server]:
    """A running server without sockets; bus messages reach it."""
    server = Server("example.org", clock=clock)
    live = Live(server)
    live.attach()
    await server.start()
    yield server
    live.detach()
    await server.stop(timeout=2)


@pytest.fixture
def log_in(server: Server, new_user: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Client]]:
    """await log_in("juliet@example.org/phone"): connected, not yet available; the account is made if it is missing."""
    from accounts.models import User

    async def connected(jid: str, **kwargs: Any) -> Client:
        username = jid.partition("@")[0]
        if not await User.objects.filter(username=username).aexists():
            await new_user(username)
        return await connect(server, jid, **kwargs)

    return connected


@pytest_asyncio.fixture
async def alice(log_in: Callable[..., Awaitable[Client]]) -> Client:
    return await log_in("alice@example.org/desktop")


@pytest_asyncio.fixture
async def alice_phone(log_in: Callable[..., Awaitable[Client]]) -> Client:
    return await log_in("alice@example.org/phone")


@pytest_asyncio.fixture
async def bob(log_in: Callable[..., Awaitable[Client]]) -> Client:
    return await log_in("bob@example.org/laptop")


@pytest_asyncio.fixture
async def stranger(log_in: Callable[..., Awaitable[Client]]) -> Client:
    """Somebody whom nobody has in a roster."""
    return await log_in("stranger@example.org/home")


# -- clients with stream management (XEP-0198)


@pytest_asyncio.fixture
async def phone(bob: Client) -> Client:
    """bob's client with resumption; `phone.previd` is its key."""
    await bob.is_available()
    enabled = await answer(bob, f"<enable xmlns='{STREAM_MANAGEMENT}' resume='true'/>")
    assert (enabled.tag, enabled.get("resume"), enabled.get("max")) == (
        (STREAM_MANAGEMENT, "enabled"),
        "true",
        "3600",
    )
    bob.previd = enabled.get("id")
    return bob


@pytest_asyncio.fixture
async def brief_phone(bob: Client) -> Client:
    """As above, but the session waits for three seconds only: less than any other time-out."""
    await bob.is_available()
    enabled = await answer(bob, f"<enable xmlns='{STREAM_MANAGEMENT}' resume='true' max='3'/>")
    bob.previd = enabled.get("id")
    return bob


@pytest.fixture
def unasked(server: Server) -> Iterator[None]:
    """Nobody is asked for the version of its client."""
    with overridden(sessions__ask_client_version=False):
        yield


# -- an archive (XEP-0313)


@pytest_asyncio.fixture
async def history(alice: Client, bob: Client, stranger: Client, clock: ManualClock) -> Client:
    """Ten messages from alice to bob, one a minute from 12:00, and one from a stranger at 12:10."""
    await bob.is_available()
    for number in range(10):
        await alice.sends(f"<message to='{bob.bare}' type='chat'><body>line {number}</body></message>")
        clock.advance(minutes=1)
    await stranger.sends(f"<message to='{bob.full}' type='chat'><body>psst</body></message>")
    bob.forget_received()
    return bob
