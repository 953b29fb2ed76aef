"""RFC 6121 appendix A, every cell, and what two servers that follow it come to."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.protocol.subscription import TYPES, State, incoming, outgoing

N, NO, NI, NOI, T, TI, F, FO, B = State
YES, NOT = True, False

# Written down from the tables of appendix A.2 and A.3: (state: (passed on, state after)).
OUTGOING = {
    "subscribe": {  # A.2.1
        N: (YES, NO), NO: (YES, NO), NI: (YES, NOI), NOI: (YES, NOI), T: (YES, T),
        TI: (YES, TI), F: (YES, FO), FO: (YES, FO), B: (YES, B),
    },
    "unsubscribe": {  # A.2.2
        N: (YES, N), NO: (YES, N), NI: (YES, NI), NOI: (YES, NI), T: (YES, N),
        TI: (YES, NI), F: (YES, F), FO: (YES, F), B: (YES, F),
    },
    "subscribed": {  # A.2.3
        N: (NOT, N), NO: (NOT, NO), NI: (YES, F), NOI: (YES, FO), T: (NOT, T),
        TI: (YES, B), F: (NOT, F), FO: (NOT, FO), B: (NOT, B),
    },
    "unsubscribed": {  # A.2.4
        N: (NOT, N), NO: (NOT, NO), NI: (YES, N), NOI: (YES, NO), T: (NOT, T),
        TI: (YES, T), F: (YES, N), FO: (YES, NO), B: (YES, T),
    },
}  # fmt: skip
INCOMING = {
    "subscribe": {  # A.3.1
        N: (YES, NI), NO: (YES, NOI), NI: (NOT, NI), NOI: (NOT, NOI), T: (YES, TI),
        TI: (NOT, TI), F: (NOT, F), FO: (NOT, FO), B: (NOT, B),
    },
    "unsubscribe": {  # A.3.2
        N: (NOT, N), NO: (NOT, NO), NI: (YES, N), NOI: (YES, NO), T: (NOT, T),
        TI: (YES, T), F: (YES, N), FO: (YES, NO), B: (YES, T),
    },
    "subscribed": {  # A.3.3
        N: (NOT, N), NO: (YES, T), NI: (NOT, NI), NOI: (YES, TI), T: (NOT, T),
        TI: (NOT, TI), F: (NOT, F), FO: (YES, B), B: (NOT, B),
    },
    "unsubscribed": {  # A.3.4
        N: (NOT, N), NO: (YES, N), NI: (NOT, NI), NOI: (YES, NI), T: (YES, N),
        TI: (YES, NI), F: (NOT, F), FO: (YES, F), B: (YES, F),
    },
}  # fmt: skip
CELLS = [
    (event, type_, state, *cell)
    for event, table in [(outgoing, OUTGOING), (incoming, INCOMING)]
    for type_, row in table.items()
    for state, cell in row.items()
]


def test_there_are_72_cells():
    assert len(CELLS) == 72


@pytest.mark.parametrize(("event", "type_", "before", "route", "after"), CELLS)
def test_cell(event, type_, before, route, after):
    done = event(before, type_)
    assert (done.route, done.state) == (route, after)


@pytest.mark.parametrize("state", [N, NO, T])
def test_approval_in_advance_is_remembered_and_taken_back(state):
    given_ = outgoing(state, "subscribed")
    assert (given_.approved, given_.changed, given_.push, given_.route) == (True, True, True, False)
    assert not outgoing(state, "subscribed", approved=True).changed
    taken = outgoing(state, "unsubscribed", approved=True)
    assert (taken.approved, taken.changed, taken.push, taken.route) == (False, True, True, False)
    assert not outgoing(state, "unsubscribed").changed


@pytest.mark.parametrize("state", [NI, NOI, TI, F, FO, B])
def test_answering_a_request_is_no_approval_in_advance(state):
    assert outgoing(state, "subscribed").approved is None


@pytest.mark.parametrize(("state", "after"), [(F, N), (FO, NO), (B, T)])
def test_cancelling_a_subscription_takes_the_approval_back(state, after):
    done = outgoing(state, "unsubscribed", approved=True)
    assert (done.state, done.approved) == (after, False)


@pytest.mark.parametrize(("state", "after"), [(N, F), (NO, FO), (T, B)])
def test_request_of_an_approved_contact_is_granted_unseen(state, after):
    done = incoming(state, "subscribe", approved=True)
    assert (done.state, done.route, done.reply, done.approved, done.push) == (
        after,
        False,
        "subscribed",
        None,
        True,
    )


@pytest.mark.parametrize("state", [F, FO, B])
def test_request_that_was_granted_before_is_granted_again(state):
    done = incoming(state, "subscribe")
    assert (done.reply, done.route, done.changed) == ("subscribed", False, False)


@pytest.mark.parametrize("state", [N, NO, NI, NOI, T, TI])
def test_no_stranger_is_ever_granted_a_request(state):
    assert incoming(state, "subscribe").reply is None


@pytest.mark.parametrize("state", State)
def test_unsubscribe_is_confirmed_where_it_had_an_effect(state):
    done = incoming(state, "unsubscribe")
    assert done.reply == ("unsubscribed" if done.changed else None)


@pytest.mark.parametrize(
    ("event", "type_", "state", "push"),
    [
        (incoming, "subscribe", N, False),  # a request alone does not show in the roster
        (incoming, "unsubscribe", NI, False),
        (outgoing, "unsubscribed", NI, False),
        (outgoing, "subscribe", N, True),  # ask='subscribe' does
        (outgoing, "subscribe", NO, False),
        (incoming, "subscribed", NO, True),
        (outgoing, "subscribed", NI, True),
    ],
)
def test_only_what_shows_in_the_roster_is_pushed(event, type_, state, push):
    assert event(state, type_).push is push


@pytest.mark.parametrize("state", State)
def test_state_is_found_again_from_what_is_stored(state):
    assert State.of(state.subscription, state.ask, state.pending_in) is state


def test_contradictory_rows_are_read_sensibly():
    assert State.of("both", ask=True, pending_in=True) is B
    assert State.of("to", ask=True) is T
    assert State.of("from", pending_in=True) is F
    assert State.of() is N
    with pytest.raises(ValueError, match="remove"):
        State.of("remove")


class Pair:
    """Two accounts on servers of their own; stanzas between them stay in order."""

    def __init__(self):
        self.states = [N, N]
        self.approved = [False, False]
        self.lines = [deque(), deque()]  # what is on its way to each

    def send(self, who, type_):
        done = outgoing(self.states[who], type_, self.approved[who])
        self._apply(who, done)
        if done.route:
            self.lines[1 - who].append(type_)

    def deliver(self, who):
        if self.lines[who]:
            done = incoming(self.states[who], self.lines[who].popleft(), self.approved[who])
            self._apply(who, done)
            if done.reply:
                self.lines[1 - who].append(done.reply)

    def _apply(self, who, done):
        self.states[who] = done.state
        if done.approved is not None:
            self.approved[who] = done.approved

    def settle(self):
        for _ in range(1000):
            if not any(self.lines):
                return
            self.deliver(0)
            self.deliver(1)
        raise AssertionError("the two never stop answering each other")


moves = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(sorted(TYPES))), max_size=12)


@given(moves)
def test_two_peers_agree_after_each_exchange(moves):
    pair = Pair()
    for who, type_ in moves:
        pair.send(who, type_)
        pair.settle()
        one, two = pair.states
        assert (one.has_to, one.has_from) == (two.has_from, two.has_to)
        assert (one.ask, one.pending_in) == (two.pending_in, two.ask)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([*sorted(TYPES), "deliver"])), max_size=20))
def test_stanzas_that_cross_always_come_to_rest_and_can_be_cleared(moves):
    pair = Pair()
    for who, what in moves:
        pair.deliver(who) if what == "deliver" else pair.send(who, what)
    pair.settle()
    for who in (0, 1):
        pair.send(who, "unsubscribe")
        pair.send(who, "unsubscribed")
        pair.settle()
    assert pair.states == [N, N]
    assert pair.approved == [False, False]


@given(moves)
def test_nobody_sees_presence_without_consent(moves):
    """The one thing that must hold whatever the other side sends: only our own `subscribed` grants."""
    state, approved, consented = N, False, False
    for who, type_ in moves:
        if who == 0:
            consented = consented if type_ not in ("subscribed", "unsubscribed") else type_ == "subscribed"
        done = (outgoing if who == 0 else incoming)(state, type_, approved)
        state, approved = done.state, approved if done.approved is None else done.approved
        assert consented or not state.has_from
