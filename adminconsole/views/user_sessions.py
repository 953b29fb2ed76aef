"""The live sessions of one user. Closing and messages are those of adminconsole.views.sessions."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from adminconsole.access import actor_of, page
from adminconsole.views.sessions import Row
from adminconsole.views.user_tabs import find_user, user_page
from xmppd.services import live


@page(permission="sessions.view")
def session_list(request: HttpRequest, user_id: int) -> HttpResponse:
    user = find_user(user_id)
    context = user_page(request, user, "sessions")
    is_running = context["sessions"] is not None
    context |= {
        "rows": sorted((Row(facts) for facts in context["sessions"] or []), key=lambda row: row.since),
        "is_running": is_running,
        "user_query": urlencode({"jid": user.jid, "next": request.path}),
        "next_query": urlencode({"next": request.path}),
        "may_change": request.user.can("sessions.change"),  # type: ignore[union-attr]
        "may_end": bool(live.may_end([user.jid], actor=actor_of(request))),
    }
    return render(request, "adminconsole/users/sessions.html", context)


urlpatterns = [path("users/<int:user_id>/sessions/", session_list, name="user-sessions")]
