"""The list of users: searched, filtered, sorted and cut into pages by the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import Domain, Membership, User

SORTS = ("username", "name", "created", "last_seen", "-username", "-name", "-created", "-last_seen")
ANY_ROLE = "any"


@dataclass(frozen=True, slots=True)
class UserFilters:
    """None = not filtered. `role` takes a role, "" for none and "any" for some; `ids` those online, for
    example, or with `excluded` all others.
    """

    group_id: int | None = None
    role: str | None = None
    is_locked: bool | None = None
    ids: Collection[int] | None = None
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1 and is within what exists; `total` is the number of users found."""

    users: list[User]
    number: int
    per_page: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.per_page))

    @property
    def first(self) -> int:
        """Ordinal of the first user on the page, from 1; 0 when nothing was found."""
        return (self.number - 1) * self.per_page + 1 if self.total else 0

    @property
    def last(self) -> int:
        return min(self.number * self.per_page, self.total)


def search_users(
    query: str = "",
    filters: UserFilters = UserFilters(),
    *,
    sort: str = "username",
    page: int = 1,
    per_page: int = 50,
    domain: Domain | None = None,
) -> Page:
    """One page of the users whose user name, name or e-mail holds every word of the query (any script, any
    case).
    """
    users = filtered_users(query, filters, domain)
    total = users.count()
    pages = max(1, -(-total // per_page))
    number = min(max(page, 1), pages)
    start = (number - 1) * per_page
    return Page(list(users.order_by(*_order(sort))[start : start + per_page]), number, per_page, total)


def filtered_users(query: str, filters: UserFilters, domain: Domain | None = None) -> QuerySet[User]:
    users = User.objects.all()
    # The indexes begin with the domain; a join to find the primary one would keep them from being used.
    users = users.filter(domain_id=domain.pk if domain else primary_id())
    for word in query.casefold().split():
        users = users.filter(search_text__contains=word)
    if filters.role is not None:
        users = users.exclude(role="") if filters.role == ANY_ROLE else users.filter(role=filters.role)
    if filters.is_locked is not None:
        now = timezone.now()
        locked = Q(locked_from__lte=now) & (Q(locked_until__isnull=True) | Q(locked_until__gt=now))
        users = (
            users.filter(locked)
            if filters.is_locked
            else users.exclude(pk__in=User.objects.filter(locked).values("pk"))
        )
    if filters.group_id is not None:
        users = users.filter(id__in=Membership.objects.filter(group_id=filters.group_id).values("user_id"))
    if filters.ids is not None:
        among = Q(id__in=list(filters.ids))
        users = users.exclude(among) if filters.excluded else users.filter(among)
    return users


def primary_id() -> int:
    """The primary domain's id; 0, which no row has, before set-up."""
    return Domain.objects.filter(is_primary=True).values_list("id", flat=True).first() or 0


def _order(sort: str) -> list[Any]:
    if sort not in SORTS:
        sort = "username"
    field, is_descending = sort.removeprefix("-"), sort.startswith("-")
    column: Any = F(field)
    # Those never seen stand last in "latest first" and first in "earliest first", on every database.
    if field == "last_seen":
        column = column.desc(nulls_last=True) if is_descending else column.asc(nulls_first=True)
    else:
        column = column.desc() if is_descending else column.asc()
    if field == "username":
        return [column]  # unique within the domain
    return [column, "-id" if is_descending else "id"]
