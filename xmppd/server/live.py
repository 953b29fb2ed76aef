"""The running server as console, commands and the bus see it: operations by name, and reactions to bus messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts import throttle
from accounts.services.users import locks_beginning
from xmppd.bus import channel, messages
from xmppd.protocol.element import E
from xmppd.protocol.errors import StreamError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.stanza import make
from xmppd.server import hooks, session_table
from xmppd.services import health, live
from xmppd.services.db import OUT_OF_REACH, db, outage
from xmppd.services.devices import agent_key

if TYPE_CHECKING:
    from xmppd.server.account import Account
    from xmppd.server.server import Server
    from xmppd.server.session import Session


LOCK_CHECK_SECONDS = 15.0


class Live:
    """Attached to a server for as long as it runs. `listeners` are rows of name, address, port, tls."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.listeners: list[dict[str, Any]] = []
        self._unsubscribe: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problems: dict[str, str] = {}  # those that hold -> since when
        self._question: asyncio.Task[Any] | None = None

    def attach(self) -> None:
        self._loop = asyncio.get_running_loop()
        live.register(self.operations(), self._loop)
        self.server.problems["database"] = lambda: outage.is_failing
        self.server.sweeps += [self._look_for_problems, self._ask_database]
        handlers: dict[type[messages.Message], Callable[[Any], None]] = {
            messages.UserCreated: self._on_user_created,
            messages.UserChanged: self._on_user_changed,
            messages.UserDeleted: self._on_user_deleted,
            messages.UserLocked: self._on_user_locked,
            messages.UserUnlocked: self._on_user_changed,
            messages.PasswordChanged: self._on_password_changed,
            messages.CredentialsUpgraded: self._on_user_changed,
            messages.RosterChanged: self._on_roster_changed,
            messages.BlocklistChanged: self._on_user_changed,
            messages.SharedRostersChanged: self._on_shared_rosters_changed,
        }
        for kind, handler in handlers.items():
            self._unsubscribe.append(channel.subscribe(kind, partial(self._on_loop, handler)))

    async def watch_locks(self) -> None:
        """End the sessions of accounts whose lock begins at a set time."""
        seen_until = timezone.now()
        while True:
            await asyncio.sleep(LOCK_CHECK_SECONDS)
            until = timezone.now()
            try:
                users = await db(locks_beginning, seen_until, until)
            except OUT_OF_REACH:
                continue  # they are found when the database answers again
            seen_until = until
            for user in users:
                channel.deliver(messages.UserLocked(user.pk, user.jid))

    def detach(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()
        live.register({}, None)

    def _look_for_problems(self) -> None:
        """Once a second, so that since when is known whenever somebody asks."""
        now = self.server.clock.now().isoformat(timespec="seconds")
        held = self._problems
        self._problems = {
            name: held.get(name, now) for name, holds in self.server.problems.items() if holds()
        }

    def _ask_database(self) -> None:
        """Whether it works again: a server that is not ready may have nobody left who asks it for anything."""
        if outage.is_failing and (self._question is None or self._question.done()):
            self._question = self.server.spawn(db(health.domain_names))

    def _on_loop(self, handler: Callable[[Any], None], message: messages.Message) -> None:
        """Bus messages come on any thread; the server lives on its loop."""
        assert self._loop is not None
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            handler(message)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(handler, message)

    # -- operations

    def operations(self) -> dict[str, Callable[..., Any]]:
        return {
            "status": self.status,
            "problems": self.problems,
            "sessions": self.sessions,
            "sessions_of": self.sessions_of,
            "session_table": self.session_table,
            "online": lambda: sorted(self.server.directory.online),
            "close": self.close,
            "close_all": self.close_all,
            "message": self.message,
        }

    def status(self) -> dict[str, Any]:
        server = self.server
        return {
            "domain": server.domain,
            "started": server.started.isoformat(),
            "uptime_seconds": int(server.uptime.total_seconds()),
            "listeners": self.listeners,
            "users_online": len(server.directory.online),
            "sessions": len(server.sessions()),
            "connections": len(server.connections),
            "problems": self.problems(),
            "counters": dict(server.metrics.counters),
            "failures": [
                {"fingerprint": fingerprint, "where": where, "count": count}
                for (fingerprint, where), count in server.metrics.failures.most_common()
            ],
        }

    def problems(self) -> list[dict[str, str]]:
        self._look_for_problems()
        return [{"name": name, "since": since} for name, since in self._problems.items()]

    def sessions(self, jid: str = "") -> list[dict[str, Any]]:
        if not jid:
            return [self._row(session) for session in self.server.sessions()]
        account = self._account(jid)
        return [self._row(session) for session in account.sessions.values()] if account else []

    def sessions_of(self, jids: list[str]) -> dict[str, list[dict[str, Any]]]:
        found = {jid: self.sessions(jid) for jid in jids if jid}
        return {jid: rows for jid, rows in found.items() if rows}

    def session_table(
        self, sort: str = "jid", offset: int = 0, limit: int = 50, **wanted: str
    ) -> dict[str, Any]:
        sessions = self.server.sessions()
        found = session_table.in_order(session_table.Wanted(**wanted).find(sessions), sort)
        offset, page = session_table.page_of(found, offset, limit)
        return {
            "rows": [self._row(session) for session in page],
            "offset": offset,
            "found": len(found),
            "sessions": len(sessions),
            "users": len(self.server.directory.online),
            "plain": sum(not session.connection.tls_version for session in sessions),
            "clients": session_table.clients(sessions),
        }

    def _row(self, session: Session) -> dict[str, Any]:
        connection = session.connection
        presence = session.presence
        management = session.management
        return {
            "jid": session.jid.full_str,
            "user": session.account.jid.bare_str,
            "resource": session.jid.resource,
            "client": session.software,
            "device": agent_key(connection.user_agent.id) if connection.user_agent.id else "",
            "status": "available" if presence else "connected",
            "show": session.show if presence else "",
            "status_text": session.status_text if presence else "",
            "priority": session.priority,
            "tls": connection.tls_version,
            "cipher": connection.tls_cipher,
            "mechanism": connection.mechanism,
            "address": connection.address,
            "transport": connection.transport_name,
            "since": session.since.isoformat(),
            "idle_seconds": max(0, int(self.server.tick - connection.last_seen)),
            "stanzas_in": session.stanzas_in,
            "stanzas_out": session.stanzas_out,
            "bytes_in": connection.bytes_in,
            "bytes_out": connection.bytes_out,
            "interests": sorted(session.interests),
            "lang": session.lang,
            "is_resumable": management is not None and management.is_resumable,
            "is_detached": session.detached_at is not None,
            "is_managed": management is not None,
            "queue": len(management) if management is not None else 0,
            "seconds_left": _seconds_left(session),
            "is_inactive": session.holding is not None and session.detached_at is None,
            "held": len(session.holding) if session.holding is not None else 0,
            "carbons": session in session.account.carbons,
        }

    def close(self, jid: str, reason: str = "") -> bool:
        session = self._session(jid)
        if session is None:
            return False
        session.close(StreamError("policy-violation", reason or "closed by an administrator"))
        return True

    def close_all(self, jid: str, reason: str = "") -> int:
        account = self._account(jid)
        if account is None:
            return 0
        problem = StreamError("policy-violation", reason or "closed by an administrator")
        return self._end_sessions(account.jid.bare_str, problem)

    def message(self, to: str, body: str, subject: str = "") -> int:
        if not to:
            targets = self.server.sessions()
        elif "/" in to:
            session = self._session(to)
            targets = [session] if session else []
        else:
            account = self._account(to)
            targets = list(account.sessions.values()) if account else []
        for session in targets:
            stanza = make(
                "message",
                E(CLIENT, "subject", subject) if subject else None,
                E(CLIENT, "body", body),
                from_=self.server.jid,
                to=session.jid,
                type="headline" if not to else "normal",
            )
            session.send(stanza.to_bytes())
        return len(targets)

    def _account(self, text: str) -> Account | None:
        try:
            return self.server.directory.online.get(JID.parse(text).bare_str)
        except JIDError:
            return None

    def _session(self, text: str) -> Session | None:
        try:
            return self.server.router.origin(JID.parse(text))
        except JIDError:
            return None

    def _end_sessions(self, bare: str, error: StreamError, keep: str = "") -> int:
        account = self.server.directory.online.get(bare)
        sessions = [s for s in account.sessions.values() if s.jid.full_str != keep] if account else []
        for session in sessions:
            session.close(error)
        for connection in list(self.server.connections):  # logged in, nothing bound yet
            who = connection.account
            if who is not None and connection.session is None and who.jid.bare_str == bare:
                connection.close(error)
        return len(sessions)

    # -- the bus

    def _on_user_created(self, message: messages.UserCreated) -> None:
        """A name that was used before may be used again: nothing of the old account may be left."""
        account = self.server.directory.invalidate(message.jid)
        if account is not None and account.id != message.user_id:
            self._forget_deleted(account)

    def _on_user_changed(self, message: messages.UserChanged | messages.BlocklistChanged) -> None:
        self._refresh(message.jid)

    def _on_user_deleted(self, message: messages.UserDeleted) -> None:
        account = self.server.directory.invalidate(message.jid)
        if account is not None and account.id == message.user_id:
            self._forget_deleted(account)

    def _forget_deleted(self, account: Account) -> None:
        account.is_stale = True
        self._end_sessions(account.jid.bare_str, StreamError("not-authorized", "the account was deleted"))
        self.server.directory.forget(account.jid.bare_str)
        self.server.ask(hooks.account_deleted, account)

    def _on_user_locked(self, message: messages.UserLocked) -> None:
        self._end_sessions(message.jid, StreamError("not-authorized", "the account is locked"))
        self._refresh(message.jid)

    def _on_password_changed(self, message: messages.PasswordChanged) -> None:
        self.server.spawn(db(throttle.forget, message.jid))
        self._end_sessions(message.jid, StreamError("reset", "the password was changed"), message.keep)
        self._refresh(message.jid)

    def _refresh(self, bare: str) -> None:
        """Read the account again: now if it is online, else before its next use."""
        account = self.server.directory.invalidate(bare)
        if account is not None and account.sessions:
            self.server.spawn(self.server.directory.load(account.jid))

    def _on_roster_changed(self, message: messages.RosterChanged) -> None:
        account = self.server.directory.in_memory(message.jid)
        if account is None or not account.sessions:
            self.server.directory.invalidate(message.jid)
        elif account.roster_version < message.version:  # else the change came from here
            self.server.ask(hooks.roster_written, account, message.version)

    def _on_shared_rosters_changed(self, message: messages.SharedRostersChanged) -> None:
        wanted = set(message.user_ids)
        self.server.directory.forget_idle_of(wanted)
        accounts = [account for account in self.server.directory.online.values() if account.id in wanted]
        if accounts:
            self.server.ask(hooks.shared_rosters_written, accounts)


def _seconds_left(session: Session) -> int:
    """For how long a session still waits for its client; 0 for one that does not."""
    if session.detached_at is None or session.management is None:
        return 0
    waited = session.server.tick - session.detached_at
    return max(0, int(session.management.seconds - waited))
