"""Logging in: one check for SASL PLAIN, console and API, one log line, one throttle."""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts import audit, credentials, throttle
from accounts.audit import Actor
from accounts.models import LoginLink, User

log = logging.getLogger("hearth.auth")

LINK_LIFETIME = timedelta(minutes=15)


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
    if credentials.must_update(user.password):
        user.password = credentials.encode_password(password)
        user.save(update_fields=["password"])
    return user


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
