"""Every moment at which modules may step in, and how they are asked.

A handler is a plain function. It returns None (go on), STOP (the stanza has been dealt with), or an awaitable of these
when it needs the database: only then does the sender's stream wait. It may raise StanzaError, which the sender gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal


class _Stop:
    def __repr__(self) -> str:
        return "STOP"


STOP: Final = _Stop()

# Higher runs earlier.
FIRST = 100  # policy: blocking, rate limits
EARLY = 50
NORMAL = 0
LATE = -50  # archive, copies
LAST = -100  # offline store

Outcome = _Stop | None
Handler = Callable[..., "Outcome | Awaitable[Outcome]"]


class Hook:
    """A named moment. `arguments` is what handlers are called with, for the reader."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: str, arguments: str) -> None:
        self.name = name
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"<Hook {self.name}({self.arguments})>"


# A stanza came from a bound session; `from_` and `to` are set, nothing has been routed yet.
from_user = Hook("from_user", "stanza: Stanza, session: Session")
# A stanza is about to be delivered to a local account.
to_user = Hook("to_user", "stanza: Stanza, account: Account")
# No resource can take a message of type normal or chat for this account (RFC 6121 8.5.2.2).
undelivered = Hook("undelivered", "stanza: Stanza, account: Account")
# The next three are asked only where a session of the account wants copies (XEP-0280).
# A message of a session has been routed, or refused; as the session sent it, with its `sent_id`.
message_sent = Hook("message_sent", "stanza: Stanza, session: Session")
# A message has been sent to these resources of the account; none took it when it is kept for later.
message_delivered = Hook(
    "message_delivered", "stanza: Stanza, account: Account, targets: tuple[Session, ...]"
)
# A session's message was answered by an error of ours.
message_refused = Hook("message_refused", "answer: Stanza, stanza: Stanza, session: Session")
# Presence without `to`, type none or unavailable (RFC 6121 4.2-4.5).
own_presence = Hook("own_presence", "stanza: Stanza, session: Session")
# subscribe, subscribed, unsubscribe, unsubscribed from a session; `to` is bare (RFC 6121 3).
subscription_out = Hook("subscription_out", "stanza: Stanza, session: Session")
# The same for a local account; `from_` is bare.
subscription_in = Hook("subscription_in", "stanza: Stanza, account: Account")
# A presence probe for a local account (RFC 6121 4.3).
probe_in = Hook("probe_in", "stanza: Stanza, account: Account")
# A resource was bound; it is connected, not available yet.
session_bound = Hook("session_bound", "session: Session")
# A session sent its initial presence, which has been broadcast.
session_available = Hook("session_available", "session: Session")
# A resource that had a negative priority takes messages from now on.
priority_raised = Hook("priority_raised", "session: Session")
# A session that was available is no more; `stanza` is its last presence, made by us if it sent none.
session_unavailable = Hook("session_unavailable", "stanza: Stanza, session: Session")
# A session has lost its connection and waits for its client (XEP-0198 5).
session_detached = Hook("session_detached", "session: Session")
# A session goes on with a new connection; what its client missed has been sent (XEP-0198 5).
session_resumed = Hook("session_resumed", "session: Session")
# A session is over and no longer among its account's sessions.
session_closed = Hook("session_closed", "session: Session")
# The account was deleted; its sessions have been closed.
account_deleted = Hook("account_deleted", "account: Account")
# A session put these on its account's block list, as its client wrote them (XEP-0191).
contacts_blocked = Hook("contacts_blocked", "items: list[Element], session: Session")
# Somebody else wrote to a roster that is in memory (console, command): read it again, push what differs.
roster_written = Hook("roster_written", "account: Account, version: int")
# The shared contacts of these accounts are to be computed again, their clients and contacts told.
shared_rosters_written = Hook("shared_rosters_written", "accounts: list[Account]")

ALL = [value for value in list(globals().values()) if isinstance(value, Hook)]


def run(handlers: tuple[Handler, ...], *arguments: Any) -> Outcome | Awaitable[Outcome]:
    """Ask the handlers in order until one says STOP; awaitable from the first that must wait."""
    for position, handler in enumerate(handlers):
        outcome = handler(*arguments)
        if outcome is None:
            continue
        if outcome is STOP:
            return STOP
        return _run_waiting(outcome, handlers[position + 1 :], arguments)  # type: ignore[arg-type]
    return None


async def _run_waiting(
    first: Awaitable[Outcome], rest: tuple[Handler, ...], arguments: tuple[Any, ...]
) -> Outcome:
    if await first is STOP:
        return STOP
    outcome = run(rest, *arguments)
    if outcome is None or isinstance(outcome, _Stop):
        return outcome
    return await outcome


Target = Literal["server", "account", "self", "nobody"]
