"""Sharing a group into contact lists, with a preview in plain words of who will see whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import Group, Membership, User
from adminconsole.access import actor_of, page
from adminconsole.formats import number
from adminconsole.forms.groups import SharingForm
from adminconsole.pages import show_errors
from adminconsole.views.group_page import find_group, group_page

EVERYBODY, GROUPS, NOBODY = Group.Sharing.EVERYBODY, Group.Sharing.GROUPS, Group.Sharing.NOBODY


@dataclass(frozen=True, slots=True)
class Reach:
    """`members` of the group, here and elsewhere; `watchers`: accounts beside them that see it; `affected`:
    accounts whose contact lists it concerns.
    """

    members: int
    watchers: int
    affected: int


def reach(group: Group, sharing: str, partners: Iterable[Group]) -> Reach:
    """Of the group if it were shared so; counted by the database."""
    mine = Membership.objects.filter(group=group)
    members, local = mine.count(), mine.filter(user__isnull=False).count()
    if sharing == NOBODY:
        return Reach(members, 0, 0)
    if sharing == EVERYBODY:
        watchers = User.objects.filter(domain_id=group.domain_id).count() - local
    else:
        ids = [partner.pk for partner in partners]
        theirs = Membership.objects.filter(group_id__in=ids, user__isnull=False)
        theirs = theirs.exclude(user_id__in=mine.filter(user__isnull=False).values("user_id"))
        watchers = theirs.values("user_id").distinct().count()
    return Reach(members, watchers, local + watchers)


def reach_of(group: Group) -> Reach:
    """As it is shared now."""
    return reach(group, group.sharing, group.shared_with.all())


def preview(group: Group, sharing: str, partners: list[Group], display_name: str) -> list[str]:
    """Who will see whom, in sentences."""
    if sharing == NOBODY:
        return [_("Nobody gets contacts from this group.")]
    counts = reach(group, sharing, partners)
    words = {"n": number(counts.members), "watchers": number(counts.watchers), "name": display_name}
    lines = [
        ngettext(
            "%(n)s member stands under “%(name)s” in the contact lists of others.",
            "%(n)s members see each other online, under “%(name)s” in their contact lists.",
            counts.members,
        )
        % words
    ]
    if sharing == EVERYBODY:
        text = ngettext(
            "%(watchers)s other user sees them too.",
            "All %(watchers)s other users of the domain see them too.",
            counts.watchers,
        )
        lines.append(text % words)
        lines.append(_("The members see the others only where a group of theirs is shared as well."))
    elif partners:
        words["groups"] = _listed([partner.name for partner in partners])
        text = ngettext(
            "%(watchers)s other user, from %(groups)s, sees them too.",
            "%(watchers)s other users, from %(groups)s, see them too.",
            counts.watchers,
        )
        lines.append(text % words)
        lines += _in_turn(group, partners)
    else:
        lines.append(_("Nobody else sees them."))
    return lines


def _in_turn(group: Group, partners: list[Group]) -> list[str]:
    """Which of the partners the members see: those shared with everybody or with this group."""
    ids = [partner.pk for partner in partners]
    shown = Group.objects.filter(pk__in=ids).filter(
        Q(sharing=EVERYBODY) | Q(sharing=GROUPS, shared_with=group)
    )
    back = set(shown.values_list("pk", flat=True))
    seen = [partner.name for partner in partners if partner.pk in back]
    unseen = [partner.name for partner in partners if partner.pk not in back]
    lines = []
    if seen:
        lines.append(_("In turn they see the members of %(groups)s.") % {"groups": _listed(seen)})
    if unseen:
        text = _("They do not see the members of %(groups)s, unless that group is shared with this one.")
        lines.append(text % {"groups": _listed(unseen)})
    return lines


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - 5} if names[5:] else shown


@page(permission="groups.view", write="groups.change")
def edit_sharing(request: HttpRequest, group_id: int) -> HttpResponse:
    group = find_group(group_id)
    form = SharingForm(request.POST or None, group=group)
    is_preview = "preview" in request.POST
    sharing, partners, name = group.sharing, list(group.shared_with.order_by("name")), group.display_name
    if request.method == "POST" and form.is_valid():
        (sharing, partners), name = form.wanted(), form.cleaned_data["display_name"].strip()
        if not is_preview:
            try:
                services.update_group(
                    group,
                    sharing_mode=sharing,
                    # A group that is not shared keeps the name it had, for when it is shared again.
                    display_name=name,
                    shared_with=partners,
                    actor=actor_of(request),
                )
            except ValidationError as error:
                show_errors(form, error)
                group = find_group(group_id)
            else:
                messages.success(request, _saved(reach(group, sharing, partners)))
                return redirect("group-sharing", group.pk)
    context = group_page(
        request,
        group,
        "sharing",
        form=form,
        is_preview=is_preview,
        sentences=preview(group, sharing, partners, name or group.name) if not form.errors else [],
        reach=reach(group, sharing, partners) if not form.errors else None,
    )
    status = 422 if form.errors and not is_preview else 200
    return render(request, "adminconsole/groups/sharing.html", context, status=status)


def _saved(counts: Reach) -> str:
    if not counts.affected:
        return _("Saved.")
    text = ngettext(
        "Saved. The contact list of %(n)s user is updated.",
        "Saved. The contact lists of %(n)s users are updated.",
        counts.affected,
    )
    return text % {"n": number(counts.affected)}


urlpatterns = [path("groups/<int:group_id>/sharing/", edit_sharing, name="group-sharing")]
