"""Failed logins are slowed down, for SASL, console and API together.

Counted are pairs (account, address) and address prefixes (an IPv4 address, an IPv6 /64), never an account
alone: nobody can lock another out by guessing. From the limit on, each further failure doubles the wait, up
to the window. Loopback, behind which everybody may sit, has the pair limit only. The counters live in
Django's cache, and so does the list of who waits.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address, IPv6Network

from django.core.cache import cache
from django.utils.translation import gettext_lazy as _

from accounts.registry import Setting
from xmppd.protocol.addresses import is_loopback, parse_address

log = logging.getLogger("hearth.auth")

MAX_PER_PAIR = Setting(
    "security.login.max_failures_per_account_address",
    int,
    10,
    _("Failed logins for one account from one address before it has to wait."),
    label=_("Failed logins per account and address"),
    minimum=1,
)
MAX_PER_ADDRESS = Setting(
    "security.login.max_failures_per_address",
    int,
    40,
    _("Failed logins from one address (IPv6: one /64 network), whatever the account, before it has to wait."),
    label=_("Failed logins per address"),
    minimum=1,
)
WINDOW = Setting(
    "security.login.window",
    timedelta,
    timedelta(minutes=15),
    _("After this time without a failure the count begins anew; also the longest wait."),
    label=_("Memory of failed logins"),
    minimum=timedelta(seconds=1),
    maximum=timedelta(days=1),
)
FIRST_WAIT_SECONDS = 15.0
MAX_LISTED = 1000
INDEX = "login:waiting"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of the unban page. `account` is '' where the whole address waits."""

    account: str
    address: str
    failures: int
    until: float  # time.time()


def check(account: str, address: str) -> float:
    """Seconds that this attempt has to wait; 0 = go ahead. `account` is the bare JID that was tried."""
    try:
        untils = cache.get_many([f"{key}:until" for key, _limit in _counters(account, address)])
    except Exception as error:  # whatever the cache's driver raises: better no throttle than no login
        log.warning("login throttle: cache does not answer: %s", error)
        return 0.0
    return max([0.0, *(until - time.time() for until in untils.values())])


def failed(account: str, address: str) -> None:
    """Count a wrong password or unknown name."""
    try:
        for key, limit in _counters(account, address):
            _count(key, limit, account if key.startswith("login:pair") else "", address)
    except Exception as error:
        log.warning("login throttle: cache does not answer: %s", error)


def succeeded(account: str, address: str) -> None:
    """Forget the pair's failures. Those of the address stay: an attacker has an account of his own."""
    key = _pair_key(account, network(address))
    try:
        if key in cache:  # each login asks, and hardly any has failed before
            cache.delete_many([key, f"{key}:until"])
    except Exception as error:
        log.warning("login throttle: cache does not answer: %s", error)


def forget(account: str) -> None:
    """Let the account try again from everywhere: it has a new password, and old devices used up the tries."""
    for key, held, _address in cache.get(INDEX, []):
        if held == account:
            cache.delete_many([key, f"{key}:until"])
    cache.set(INDEX, [entry for entry in cache.get(INDEX, []) if entry[1] != account], None)


def unban(*, account: str = "", address: str) -> None:
    """Let an entry of `waiting()` try again at once."""
    prefix = network(address)
    key = _pair_key(account, prefix) if account else _address_key(prefix)
    cache.delete_many([key, f"{key}:until"])
    cache.set(INDEX, [entry for entry in cache.get(INDEX, []) if entry[0] != key], None)


def waiting() -> list[Waiting]:
    """Who has to wait now, the longest wait first."""
    entries = cache.get(INDEX, [])
    untils = cache.get_many([f"{key}:until" for key, *_rest in entries])
    counts = cache.get_many([key for key, *_rest in entries])
    found = [
        Waiting(account, address, counts.get(key, 0), untils[f"{key}:until"])
        for key, account, address in entries
        if untils.get(f"{key}:until", 0) > time.time()
    ]
    return sorted(found, key=lambda entry: -entry.until)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What is counted as one address: IPv4 (also mapped into IPv6) and other text whole, IPv6 by /64."""
    ip = parse_address(address)
    if isinstance(ip, IPv6Address) and not ip.is_loopback:
        return str(IPv6Network((ip, 64), strict=False))
    return str(ip) if ip else address


def _counters(account: str, address: str) -> list[tuple[str, int]]:
    prefix = network(address)
    counters = [(_pair_key(account, prefix), MAX_PER_PAIR.value)]
    if not is_loopback(address):
        counters.append((_address_key(prefix), MAX_PER_ADDRESS.value))
    return counters


def _count(key: str, limit: int, account: str, address: str) -> None:
    window = WINDOW.value.total_seconds()
    cache.add(key, 0, timeout=window)
    try:
        failures = cache.incr(key)
    except ValueError:  # it ended between the two calls
        cache.set(key, 1, timeout=window)
        failures = 1
    if failures < limit:
        cache.touch(key, window)
        return
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(failures - limit, 30), window)
    until = time.time() + wait
    cache.touch(key, wait + window)
    cache.set(f"{key}:until", until, timeout=wait)
    entries = [entry for entry in cache.get(INDEX, []) if entry[0] != key]
    cache.set(INDEX, [*entries, (key, account, network(address))][-MAX_LISTED:], None)


def _pair_key(account: str, prefix: str) -> str:
    return "login:pair:" + _digest(f"{account}\0{prefix}")


def _address_key(prefix: str) -> str:
    return "login:address:" + _digest(prefix)


def _digest(text: str) -> str:
    """Names come from strangers: hashed, they fit every cache's rules for keys. Short: caches check each letter."""
    return blake2b(text.encode(), digest_size=16).hexdigest()
