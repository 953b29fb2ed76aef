"""The members of a group: list, add many, make admin, remove."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import Group, Membership, User
from adminconsole.access import actor_of, page
from adminconsole.forms.groups import AddMembersForm
from adminconsole.pages import choice, confirm, cut, searched, to_ids
from adminconsole.views.group_page import find_group, group_crumbs, group_page
from adminconsole.views.user_state import online_jids

OFFERED = 24  # people shown to tick; a search finds the others


@page(permission="groups.view")
def member_list(request: HttpRequest, group_id: int) -> HttpResponse:
    group = find_group(group_id)
    query = searched(request)
    kind = choice(request, "kind", ("admins", "remote"))
    page_ = cut(request, _search(group, query, kind))
    page_.object_list = _rows(list(page_.object_list))
    kinds = [("", _("All members")), ("admins", _("Admins")), ("remote", _("On other servers"))]
    context = group_page(
        request,
        group,
        "members",
        page=page_,
        q=query,
        is_filtered=bool(query or kind),
        online=online_jids()[0],
        filters=[{"name": "kind", "label": _("Kind"), "value": kind, "choices": kinds}],
    )
    return render(request, "adminconsole/groups/members.html", context)


def _search(group: Group, query: str, kind: str) -> QuerySet[Membership, int]:
    """Ids in order: sorting whole rows of a large group costs ten times as much."""
    members = Membership.objects.filter(group=group)
    for word in query.casefold().split():
        members = members.filter(Q(user__search_text__contains=word) | Q(remote_jid__icontains=word))
    if kind == "admins":
        members = members.filter(is_admin=True)
    elif kind == "remote":
        members = members.filter(user__isnull=True)
    members = members.order_by(F("user__username").asc(nulls_last=True), "remote_jid", "id")
    return members.values_list("id", flat=True)


def _rows(ids: list[int]) -> list[Membership]:
    rows = Membership.objects.select_related("user__domain").in_bulk(ids)
    return [rows[id_] for id_ in ids if id_ in rows]


@page(permission="groups.change")
def add(request: HttpRequest, group_id: int) -> HttpResponse:
    group = find_group(group_id)
    form = AddMembersForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            added = _add(request, group, form)
        except ValidationError as error:
            form.add_error("addresses", error.messages)
        else:
            if added:
                text = ngettext("Added %(n)d member.", "Added %(n)d members.", added)
                messages.success(request, text % {"n": added})
            else:
                messages.info(request, _("Nobody was added. Tick people or enter addresses."))
            return redirect("group", group.pk)
    ticked = _ticked(group, request.POST.getlist("users") or request.GET.getlist("users"))
    query = searched(request)
    offered = _offered(group, query, [user.pk for user in ticked])
    context = group_page(
        request,
        group,
        "members",
        form=form,
        q=query,
        ticked=ticked,
        offered=offered[:OFFERED],
        has_more=len(offered) > OFFERED,
    )
    return render(request, "adminconsole/groups/add.html", context, status=422 if form.errors else 200)


def _ticked(group: Group, ids: list[str]) -> list[User]:
    return list(User.objects.filter(pk__in=to_ids(ids[:1000]), domain=group.domain).order_by("username"))


def _offered(group: Group, query: str, without: list[int]) -> list[User]:
    """Users that match and are no members yet."""
    users = services.filtered_users(query, services.UserFilters(), group.domain)
    members = Membership.objects.filter(group=group, user__isnull=False)
    users = users.exclude(pk__in=without).exclude(pk__in=members.values("user_id"))
    return list(users.order_by("username")[: OFFERED + 1])


@transaction.atomic
def _add(request: HttpRequest, group: Group, form: AddMembersForm) -> int:
    """All or none; how many were no members before."""
    actor, before = actor_of(request), group.memberships.count()
    users = _ticked(group, request.POST.getlist("users"))
    others, errors = [], []
    for word in form.words():
        user = User.objects.by_jid(word) if "@" in word else User.objects.by_username(word)
        if user is not None:
            users.append(user)
        else:
            others.append(word)
    if form.cleaned_data["is_admin"]:
        for user in users:
            services.add_member(group, user, is_admin=True, actor=actor)
    else:
        services.add_members(group, {user.pk: user for user in users}.values(), actor=actor)
    for word in others:
        try:
            services.add_member(group, word, is_admin=form.cleaned_data["is_admin"], actor=actor)
        except ValidationError as error:
            errors += error.messages
    if errors:
        raise ValidationError(errors)
    return int(group.memberships.count()) - before


@page(permission="groups.change")
def set_admin(request: HttpRequest, group_id: int, membership_id: int) -> HttpResponse:
    membership = _membership(group_id, membership_id)
    if request.method == "POST":
        is_admin = request.POST.get("admin") == "1"
        services.set_admin(membership, is_admin, actor=actor_of(request))
        text = _("%(jid)s is an admin of the group.") if is_admin else _("%(jid)s is an ordinary member now.")
        messages.success(request, text % {"jid": membership.jid})
    return _back(request, group_id)


@page(permission="groups.change")
def remove(request: HttpRequest, group_id: int, membership_id: int) -> HttpResponse:
    membership = _membership(group_id, membership_id)
    if request.method == "POST":
        jid = membership.jid
        services.remove_member(membership, actor=actor_of(request))
        messages.success(request, _("%(jid)s is no longer a member.") % {"jid": jid})
        return _back(request, group_id)
    return confirm(request, removal(membership, cancel_url=_back(request, group_id)["Location"]))


def removal(membership: Membership, *, cancel_url: str) -> dict[str, Any]:
    """The context of the page that asks before somebody leaves a group."""
    group = membership.group
    shown = membership.user.display_name if membership.user else membership.jid
    lines = []
    if group.is_shared:
        lines.append(_("The group is shared, so contacts disappear from contact lists at once."))
    if membership.is_admin:
        lines.append(_("%(jid)s is an admin of the group.") % {"jid": membership.jid})
    return {
        "title": _("Remove %(name)s from %(group)s?") % {"name": shown, "group": group.name},
        "text": _("%(jid)s leaves the group and can be added again at any time.") % {"jid": membership.jid},
        "consequences": lines,
        "icon_name": "minus",
        "submit_label": _("Remove"),
        "cancel_url": cancel_url,
        "crumbs": group_crumbs(group),
    }


def _membership(group_id: int, membership_id: int) -> Membership:
    memberships = Membership.objects.select_related("group__domain", "user__domain")
    return get_object_or_404(memberships, pk=membership_id, group_id=group_id)


def _back(request: HttpRequest, group_id: int) -> HttpResponse:
    """To the list, with the search and page that were shown."""
    response = redirect("group", group_id)
    if request.GET:
        response["Location"] += "?" + request.GET.urlencode()
    return response


urlpatterns = [
    path("groups/<int:group_id>/", member_list, name="group"),
    path("groups/<int:group_id>/members/add/", add, name="group-members-add"),
    path("groups/<int:group_id>/members/<int:membership_id>/admin/", set_admin, name="group-member-admin"),
    path("groups/<int:group_id>/members/<int:membership_id>/remove/", remove, name="group-member-remove"),
]
