"""The audit log: every administrative write leaves a row, whichever door it came through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from accounts.models import AuditEntry, User


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `user_id` is None for the server itself and for commands, which may do everything."""

    name: str
    door: str = "system"
    address: str = ""
    user_id: int | None = None

    @classmethod
    def of(cls, user: User, door: str, address: str = "") -> Actor:
        """The actor for an account that came in through this door."""
        return cls(user.jid, door, address, user.pk)


SYSTEM = Actor("server", "system")


def record(
    actor: Actor,
    action: str,
    target: str = "",
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: str = "",
) -> AuditEntry:
    """Write the row, in the caller's transaction. What is the same in `before` and `after` is left out."""
    row = entry(actor, action, target, before=before, after=after, detail=detail)
    row.save(force_insert=True)
    return row


def entry(
    actor: Actor,
    action: str,
    target: str = "",
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: str = "",
) -> AuditEntry:
    """The same row unsaved, for those who write many at once."""
    if before is not None and after is not None:
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        before = {key: before[key] for key in changed if key in before}
        after = {key: after[key] for key in changed if key in after}
    return AuditEntry(
        actor=actor.name[:512],
        door=actor.door,
        address=actor.address[:64],
        action=action,
        target=target[:512],
        before=_jsonable(before),
        after=_jsonable(after),
        detail=detail,
    )


_encoder = DjangoJSONEncoder()


def _jsonable(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Dates, lazy texts and JIDs as JSON has them."""
    if values is None:
        return None
    return {key: _simple(value) for key, value in values.items()}


def _simple(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_simple(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _simple(item) for key, item in value.items()}
    try:
        return _encoder.default(value)
    except TypeError:
        return str(value)
