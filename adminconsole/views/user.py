"""One user: overview, profile and role, password, lock, deletion."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import services, sharing
from accounts.models import Group, User
from adminconsole import connecting
from adminconsole.access import actor_of, confirm_password, page
from adminconsole.forms.audit import Entry
from adminconsole.forms.users import EditUserForm, LockForm, PasswordForm
from adminconsole.pages import confirm, show_errors, typed
from adminconsole.views.user_state import lock_hint
from adminconsole.views.user_tabs import (
    find_user,
    live_sessions,
    may_manage,
    user_crumbs,
    user_page,
)
from xmppd.services import audit

RECENT = 8


@page(permission="users.view")
def overview(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    may_see_audit = request.user.can("audit.view")  # type: ignore[union-attr]
    context = user_page(
        request,
        user,
        "overview",
        groups=list(Group.objects.filter(memberships__user=user).order_by("name")),
        lock_hint=lock_hint(user) if user.locked_from else "",
        is_public=sharing.is_public(user.pk),
        has_password=user.has_usable_password(),
        recent=[Entry(row) for row in audit.search(target=user.jid)[:RECENT]] if may_see_audit else None,
    )
    return render(request, "adminconsole/users/overview.html", context)


@page(permission="users.change")
def edit(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    viewer: User = request.user  # type: ignore[assignment]
    form = EditUserForm(request.POST or None, viewer=viewer, user=user)
    if request.method == "POST" and form.is_valid():
        try:
            if form.role_changes:
                confirm_password(request, form.cleaned_data["current_password"])
            with transaction.atomic():
                _save(request, user, form)
        except ValidationError as error:
            show_errors(form, error)
        else:
            messages.success(request, _("Saved. Connected clients see it at once."))
            return redirect("user", user.pk)
        user = find_user(user_id)  # as stored, whatever the form has tried
    return _form(request, user, form, "edit")


def _save(request: HttpRequest, user: User, form: EditUserForm) -> None:
    actor, data = actor_of(request), form.cleaned_data
    # The profile first: somebody may give away the power over this account with its role.
    services.update_user(user, name=data["name"], email=data["email"], actor=actor)
    if form.role_changes:
        services.set_role(user, data["role"], actor=actor)


@page(permission="users.change")
def set_password(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    is_self = request.user.pk == user.pk
    form = PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        password = form.chosen()
        try:
            services.set_password(user, password, actor=actor_of(request))
        except ValidationError as error:
            show_errors(form, error)
        else:
            if is_self:
                update_session_auth_hash(request, user)  # this browser stays signed in, others do not
            if form.is_typed:
                messages.success(request, _("The password of %(jid)s is changed.") % {"jid": user.jid})
                return redirect("user", user.pk)
            return render(
                request,
                "adminconsole/users/password_once.html",
                {"account": user, "password": password, **connecting.facts(request, user)},
            )
    return _form(request, user, form, "password", session_count=len(live_sessions(user) or []))


@page(permission="users.view")
def connect(request: HttpRequest, user_id: int) -> HttpResponse:
    """What to send to the person: address, server, ports, steps in clients."""
    user = find_user(user_id)
    context = {"account": user, **connecting.facts(request, user)}
    return render(request, "adminconsole/users/password_once.html", context)


@page(permission="users.change")
def lock(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    is_self = request.user.pk == user.pk
    form = LockForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        locked_from, locked_until = form.span()
        try:
            services.lock_user(
                user,
                locked_from=locked_from,
                locked_until=locked_until,
                reason=form.cleaned_data["reason"],
                actor=actor_of(request),
            )
        except ValidationError as error:
            show_errors(form, error)
        else:
            done = _("{} is locked.") if user.is_locked() else _("The lock of {} is planned.")
            undo = format_html('<a href="{}">{}</a>', reverse("user-unlock", args=[user.pk]), _("Undo"))
            messages.success(request, format_html("{} {}", format_html(done, user.jid), undo))
            return redirect("user", user.pk)
    sessions = live_sessions(user)
    return _form(request, user, form, "lock", is_self=is_self, session_count=len(sessions or []))


@page(permission="users.change")
def unlock(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    if request.method == "POST":
        services.unlock_user(user, actor=actor_of(request))
        messages.success(request, _("%(jid)s can sign in again.") % {"jid": user.jid})
        return redirect("user", user.pk)
    return confirm(
        request,
        {
            "title": _("Unlock %(name)s?") % {"name": user.display_name},
            "text": _("%(jid)s can sign in again at once.") % {"jid": user.jid},
            "icon_name": "unlock",
            "plain": True,
            "submit_label": _("Unlock"),
            "cancel_url": reverse("user", args=[user.pk]),
            "crumbs": user_crumbs(user),
        },
    )


@page(permission="users.change")
def delete(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    if request.user.pk == user.pk:
        messages.error(request, _("You cannot delete your own account. Another administrator can."))
        return redirect("user", user.pk)
    error = ""
    if request.method == "POST":
        error = typed(request, user.username)
        if not error:
            try:
                services.delete_user(user, actor=actor_of(request))
            except ValidationError as refused:
                messages.error(request, " ".join(refused.messages))
                return redirect("user", user.pk)
            messages.success(request, _("%(jid)s is deleted.") % {"jid": user.jid})
            return redirect("users")
    return confirm(
        request,
        {
            "title": _("Delete %(name)s?") % {"name": user.display_name},
            "text": _("%(jid)s is deleted for good. This cannot be undone; locking can.") % {"jid": user.jid},
            "consequences": _consequences(user),
            "icon_name": "trash",
            "submit_label": _("Delete user"),
            "word": user.username,
            "confirm_error": error,
            "cancel_url": reverse("user", args=[user.pk]),
            "crumbs": user_crumbs(user),
        },
    )


def _consequences(user: User) -> list[str]:
    sessions, groups = live_sessions(user) or [], user.memberships.count()
    lines = []
    if sessions:
        lines.append(
            ngettext("%(n)d session ends now.", "%(n)d sessions end now.", len(sessions))
            % {"n": len(sessions)}
        )
    lines.append(_("Contact list, profile, private data and undelivered messages are deleted."))
    if groups:
        lines.append(ngettext("It leaves %(n)d group.", "It leaves %(n)d groups.", groups) % {"n": groups})
    lines.append(_("Others keep it in their contact lists, but no longer see it online."))
    lines.append(_("The user name can be used again; a new account inherits nothing from this one."))
    return lines


def manageable(request: HttpRequest, user_id: int) -> User:
    """PermissionDenied for accounts that the viewer's role does not manage."""
    user = find_user(user_id)
    if not may_manage(request, user):
        raise PermissionDenied(_("Your role does not allow changes to this account."))
    return user


def _form(request: HttpRequest, user: User, form: Any, name: str, **more: Any) -> HttpResponse:
    context = {"account": user, "form": form, "is_self": request.user.pk == user.pk, **more}
    status = 422 if form.errors else 200
    return render(request, f"adminconsole/users/{name}.html", context, status=status)


urlpatterns = [
    path("users/<int:user_id>/", overview, name="user"),
    path("users/<int:user_id>/edit/", edit, name="user-edit"),
    path("users/<int:user_id>/password/", set_password, name="user-password"),
    path("users/<int:user_id>/connect/", connect, name="user-connect"),
    path("users/<int:user_id>/lock/", lock, name="user-lock"),
    path("users/<int:user_id>/unlock/", unlock, name="user-unlock"),
    path("users/<int:user_id>/delete/", delete, name="user-delete"),
]
