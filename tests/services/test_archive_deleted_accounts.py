"""An account is deleted at once; its archive goes behind it, in small transactions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import services
from accounts.audit import Actor
from accounts.models import User
from tests.archived import bodies, keep
from xmppd.models import ArchivedMessage, JournalledMessage
from xmppd.services import archive, archive_retention, db

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(make_user: Callable[..., Any]) -> tuple[User, User]:
    """Juliet and the nurse, with seven messages each."""
    juliet, nurse = make_user("juliet"), make_user("nurse")
    for user in (juliet, nurse):
        for number in range(7):
            keep(user, f"{number}")
    return juliet, nurse


def test_deleting_the_account_touches_no_message(people: tuple[User, User], actor: Actor) -> None:
    juliet, _ = people
    with CaptureQueriesContext(connection) as captured:
        services.delete_user(juliet, actor=actor)
    assert not [query for query in captured if "archivedmessage" in query["sql"]]
    assert not User.objects.filter(username="juliet").exists()


def test_the_archive_goes_behind_it(
    people: tuple[User, User], actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    juliet, nurse = people
    user_id = juliet.pk
    services.delete_user(juliet, actor=actor)
    monkeypatch.setattr(archive_retention, "CHUNK", 3)
    sizes: list[int] = []
    delete = archive_retention._delete_ids
    monkeypatch.setattr(archive_retention, "_delete_ids", lambda ids: sizes.append(len(ids)) or delete(ids))
    assert archive_retention.forget(user_id) == 7
    assert sizes == [3, 3, 1]
    assert [*ArchivedMessage.objects.values_list("user_id").distinct()] == [(nurse.pk,)]
    assert not JournalledMessage.objects.exists()
    assert bodies(nurse) == [f"{number}" for number in range(7)]


def test_the_daily_purge_finds_what_was_left(people: tuple[User, User], actor: Actor) -> None:
    juliet, nurse = people
    user_id = juliet.pk
    services.delete_user(juliet, actor=actor)
    # What was under way when the account went.
    late = (archive.id_at(time.time() + 1), user_id, "romeo@example.org", "")
    archive.write(
        [archive.Job([late], b"<message><body>late</body></message>", None, lambda job, problem: None)]
    )
    assert archive_retention.purge(time.time()) == 8
    assert archive_retention.purge(time.time()) == 0
    assert len(bodies(nurse)) == 7


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(archive_retention.forget, ()), (archive_retention.purge_user, (archive_retention.Limits(0, 1), 0.0))],
)
async def test_it_does_not_keep_the_server_from_ending(
    make_user: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[..., int],
    arguments: tuple[Any, ...],
) -> None:
    """What is left then, the purge of the next start finds."""

    def prepare() -> int:
        user = make_user("juliet")
        for number in range(7):
            keep(user, f"{number}")
        return user.pk

    user_id = await db.db(prepare)
    monkeypatch.setattr(archive_retention, "CHUNK", 3)
    delete, ending = archive_retention._delete_ids, threading.Thread(target=db.stop)

    def delete_and_stop(ids: list[int]) -> int:
        ending.start()
        while not db.is_stopping():
            ending.join(0.01)
        return delete(ids)

    monkeypatch.setattr(archive_retention, "_delete_ids", delete_and_stop)
    assert await db.db(function, user_id, *arguments) == 3
    ending.join()
    assert await db.db(ArchivedMessage.objects.count) == 4
