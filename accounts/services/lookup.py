"""Accounts and domains by what others know of them: an id, a JID, a name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from accounts.models import Domain, Group, Membership, User


def user_by_id(user_id: int) -> User | None:
    return User.objects.filter(pk=user_id).first()


def user_by_jid(text: str) -> User | None:
    """The account with this JID, which is prepared here; its resource is ignored."""
    return User.objects.by_jid(text)


def user_by_username(text: str) -> User | None:
    """The account of the primary domain with this name, which is prepared here."""
    return User.objects.by_username(text)


def user_ids_by_jid(jids: Collection[str]) -> dict[str, int]:
    """{bare JID: id} of those that are accounts here."""
    names = {jid.partition("@")[0] for jid in jids if "@" in jid}
    known = {user.jid: user.pk for user in User.objects.filter(username__in=names)}
    return {jid: known[jid] for jid in jids if jid in known}


def groups_of(users: Collection[User]) -> dict[int, list[Group]]:
    """{id of a user: the groups in the order of their names}, of many in one query; [] for who is in none."""
    groups: dict[int, list[Group]] = defaultdict(list)
    memberships = Membership.objects.filter(user__in=users).select_related("group").order_by("group__name")
    for membership in memberships:
        assert membership.user_id is not None
        groups[membership.user_id].append(membership.group)
    return groups


def domain_named(name: str) -> Domain | None:
    return Domain.objects.filter(name=name).first()


def domain_names() -> list[str]:
    """Every domain served here, the primary one first."""
    return list(Domain.objects.order_by("-is_primary", "name").values_list("name", flat=True))
