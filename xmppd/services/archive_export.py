"""A user's archive as a file: the portable format of XMPP servers (XEP-0227 with XEP-0313 inside), or JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from accounts import audit
from accounts.audit import Actor
from accounts.models import User
from accounts.services.checks import require_manages, require_permission
from xmppd.protocol.delay import format_datetime
from xmppd.protocol.errors import StreamError
from xmppd.protocol.namespaces import CLIENT, DELAY, FORWARD, MAM
from xmppd.protocol.parser import parse_element
from xmppd.protocol.writer import escape_attr
from xmppd.services.archive import settle, time_of
from xmppd.services.archive_query import Query, in_order, matching
from xmppd.services.archive_retention import between

PERMISSION = "archive.read"
CHUNK = 200
PIE = "urn:xmpp:pie:0"

Row = tuple[int, str, str, str]  # id, bare JID and resource of the other side, stanza


def export(
    user: User,
    *,
    actor: Actor,
    format: str,
    since: date | None = None,
    until: date | None = None,
    peer: str = "",
) -> Iterator[str]:
    """The file in parts, of one page of the archive each: the messages from one day to another, both included.

    Each part asks the database; nothing is open between two. What comes later than this call is not in it. Who may
    do it is checked and noted now, not when the first part is taken.
    """
    require_permission(actor, PERMISSION)
    require_manages(actor, user, self_too=True)
    settle()
    query = _chosen(since, until, peer)
    last = in_order(matching(user.pk, query), last=True).values_list("id", flat=True).first() or 0
    query = replace(query, before_id=last + 1)
    number = matching(user.pk, query).count()
    facts = {"messages": number, "format": format, "since": since, "until": until, "peer": peer}
    audit.record(
        actor,
        "archive-exported",
        user.jid,
        after={k: v for k, v in facts.items() if v != "" and v is not None},
    )
    return WRITERS[format](user, pages(user.pk, query))


def has_any(user_id: int, *, since: date | None = None, until: date | None = None, peer: str = "") -> bool:
    """Whether such a file would hold a message."""
    settle()
    return matching(user_id, _chosen(since, until, peer)).exists()


def _chosen(since: date | None, until: date | None, peer: str) -> Query:
    return between(since, None if until is None else until + timedelta(days=1), peer)


def pages(user_id: int, query: Query) -> Iterator[list[Row]]:
    """What matches, oldest first, by key: a page costs the same wherever it stands."""
    last = query.after_id
    while True:
        found = in_order(matching(user_id, replace(query, after_id=last)))
        rows = list(found.values_list("id", "peer", "peer_resource", "stanza")[:CHUNK])
        if not rows:
            return
        last = rows[-1][0]
        yield rows


def _xml(user: User, found: Iterator[list[Row]]) -> Iterator[str]:
    """XEP-0227 4: server, host, user, archive; each message as a result of XEP-0313 4.2."""
    yield (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        f"<server-data xmlns='{PIE}'><host jid='{escape_attr(user.domain.name)}'>"
        f"<user name='{escape_attr(user.username)}'>\n<archive xmlns='{PIE}#mam'>\n"
    )
    for rows in found:
        yield "".join(
            f"<result xmlns='{MAM}' id='{identity}'><forwarded xmlns='{FORWARD}'>"
            f"<delay xmlns='{DELAY}' stamp='{_stamp(identity)}'/>"
            f"<message xmlns='{CLIENT}'{stanza[len('<message') :]}</forwarded></result>\n"
            for identity, _peer, _resource, stanza in rows
        )
    yield "</archive>\n</user></host></server-data>\n"


def _jsonl(user: User, found: Iterator[list[Row]]) -> Iterator[str]:
    """A message a line: id, time, with, resource; from, to, type, body as the stanza has them; the stanza itself."""
    for rows in found:
        yield "".join(json.dumps(_object(*row), ensure_ascii=False) + "\n" for row in rows)


def _object(identity: int, peer: str, resource: str, stanza: str) -> dict[str, Any]:
    facts = {"id": str(identity), "time": _stamp(identity), "with": peer, "resource": resource}
    try:
        message = parse_element(f"<message xmlns='{CLIENT}'{stanza[len('<message') :]}".encode())
    except StreamError:  # one bad row spoils no file
        return {**facts, "stanza": stanza}
    body = message.find(CLIENT, "body")
    return {
        **facts,
        "from": message.get("from"),
        "to": message.get("to"),
        "type": message.get("type", "normal"),
        "body": None if body is None else body.text,
        "stanza": stanza,
    }


def _stamp(identity: int) -> str:
    return format_datetime(datetime.fromtimestamp(time_of(identity), UTC))


WRITERS: dict[str, Callable[[User, Iterator[list[Row]]], Iterator[str]]] = {"xml": _xml, "jsonl": _jsonl}
