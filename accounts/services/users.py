"""Create, change, lock and delete accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import audit, credentials, roles, sharing
from accounts.audit import Actor
from accounts.fields import MAX_NAME_CHARS
from accounts.models import Domain, User
from accounts.registry import Setting
from accounts.services.checks import actor_role, clean_text, invalid, require_manages
from accounts.services.domains import primary_domain
from accounts.signals import tokens_ended
from xmppd.bus.channel import publish
from xmppd.bus.messages import (
    PasswordChanged,
    SharedRostersChanged,
    UserChanged,
    UserCreated,
    UserDeleted,
    UserLocked,
    UserUnlocked,
)
from xmppd.protocol.jid import JIDError, prepare_local
from xmppd.protocol.sasl.base import ScramKeys

MIN_NAME_CHARS = 4  # of a user name that no password may contain
MIN_LENGTH = Setting(
    "accounts.password.min_length",
    int,
    8,
    gettext_lazy("Characters that a new password must have at least."),
    label=gettext_lazy("Shortest password"),
    minimum=1,
    maximum=128,
)
REJECT_COMMON = Setting(
    "accounts.password.reject_common",
    bool,
    True,
    gettext_lazy("Refuse new passwords that are among the 20,000 most used ones."),
    label=gettext_lazy("Refuse common passwords"),
)

MAX_REASON_CHARS = 255


def create_user(
    *,
    username: str,
    password: str | None = None,
    domain: Domain | None = None,
    name: str = "",
    email: str = "",
    role: str = roles.Role.NONE,
    actor: Actor,
    check_policy: bool = True,
    encoded_password: str = "",
) -> User:
    """Create an account; without a password nobody can log in to it. `encoded_password`: credentials made
    before.
    """
    domain = domain or primary_domain()
    if domain is None:
        raise invalid("domain", _("There is no domain yet: finish the set-up first."))
    username = clean_username(username)
    user = User(
        domain=domain,
        username=username,
        name=clean_name(name),
        email=clean_email(email),
        role=clean_role(role),
    )
    if not roles.manages(actor_role(actor), user.role):
        raise PermissionDenied(_("Your role does not allow you to give this role."))
    if password is not None:
        check_password_policy(password, user=user, enforce=check_policy)
        encoded_password = _encode(password)  # slow: before the transaction opens
    if encoded_password:
        user.password = encoded_password
    else:
        user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit.record(actor, "user-created", user.jid, after=_facts(user))
            publish(UserCreated(user_id=user.pk, jid=user.jid))
    except IntegrityError as error:
        if not User.objects.filter(domain=domain, username=username).exists():
            raise
        raise invalid("username", _("This user name is taken."), "taken") from error
    return user


@transaction.atomic
def update_user(user: User, *, actor: Actor, name: str | None = None, email: str | None = None) -> User:
    """Change what is not None."""
    require_manages(actor, user, self_too=True)
    before = _facts(user)
    name_before = user.display_name
    if name is not None:
        user.name = clean_name(name)
    if email is not None:
        user.email = clean_email(email)
    after = _facts(user)
    if after == before:
        return user
    user.save(update_fields=["name", "email"])
    audit.record(actor, "user-changed", user.jid, before=before, after=after)
    publish(UserChanged(user_id=user.pk, jid=user.jid))
    if user.display_name != name_before:
        publish_shared(sharing.affected_by_user(user.pk))
    return user


def set_password(
    user: User, password: str, *, actor: Actor, keep: str = "", check_policy: bool = True
) -> User:
    """Give a new password. All sessions of the account end but the one with the full JID `keep`."""
    require_manages(actor, user, self_too=True)
    check_password_policy(password, user=user, enforce=check_policy)
    encoded = _encode(password)
    with transaction.atomic():
        user.password = encoded
        user.save(update_fields=["password"])
        tokens_ended.send(User, user_id=user.pk, before=None)
        audit.record(actor, "password-changed", user.jid)
        publish(PasswordChanged(user_id=user.pk, jid=user.jid, keep=keep))
    return user


@transaction.atomic
def set_scram_keys(user: User, keys: Mapping[str, ScramKeys], *, actor: Actor) -> User:
    """Give the password that another server kept as these keys, {"sha1" | "sha256" | "sha512": keys}; one hash is
    enough. All sessions of the account end. Raises ValueError for what cannot be keys.
    """
    require_manages(actor, user, self_too=True)
    user.password = credentials.encode_keys(keys)
    user.save(update_fields=["password"])
    tokens_ended.send(User, user_id=user.pk, before=None)
    audit.record(actor, "password-changed", user.jid, detail=", ".join(sorted(keys)))
    publish(PasswordChanged(user_id=user.pk, jid=user.jid))
    return user


@transaction.atomic
def set_role(user: User, role: str, *, actor: Actor) -> User:
    role = clean_role(role)
    require_manages(actor, user)
    if not roles.manages(actor_role(actor), role):
        raise PermissionDenied(_("Your role does not allow you to give this role."))
    if role == user.role:
        return user
    if role != roles.Role.OWNER:
        _require_another_owner(user)
    before, user.role = user.role, role
    user.save(update_fields=["role"])
    audit.record(actor, "role-changed", user.jid, before={"role": before}, after={"role": role})
    publish(UserChanged(user_id=user.pk, jid=user.jid))
    return user


@transaction.atomic
def lock_user(
    user: User,
    *,
    actor: Actor,
    locked_from: datetime | None = None,
    locked_until: datetime | None = None,
    reason: str = "",
) -> User:
    """Refuse logins from `locked_from` (None = now) until `locked_until` (None = for ever), and end the
    sessions then.
    """
    require_manages(actor, user)
    if actor.user_id == user.pk:
        raise PermissionDenied(_("You cannot lock your own account."))
    now = timezone.now()
    locked_from = locked_from or now
    if locked_until is not None and locked_until <= max(locked_from, now):
        raise invalid("locked_until", _("The end must be later than the beginning and than now."))
    _require_another_owner(user)
    before = _lock_facts(user)
    user.locked_from, user.locked_until = locked_from, locked_until
    user.lock_reason = clean_text("reason", reason, MAX_REASON_CHARS)
    user.save(update_fields=["locked_from", "locked_until", "lock_reason"])
    audit.record(actor, "user-locked", user.jid, before=before, after=_lock_facts(user))
    if locked_from <= now:
        tokens_ended.send(User, user_id=user.pk, before=None)
        publish(UserLocked(user_id=user.pk, jid=user.jid))
    return user


@transaction.atomic
def unlock_user(user: User, *, actor: Actor) -> User:
    require_manages(actor, user)
    if user.locked_from is None:
        return user
    if user.locked_from <= timezone.now():  # a lock that began by itself has ended them too
        tokens_ended.send(User, user_id=user.pk, before=user.locked_from)
    before = _lock_facts(user)
    user.locked_from = user.locked_until = None
    user.lock_reason = ""
    user.save(update_fields=["locked_from", "locked_until", "lock_reason"])
    audit.record(actor, "user-unlocked", user.jid, before=before, after=_lock_facts(user))
    publish(UserUnlocked(user_id=user.pk, jid=user.jid))
    return user


@transaction.atomic
def delete_user(user: User, *, actor: Actor) -> None:
    """Delete the account and, by its id, everything that belongs to it."""
    require_manages(actor, user, self_too=True)
    _require_another_owner(user)
    user_id, jid, before = user.pk, user.jid, _facts(user)
    affected = sharing.affected_by_user(user_id)
    user.delete()
    audit.record(actor, "user-deleted", jid, before=before)
    publish(UserDeleted(user_id=user_id, jid=jid))
    publish_shared(affected)


# --- what the stream service writes behind ---


@dataclass(frozen=True, slots=True)
class Seen:
    """The last session of the account has ended."""

    user_id: int
    at: datetime
    status: str = ""


def record_seen(seen: Iterable[Seen]) -> None:
    """Write when sessions ended, many accounts in one go; no audit, no message."""
    quote = connection.ops.quote_name
    sql = f"UPDATE {quote(User._meta.db_table)} SET last_seen = %s, last_status = %s WHERE id = %s"  # noqa: S608
    adapt = connection.ops.adapt_datetimefield_value
    rows = [(adapt(entry.at), entry.status, entry.user_id) for entry in seen]
    _execute_many(sql, rows)


def record_logins(logins: Mapping[int, datetime]) -> None:
    """{user id: when it logged in last}, many accounts in one go."""
    quote = connection.ops.quote_name
    sql = f"UPDATE {quote(User._meta.db_table)} SET last_login = %s WHERE id = %s"  # noqa: S608
    adapt = connection.ops.adapt_datetimefield_value
    _execute_many(sql, [(adapt(at), user_id) for user_id, at in logins.items()])


def _execute_many(sql: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(sql, rows)


def locks_beginning(after: datetime, until: datetime) -> list[User]:
    """Accounts whose lock begins in this span: the caller publishes UserLocked for them."""
    return list(User.objects.filter(locked_from__gt=after, locked_from__lte=until))


# --- checks ---


def clean_username(text: str) -> str:
    try:
        username = prepare_local(text.strip())
    except JIDError as error:
        message = _("A user name has no spaces and none of these characters: \" & ' / : < > @")
        raise invalid("username", message) from error
    if len(username) > MAX_NAME_CHARS:
        raise invalid("username", _("At most %(limit)d characters."), "too-long", limit=MAX_NAME_CHARS)
    return username


def clean_name(text: str) -> str:
    return clean_text("name", text, MAX_NAME_CHARS)


def clean_email(text: str) -> str:
    text = text.strip()
    if text:
        try:
            validate_email(text)
        except ValidationError as error:
            raise invalid("email", _("“%(email)s” is not an e-mail address."), email=text) from error
        if len(text) > 254:
            raise invalid("email", _("At most %(limit)d characters."), "too-long", limit=254)
    return text


def clean_role(role: str) -> str:
    if role not in roles.Role.values:
        raise invalid("role", _("“%(role)s” is not a role."), role=role)
    return role


def check_password_policy(password: str, *, user: User | None = None, enforce: bool = True) -> None:
    """Raise ValidationError for `password`. Without `enforce`, only what cannot be a password at all is
    refused.
    """
    if not password:
        raise invalid("password", _("The password is empty."))
    if len(password) > credentials.MAX_PASSWORD_CHARS:
        raise invalid("password", _("At most %(limit)d characters."), limit=credentials.MAX_PASSWORD_CHARS)
    if not enforce:
        return
    if len(password) < MIN_LENGTH.value:
        message = ngettext(
            "The password must have at least %(limit)d character.",
            "The password must have at least %(limit)d characters.",
            MIN_LENGTH.value,
        )
        raise invalid("password", message, "too-short", limit=MIN_LENGTH.value)
    if user is not None and _holds_name(password.casefold(), user):
        raise invalid("password", _("The password must not contain the user name."), "is-username")
    if REJECT_COMMON.value and password.strip().lower() in _common_passwords():
        raise invalid("password", _("This password is too common: attackers try it first."), "common")


def _holds_name(password: str, user: User) -> bool:
    """Names of one to three letters occur in good passwords by chance."""
    name = user.username.casefold()
    return password in (name, user.jid.casefold()) or (len(name) >= MIN_NAME_CHARS and name in password)


@cache
def _common_passwords() -> frozenset[str]:
    return frozenset(CommonPasswordValidator().passwords)


def _encode(password: str) -> str:
    try:
        return credentials.encode_password(password)
    except ValueError as error:
        raise invalid("password", _("The password holds a character that is not allowed.")) from error


def _require_another_owner(user: User) -> None:
    """Refuse to take the last owner who can log in: nobody could ever give that role again."""
    if user.role != roles.Role.OWNER:
        return
    others = User.objects.filter(role=roles.Role.OWNER).exclude(pk=user.pk)
    if not any(not other.is_locked() and other.has_usable_password() for other in others):
        raise ValidationError(
            _("This is the last owner: make somebody else an owner first."), code="last-owner"
        )


def _facts(user: User) -> dict[str, Any]:
    return {"name": user.name, "email": user.email, "role": user.role}


def _lock_facts(user: User) -> dict[str, Any]:
    return {"locked_from": user.locked_from, "locked_until": user.locked_until, "reason": user.lock_reason}


def publish_shared(user_ids: Iterable[int]) -> None:
    """Tell the accounts whose shared contacts have changed."""
    ids = sorted(set(user_ids))
    if ids:
        publish(SharedRostersChanged(user_ids=ids))
