"""Lock-outs: who has failed to sign in too often and has to wait, clients and console together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _

from accounts import services, throttle
from adminconsole.access import actor_of, page
from adminconsole.pages import cut, searched


@dataclass(frozen=True, slots=True)
class Row:
    """`user_id` is None where the name that was tried is no account, or the whole address waits."""

    waiting: throttle.Waiting
    user_id: int | None

    @property
    def seconds_left(self) -> float:
        return max(1.0, self.waiting.until - time.time())

    @property
    def until(self) -> datetime:
        return datetime.fromtimestamp(self.waiting.until, UTC)


@page(permission="security.view")
def lockout_list(request: HttpRequest) -> HttpResponse:
    query = searched(request)
    found = [
        entry
        for entry in throttle.waiting()
        if query.casefold() in f"{entry.account}\n{entry.address}".casefold()
    ]
    page_ = cut(request, found)
    page_.object_list = [Row(entry, _user_id(entry.account)) for entry in page_.object_list]
    context = {
        "page": page_,
        "q": query,
        "is_filtered": bool(query),
        "per_pair": throttle.MAX_PER_PAIR.value,
        "per_address": throttle.MAX_PER_ADDRESS.value,
        "window": throttle.WINDOW.value,
        "may_change": request.user.can("security.change"),  # type: ignore[union-attr]
        "may_see_users": request.user.can("users.view"),  # type: ignore[union-attr]
        "may_see_settings": request.user.can("settings.view"),  # type: ignore[union-attr]
    }
    return render(request, "adminconsole/lockouts.html", context)


def _user_id(account: str) -> int | None:
    user = services.user_by_jid(account) if account else None
    return user.pk if user else None


@page(permission="security.change")
def unblock(request: HttpRequest) -> HttpResponse:
    """POST `account` ('' for a whole address) and `address` as the list shows them."""
    if request.method == "POST":
        account, address = request.POST.get("account", ""), request.POST.get("address", "")
        present = {(entry.account, entry.address) for entry in throttle.waiting()}
        if (account, address) in present:
            services.unblock(account=account, address=address, actor=actor_of(request))
            who = account or address
            messages.success(request, _("%(who)s may try to sign in again at once.") % {"who": who})
        else:
            messages.info(request, _("This lock-out has ended already."))
    return redirect("lockouts")


urlpatterns = [
    path("lock-outs/", lockout_list, name="lockouts"),
    path("lock-outs/end/", unblock, name="lockout-end"),
]
