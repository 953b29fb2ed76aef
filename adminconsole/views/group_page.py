"""What all pages of one group share: which it is, and its tabs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import Group


def find_group(group_id: int) -> Group:
    return get_object_or_404(Group.objects.select_related("domain"), pk=group_id)


def group_crumbs(group: Group) -> list[tuple[str, str]]:
    """The way to the group's page, for confirmations."""
    page = reverse("group", args=[group.pk])
    return [(_("People"), ""), (_("Groups"), reverse("groups")), (group.name, page)]


def group_page(request: HttpRequest, group: Group, tab: str, **more: Any) -> dict[str, Any]:
    """The context of a page with the tabs of a group."""
    may_change = request.user.can("groups.change")  # type: ignore[union-attr]
    members = group.memberships.count()
    entries = [
        ("members", _("Members"), "group", members),
        ("sharing", _("Contact lists"), "group-sharing", None),
    ]
    if may_change:
        entries.append(("edit", _("Details"), "group-edit", None))
    tabs = [
        {"title": title, "url": reverse(url, args=[group.pk]), "current": key == tab, "count": count}
        for key, title, url, count in entries
    ]
    return {"group": group, "tabs": tabs, "may_change": may_change, "member_count": members, **more}
