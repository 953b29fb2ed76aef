"""Where the tests live: a HEARTH_HOME of their own, a database with a real file, settings at their defaults.

HEARTH_TEST_DATABASE_URL=postgresql://... runs the same tests on another database server.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest

# Settings are read when Django is first asked for one, so the home has to be known before.
_home = tempfile.mkdtemp(prefix="hearth-test-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("HEARTH_")]:
    if not _name.startswith(("HEARTH_TEST_", "HEARTH_REQUIRE_")):  # these are for the tests themselves
        del os.environ[_name]
os.environ["HEARTH_HOME"] = _home
os.environ["DATABASE_URL"] = os.environ.get("HEARTH_TEST_DATABASE_URL", "")
os.environ.pop("REDIS_URL", None)
os.environ["DJANGO_SETTINGS_MODULE"] = "xmppd.settings"
os.environ["LC_ALL"] = "C.UTF-8"  # commands speak the language of the shell

from django.conf import settings  # noqa: E402

_database = settings.DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    # A file, as in production: every thread has its own connection to it.
    _database["TEST"] = {"NAME": str(Path(_home) / "test.sqlite3")}
    _database["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
elif _database["ENGINE"].endswith("mysql"):
    # As services.db.migrate does.
    _database["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"}

django.setup()  # the conftest files of the folders import models

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _fresh_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Settings, login counters and language as after a start; without the django_db mark, the defaults hold and nothing
    is read.
    """
    from django.core.cache import cache
    from django.utils import translation

    from accounts import registry

    names = set(request.fixturenames)
    has_database = request.node.get_closest_marker("django_db") or names & {"db", "transactional_db"}
    registry._store.put(None if has_database else {})
    cache.clear()
    yield
    cache.clear()
    registry._store.put({})
    translation.deactivate()  # a page in Chinese leaves its language to the thread


@pytest.fixture(autouse=True, scope="session")
def _fast_passwords() -> Iterator[None]:
    """SCRAM with few iterations: thousands of accounts are made in the tests."""
    from accounts.credentials import ScramPasswordHasher

    before, ScramPasswordHasher.iterations = ScramPasswordHasher.iterations, 16
    yield
    ScramPasswordHasher.iterations = before


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Beside pytest-django's: the connections of other threads end before the test database is dropped."""
    yield
    from asgiref.sync import SyncToAsync
    from django.db import connections

    from xmppd.services import db

    db.stop()
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def actor() -> Any:
    from accounts.audit import Actor

    return Actor("tests", "cli")


@pytest.fixture
def domain(db: None) -> Any:
    """The primary domain, example.org."""
    from accounts.models import Domain

    return Domain.objects.get_or_create(name="example.org", is_primary=True)[0]


@pytest.fixture
def make_user(domain: Any, actor: Any) -> Callable[..., Any]:
    """make_user("alice", role="owner"): an account of the primary domain whose password is PASSWORD."""
    from accounts import services

    def make(username: str, *, password: str = PASSWORD, **kwargs: Any) -> Any:
        return services.create_user(
            username=username, password=password, **{"domain": domain, "actor": actor, **kwargs}
        )

    return make


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """Every bus message delivered during the test, in order."""
    from xmppd.bus import channel
    from xmppd.bus.messages import KINDS

    messages: list[Any] = []
    ends = [channel.subscribe(kind, messages.append) for kind in KINDS.values()]
    yield messages
    for end in ends:
        end()
