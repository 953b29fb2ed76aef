"""Large messages, and archives larger than 32 bits can say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.archived import bodies, keep
from xmppd.models import ArchivedMessage
from xmppd.services import archive, archive_retention, offline
from xmppd.services.properties import overridden

LETTER = b"<message type='chat'><body>" + b"'" * (250 * 1024) + b"</body></message>"


@pytest.mark.django_db
def test_many_large_messages_are_written_in_one_transaction(make_user: Callable[..., Any]) -> None:
    """MariaDB takes no statement over 16 MiB, in which each quotation mark counts twice."""
    juliet, romeo = make_user("juliet"), make_user("romeo")
    first = archive.id_at(time.time())
    jobs = [
        archive.Job(
            [(first + 2 * n + i, user.pk, "nurse@example.org", "") for i, user in enumerate((juliet, romeo))],
            LETTER,
            None,
            lambda job, problem: None,
            offline_user_id=romeo.pk,
        )
        for n in range(40)
    ]
    archive.write(jobs)
    for user in (juliet, romeo):
        assert [len(body) for body in bodies(user)] == [250 * 1024] * 40
    assert offline.count(romeo.pk) == 40


@pytest.mark.django_db
def test_limit_above_what_32_bits_can_say(make_user: Callable[..., Any]) -> None:
    juliet = make_user("juliet")
    for number in range(3):
        keep(juliet, f"{number}")
    archive.settle()
    ArchivedMessage.objects.update(size=2_000_000_000)
    assert archive_retention.usage(juliet.pk).bytes == 6_000_000_000
    with overridden(archive__keep_size=5_000_000_000):
        assert archive_retention.purge(time.time()) == 1
        assert archive_retention.purge(time.time()) == 0
    assert bodies(juliet) == ["1", "2"]
