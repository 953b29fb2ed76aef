"""The table of sessions for the console: searched, sorted and cut where they live, so that one page of it travels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from xmppd.protocol.addresses import parse_address
from xmppd.server.session import Session
from xmppd.services.live import MAX_CLIENT_CHARS, PRESENCES

MAX_ROWS = 500
MAX_CLIENTS = 50  # names to choose from


def shown(session: Session) -> str:
    """available, chat, away, xa, dnd or connected (no presence yet); what a client made up counts as available."""
    if session.presence is None:
        return "connected"
    return session.show if session.show in PRESENCES and session.show != "connected" else "available"


def _waiting(session: Session) -> int:
    """Stanzas that the client has not acknowledged, and those that wait until somebody looks at it."""
    return len(session.management or ()) + len(session.holding or ())


def _address(session: Session) -> tuple[int, int | str]:
    """Addresses in the order of their numbers."""
    address = parse_address(session.connection.address)
    return (address.version, int(address)) if address else (99, session.connection.address)


SORTS: dict[str, Callable[[Session], Any]] = {
    "jid": lambda session: session.jid.full_str,
    "client": lambda session: session.software.casefold(),
    "presence": lambda session: (PRESENCES.index(shown(session)), -session.priority),
    "priority": lambda session: session.priority,
    "tls": lambda session: (session.connection.tls_version or "", session.connection.tls_cipher or ""),
    "address": _address,
    "since": lambda session: session.since,
    "idle": lambda session: -session.connection.last_seen,
    "queue": _waiting,
    "traffic": lambda session: session.stanzas_in + session.stanzas_out,
}
GROUPS: dict[str, frozenset[str]] = {
    "available": frozenset({"available", "chat"}),
    "away": frozenset({"away", "xa"}),
    "dnd": frozenset({"dnd"}),
    "connected": frozenset({"connected"}),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Empty strings ask for nothing. `query`: words that all occur; `tls`: yes or no."""

    query: str = ""
    presence: str = ""
    tls: str = ""
    client: str = ""

    def find(self, sessions: Iterable[Session]) -> list[Session]:
        words = self.query.casefold().split()
        found = [session for session in sessions if self._fits(session)]
        if words:
            found = [s for s in found if all(word in text for text in (_searched(s),) for word in words)]
        return found

    def _fits(self, session: Session) -> bool:
        return (
            (not self.presence or shown(session) in GROUPS[self.presence])
            and (not self.tls or bool(session.connection.tls_version) == (self.tls == "yes"))
            and (not self.client or session.software[:MAX_CLIENT_CHARS] == self.client)
        )


def _searched(session: Session) -> str:
    connection = session.connection
    texts = (
        session.jid.full_str,
        session.software,
        connection.address,
        session.status_text if session.presence else "",
        connection.tls_cipher or "",
    )
    return "\n".join(texts).casefold()


def in_order(sessions: list[Session], sort: str) -> list[Session]:
    """By a key of SORTS, from its end with a `-`; those that are equal in it by their address."""
    sessions.sort(key=SORTS["jid"])
    sessions.sort(key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return sessions


def page_of(found: list[Session], offset: int, limit: int) -> tuple[int, list[Session]]:
    """Where the page begins, and it; the last one for an offset behind the end."""
    limit = max(0, min(limit, MAX_ROWS))
    if found and limit and offset >= len(found):
        offset = (len(found) - 1) // limit * limit
    offset = max(0, offset)
    return offset, found[offset : offset + limit]


def clients(sessions: Iterable[Session]) -> list[str]:
    """The names of clients that are in use, as the filter offers them."""
    names = {session.software[:MAX_CLIENT_CHARS] for session in sessions if session.software}
    return sorted(names, key=str.casefold)[:MAX_CLIENTS]
