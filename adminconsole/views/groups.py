"""Groups: list, create, details, delete. Members and sharing are in group_*.py; all routes end here."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import Group
from accounts.services.search import primary_id
from adminconsole.access import actor_of, page
from adminconsole.forms.groups import SHARING_LABELS, GroupForm, sharing_filter
from adminconsole.pages import choice, confirm, cut, searched, show_errors, typed
from adminconsole.views import group_members, group_sharing
from adminconsole.views.group_page import find_group, group_crumbs, group_page

SORTS = {"name": ("name",), "-name": ("-name",), "members": ("member_count",), "-members": ("-member_count",)}


@page(permission="groups.view")
def group_list(request: HttpRequest) -> HttpResponse:
    query = searched(request)
    sharing = choice(request, "sharing", SHARING_LABELS)
    sort = choice(request, "sort", SORTS, "name")
    groups = services.search_groups(query).filter(domain_id=primary_id())
    if sharing:
        groups = groups.filter(sharing_filter(sharing))
    groups = groups.order_by(*SORTS[sort], "id").prefetch_related("shared_with")
    choices = [("", _("Any sharing")), *SHARING_LABELS.items()]
    context = {
        "page": cut(request, groups),
        "q": query,
        "sort": sort,
        "filters": [
            {"name": "sharing", "label": _("Contact list sharing"), "value": sharing, "choices": choices}
        ],
        "is_filtered": bool(query or sharing),
        "may_change": request.user.can("groups.change"),  # type: ignore[union-attr]
    }
    return render(request, "adminconsole/groups/list.html", context)


@page(permission="groups.change")
def group_create(request: HttpRequest) -> HttpResponse:
    form = GroupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            group = services.create_group(
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
                actor=actor_of(request),
            )
        except ValidationError as error:
            show_errors(form, error)
        else:
            messages.success(request, _("Created %(name)s.") % {"name": group.name})
            if "another" in request.POST:
                return redirect("group-create")
            return redirect("group-members-add", group.pk)
    status = 422 if form.errors else 200
    return render(request, "adminconsole/groups/create.html", {"form": form}, status=status)


@page(permission="groups.change")
def group_edit(request: HttpRequest, group_id: int) -> HttpResponse:
    group = find_group(group_id)
    form = GroupForm(request.POST or None, initial={"name": group.name, "description": group.description})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            services.update_group(
                group, name=data["name"], description=data["description"], actor=actor_of(request)
            )
        except ValidationError as error:
            show_errors(form, error)
            group = find_group(group_id)
        else:
            messages.success(request, _("Saved."))
            return redirect("group", group.pk)
    status = 422 if form.errors else 200
    context = group_page(request, group, "edit", form=form)
    return render(request, "adminconsole/groups/edit.html", context, status=status)


@page(permission="groups.change")
def group_delete(request: HttpRequest, group_id: int) -> HttpResponse:
    group = find_group(group_id)
    error = ""
    if request.method == "POST":
        error = typed(request, group.name)
        if not error:
            services.delete_group(group, actor=actor_of(request))
            messages.success(request, _("%(name)s is deleted.") % {"name": group.name})
            return redirect("groups")
    context = {
        "title": _("Delete %(name)s?") % {"name": group.name},
        "text": _("The group is deleted for good. Its members keep their accounts."),
        "consequences": _consequences(group),
        "icon_name": "trash",
        "submit_label": _("Delete group"),
        "word": group.name,
        "confirm_error": error,
        "cancel_url": reverse("group", args=[group.pk]),
        "crumbs": group_crumbs(group),
    }
    return confirm(request, context)


def _consequences(group: Group) -> list[str]:
    members = group.memberships.count()
    lines = []
    if members:
        text = ngettext("%(n)d member leaves it.", "%(n)d members leave it.", members)
        lines.append(text % {"n": members})
    if group.is_shared:
        reach = group_sharing.reach_of(group)
        text = ngettext(
            "Its members vanish from the contact list of %(n)d user at once.",
            "Its members vanish from the contact lists of %(n)d users at once.",
            reach.affected,
        )
        lines.append(text % {"n": reach.affected})
    lines += [
        _("%(name)s is no longer shared with it.") % {"name": other.name}
        for other in group.sees.order_by("name")[:5]
    ]
    return lines


urlpatterns: list[Any] = [
    path("groups/", group_list, name="groups"),
    path("groups/create/", group_create, name="group-create"),
    path("groups/<int:group_id>/edit/", group_edit, name="group-edit"),
    path("groups/<int:group_id>/delete/", group_delete, name="group-delete"),
    *group_members.urlpatterns,
    *group_sharing.urlpatterns,
]
