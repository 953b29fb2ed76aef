"""Many users at once: ticked in the list, asked about on a page, then done one by one through the services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import services
from accounts.models import User
from adminconsole.access import actor_of, page
from adminconsole.forms.users_bulk import BulkGroupForm, BulkLockForm
from adminconsole.pages import confirm, to_ids, typed
from adminconsole.templatetags.hearth import PAGE_SIZES
from adminconsole.views.user_tabs import may_manage

SHOWN = 12  # names on the page that asks, and failures in the message
MAX_BACK_CHARS = 1000


@dataclass(slots=True)
class Outcome:
    """`same`: who needed no change. `failed`: (address, why) of those for whom it was refused."""

    done: int = 0
    same: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Action:
    icon: str
    submit: str | Promise
    title: Callable[[int], str]
    done: Callable[[int], str]
    form: type[Form] | None = None
    consequence: str | Promise = ""
    is_plain: bool = False
    is_typed: bool = False
    permission: str = "users.change"


ACTIONS = {
    "lock": Action(
        "lock",
        gettext_lazy("Lock"),
        lambda n: ngettext("Lock %(n)d user?", "Lock %(n)d users?", n) % {"n": n},
        lambda n: ngettext("%(n)d user is locked.", "%(n)d users are locked.", n) % {"n": n},
        BulkLockForm,
        gettext_lazy("They are signed out everywhere and cannot sign in until the lock ends."),
    ),
    "unlock": Action(
        "unlock",
        gettext_lazy("Unlock"),
        lambda n: ngettext("Unlock %(n)d user?", "Unlock %(n)d users?", n) % {"n": n},
        lambda n: ngettext("%(n)d user can sign in again.", "%(n)d users can sign in again.", n) % {"n": n},
        consequence=gettext_lazy("They can sign in again at once."),
        is_plain=True,
    ),
    "group": Action(
        "group",
        gettext_lazy("Add to the group"),
        lambda n: ngettext("Add %(n)d user to a group", "Add %(n)d users to a group", n) % {"n": n},
        lambda n: ngettext("Added %(n)d member.", "Added %(n)d members.", n) % {"n": n},
        BulkGroupForm,
        gettext_lazy("Where the group is shared, its contacts appear in connected clients at once."),
        is_plain=True,
        permission="groups.change",
    ),
    "delete": Action(
        "trash",
        gettext_lazy("Delete"),
        lambda n: ngettext("Delete %(n)d user?", "Delete %(n)d users?", n) % {"n": n},
        lambda n: ngettext("%(n)d user is deleted.", "%(n)d users are deleted.", n) % {"n": n},
        consequence=gettext_lazy(
            "Their contact lists, profiles, private data and undelivered messages are deleted for good. This cannot be "
            "undone; locking can."
        ),
        is_typed=True,
    ),
}


@page(permission="users.change")
def bulk(request: HttpRequest, action: str) -> HttpResponse:
    """`?users=1&users=2`, and `back`, the query of the list that was shown."""
    what = ACTIONS.get(action)
    if what is None:
        raise Http404
    if not request.user.can(what.permission):  # type: ignore[union-attr]
        raise PermissionDenied
    back = _back(request)
    users, left_out = _ticked(request)
    if not users:
        messages.info(request, _("Tick the users first."))
        return redirect(back)
    form = what.form(request.POST if request.method == "POST" else None) if what.form else None
    error = ""
    if request.method == "POST":
        error = typed(request, str(len(users))) if what.is_typed else ""
        if not error and (form is None or form.is_valid()):
            _tell(request, what, _do(request, action, users, form))
            return redirect(back)
    context = {
        "title": what.title(len(users)),
        "text": what.consequence,
        "consequences": _names(users, left_out),
        "icon_name": what.icon,
        "submit_label": what.submit,
        "plain": what.is_plain,
        "form": form,
        "word": str(len(users)) if what.is_typed else "",
        "confirm_error": error,
        "cancel_url": back,
        "crumbs": [(_("People"), ""), (_("Users"), back)],
    }
    return confirm(request, context)


def _do(request: HttpRequest, action: str, users: list[User], form: Any) -> Outcome:
    """Each in a transaction of its own: what one refuses does not hinder the others."""
    actor, outcome = actor_of(request), Outcome()
    if action == "group":
        outcome.done = services.add_members(form.cleaned_data["group"], users, actor=actor)
        outcome.same = len(users) - outcome.done
        return outcome
    for user in users:
        jid = user.jid
        try:
            if action == "lock":
                _from, until = form.span()
                services.lock_user(user, locked_until=until, reason=form.cleaned_data["reason"], actor=actor)
            elif action == "delete":
                services.delete_user(user, actor=actor)
            elif user.locked_from is None:
                outcome.same += 1
                continue
            else:
                services.unlock_user(user, actor=actor)
        except ValidationError as refused:
            outcome.failed.append((jid, " ".join(refused.messages)))
        except PermissionDenied as refused:
            outcome.failed.append(
                (jid, str(refused) or _("Your role does not allow changes to this account."))
            )
        else:
            outcome.done += 1
    return outcome


def _tell(request: HttpRequest, what: Action, outcome: Outcome) -> None:
    if outcome.done:
        messages.success(request, what.done(outcome.done))
    if outcome.same:
        text = ngettext(
            "%(n)d user did not need a change.", "%(n)d users did not need a change.", outcome.same
        )
        messages.info(request, text % {"n": outcome.same})
    if outcome.failed:
        lines = format_html_join(_("; "), _("{}: {}"), outcome.failed[:SHOWN])
        more = len(outcome.failed) - SHOWN
        text = ngettext("Refused for %(n)d user: ", "Refused for %(n)d users: ", len(outcome.failed))
        end = ngettext(" and %(n)d more", " and %(n)d more", more) % {"n": more} if more > 0 else ""
        messages.error(request, text % {"n": len(outcome.failed)} + lines + end)


def _ticked(request: HttpRequest) -> tuple[list[User], int]:
    """The users ticked whom the viewer may manage, and how many others were."""
    ids = to_ids(request.GET.getlist("users")[: max(PAGE_SIZES)])
    users = list(User.objects.select_related("domain").filter(pk__in=ids).order_by("username"))
    good = [user for user in users if may_manage(request, user) and user.pk != request.user.pk]
    return good, len(users) - len(good)


def _names(users: list[User], left_out: int) -> list[str]:
    lines = [user.jid for user in users[:SHOWN]]
    more = len(users) - SHOWN
    if more > 0:
        lines.append(ngettext("and %(n)d more", "and %(n)d more", more) % {"n": more})
    if left_out:
        text = ngettext(
            "%(n)d ticked user is left out: your own account, or one that your role does not manage.",
            "%(n)d ticked users are left out: your own account, or those that your role does not manage.",
            left_out,
        )
        lines.append(text % {"n": left_out})
    return lines


def _back(request: HttpRequest) -> str:
    """The list as it was shown; only its query comes from the address."""
    query = QueryDict(request.GET.get("back", "")[:MAX_BACK_CHARS].lstrip("?"), mutable=True)
    query.pop("tick", None)
    return reverse("users") + (f"?{query.urlencode()}" if query else "")


urlpatterns = [path("users/bulk/<str:action>/", bulk, name="users-bulk")]
