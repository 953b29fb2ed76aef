"""The groups of one user: add, remove, make admin of the group."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import Group, Membership
from adminconsole.access import actor_of, page
from adminconsole.pages import confirm, cut, searched, to_ids
from adminconsole.views.group_members import removal
from adminconsole.views.user_tabs import find_user, user_crumbs, user_page

OFFERED = 12  # groups shown to add; a search finds the others


@page(permission="users.view", write="groups.change")
def group_list(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    if request.method == "POST":
        return _add(request, user_id)
    memberships = Membership.objects.filter(user=user).select_related("group").order_by("group__name")
    query = searched(request)
    others = services.search_groups(query, domain=user.domain).exclude(memberships__user=user)
    offered = list(others[: OFFERED + 1])
    context = user_page(
        request,
        user,
        "groups",
        page=cut(request, memberships),
        q=query,
        offered=offered[:OFFERED],
        has_more=len(offered) > OFFERED,
        may_change=request.user.can("groups.change"),  # type: ignore[union-attr]
    )
    return render(request, "adminconsole/users/groups.html", context)


def _add(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    groups = Group.objects.filter(pk__in=to_ids(request.POST.getlist("groups")), domain=user.domain)
    for group in groups:
        services.add_member(group, user, actor=actor_of(request))
    count = len(groups)
    if count:
        text = ngettext("Added to %(n)d group.", "Added to %(n)d groups.", count)
        messages.success(request, text % {"n": count})
    else:
        messages.info(request, _("Tick the groups first."))
    return redirect("user-groups", user_id)


@page(permission="groups.change")
def remove(request: HttpRequest, user_id: int, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(
        Membership.objects.select_related("group", "user__domain"), pk=membership_id, user_id=user_id
    )
    back = reverse("user-groups", args=[user_id])
    if request.method == "POST":
        services.remove_member(membership, actor=actor_of(request))
        messages.success(request, _("Removed from %(name)s.") % {"name": membership.group.name})
        return redirect(back)
    user = find_user(user_id)
    return confirm(request, removal(membership, cancel_url=back) | {"crumbs": user_crumbs(user)})


urlpatterns = [
    path("users/<int:user_id>/groups/", group_list, name="user-groups"),
    path("users/<int:user_id>/groups/<int:membership_id>/remove/", remove, name="user-group-remove"),
]
