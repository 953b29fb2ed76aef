"""The audit log: writing it (accounts.audit) and finding in it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.audit import SYSTEM, Actor, record
from accounts.models import AuditEntry

__all__ = ["SYSTEM", "Actor", "AuditEntry", "actions", "prune", "record", "search"]


def search(
    query: str = "",
    *,
    actor: str = "",
    action: str = "",
    door: str = "",
    target: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[AuditEntry]:
    """Entries, the newest first. `query` is looked for in actor, action, target and detail."""
    entries = AuditEntry.objects.order_by("-id")
    exact = {"actor": actor, "action": action, "door": door, "target": target}
    entries = entries.filter(**{field: value for field, value in exact.items() if value})
    if since is not None:
        entries = entries.filter(created__gte=since)
    if until is not None:
        entries = entries.filter(created__lt=until)
    for word in query.split():
        entries = entries.filter(
            Q(actor__icontains=word)
            | Q(action__icontains=word)
            | Q(target__icontains=word)
            | Q(detail__icontains=word)
        )
    return entries


def actions() -> list[str]:
    """The kinds of action that occur, for the filter."""
    return sorted(AuditEntry.objects.order_by().values_list("action", flat=True).distinct())


def prune(older_than: timedelta) -> int:
    """Delete entries older than this; return how many."""
    return AuditEntry.objects.filter(created__lt=timezone.now() - older_than).delete()[0]
