"""The contact list of one user: own and shared contacts as clients see them; add, edit, remove own ones."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _

from accounts import services
from accounts.models import User
from adminconsole.access import actor_of, page
from adminconsole.forms.users import ContactForm, EditContactForm
from adminconsole.pages import choice, confirm, cut, searched, show_errors
from adminconsole.views.user import manageable
from adminconsole.views.user_tabs import find_user, user_crumbs, user_page
from xmppd.services import roster


@page(permission="users.view")
def contact_list(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    entries = roster.list_entries(user.pk)
    query = searched(request)
    kind = choice(request, "kind", ("own", "shared"))
    shown = [entry for entry in entries if _matches(entry, query.casefold().split(), kind)]
    kinds = [("", _("All contacts")), ("own", _("Own contacts")), ("shared", _("Shared by groups"))]
    page_ = cut(request, shown)
    known = services.user_ids_by_jid([entry.item.jid for entry in page_.object_list])
    context = user_page(
        request,
        user,
        "contacts",
        page=page_,
        rows=[(entry, known.get(entry.item.jid)) for entry in page_.object_list],
        q=query,
        is_filtered=bool(query or kind),
        filters=[{"name": "kind", "label": _("Kind"), "value": kind, "choices": kinds}],
    )
    return render(request, "adminconsole/users/contacts.html", context)


def _matches(entry: roster.Entry, words: list[str], kind: str) -> bool:
    if kind and (kind == "shared") != entry.is_shared:
        return False
    text = "\n".join((entry.item.jid, entry.item.name, *entry.item.groups)).casefold()
    return all(word in text for word in words)


@page(permission="users.change")
def add(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    form = ContactForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            change = roster.admin_add(
                user,
                _address(data["contact"]),
                data["name"].strip(),
                form.group_names(),
                data["subscription"] or None,
                actor=actor_of(request),
            )
        except ValidationError as error:
            show_errors(form, error)
        else:
            messages.success(request, _("Added %(contact)s.") % {"contact": change.contact})
            return redirect("user-contact-add" if "another" in request.POST else "user-contacts", user_id)
    return _form(request, user, form, "contact_add")


def _address(text: str) -> str:
    """A user name here becomes its address."""
    text = text.strip()
    if "@" not in text and (user := services.user_by_username(text)):
        return user.jid
    return text


@page(permission="users.change")
def edit(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    item = _own(user, request.GET.get("jid", "")).item
    initial = {"name": item.name, "groups": ", ".join(item.groups), "subscription": item.subscription}
    form = EditContactForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            roster.admin_edit(
                user,
                item.jid,
                data["name"].strip(),
                form.group_names(),
                # Unchanged, it is not written: a request that waits for an answer goes on waiting.
                data["subscription"] if "subscription" in form.changed_data else None,
                actor=actor_of(request),
            )
        except ValidationError as error:
            show_errors(form, error)
        else:
            messages.success(request, _("Saved. Connected clients see it at once."))
            return redirect("user-contacts", user_id)
    return _form(request, user, form, "contact_edit", item=item)


@page(permission="users.change")
def remove(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    jid = request.GET.get("jid", "")
    if request.method == "POST":
        try:
            roster.admin_remove(user, jid, actor=actor_of(request))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, _("Removed %(contact)s.") % {"contact": jid})
        return redirect("user-contacts", user_id)
    item = _own(user, jid).item
    return confirm(
        request,
        {
            "title": _("Remove this contact?"),
            "text": _(
                "%(contact)s leaves the contact list of %(jid)s, and the two no longer see each other online."
            )
            % {"contact": item.jid, "jid": user.jid},
            "icon_name": "trash",
            "submit_label": _("Remove contact"),
            "cancel_url": reverse("user-contacts", args=[user_id]),
            "crumbs": user_crumbs(user),
        },
    )


def _own(user: User, jid: str) -> roster.Entry:
    """A contact that may be edited here: one of the user's own that no group shares."""
    for entry in roster.list_entries(user.pk):
        if entry.item.jid == jid and not entry.is_shared:
            return entry
    raise Http404


def _form(request: HttpRequest, user: User, form: Any, name: str, **more: Any) -> HttpResponse:
    context = {"account": user, "form": form, **more}
    return render(request, f"adminconsole/users/{name}.html", context, status=422 if form.errors else 200)


urlpatterns = [
    path("users/<int:user_id>/contacts/", contact_list, name="user-contacts"),
    path("users/<int:user_id>/contacts/add/", add, name="user-contact-add"),
    path("users/<int:user_id>/contacts/edit/", edit, name="user-contact-edit"),
    path("users/<int:user_id>/contacts/remove/", remove, name="user-contact-remove"),
]
