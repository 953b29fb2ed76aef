"""A running Hearth with accounts juliet, romeo and nurse on example.org, and clients to meet there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients import Person
from tests.hearth import Hearth
from tests.interop.terminal import Terminal
from tests.tools import require_tool
from tests.wire import Wire


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    hearth = Hearth(tmp_path_factory.mktemp("hearth") / "home")
    hearth.set_up()
    for username in ("juliet", "romeo", "nurse"):
        hearth.add_user(username)
    hearth.start()
    yield hearth
    hearth.kill()


@pytest_asyncio.fixture
async def person(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Person]]:
    """person("juliet"): a slixmpp client of that account, disconnected when the test ends."""
    people: list[Person] = []

    def make(name: str, resource: str = "slix", *, at: Hearth | None = None, **kwargs: Any) -> Person:
        hearth = at or request.getfixturevalue("hearth")
        made = Person(f"{name}@{hearth.domain}/{resource}", hearth, **kwargs)
        people.append(made)
        return made

    yield make
    for made in people:
        await made.disconnect(wait=0.5, ignore_send_queue=True)


@pytest_asyncio.fixture
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Wire]]:
    """wire(): a bare socket's client that is not connected yet, torn away when the test ends."""
    wires: list[Wire] = []

    def make(at: Hearth | None = None, **kwargs: Any) -> Wire:
        wires.append(Wire(at or request.getfixturevalue("hearth"), **kwargs))
        return wires[-1]

    yield make
    for made in wires:
        made.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(require_tool("tmux"), tmp_path)
    yield terminal
    terminal.close()
