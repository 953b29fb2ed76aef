"""Hearth on a real MariaDB: set up, chat, restart, migrations; and the tests of the database, again on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import mariadb
from tests.hearth import Hearth
from tests.interop import other_databases

pytestmark = [pytest.mark.interop, pytest.mark.mariadb]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with mariadb.running() as url:
        yield url


@pytest.fixture
def hearth(server: str, tmp_path) -> Iterator[Hearth]:
    hearth = Hearth(tmp_path / "home", environ={"DATABASE_URL": mariadb.new_database(server)})
    yield hearth
    hearth.kill()


async def test_two_people_chat_and_a_restart_keeps_what_was_said(hearth, person):
    url = hearth.environ["DATABASE_URL"]
    await other_databases.chat_and_restart(hearth, person)
    with mariadb.connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM accounts_user")
        assert cursor.fetchall() == ((3,),)
        cursor.execute(
            "SELECT DISTINCT table_collation, engine FROM information_schema.tables WHERE table_schema = database()"
        )
        assert cursor.fetchall() == (("utf8mb4_general_ci", "InnoDB"),)


def test_migrations_forward_and_back(hearth):
    other_databases.migrate_forward_and_back(hearth)


@pytest.mark.slow
def test_conversations_services_and_accounts_on_it(server):
    """CONTRIBUTING.md names this command."""
    other_databases.run_suite(server)
