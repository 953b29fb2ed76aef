"""Each way to read the archive is answered from an index, as far as it is read and in its order, on every database.

A page that sorts, or that looks at other people's messages, costs more the larger the archive is; nothing else shows it
before there are millions of messages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection
from django.test.utils import CaptureQueriesContext

from xmppd.models import ArchivedMessage
from xmppd.services import archive, archive_query, archive_retention
from xmppd.services.archive import id_at, time_of
from xmppd.services.archive_query import Query

TABLE = ArchivedMessage._meta.db_table
PAGE, PEER, KEY = "archived_message_user", "archived_message_peer", "primary key"
SORTED = ", sorted"
USERS, ROWS = 20, 20_000
LIMIT = 50
BUSY = "peer0@example.net"


@pytest.fixture
def ids(transactional_db: None, make_user: Callable[..., AbstractBaseUser]) -> list[int]:
    """The messages of user 0, between those of 19 others; a third of them with BUSY. (MariaDB commits at ANALYZE.)"""
    users = [make_user(f"user{number}").pk for number in range(USERS)]
    first = id_at(time.time()) - (ROWS << 32)
    rows = [
        ArchivedMessage(
            id=first + (number << 32),
            user_id=users[number % USERS],
            peer=f"peer{number // USERS % 3}@example.net",
            peer_resource="phone",
            stanza=f"<message id='{number}'><body>{'x' * 200}</body></message>",
            size=240,
        )
        for number in range(ROWS)
    ]
    ArchivedMessage.objects.bulk_create(rows, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{TABLE}")
    return [row.id for row in rows if row.user_id == users[0]]


def user_of(ids: list[int]) -> int:
    return ArchivedMessage.objects.get(pk=ids[0]).user_id


def page(query: Query, **place: Any) -> Callable[[int], Any]:
    return lambda user_id: archive_query.page(user_id, query, limit=LIMIT, **place)


# What is asked with ids of the archive, and the indexes that may answer it.
CASES: dict[str, tuple[Callable[[list[int]], Callable[[int], Any]], set[str]]] = {
    "the oldest": (lambda ids: page(Query()), {PAGE}),
    "the newest": (lambda ids: page(Query(), last=True), {PAGE}),
    "after": (lambda ids: page(Query(), after=ids[500]), {PAGE, KEY}),
    "before": (lambda ids: page(Query(), before=ids[500], last=True), {PAGE, KEY}),
    "from the start up to a message": (lambda ids: page(Query(), before=ids[500]), {PAGE, KEY}),
    "after-id and before-id": (
        lambda ids: page(Query(after_id=ids[300], before_id=ids[700])),
        {PAGE, KEY},
    ),
    "since": (lambda ids: page(Query(start=time_of(ids[500]))), {PAGE}),
    "until": (lambda ids: page(Query(end=time_of(ids[500])), last=True), {PAGE}),
    "between times": (lambda ids: page(Query(start=time_of(ids[300]), end=time_of(ids[700]))), {PAGE}),
    "with": (lambda ids: page(Query(peer=BUSY)), {PEER}),
    "the newest with": (lambda ids: page(Query(peer=BUSY), last=True), {PEER}),
    "with, since": (lambda ids: page(Query(peer=BUSY, start=time_of(ids[500]))), {PEER}),
    "with, after": (lambda ids: page(Query(peer=BUSY), after=ids[500]), {PEER, PAGE, KEY}),
    "with a full address": (lambda ids: page(Query(peer=BUSY, peer_resource="phone")), {PEER}),
    "ids": (lambda ids: page(Query(ids=tuple(ids[100:900:20]))), {PAGE, KEY, KEY + SORTED}),
    "text": (lambda ids: page(Query(text="zebra"), last=True), {PAGE}),
    "metadata": (lambda ids: archive_query.bounds, {PAGE}),
    "how many": (lambda ids: lambda user_id: archive_query.count(user_id, Query()), {PAGE}),
    "how many with": (lambda ids: lambda user_id: archive_query.count(user_id, Query(peer=BUSY)), {PEER}),
    "how much": (lambda ids: archive_retention.usage, {PAGE}),
    "too old": (
        lambda ids: lambda user_id: list(archive_query.messages().filter(id__lt=ids[5]).order_by("id")),
        {KEY},
    ),
    "fingerprints": (lambda ids: lambda user_id: archive.recent(time_of(ids[900]), 100), {KEY}),
}


def test_archive_is_read_by_an_index_and_in_its_order(ids):
    user_id, wrong = user_of(ids), []
    for name, (make, allowed) in CASES.items():
        call = make(ids)
        for statement in asked(lambda call=call: call(user_id)):
            steps = list(PLANS[connection.vendor](statement))
            assert steps, statement
            wrong += [f"{name}: {statement}\n{plan}" for index, plan in steps if index not in allowed]
    assert not wrong, "\n\n".join(wrong)


def asked(call: Callable[[], Any]) -> list[str]:
    """The queries of this call that read the archive's table."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        call()
    found = [query["sql"] for query in captured if f" FROM {quoted(TABLE)}" in query["sql"]]
    assert found
    return found


def quoted(name: str) -> str:
    return connection.ops.quote_name(name)


# --- plans: (index, text) of each time the table is read; the index is "" where none gives the rows


def sqlite_plan(statement: str) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + statement.replace("%", "%%"))
        steps = [row[3] for row in cursor.fetchall()]
    text = "\n".join(steps)
    for step in steps:
        if TABLE in step:
            sorts = "TEMP B-TREE" in text
            is_search = step.startswith("SEARCH")
            name = KEY if "PRIMARY KEY" in step else step.partition("INDEX ")[2].partition(" ")[0]
            yield (name + SORTED * sorts if is_search else ""), text


def postgresql_plan(statement: str) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_sort = off")  # it may sort a thousand rows, not a million
        cursor.execute("EXPLAIN (FORMAT JSON) " + statement.replace("%", "%%"))
        (found,) = cursor.fetchone()
        cursor.execute("RESET enable_sort")
    plan = json.loads(found) if isinstance(found, str) else found
    text = json.dumps(plan, indent=1)

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", []):
            yield from nodes(child)

    every = list(nodes(plan[0]["Plan"]))
    sorts = any(node["Node Type"].endswith("Sort") for node in every)
    for node in every:
        if "Index Name" in node:
            name = KEY if node["Index Name"].endswith("_pkey") else node["Index Name"]
            yield name + SORTED * sorts, text
        elif node["Node Type"] == "Seq Scan":
            yield "", text


def mysql_plan(statement: str) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement.replace("%", "%%"))
        columns = [column[0] for column in cursor.description]
        steps = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for step in steps:
        if step["table"] == TABLE:
            name = KEY if step["key"] == "PRIMARY" else step["key"]
            sorts = "filesort" in (step["Extra"] or "")
            yield ("" if step["type"] in ("ALL", "index") else name + SORTED * sorts), str(step)


PLANS = {"sqlite": sqlite_plan, "postgresql": postgresql_plan, "mysql": mysql_plan}
