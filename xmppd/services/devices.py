"""The devices of an account, and the tokens by which they log in again (XEP-0484).

A token is an HMAC, with the server's secret key, over what its row says. Who has read the database but not that key
(it stands in HEARTH_HOME) can log in with none; and since the row names the password of its day, a new password ends
all tokens, whoever set it and however. So does a lock of the account: each token is looked at when it is used, whatever
was told, or not told, to the server before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.audit import Actor
from accounts.credentials import identity
from accounts.models import User
from accounts.services.checks import clean_text, require_manages
from accounts.services.login import loggable
from accounts.signals import tokens_ended
from xmppd.bus.channel import publish
from xmppd.bus.messages import DeviceRevoked
from xmppd.models import Device, DeviceToken
from xmppd.services.db import writing
from xmppd.services.properties import Setting

log = logging.getLogger("hearth.devices")
MAX_DEVICES = Setting(
    "devices.max_per_user",
    int,
    50,
    _("Devices of one user that are remembered; beyond it the one that was away longest is forgotten."),
    label=_("Remembered devices per user"),
    minimum=1,
    maximum=1000,
)
MAX_LABEL_CHARS = 100
NOT_COUNTED = -1  # DeviceToken.count until a client says one


@dataclass(frozen=True, slots=True)
class Seen:
    """A device at a login, or (`is_login` false) at the end of a session. `agent` is what agent_key() made of the
    client's id.
    """

    user_id: int
    agent: str
    software: str
    device: str
    resource: str
    mechanism: str
    address: str
    at: datetime
    is_login: bool = True


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the secret that the client has; `has_others`: the device has more tokens than this; `is_counted`: a
    login by it has been counted, so that each one has to be (XEP-0484 3.4).
    """

    id: int
    text: str = field(repr=False)
    created: datetime
    expires: datetime
    is_used: bool
    has_others: bool = False
    is_counted: bool = False


class ReplayedToken(Exception):
    """Somebody says again what was said before, or leaves out the count by which that would be seen (XEP-0484 3.4)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A device for lists; `token_expires` is None where it must log in with the password."""

    id: int
    label: str
    software: str
    device: str
    resource: str
    mechanism: str
    address: str
    first_seen: datetime
    last_seen: datetime
    token_expires: datetime | None
    agent: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.label or self.device or self.software or self.resource


def agent_key(agent_id: str) -> str:
    """What is kept of a client's id, 122 random bits: nobody finds the id to a hash."""
    return hashlib.sha256(agent_id.encode()).hexdigest()


# -- who was here


@writing
def record(rows: Sequence[Seen]) -> None:
    """Write what was seen, in order; rows of accounts that are gone are left out."""
    known = set(User.objects.filter(pk__in={row.user_id for row in rows}).values_list("pk", flat=True))
    for row in rows:
        if row.user_id in known:
            _record(row)


@transaction.atomic
def _record(row: Seen) -> int | None:
    """The device's id; None where a session of a revoked one ended."""
    values: dict[str, object] = {"last_seen": row.at}
    if row.is_login:
        values |= {
            name: getattr(row, name) for name in ("software", "device", "resource", "mechanism", "address")
        }
    known = Device.objects.filter(user_id=row.user_id, agent=row.agent)
    if not known.update(**values):
        if not row.is_login:
            return None
        defaults = {**values, "first_seen": row.at}
        device, _is_new = Device.objects.get_or_create(
            user_id=row.user_id, agent=row.agent, defaults=defaults
        )
        _forget_oldest(row.user_id)
        return device.pk
    return known.values_list("pk", flat=True).first()


def _forget_oldest(user_id: int) -> None:
    devices = Device.objects.filter(user_id=user_id).order_by("-last_seen", "-pk")
    ids = list(devices.values_list("pk", flat=True)[MAX_DEVICES.value :])
    if ids:
        Device.objects.filter(pk__in=ids).delete()


def forget_seen(user_id: int, agent: str, until: datetime) -> int:
    """Delete what was written of a device ("" = of all) after it was signed out, though seen before; the number."""
    found = Device.objects.filter(user_id=user_id, last_seen__lte=until)
    if agent:
        found = found.filter(agent=agent)
    return found.delete()[0]


def list_devices(user_id: int) -> list[Entry]:
    """The devices of an account, the last seen first."""
    devices = Device.objects.filter(user_id=user_id).order_by("-last_seen", "-pk")
    tokens = DeviceToken.objects.select_related("device__user").filter(device__user_id=user_id)
    expires = {row.device_id: row.expires for row in tokens.order_by("expires") if _is_good(row)}
    return [
        Entry(
            device.pk,
            device.label,
            device.software,
            device.device,
            device.resource,
            device.mechanism,
            device.address,
            device.first_seen,
            device.last_seen,
            expires.get(device.pk),
            device.agent,
        )
        for device in devices
    ]


def count(user_id: int) -> int:
    return Device.objects.filter(user_id=user_id).count()


def find(user_id: int, device_id: int) -> Entry | None:
    return next((entry for entry in list_devices(user_id) if entry.id == device_id), None)


@transaction.atomic
def rename(user: User, device_id: int, label: str, *, actor: Actor) -> bool:
    """Give it a name; "" takes that back. False where the account has no such device."""
    require_manages(actor, user, self_too=True)
    label = clean_text("label", label, MAX_LABEL_CHARS)
    device = Device.objects.filter(user=user, pk=device_id).first()
    if device is None:
        return False
    before, device.label = device.label, label
    if label != before:
        device.save(update_fields=["label"])
        audit.record(actor, "device-renamed", user.jid, before={"name": before}, after={"name": label})
    return True


