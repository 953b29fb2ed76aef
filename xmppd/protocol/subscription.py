"""Presence subscriptions, RFC 6121 3 and appendix A: what each subscription stanza does to a roster item.

The state is that of a contact as one account sees it; the contact's server keeps its own. Nothing here
sends or stores: a `Transition` says what is to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SUBSCRIBE = "subscribe"
SUBSCRIBED = "subscribed"
UNSUBSCRIBE = "unsubscribe"
UNSUBSCRIBED = "unsubscribed"
TYPES = frozenset({SUBSCRIBE, SUBSCRIBED, UNSUBSCRIBE, UNSUBSCRIBED})


class State(Enum):
    """Appendix A.1. The value is (subscription, ask, pending_in); an absent roster item is N or NI."""

    N = ("none", False, False)
    NO = ("none", True, False)
    NI = ("none", False, True)
    NOI = ("none", True, True)
    T = ("to", False, False)
    TI = ("to", False, True)
    F = ("from", False, False)
    FO = ("from", True, False)
    B = ("both", False, False)

    @classmethod
    def of(cls, subscription: str = "none", ask: bool = False, pending_in: bool = False) -> State:
        """The state of a stored item; a request that the subscription already answers is forgotten."""
        return cls(
            (
                subscription,
                ask and subscription in ("none", "from"),
                pending_in and subscription in ("none", "to"),
            )
        )

    @property
    def subscription(self) -> str:
        return self.value[0]

    @property
    def ask(self) -> bool:
        """We asked and have no answer; written ask='subscribe' (2.1.2.2)."""
        return self.value[1]

    @property
    def pending_in(self) -> bool:
        """The contact asked and has no answer; never shown in the roster."""
        return self.value[2]

    @property
    def has_to(self) -> bool:
        """We get the contact's presence."""
        return self.subscription in ("to", "both")

    @property
    def has_from(self) -> bool:
        """The contact gets our presence."""
        return self.subscription in ("from", "both")


@dataclass(frozen=True, slots=True)
class Transition:
    """What a subscription stanza does.

    `route`: pass it on, to the contact when we sent it, to our interested resources when we got it.
    `reply`: type of the stanza to answer the contact with on the account's behalf, or None.
    `approved`: the new pre-approval (3.4), or None where it stays.
    `changed`: there is something to store. `push`: and it shows in the roster.
    """

    state: State
    route: bool
    reply: str | None = None
    approved: bool | None = None
    changed: bool = False
    push: bool = False


# > passes the stanza on, . does not; the state that follows stands behind, if it is another one.
_OUTGOING = """
                N     NO    NI    NOI   T     TI    F     FO    B
subscribe       >NO   >     >NOI  >     >     >     >FO   >     >
unsubscribe     >     >N    >     >NI   >N    >NI   >     >F    >F
subscribed      .     .     >F    >FO   .     >B    .     .     .
unsubscribed    .     .     >N    >NO   .     >T    >N    >NO   >T
"""
_INCOMING = """
                N     NO    NI    NOI   T     TI    F     FO    B
subscribe       >NI   >NOI  .     .     >TI   .     .     .     .
unsubscribe     .     .     >N    >NO   .     >T    >N    >NO   >T
subscribed      .     >T    .     >TI   .     .     .     >B    .
unsubscribed    .     >N    .     >NI   >N    >NI   .     >F    >F
"""
_PRE_APPROVED = {State.N: State.F, State.NO: State.FO, State.T: State.B}


def _read(table: str) -> dict[tuple[State, str], tuple[bool, State]]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    states = [State[name] for name in header]
    return {
        (state, type_): (cell[0] == ">", State[cell[1:]] if cell[1:] else state)
        for type_, *cells in rows
        for state, cell in zip(states, cells, strict=True)
    }


_AFTER_OUTGOING = _read(_OUTGOING)
_AFTER_INCOMING = _read(_INCOMING)


def outgoing(state: State, type: str, approved: bool = False) -> Transition:
    """The account sends a subscription stanza to the contact (A.2). `approved`: it is pre-approved."""
    route, after = _AFTER_OUTGOING[state, type]
    new_approval = None
    if type == SUBSCRIBED and not route and not state.has_from:
        new_approval = True  # nothing was asked: an approval in advance, 3.4.2
    elif type == UNSUBSCRIBED:
        new_approval = False  # or the contact would be let in again at once
    return _transition(state, after, route, None, approved, new_approval)


def incoming(state: State, type: str, approved: bool = False) -> Transition:
    """The contact's subscription stanza arrives (A.3)."""
    route, after = _AFTER_INCOMING[state, type]
    reply = None
    if type == SUBSCRIBE:
        if state.has_from:
            reply = SUBSCRIBED  # the contact's server has forgotten, 3.1.3
        elif approved and state in _PRE_APPROVED:
            route, after, reply = False, _PRE_APPROVED[state], SUBSCRIBED  # 3.4.2
    elif type == UNSUBSCRIBE and route:
        reply = UNSUBSCRIBED  # A.3.2
    return _transition(state, after, route, reply, approved, None)


def _transition(
    before: State, after: State, route: bool, reply: str | None, approved: bool, new_approval: bool | None
) -> Transition:
    if new_approval is approved:
        new_approval = None
    push = new_approval is not None or (before.subscription, before.ask) != (after.subscription, after.ask)
    return Transition(after, route, reply, new_approval, changed=push or after is not before, push=push)
