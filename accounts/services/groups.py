"""Create, change and delete groups, their members and their sharing. Each write tells exactly the affected
accounts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _

from accounts import audit, sharing
from accounts.audit import Actor
from accounts.fields import MAX_JID_CHARS, MAX_NAME_CHARS
from accounts.models import Domain, Group, Membership, User
from accounts.services.checks import clean_text, invalid, require_permission
from accounts.services.domains import primary_domain
from accounts.services.users import publish_shared
from xmppd.protocol.jid import JID, JIDError

MAX_DESCRIPTION_CHARS = 2000
CHANGE = "groups.change"  # what the actor's role has to allow


def create_group(
    *,
    name: str,
    description: str = "",
    domain: Domain | None = None,
    sharing_mode: str = Group.Sharing.NOBODY,
    display_name: str = "",
    shared_with: Iterable[Group] = (),
    actor: Actor,
) -> Group:
    require_permission(actor, CHANGE)
    domain = domain or primary_domain()
    if domain is None:
        raise invalid("domain", _("There is no domain yet: finish the set-up first."))
    group = Group(domain=domain)
    _fill(group, name, description, sharing_mode, display_name)
    partners = _clean_partners(group, shared_with)
    try:
        with transaction.atomic():
            group.save(force_insert=True)
            group.shared_with.set(partners)
            audit.record(actor, "group-created", group.name, after=_facts(group))
    except IntegrityError as error:
        raise _taken(group, error) from error
    return group


def update_group(
    group: Group,
    *,
    name: str | None = None,
    description: str | None = None,
    sharing_mode: str | None = None,
    display_name: str | None = None,
    shared_with: Iterable[Group] | None = None,
    actor: Actor,
) -> Group:
    """Change what is not None."""
    require_permission(actor, CHANGE)
    try:
        with transaction.atomic():
            stored = Group.objects.select_for_update().get(pk=group.pk)
            before, affected = _facts(stored), sharing.affected_users(stored)
            _fill(
                group,
                group.name if name is None else name,
                group.description if description is None else description,
                group.sharing if sharing_mode is None else sharing_mode,
                group.display_name if display_name is None else display_name,
            )
            group.save()
            if shared_with is not None:
                group.shared_with.set(_clean_partners(group, shared_with))
            after = _facts(group)
            if after == before:
                return group
            audit.record(actor, "group-changed", group.name, before=before, after=after)
            if _shows(before) != _shows(after):
                publish_shared(affected | sharing.affected_users(group))
    except IntegrityError as error:
        raise _taken(group, error) from error
    return group


@transaction.atomic
def delete_group(group: Group, *, actor: Actor) -> None:
    require_permission(actor, CHANGE)
    members = [m.user_id for m in group.memberships.all() if m.user_id is not None]
    affected = sharing.affected_by_members(group, members)
    before = {**_facts(group), "members": group.memberships.count()}
    name = group.name
    group.delete()
    audit.record(actor, "group-deleted", name, before=before)
    publish_shared(affected)


@transaction.atomic
def add_member(group: Group, member: User | str, *, is_admin: bool = False, actor: Actor) -> Membership:
    """Add an account or the bare JID of somebody elsewhere; a member already there keeps its place."""
    require_permission(actor, CHANGE)
    key = _clean_member(member)
    membership, is_new = Membership.objects.get_or_create(group=group, **key, defaults={"is_admin": is_admin})
    if is_new:
        audit.record(
            actor, "group-member-added", group.name, after={"member": membership.jid, "admin": is_admin}
        )
        _publish_members(group, [membership.user_id])
    elif is_admin and not membership.is_admin:
        _set_admin(membership, True, actor)
    return membership


@transaction.atomic
def add_members(group: Group, users: Iterable[User], *, actor: Actor) -> int:
    """Add many accounts at once; return how many were no members yet."""
    require_permission(actor, CHANGE)
    present = set(_local(group.memberships.values_list("user_id", flat=True)))
    joining = [user for user in users if user.pk not in present]
    if joining:
        Membership.objects.bulk_create(
            (Membership(group=group, user=user) for user in joining), batch_size=500
        )
        added = sorted(user.jid for user in joining)
        audit.record(actor, "group-members-changed", group.name, before={}, after={"added": added})
        _publish_members(group, [user.pk for user in joining])
    return len(joining)


@transaction.atomic
def remove_member(membership: Membership, *, actor: Actor) -> None:
    require_permission(actor, CHANGE)
    group, user_id = membership.group, membership.user_id
    affected = sharing.affected_by_members(group, _local([user_id]))
    audit.record(
        actor,
        "group-member-removed",
        group.name,
        before={"member": membership.jid, "admin": membership.is_admin},
    )
    membership.delete()
    publish_shared(affected)


@transaction.atomic
def set_admin(membership: Membership, is_admin: bool, *, actor: Actor) -> Membership:
    """Make a member an admin of the group, or no longer; who sees whom stays."""
    require_permission(actor, CHANGE)
    _set_admin(membership, is_admin, actor)
    return membership


def _set_admin(membership: Membership, is_admin: bool, actor: Actor) -> None:
    if membership.is_admin != is_admin:
        before, membership.is_admin = membership.is_admin, is_admin
        membership.save(update_fields=["is_admin"])
        audit.record(
            actor,
            "group-admin-changed",
            membership.group.name,
            before={"admin": before},
            after={"admin": is_admin},
            detail=membership.jid,
        )


@transaction.atomic
def set_members(
    group: Group, members: Iterable[User | str], *, admins: Collection[User | str] = (), actor: Actor
) -> None:
    """Let the group have exactly these members, and these admins among them."""
    require_permission(actor, CHANGE)
    wanted = {tuple(_clean_member(m).values()): m in admins for m in [*members, *admins]}
    present = {tuple(_key(m).values()): m for m in group.memberships.select_related("user__domain")}
    leaving = [membership for key, membership in present.items() if key not in wanted]
    joining = [
        Membership(group=group, user=user, remote_jid=remote, is_admin=is_admin)
        for (user, remote), is_admin in wanted.items()
        if (user, remote) not in present
    ]
    affected = sharing.affected_by_members(group, _local(m.user_id for m in leaving)) if leaving else set()
    Membership.objects.filter(pk__in=[membership.pk for membership in leaving]).delete()
    Membership.objects.bulk_create(joining, batch_size=500)
    for key, is_admin in wanted.items():
        if key in present:
            _set_admin(present[key], is_admin, actor)
    if leaving or joining:
        audit.record(
            actor,
            "group-members-changed",
            group.name,
            before={"removed": sorted(m.jid for m in leaving)},
            after={"added": sorted(m.jid for m in joining)},
        )
    if joining:
        affected |= sharing.affected_by_members(group, _local(m.user_id for m in joining))
    publish_shared(affected)


def search_groups(
    query: str = "", *, domain: Domain | None = None, user: User | None = None
) -> QuerySet[Group]:
    """Groups by name, with `member_count` and `admin_count`; of one user when given."""
    groups = Group.objects.order_by("name", "id").annotate(
        member_count=Count("memberships"),
        admin_count=Count("memberships", filter=Q(memberships__is_admin=True)),
    )
    if domain is not None:
        groups = groups.filter(domain=domain)
    if user is not None:
        groups = groups.filter(id__in=Membership.objects.filter(user=user).values("group_id"))
    if query := query.strip():
        groups = groups.filter(Q(name__icontains=query) | Q(description__icontains=query))
    return groups


# --- checks ---


def _fill(group: Group, name: str, description: str, sharing_mode: str, display_name: str) -> None:
    group.name = clean_text("name", name, MAX_NAME_CHARS)
    if not group.name:
        raise invalid("name", _("A group needs a name."), "required")
    group.description = clean_text("description", description, MAX_DESCRIPTION_CHARS, lines=True)
    if sharing_mode not in Group.Sharing.values:
        raise invalid("sharing", _("“%(value)s” is no way of sharing."), value=sharing_mode)
    group.sharing = sharing_mode
    group.display_name = clean_text("display_name", display_name, MAX_NAME_CHARS)
    if group.is_shared and not group.display_name:
        raise invalid(
            "display_name", _("A shared group needs a name to stand under in contact lists."), "required"
        )


def _clean_partners(group: Group, partners: Iterable[Group]) -> list[Group]:
    partners = list(partners)
    if any(partner.domain_id != group.domain_id for partner in partners):
        raise invalid("shared_with", _("Groups can be shared with groups of the same domain only."))
    return partners


def _clean_member(member: User | str) -> dict[str, Any]:
    """The columns that say who it is; a JID of an account here becomes the account."""
    if isinstance(member, User):
        return {"user": member, "remote_jid": ""}
    try:
        jid = JID.parse(member.strip())
    except JIDError as error:
        raise invalid("member", _("“%(jid)s” is not an XMPP address."), jid=member) from error
    if not jid.local and "@" not in member and (user := User.objects.by_username(member)):
        return {"user": user, "remote_jid": ""}
    if user := User.objects.by_jid(jid.bare_str):
        return {"user": user, "remote_jid": ""}
    if not jid.local or Domain.objects.filter(name=jid.domain).exists():
        raise invalid("member", _("There is no user “%(jid)s” here."), jid=member)
    if len(jid.bare_str) > MAX_JID_CHARS:
        raise invalid("member", _("At most %(limit)d characters."), "too-long", limit=MAX_JID_CHARS)
    return {"user": None, "remote_jid": jid.bare_str}


def _key(membership: Membership) -> dict[str, Any]:
    return {"user": membership.user, "remote_jid": membership.remote_jid}


def _local(user_ids: Iterable[int | None]) -> list[int]:
    return [user_id for user_id in user_ids if user_id is not None]


def _publish_members(group: Group, user_ids: Iterable[int | None]) -> None:
    publish_shared(sharing.affected_by_members(group, _local(user_ids)))


def _taken(group: Group, error: IntegrityError) -> Exception:
    if Group.objects.filter(domain=group.domain, name=group.name).exclude(pk=group.pk).exists():
        return invalid("name", _("There is a group of this name."), "taken")
    return error


def _facts(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "description": group.description,
        "sharing": group.sharing,
        "display_name": group.display_name,
        "shared_with": sorted(group.shared_with.values_list("name", flat=True)),
    }


def _shows(facts: dict[str, Any]) -> tuple[Any, ...]:
    """What of a group's facts a contact list shows or depends on."""
    return facts["sharing"], facts["display_name"], facts["shared_with"]