@transaction.atomic
def revoke(user: User, device_id: int, *, actor: Actor) -> bool:
    """Sign the device out: its sessions end, its tokens are worth nothing. It comes in again with the password.

    False where the account has no such device.
    """
    require_manages(actor, user, self_too=True)
    entry = find(user.pk, device_id)
    if entry is None:
        return False
    Device.objects.filter(pk=device_id).delete()
    audit.record(actor, "device-signed-out", user.jid, detail=entry.name)
    _log_sign_out(user, entry.name, actor)
    publish(DeviceRevoked(user_id=user.pk, jid=user.jid, agent=entry.agent))
    return True


@transaction.atomic
def revoke_all(user: User, *, actor: Actor) -> int:
    """Sign all devices out; the number."""
    require_manages(actor, user, self_too=True)
    number = count(user.pk)
    if number:
        Device.objects.filter(user=user).delete()
        audit.record(actor, "devices-signed-out", user.jid, detail=str(number))
        _log_sign_out(user, "*", actor)
        publish(DeviceRevoked(user_id=user.pk, jid=user.jid, agent=""))
    return number


def _log_sign_out(user: User, device: str, actor: Actor) -> None:
    """Once it is so. `device` is what its client calls it, "*" all of them."""
    line = f"device-signed-out jid={user.jid} device={loggable(device)} by={loggable(actor.name)}"
    transaction.on_commit(lambda: log.info("%s", line))


# -- tokens


def watch_tokens() -> None:
    """Have tokens end in the transaction that changes a password or locks an account, whichever process it is in."""
    tokens_ended.connect(_tokens_ended, dispatch_uid="devices")


def _tokens_ended(user_id: int, before: datetime | None, **_signal: object) -> None:
    forget_tokens(user_id, before=before)


def forget_tokens(user_id: int, *, before: datetime | None = None) -> int:
    """End the tokens of an account, or those issued before this time; the number of rows."""
    found = DeviceToken.objects.filter(device__user_id=user_id)
    if before is not None:
        found = found.filter(created__lt=before)
    return found.delete()[0]


def credential_of(password_encoded: str) -> str:
    """A fingerprint of the account's password; the same while only the form changes in which it is kept."""
    return hashlib.sha256(identity(password_encoded).encode()).hexdigest()[:32]


def tokens(user_id: int, agent: str, mechanism: str) -> list[Token]:
    """Those that this device may log in with by this mechanism, the newest first."""
    found = DeviceToken.objects.select_related("device__user").filter(
        device__user_id=user_id, device__agent=agent
    )
    rows = [row for row in found.order_by("-expires", "-pk") if _is_good(row)]
    return [
        Token(
            row.pk,
            _text(row, user_id, agent),
            row.created,
            row.expires,
            row.is_used,
            len(rows) > 1,
            row.count > NOT_COUNTED,
        )
        for row in rows
        if row.mechanism == mechanism
    ]


def _is_good(row: DeviceToken) -> bool:
    """Not expired; of the password of today; and the account has not been locked since."""
    user, now = row.device.user, timezone.now()
    was_locked = user.locked_from is not None and row.created < user.locked_from <= now
    return (
        row.expires > now
        and row.credential == credential_of(user.password)
        and not was_locked
        and not user.is_locked(now)
    )


@transaction.atomic
def issue(row: Seen, mechanism: str, password_encoded: str, lifetime: timedelta) -> Token:
    """A new token for the device that has just proved who it is; those that were issued and never used end
    (XEP-0484 3.5).
    """
    device_id = _record(row)
    assert device_id is not None
    now = timezone.now()
    others = DeviceToken.objects.filter(device_id=device_id)
    (others.filter(is_used=False) | others.filter(expires__lte=now)).delete()
    token = DeviceToken.objects.create(
        device_id=device_id,
        mechanism=mechanism,
        nonce=secrets.token_hex(16),
        credential=credential_of(password_encoded),
        created=now,
        expires=now + lifetime,
    )
    text = _text(token, row.user_id, row.agent)
    return Token(token.pk, text, token.created, token.expires, is_used=False)


@transaction.atomic
def use(token: Token, *, count: int | None = None, invalidate: bool = False) -> bool:
    """The token was proved: older ones of its device end (3.5). False where it has ended meanwhile; ReplayedToken where
    an earlier login was counted and this one is not, or not above it (3.4).
    """
    row = DeviceToken.objects.filter(pk=token.id)
    if count is None:
        is_good = row.filter(count=NOT_COUNTED).update(is_used=True)
    else:
        is_good = row.filter(count__lt=count).update(is_used=True, count=count)
    if not is_good:
        if row.exists():
            raise ReplayedToken
        return False
    siblings = DeviceToken.objects.filter(device__tokens=token.id).exclude(pk=token.id)
    ended = list(siblings.filter(expires__lte=token.expires).values_list("pk", flat=True))
    DeviceToken.objects.filter(pk__in=[*ended, *([token.id] if invalidate else [])]).delete()
    return True


def _text(row: DeviceToken, user_id: int, agent: str) -> str:
    parts = ("fast-token", str(user_id), agent, row.mechanism, row.credential, row.nonce)
    digest = hmac.digest(settings.SECRET_KEY.encode(), "\0".join(parts).encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
