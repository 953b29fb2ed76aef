"""The message archive of one user: how much it holds and for how long, export, erasing. No message is shown here."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Thread
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import roles
from accounts.audit import Actor
from accounts.models import User
from adminconsole.access import actor_of, page
from adminconsole.downloads import download
from adminconsole.events import notify
from adminconsole.formats import date_and_time, number
from adminconsole.forms.user_archive import (
    CONTACT,
    OLDER,
    EraseForm,
    ExportForm,
    RetentionForm,
    days_text,
    size_text,
)
from adminconsole.pages import confirm, show_errors, typed
from adminconsole.views.user import manageable
from adminconsole.views.user_tabs import find_user, user_crumbs, user_page
from xmppd.modules.archive import Archive
from xmppd.services import archive_export, archive_query, archive_retention
from xmppd.services.archive_retention import KEEP_BYTES, KEEP_DAYS, Retention, Usage

log = logging.getLogger("hearth.console")

SHOWN_ADDRESSES = 10
AT_ONCE = 20_000  # messages that are deleted before the answer: that takes a second or two
FILES = {
    "xml": ("xml", "application/xml; charset=utf-8"),
    "jsonl": ("jsonl", "application/x-ndjson; charset=utf-8"),
}
# XEP-0441 2.1
DEFAULTS: dict[str, str | Promise] = {
    "always": gettext_lazy("All messages are kept"),
    "roster": gettext_lazy("Messages with people in the contact list are kept"),
    "never": gettext_lazy("No messages are kept"),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as the page says it, and the setting it comes from unless it is the user's own."""

    title: str
    text: str
    is_own: bool
    setting: str


