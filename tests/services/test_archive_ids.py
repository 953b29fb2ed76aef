"""The archive's ids: ordered by time, and not to be guessed (XEP-0313 3)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from xmppd.services.archive import Ids, id_at, is_id, time_of

NOW = 1_800_000_000.123


def test_ids_of_one_millisecond_are_apart_by_chance():
    ids = Ids()
    made = [ids.next(NOW) for _ in range(200)]
    assert made == sorted(set(made))
    assert {time_of(identity) for identity in made} == {NOW}
    assert len({later - earlier for earlier, later in pairwise(made)}) > 20
    assert len({Ids().next(NOW) for _ in range(200)}) > 150


def test_full_millisecond_goes_over_into_the_next():
    ids = Ids(worker=5)
    made = [ids.next(NOW) for _ in range(5000)]
    assert made == sorted(set(made))
    assert {identity >> 14 & 0b111111 for identity in made} == {5}
    assert 5 <= len({time_of(identity) for identity in made}) <= 50


def test_two_workers_never_meet():
    one, two = Ids(worker=1), Ids(worker=2)
    assert not {one.next(NOW) for _ in range(2000)} & {two.next(NOW) for _ in range(2000)}


def test_lowest_id_of_a_time():
    assert id_at(NOW) <= Ids().next(NOW) < id_at(NOW + 0.0015)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", True),
        (str(2**63 - 1), True),
        (str(2**63), False),
        ("-1", False),
        ("", False),
        ("\u0661", False),
        ("9" * 40, False),
    ],
)
def test_what_may_be_an_id(text, expected):
    assert is_id(text) is expected
