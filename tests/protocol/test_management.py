"""XEP-0198: Stream Management, the counting."""

import secrets
import tracemalloc

import pytest

from xmppd.protocol.errors import StreamError
from xmppd.protocol.stream.management import MODULUS, REQUEST_AFTER, Management


def sent(*letters: bytes, acknowledged: int = 0) -> Management:
    management = Management()
    management._acknowledged = acknowledged
    for letter in letters:
        management.add(letter, 1.0)
    return management


def waiting(management: Management) -> list[bytes]:
    return [data for data, _ in management.unacknowledged()]


def test_what_is_acknowledged_leaves_the_queue():
    management = sent(b"a", b"bb", b"ccc")
    management.acknowledge(2)
    assert waiting(management) == [b"ccc"]
    assert management.queued_bytes == 3
    management.acknowledge(2)
    assert waiting(management) == [b"ccc"]
    management.acknowledge(3)
    assert (len(management), management.queued_bytes) == (0, 0)


def test_counters_wrap():
    """4: from 2**32 - 1 back to zero."""
    management = sent(b"a", b"b", b"c", acknowledged=MODULUS - 2)
    management.acknowledge(MODULUS - 1)
    assert waiting(management) == [b"b", b"c"]
    management.acknowledge(0)
    assert waiting(management) == [b"c"]
    management.acknowledge(1)
    assert not waiting(management)
    with pytest.raises(StreamError):
        management.acknowledge(2)


@pytest.mark.parametrize(
    ("acknowledged", "h", "count"), [(0, 4, 3), (5, 9, 8), (5, 4, 8), (MODULUS - 1, 3, 2)]
)
def test_more_than_was_sent(acknowledged, h, count):
    management = sent(b"a", b"b", b"c", acknowledged=acknowledged)
    with pytest.raises(StreamError) as problem:
        management.acknowledge(h)
    assert problem.value.condition == "undefined-condition"
    (extra,) = problem.value.extra
    assert (extra.name, extra.get("h"), extra.get("send-count")) == (
        "handled-count-too-high",
        str(h),
        str(count),
    )
    assert len(management) == 3


def test_an_answer_is_asked_for_now_and_then():
    management = Management()
    asked = [management.add(b"x", 1.0) for _ in range(REQUEST_AFTER)]
    assert asked == [False] * (REQUEST_AFTER - 1) + [True]
    assert management.is_request_due
    management.requested(1.0)
    management.requested(9.0)
    assert management.requested_at == 1.0  # the oldest one that is not answered
    assert not management.is_request_due
    management.acknowledge(1)
    assert management.requested_at is None
    assert management.is_request_due
    management.acknowledge(REQUEST_AFTER)
    assert not management.is_request_due


def test_clear_takes_everything():
    management = sent(b"a", b"b")
    assert management.clear() == [(b"a", 1.0), (b"b", 1.0)]
    assert (len(management), management.queued_bytes) == (0, 0)


def test_idle_session_pays_little():
    """Counters, key and queue of a session that is up to date; thousands of phones wait for hours."""
    tracemalloc.start()
    try:
        sessions = [Management(secrets.token_urlsafe(18), 3600) for _ in range(1000)]
        for management in sessions:
            management.add(b"x", 1.0)
            management.acknowledge(1)
        assert tracemalloc.get_traced_memory()[0] < 500 * len(sessions)
    finally:
        tracemalloc.stop()