@page(permission="users.view")
def archive(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    own = archive_retention.retention(user.pk)
    form = RetentionForm(request.POST or None, own=own)
    excess = 0
    if request.method == "POST":
        manageable(request, user_id)
        if form.is_valid():
            excess = 0 if form.has_consent else _excess(user, own, form.own())
            if not excess and _save(request, user, form):
                return redirect("user-archive", user_id)
    preferences = archive_query.preferences(user.pk)
    context = user_page(
        request,
        user,
        "archive",
        usage=archive_retention.usage(user.pk),
        is_on=Archive.enabled.value,
        limits=_limits(own),
        form=form,
        excess=excess,
        default=DEFAULTS[preferences.default],
        lists=[
            (title, addresses[:SHOWN_ADDRESSES], addresses[SHOWN_ADDRESSES:])
            for title, addresses in (
                (_("Always kept"), sorted(preferences.always)),
                (_("Never kept"), sorted(preferences.never)),
            )
        ],
        may_export=_may_export(request, user),
        may_see_settings=request.user.can("settings.view"),  # type: ignore[union-attr]
    )
    return render(request, "adminconsole/users/archive.html", context, status=422 if form.errors else 200)


def _excess(user: User, own: Retention, wanted: Retention) -> int:
    """How many messages the new limits delete at once; what the present ones would delete is no news."""
    now = time.time()
    if wanted == own:
        return 0
    return archive_retention.count_excess(user.pk, wanted.effective, now)


def _save(request: HttpRequest, user: User, form: RetentionForm) -> bool:
    own = form.own()
    try:
        deleted = archive_retention.set_retention(
            user, days=own.days, bytes=own.bytes, actor=actor_of(request)
        )
    except ValidationError as error:
        show_errors(form, error, bytes="size")
        return False
    messages.success(request, f"{_('Saved.')} {_deleted_text(deleted)}" if deleted else _("Saved."))
    notify("audit")
    return True


def _deleted_text(deleted: int) -> str:
    text = ngettext("%(n)s message is deleted.", "%(n)s messages are deleted.", deleted)
    return text % {"n": number(deleted)}


def _limits(own: Retention) -> list[Limit]:
    effective = own.effective
    return [
        Limit(_("Time"), days_text(effective.days), own.days is not None, KEEP_DAYS.name),
        Limit(_("Size"), size_text(effective.bytes), own.bytes is not None, KEEP_BYTES.name),
    ]


def _may_export(request: HttpRequest, user: User) -> bool:
    """Whether the button is shown; the service decides for itself."""
    viewer: User = request.user  # type: ignore[assignment]
    may_read = viewer.can(archive_export.PERMISSION)
    return may_read and (roles.manages(viewer.role, user.role) or viewer.pk == user.pk)


@page(permission=archive_export.PERMISSION)
def export(request: HttpRequest, user_id: int) -> HttpResponseBase:
    user = find_user(user_id)
    if not _may_export(request, user):
        raise PermissionDenied(_("Your role does not allow you to read the messages of this account."))
    form = ExportForm(request.POST or None, user=user)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        chosen = {"since": data["since"], "until": data["until"], "peer": data["contact"]}
        if archive_export.has_any(user.pk, **chosen):
            ending, content_type = FILES[data["format"]]
            parts = archive_export.export(user, actor=actor_of(request), format=data["format"], **chosen)
            notify("audit")
            return download(request, f"{_file_name(user)}.{ending}", content_type, parts)
        form.add_error(None, _("The archive holds no such message."))
    context = {"account": user, "form": form}
    status = 422 if form.errors else 200
    return render(request, "adminconsole/users/archive_export.html", context, status=status)


def _file_name(user: User) -> str:
    """A header takes ASCII without quotes."""
    name = "".join(
        char if char.isascii() and (char.isalnum() or char in "@.-_") else "_" for char in user.jid
    )
    return f"hearth-archive-{name}-{timezone.localdate().isoformat()}"


@page(permission="users.change")
def erase(request: HttpRequest, user_id: int) -> HttpResponse:
    """Which messages (`?what=...`), then the question with their number, then a POST to the same address."""
    user = manageable(request, user_id)
    form = EraseForm(request.GET if "what" in request.GET else None, user=user)
    if form.is_valid():
        found = archive_retention.usage(user.pk, archive_retention.between(**form.chosen()))
        if found.messages:
            return _confirm_erase(request, user, form, found)
        form.add_error(None, _("The archive holds no such message."))
    elif request.method == "POST":
        return redirect("user-archive-erase", user_id)
    context = {"account": user, "form": form}
    status = 422 if form.errors else 200
    return render(request, "adminconsole/users/archive_erase.html", context, status=status)


def _erase(user: User, actor: Actor, chosen: dict[str, Any]) -> None:
    """Behind the answer; the audit log says how many went."""
    try:
        archive_retention.erase(user, actor=actor, **chosen)
    except DatabaseError:
        log.exception("erasing the archive of %s", user.jid)
    finally:
        connection.close()


def _confirm_erase(request: HttpRequest, user: User, form: EraseForm, found: Usage) -> HttpResponse:
    error = typed(request, user.username) if request.method == "POST" else ""
    if request.method == "POST" and not error:
        actor, chosen = actor_of(request), form.chosen()
        if found.messages > AT_ONCE:
            Thread(target=_erase, args=(user, actor, chosen), name="hearth-erase", daemon=True).start()
            messages.info(
                request,
                _("The messages are being deleted. Reload this page to see how many are still there."),
            )
        else:
            messages.success(request, _deleted_text(archive_retention.erase(user, actor=actor, **chosen)))
            notify("audit")
        return redirect("user-archive", user.pk)
    return confirm(
        request,
        {
            "title": _("Erase messages of %(name)s?") % {"name": user.display_name},
            "text": _erase_text(user, form, found),
            "consequences": [
                _("They are deleted for good, and no device of this user can fetch them any more."),
                _("Copies in the archives of other users and on devices stay."),
            ],
            "icon_name": "trash",
            "submit_label": _("Erase"),
            "word": user.username,
            "confirm_error": error,
            "cancel_url": reverse("user-archive", args=[user.pk]),
            "crumbs": [*user_crumbs(user), (_("Archive"), reverse("user-archive", args=[user.pk]))],
        },
    )


def _erase_text(user: User, form: EraseForm, found: Usage) -> str:
    """How many, and since when."""
    assert found.first is not None
    assert found.last is not None
    data = form.cleaned_data
    if data["what"] == CONTACT:
        text = ngettext(
            "%(n)s message of %(jid)s with %(contact)s, from %(first)s to %(last)s.",
            "%(n)s messages of %(jid)s with %(contact)s, from %(first)s to %(last)s.",
            found.messages,
        )
    elif data["what"] == OLDER:
        text = ngettext(
            "%(n)s message of %(jid)s from before the chosen day, from %(first)s to %(last)s.",
            "%(n)s messages of %(jid)s from before the chosen day, from %(first)s to %(last)s.",
            found.messages,
        )
    else:
        text = ngettext(
            "The whole archive of %(jid)s: %(n)s message, from %(first)s to %(last)s.",
            "The whole archive of %(jid)s: %(n)s messages, from %(first)s to %(last)s.",
            found.messages,
        )
    return text % {
        "n": number(found.messages),
        "jid": user.jid,
        "contact": data["contact"],
        "first": date_and_time(found.first),
        "last": date_and_time(found.last),
    }


urlpatterns = [
    path("users/<int:user_id>/archive/", archive, name="user-archive"),
    path("users/<int:user_id>/archive/export/", export, name="user-archive-export"),
    path("users/<int:user_id>/archive/erase/", erase, name="user-archive-erase"),
]
