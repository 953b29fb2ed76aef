"""Contacts that groups put into contact lists, by Openfire's rules.

- A group shared with everybody is visible to all users of its domain; a group shared with groups is visible
  to its own members and to the members of those groups (one level). Admins of a group are members.
- U sees C when C is a member of a group visible to U. Subscription of U's contact C: `to` when U sees C,
  `from` when C sees U, `both` when each sees the other. A contact with `from` is implicit: never pushed, only
  told U's presence.
- A remote member counts as one of "everybody" once U sees it: it cannot log in here, and must accept by
  itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from django.db.models import Q

from accounts.models import Group, Membership, User

Subscription = Literal["to", "from", "both"]
Member = int | str  # id of a user here, or the bare JID of somebody elsewhere

EVERYBODY, GROUPS, NOBODY = Group.Sharing.EVERYBODY, Group.Sharing.GROUPS, Group.Sharing.NOBODY


@dataclass(frozen=True, slots=True)
class SharedContact:
    """`groups` are the display names it stands in, sorted; none for an implicit contact."""

    name: str
    groups: tuple[str, ...]
    subscription: Subscription

    @property
    def implicit(self) -> bool:
        return self.subscription == "from"


def shared_contacts(user_id: int, *, everybody: bool = True) -> dict[str, SharedContact]:
    """{bare JID: SharedContact} of one account; empty when it does not exist. Six queries at most.

    With `everybody` False, those who see the account only because one of its groups is shared with everybody
    are left out (see `is_public`): they are the whole domain, too many to list for each member of such a
    group.
    """
    domain_id = User.objects.filter(pk=user_id).values_list("domain_id", flat=True).first()
    if domain_id is None:
        return {}
    mine = dict(Group.objects.filter(memberships__user_id=user_id).values_list("id", "sharing"))
    visible = _visible_groups(domain_id, mine)
    seen: dict[Member, set[str]] = defaultdict(set)  # whom I see: display names of the groups
    people: dict[Member, tuple[str, str]] = {}  # bare JID, name
    for group_id, member, jid, name in _members(visible):
        seen[member].add(visible[group_id])
        people[member] = jid, name

    watchers: set[Member] = set()  # who sees me
    watching = [group_id for group_id, sharing in mine.items() if sharing == GROUPS]
    for _group_id, member, jid, name in _members([*watching, *_shared_with(watching)]):
        watchers.add(member)
        people.setdefault(member, (jid, name))
    public = [group_id for group_id, sharing in mine.items() if sharing == EVERYBODY]
    if public:
        watchers.update(_everybody(public, people, None if everybody else seen))
    return {
        people[member][0]: _contact(people[member][1], seen.get(member), member in watchers)
        for member in {**seen, **dict.fromkeys(watchers)}
        if member != user_id
    }


def is_public(user_id: int) -> bool:
    """Whether every user of the domain sees this account, through a group shared with everybody."""
    return Membership.objects.filter(user_id=user_id, group__sharing=EVERYBODY).exists()


def _contact(name: str, groups: set[str] | None, watches: bool) -> SharedContact:
    if groups is None:
        return SharedContact(name, (), "from")
    return SharedContact(name, tuple(sorted(groups)), "both" if watches else "to")


def _visible_groups(domain_id: int, mine: dict[int, str]) -> dict[int, str]:
    """{id: display name} of the groups that show their members to a user of the domain with these groups."""
    rows = Group.objects.filter(
        Q(sharing=EVERYBODY, domain_id=domain_id)
        | Q(sharing=EVERYBODY, id__in=list(mine))
        | Q(sharing=GROUPS, id__in=list(mine))
        | Q(
            sharing=GROUPS,
            id__in=Group.shared_with.through.objects.filter(to_group_id__in=list(mine)).values(
                "from_group_id"
            ),
        )
    ).values_list("id", "display_name", "name")
    return {group_id: display_name or name for group_id, display_name, name in rows}


def _shared_with(group_ids: Iterable[int]) -> list[int]:
    through = Group.shared_with.through.objects.filter(from_group_id__in=list(group_ids))
    return list(through.values_list("to_group_id", flat=True).distinct())


def _members(group_ids: Iterable[int]) -> Iterable[tuple[int, Member, str, str]]:
    """(group id, member, bare JID, display name) of every membership in the groups."""
    rows = Membership.objects.filter(group_id__in=list(group_ids)).values_list(
        "group_id", "user_id", "user__username", "user__domain__name", "user__name", "remote_jid"
    )
    for group_id, user_id, username, domain, name, remote_jid in rows:
        if user_id is None:
            yield group_id, remote_jid, remote_jid, ""
        else:
            yield group_id, user_id, f"{username}@{domain}", name or username


def _everybody(
    public: list[int], people: dict[Member, tuple[str, str]], seen: dict[Member, set[str]] | None
) -> set[Member]:
    """Who sees a member of the public groups; of those alone whom it sees, when `seen` is given."""
    users = User.objects.filter(domain__groups__in=public).distinct()
    remote: set[Member] = {member for member in people if isinstance(member, str)}
    if seen is not None:
        local = set(users.filter(id__in=[m for m in seen if isinstance(m, int)]).values_list("id", flat=True))
        return local | remote
    watchers = remote
    for user_id, username, domain, name in users.values_list("id", "username", "domain__name", "name"):
        watchers.add(user_id)
        people.setdefault(user_id, (f"{username}@{domain}", name or username))
    return watchers


# --- whom a change concerns ---


def affected_users(group: Group) -> set[int]:
    """Ids of those whose shared contacts depend on the group: who sees it, its members among them."""
    if group.sharing == NOBODY:
        return set()
    affected = _member_ids([group.pk])
    if group.sharing == EVERYBODY:
        affected |= set(User.objects.filter(domain_id=group.domain_id).values_list("id", flat=True))
    else:
        affected |= _member_ids(_shared_with([group.pk]))
    return affected


def affected_by_members(group: Group, user_ids: Iterable[int]) -> set[int]:
    """Ids of those whose shared contacts differ when these accounts join or leave the group.

    Ask while they are members. Beside those who see the group, they concern the members of every group that
    is shared with this one: these are seen by them.
    """
    watched = list(group.sees.filter(sharing=GROUPS).values_list("id", flat=True))
    affected = affected_users(group) | _member_ids(watched)
    return affected | set(user_ids) if group.is_shared or watched else set()


def affected_by_user(user_id: int) -> set[int]:
    """Ids of those whom the account's name or end concerns, without itself."""
    affected: set[int] = set()
    for group in Group.objects.filter(memberships__user_id=user_id):
        affected |= affected_by_members(group, [])
    return affected - {user_id}


def _member_ids(group_ids: Iterable[int]) -> set[int]:
    rows = Membership.objects.filter(group_id__in=list(group_ids), user_id__isnull=False)
    return set(rows.values_list("user_id", flat=True))
