"""Failed logins: who has to wait, who does not, for how long."""

import time

import pytest
from django.core.cache import cache

from accounts import throttle
from accounts.registry import overridden

FROM = "198.51.100.7"


@pytest.fixture
def clock(monkeypatch):
    """Let time pass: both ours and the cache's."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


def fail(times, account="alice@example.org", address=FROM):
    for _n in range(times):
        throttle.failed(account, address)


def test_below_the_limit_nobody_waits():
    fail(9)
    assert throttle.check("alice@example.org", FROM) == 0


def test_at_the_limit_the_pair_waits():
    fail(10)
    assert 0 < throttle.check("alice@example.org", FROM) <= throttle.FIRST_WAIT_SECONDS


def test_the_account_is_free_from_elsewhere_and_the_address_for_others():
    fail(10)
    assert throttle.check("alice@example.org", "203.0.113.9") == 0
    assert throttle.check("bob@example.org", FROM) == 0


def test_wait_doubles_with_each_further_failure_up_to_the_window(clock):
    waits = []
    fail(10)
    for _n in range(8):
        waits.append(round(throttle.check("alice@example.org", FROM)))
        fail(1)
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900]


def test_wait_ends_by_itself_and_the_count_with_the_window(clock):
    fail(10)
    clock(throttle.FIRST_WAIT_SECONDS + 1)
    assert throttle.check("alice@example.org", FROM) == 0
    clock(16 * 60)
    fail(9)
    assert throttle.check("alice@example.org", FROM) == 0


def test_success_forgets_the_pair():
    fail(9)
    throttle.succeeded("alice@example.org", FROM)
    fail(9)
    assert throttle.check("alice@example.org", FROM) == 0


def test_one_address_that_tries_many_names_waits_for_all():
    for number in range(40):
        throttle.failed(f"user{number}@example.org", FROM)
    assert throttle.check("somebody-else@example.org", FROM) > 0


def test_own_account_does_not_clear_the_address():
    for number in range(40):
        throttle.failed(f"user{number}@example.org", FROM)
    throttle.succeeded("mallory@example.org", FROM)
    assert throttle.check("alice@example.org", FROM) > 0


def test_ipv6_is_counted_by_network():
    for number in range(40):
        throttle.failed(f"user{number}@example.org", f"2001:db8:1:2::{number:x}")
    assert throttle.check("alice@example.org", "2001:db8:1:2:ffff::1") > 0
    assert throttle.check("alice@example.org", "2001:db8:1:3::1") == 0


def test_ipv4_mapped_into_ipv6_is_the_same_address():
    fail(10)
    assert throttle.check("alice@example.org", f"::ffff:{FROM}") > 0


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_has_the_pair_limit_only(loopback):
    for number in range(100):
        throttle.failed(f"user{number}@example.org", loopback)
    assert throttle.check("alice@example.org", loopback) == 0
    fail(10, address=loopback)
    assert throttle.check("alice@example.org", loopback) > 0


def test_limits_are_live():
    with overridden(security__login__max_failures_per_account_address=2):
        fail(2)
        assert throttle.check("alice@example.org", FROM) > 0


def test_who_waits_is_listed_and_can_be_let_in():
    fail(10)
    (entry,) = throttle.waiting()
    assert (entry.account, entry.address, entry.failures) == ("alice@example.org", FROM, 10)
    throttle.unban(account=entry.account, address=entry.address)
    assert throttle.waiting() == []
    assert throttle.check("alice@example.org", FROM) == 0


def test_address_that_waits_can_be_let_in():
    for number in range(40):
        throttle.failed(f"user{number}@example.org", "2001:db8::1")
    (entry,) = throttle.waiting()
    assert (entry.account, entry.address) == ("", "2001:db8::/64")
    throttle.unban(address=entry.address)
    assert throttle.check("alice@example.org", "2001:db8::1") == 0


def test_cache_that_is_down_bans_nobody(monkeypatch):
    def down(*args, **kwargs):
        raise ConnectionError("redis is away")

    for name in ("get_many", "incr", "add", "set", "delete_many"):
        monkeypatch.setattr(cache, name, down)
    fail(50)
    throttle.succeeded("alice@example.org", FROM)
    assert throttle.check("alice@example.org", FROM) == 0
