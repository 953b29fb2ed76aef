"""What is alive in the stream service, for console and commands: who is online, end a session, send a message.

The server registers its operations; callers in its process reach them directly, others through the control socket in
HEARTH_HOME. All values are JSON types, so that both ways give the same.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from accounts.audit import Actor, record
from accounts.models import User
from accounts.roles import Role, manages
from accounts.services.checks import actor_role
from xmppd.protocol.jid import JID, JIDError

TIMEOUT_SECONDS = 5.0
GLANCE_SECONDS = 1.0  # for what every page asks
# What a session says of itself (RFC 6121 4.7.2.1), the most reachable first; connected: nothing yet.
PRESENCES = ("available", "chat", "away", "xa", "dnd", "connected")
MAX_CLIENT_CHARS = 60  # of a client's name in the filter

_operations: dict[str, Callable[..., Any]] = {}
_loop: asyncio.AbstractEventLoop | None = None


class NotRunningError(Exception):
    """The stream service does not run, or does not answer."""


def register(operations: dict[str, Callable[..., Any]], loop: asyncio.AbstractEventLoop | None) -> None:
    """Called by the server at start; with an empty table and None at its end."""
    global _operations, _loop
    _operations, _loop = operations, loop


def call(operation: str, *, _timeout: float = TIMEOUT_SECONDS, **arguments: Any) -> Any:
    """Run an operation in the server and return its JSON value; raises NotRunningError. Not from the server's loop."""
    if _loop is not None:
        return _call_here(_loop, operation, arguments, _timeout)
    return _call_by_socket(operation, arguments, _timeout)


def run_here(operation: str, arguments: dict[str, Any]) -> Any:
    """On the server's loop: the operation itself; KeyError for an unknown one."""
    return _operations[operation](**arguments)


def _call_here(
    loop: asyncio.AbstractEventLoop, operation: str, arguments: dict[str, Any], timeout: float
) -> Any:
    async def run() -> Any:
        return run_here(operation, arguments)

    try:
        return asyncio.run_coroutine_threadsafe(run(), loop).result(timeout)
    except (FutureTimeoutError, RuntimeError) as error:
        raise NotRunningError(_("the stream service does not answer")) from error


def _call_by_socket(operation: str, arguments: dict[str, Any], timeout: float) -> Any:
    request = json.dumps({"call": operation, "args": arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(settings.CONFIG.control_socket))
            connection.sendall(request)
            with connection.makefile("rb") as reader:
                reply = json.loads(reader.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise NotRunningError(_("the stream service does not run")) from error
    if "ok" not in reply:
        raise NotRunningError(reply.get("error", _("the stream service does not answer")))
    return reply["ok"]


# -- what console and commands ask for


def status() -> dict[str, Any]:
    """domain, started (ISO), uptime_seconds, listeners (name, address, port, tls), users_online, sessions, counters,
    problems (as below)."""
    return dict(call("status"))


def problems() -> list[dict[str, str]]:
    """What does not work at the moment: name ("archive": it cannot be written; "database": it does not answer) and
    since (ISO). Nothing where the service does not run or is too busy to tell.
    """
    try:
        return list(call("problems", _timeout=GLANCE_SECONDS))
    except NotRunningError:
        return []


def sessions(jid: str = "") -> list[dict[str, Any]]:
    """One row a session (of one account, if its bare JID is given): jid, user, resource, client, device (the `agent` of
    services.devices, "" for a client that has said none), status, show,
    status_text, priority, tls, cipher, mechanism, address, transport, since (ISO), idle_seconds, stanzas_in,
    stanzas_out, bytes_in, bytes_out, interests, lang."""
    return list(call("sessions", jid=jid))


def session_table(
    *,
    query: str = "",
    presence: str = "",
    tls: str = "",
    client: str = "",
    sort: str = "jid",
    offset: int = 0,
    limit: int,
) -> dict[str, Any]:
    """A page of all sessions: `rows` as sessions() has them, their `offset` (that of the last page when there are
    fewer), how many were `found`; of all: how many `sessions`, `users`, `plain` (not encrypted), and the `clients`.

    `presence`: available, away, dnd, connected; `tls`: yes, no; `sort`: a key of xmppd.server.session_table, perhaps
    with `-`; `limit` 0 asks for the numbers alone.
    """
    return dict(
        call(
            "session_table",
            query=query,
            presence=presence,
            tls=tls,
            client=client,
            sort=sort,
            offset=offset,
            limit=limit,
        )
    )


def sessions_of(jids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """{bare JID: rows as sessions() has them} of those of these accounts that are online."""
    return dict(call("sessions_of", jids=jids)) if jids else {}


def online_users() -> list[str]:
    """Bare JIDs with at least one session."""
    return list(call("online"))


def may_end(jids: Iterable[str], *, actor: Actor) -> set[str]:
    """Those of these JIDs (bare or full) whose sessions the actor may end: his own, and of the accounts he manages."""
    role = actor_role(actor)
    known = User.objects.exclude(role=Role.NONE) | User.objects.filter(pk=actor.user_id or 0)
    accounts = {user.jid: user for user in known.select_related("domain")}

    def may(jid: str) -> bool:
        try:
            user = accounts.get(JID.parse(jid).bare_str)
        except JIDError:
            return True  # nobody's
        return manages(role, user.role if user else Role.NONE) or (
            user is not None and user.pk == actor.user_id
        )

    return {jid for jid in jids if may(jid)}


def require_may_end(jids: Iterable[str], *, actor: Actor) -> None:
    """PermissionDenied unless the actor may end the sessions of all of them."""
    wanted = set(jids)
    if may_end(wanted, actor=actor) != wanted:
        raise PermissionDenied(_("Your role does not allow changes to this account."))


def close_session(*, jid: str, actor: Actor, reason: str = "") -> bool:
    """End the session with this full JID; False when there is none, PermissionDenied as in require_may_end()."""
    require_may_end([jid], actor=actor)
    closed = bool(call("close", jid=jid, reason=reason))
    if closed:
        record(actor, "session-closed", jid, detail=reason)
    return closed


def close_sessions_of(*, jid: str, actor: Actor, reason: str = "") -> int:
    """End all sessions of the account with this bare JID; returns how many. PermissionDenied as above."""
    require_may_end([jid], actor=actor)
    count = int(call("close_all", jid=jid, reason=reason))
    record(actor, "sessions-closed", jid, detail=reason)
    return count


def send_message(*, to: str, body: str, actor: Actor, subject: str = "") -> int:
    """A message from the server to one session (full JID), to all of a user (bare JID) or to all online (""); returns
    how many sessions got it. The audit tells that, not the text."""
    count = int(call("message", to=to, body=body, subject=subject))
    record(actor, "message-sent", to or "everyone online", detail=f"{count}")
    return count
