"""A Hearth in a process of its own, on a database that fails on demand, and clients that note what became of each
message. HEARTH_TEST_FAULTS=long holds faults longer and repeats them more often.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests import postgresql
from tests.faults.client import Client
from tests.faults.databases import Database, installation
from tests.hearth import Hearth

IS_LONG = os.environ.get("HEARTH_TEST_FAULTS") == "long"
DATABASES = {"sqlite": (), "postgresql": (pytest.mark.postgresql,)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test on every database, or on those that its module names in DATABASES."""
    if "place" in metafunc.fixturenames:
        names = getattr(metafunc.module, "DATABASES", DATABASES)
        params = [pytest.param(name, marks=DATABASES[name]) for name in names]
        metafunc.parametrize("place", params, indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    with postgresql.running() as url:
        yield url


@pytest.fixture(scope="session")
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hearth, Database]]:
    """Running. All tests share it: each leaves it well."""
    server = request.getfixturevalue("postgresql_server") if request.param == "postgresql" else None
    with installation(tmp_path_factory.mktemp(request.param), server) as (hearth, database):
        hearth.start()
        yield hearth, database
        assert hearth.process_wait(0) is None, hearth.text()  # no fault ended it
        assert hearth.stop() == 0


@pytest.fixture
def hearth(place: tuple[Hearth, Database]) -> Hearth:
    return place[0]


@pytest.fixture
def database(place: tuple[Hearth, Database]) -> Database:
    return place[1]


@pytest_asyncio.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """await client("juliet"): logged in, with stream management and presence."""
    made: list[Client] = []

    async def make(name: str, *, at: Hearth | None = None, **kwargs: Any) -> Client:
        made.append(Client(at or request.getfixturevalue("hearth"), name))
        return await made[-1].open(**kwargs)

    yield make
    for each in made:
        await each.close()
