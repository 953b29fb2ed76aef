"""Logging in: one check for SASL PLAIN, console and API, one log line, one throttle."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit, credentials, throttle
from accounts.audit import Actor
from accounts.models import LoginLink, User
from xmppd.bus.channel import publish
from xmppd.bus.messages import CredentialsUpgraded
from xmppd.protocol.sasl.base import ScramKeys
from xmppd.protocol.sasl.scram import HASHES

log = logging.getLogger("hearth.auth")

LINK_LIFETIME = timedelta(minutes=15)
MAX_IDS = 500


class LoginRefused(Exception):
    """The login failed. `reason`: unknown-user, wrong-password, locked, no-role or throttled (`retry_after`
    seconds).

    Tell unknown-user and wrong-password alike to whoever asks; `locked` and `no-role` are said only after the
    right password.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


def authenticate(
    *,
    domain: str,
    username: str,
    password: str,
    address: str,
    service: str,
    mechanism: str = "PLAIN",
    require_role: bool = False,
) -> User:
    """The account with this name (prepared) and password; raises LoginRefused. `service`: c2s, console, api,
    adhoc.
    """
    account = f"{username}@{domain}"
    may_try(account=account, address=address, mechanism=mechanism, service=service)
    user = User.objects.filter(domain__name=domain, username=username).first()
    if not credentials.check_password(user.password if user else None, password) or user is None:
        reason = "wrong-password" if user else "unknown-user"
        login_failed(account=account, address=address, mechanism=mechanism, service=service, reason=reason)
        raise LoginRefused(reason)
    if user.is_locked():
        log_failure(account, address, mechanism, service, "locked")
        raise LoginRefused("locked")
    if require_role and not user.role:
        log_failure(account, address, mechanism, service, "no-role")
        raise LoginRefused("no-role")
    login_succeeded(account=account, address=address)
    user.password = _updated(user.pk, account, user.password, password)
    return user


def check_password(user_id: int, jid: str, encoded: str | None, password: str) -> bool:
    """Whether the password is right; `encoded` None: no such account, at the same cost. What is kept of a right one
    is completed on the way.
    """
    if not credentials.check_password(encoded, password) or encoded is None:
        return False
    _updated(user_id, jid, encoded, password)
    return True


def _updated(user_id: int, jid: str, encoded: str, password: str) -> str:
    """The column's value with all hashes that we keep, as strong as today. The password stays what it was: sessions
    and tokens go on.
    """
    if not credentials.must_update(encoded):
        return encoded
    try:
        new = credentials.updated(encoded, password)
        with transaction.atomic():
            # Not over a password that was set meanwhile.
            if User.objects.filter(pk=user_id, password=encoded).update(password=new):
                publish(CredentialsUpgraded(user_id=user_id, jid=jid))
                return new
    except (DatabaseError, ValueError) as problem:  # no reason to refuse who knows the password
        log.warning("the password of %s could not be stored anew: %s", jid, problem)
    return encoded


@transaction.atomic
def add_scram_keys(user_id: int, hash_name: str, keys: ScramKeys, *, identity: str, actor: Actor) -> bool:
    """Keep one more hash of the account's password, which its client made (XEP-0480). False where the password is
    not the one of this `credentials.identity` any more. Raises ValueError for what cannot be keys.
    """
    # The user's row alone: without its domain, since MariaDB cannot lock one table of two.
    user = User.objects.select_related(None).select_for_update().filter(pk=user_id).first()
    if user is None or credentials.identity(user.password) != identity:
        return False
    if credentials.scram_keys(user.password, hash_name) is not None:
        return True  # another device was faster
    before = {"hashes": _hash_names(user.password)}
    user.password = credentials.with_keys(user.password, hash_name, keys)
    user.save(update_fields=["password"])
    after = {"hashes": _hash_names(user.password)}
    audit.record(actor, "credentials-upgraded", user.jid, before=before, after=after)
    publish(CredentialsUpgraded(user_id=user.pk, jid=user.jid))
    return True


def _hash_names(encoded: str) -> str:
    kept = credentials.hashes_of(encoded)
    return ", ".join(f"SCRAM-{name}" for name, hash_name in HASHES.items() if hash_name in kept)


def incomplete_credentials(user_ids: Sequence[int] | None = None) -> dict[str, tuple[str, ...]]:
    """{bare JID: hashes that are kept} of the accounts with a password that lacks some, of all or of these."""
    found = User.objects.filter(Q(("password__contains", "$$")) | Q(("password__endswith", "$")))
    parts = [found]
    if user_ids is not None:  # databases take so many parameters and no more
        starts = range(0, len(user_ids), MAX_IDS)
        parts = [found.filter(pk__in=user_ids[start : start + MAX_IDS]) for start in starts]
    return {
        f"{username}@{domain}": hashes
        for part in parts
        for username, domain, password in part.values_list("username", "domain__name", "password").iterator()
        if (hashes := credentials.hashes_of(password))
    }


def may_try(*, account: str, address: str, mechanism: str, service: str) -> None:
    """Raise LoginRefused("throttled") while this account and address, or the address, have to wait."""
    wait = throttle.check(account, address)
    if wait > 0:
        log_failure(account, address, mechanism, service, "throttled")
        raise LoginRefused("throttled", wait)


def login_failed(*, account: str, address: str, mechanism: str, service: str, reason: str) -> None:
    """Count and log a failed attempt that somebody else judged (SCRAM)."""
    throttle.failed(account, address)
    log_failure(account, address, mechanism, service, reason)


def login_succeeded(*, account: str, address: str) -> None:
    throttle.succeeded(account, address)


def unblock(*, account: str = "", address: str, actor: Actor) -> None:
    """Let an entry of throttle.waiting() try again at once."""
    throttle.unban(account=account, address=address)
    audit.record(actor, "login-unblocked", account or address, detail=address if account else "")


def log_failure(account: str, address: str, mechanism: str, service: str, reason: str) -> None:
    """The line that fail2ban and people look for. Its form is stable; a name cannot forge another."""
    log.warning(
        "auth-failed user=%s ip=%s mech=%s service=%s reason=%s",
        loggable(account),
        loggable(address),
        loggable(mechanism),
        service,
        reason,
    )


def loggable(text: str) -> str:
    """The text as one printable word: no spaces, line ends or controls, at most 256 characters."""
    if not text:
        return "-"
    return "".join(c if c.isprintable() and not c.isspace() else f"\\u{ord(c):04x}" for c in text[:256])


# --- one-time links ---


@transaction.atomic
def make_login_link(user: User, *, actor: Actor) -> str:
    """A token that opens the console once, within fifteen minutes, as this user."""
    LoginLink.objects.filter(expires__lt=timezone.now()).delete()
    token = secrets.token_urlsafe(32)
    LoginLink.objects.create(digest=_digest(token), user=user, expires=timezone.now() + LINK_LIFETIME)
    audit.record(actor, "login-link-made", user.jid)
    return token


@transaction.atomic
def consume_login_link(token: str, *, address: str = "") -> User | None:
    """The user of a token, once; None when it is unknown, used or too old, or the user may not log in."""
    link = LoginLink.objects.select_related("user__domain").filter(digest=_digest(token)).first()
    # Only one of two who come at once deletes the row.
    if link is None or not LoginLink.objects.filter(digest=link.digest).delete()[0]:
        return None
    user = link.user
    if link.expires < timezone.now() or user.is_locked() or not user.role:
        return None
    audit.record(Actor.of(user, "console", address), "login-link-used", user.jid)
    return user


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
