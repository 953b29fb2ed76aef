"""The devices of one user: which clients log in, a name for one, sign one or all of them out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from adminconsole.access import actor_of, page
from adminconsole.pages import confirm, cut, show_errors, to_ids
from adminconsole.views.sessions import Row
from adminconsole.views.user import manageable
from adminconsole.views.user_tabs import find_user, user_crumbs, user_page
from xmppd.services import devices


class NameForm(forms.Form):
    label = forms.CharField(
        label=gettext_lazy("Name"),
        required=False,
        max_length=devices.MAX_LABEL_CHARS,
        help_text=gettext_lazy("Empty: the name that the device has by itself."),
    )


@page(permission="users.view")
def device_list(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    entries = devices.list_devices(user.pk)
    page_ = cut(request, entries)
    context = user_page(request, user, "devices", page=page_)
    sessions = [Row(facts) for facts in context["sessions"] or []]
    online, known = {row.device for row in sessions}, {entry.agent for entry in entries}
    context |= {
        "rows": [(entry, entry.agent in online) for entry in page_.object_list],
        "others": sorted(
            (row for row in sessions if row.device not in known), key=lambda row: str(row.resource)
        ),
        "may_see_sessions": request.user.can("sessions.view"),  # type: ignore[union-attr]
    }
    return render(request, "adminconsole/users/devices.html", context)


@page(permission="users.change")
def rename(request: HttpRequest, user_id: int) -> HttpResponse:
    user = manageable(request, user_id)
    entry = _device(request, user)
    form = NameForm(request.POST or None, initial={"label": entry.label})
    if request.method == "POST" and form.is_valid():
        try:
            devices.rename(user, entry.id, form.cleaned_data["label"], actor=actor_of(request))
        except ValidationError as error:
            show_errors(form, error)
        else:
            messages.success(request, _("Saved."))
            return redirect("user-devices", user_id)
    context = {"account": user, "form": form, "device": entry}
    return render(
        request, "adminconsole/users/device_rename.html", context, status=422 if form.errors else 200
    )


@page(permission="users.change")
def sign_out(request: HttpRequest, user_id: int) -> HttpResponse:
    """One device, or all where none is named."""
    user = manageable(request, user_id)
    entry = _device(request, user) if "device" in request.GET else None
    if request.method == "POST":
        if entry is not None:
            devices.revoke(user, entry.id, actor=actor_of(request))
            messages.success(request, _("%(device)s is signed out.") % {"device": entry.name})
        else:
            number = devices.revoke_all(user, actor=actor_of(request))
            text = ngettext("%(n)d device is signed out.", "%(n)d devices are signed out.", number)
            messages.success(request, text % {"n": number})
        return redirect("user-devices", user_id)
    return confirm(request, _question(user, entry))


def _question(user: User, entry: devices.Entry | None) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "icon_name": "logout",
        "cancel_url": reverse("user-devices", args=[user.pk]),
        "crumbs": user_crumbs(user),
    }
    again = _("To come in again, the password is needed.")
    if entry is None:
        text = _("Every device of %(jid)s is disconnected.") % {"jid": user.jid}
        title, label = _("Sign out all devices?"), _("Sign out all")
    else:
        text = _("%(device)s of %(jid)s is disconnected.") % {"device": entry.name, "jid": user.jid}
        title, label = _("Sign out this device?"), _("Sign out")
    return {"title": title, "text": f"{text} {again}", "submit_label": label, **shared}


def _device(request: HttpRequest, user: User) -> devices.Entry:
    ids = to_ids([request.GET.get("device", "")])
    entry = devices.find(user.pk, ids[0]) if ids else None
    if entry is None:
        raise Http404
    return entry


urlpatterns = [
    path("users/<int:user_id>/devices/", device_list, name="user-devices"),
    path("users/<int:user_id>/devices/name/", rename, name="user-device-rename"),
    path("users/<int:user_id>/devices/sign-out/", sign_out, name="user-device-sign-out"),
]
