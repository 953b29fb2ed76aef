"""Sessions: who is connected, with what, from where; end a session, send a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.functional import Promise, cached_property
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from adminconsole import pages
from adminconsole.access import actor_of, page
from adminconsole.events import notify
from adminconsole.formats import duration, number
from adminconsole.forms.sessions import EVERYBODY, SESSION, USER, CloseForm, MessageForm
from xmppd.protocol.jid import JID, JIDError
from xmppd.services import live

# presence show (RFC 6121 4.7.2.1) -> tone, label; "connected" has sent no presence yet
PRESENCES: dict[str, tuple[str, str | Promise]] = {
    "available": ("ok", gettext_lazy("Available")),
    "chat": ("ok", gettext_lazy("Free to chat")),
    "away": ("warn", gettext_lazy("Away")),
    "xa": ("warn", gettext_lazy("Away for long")),
    "dnd": ("bad", gettext_lazy("Do not disturb")),
    "connected": ("neutral", gettext_lazy("Not available")),
}
# what a session may ask to be told of -> in words; a namespace without words is shown itself
UPDATES: dict[str, str | Promise] = {
    "jabber:iq:roster": gettext_lazy("Receives contact list updates"),
    "urn:xmpp:blocking": gettext_lazy("Receives block list updates"),
}
SHOWN_RECIPIENTS = 12
KEY_EXCHANGES = frozenset({"TLS", "ECDHE", "DHE", "RSA", "ECDSA"})


@dataclass(frozen=True)
class Row:
    """A row of live.sessions() with what the page makes of it."""

    facts: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def show(self) -> str:
        """available, chat, away, xa, dnd or connected; what a client made up counts as available."""
        if self.facts["status"] != "available":
            return "connected"
        show = self.facts["show"]
        return show if show in PRESENCES and show != "connected" else "available"

    @property
    def presence_tone(self) -> str:
        return PRESENCES[self.show][0]

    @property
    def presence_label(self) -> str:
        return str(PRESENCES[self.show][1])

    @property
    def tls_name(self) -> str:
        """TLSv1.3 -> TLS 1.3"""
        return str(self.facts["tls"]).replace("TLSv", "TLS ")

    @property
    def updates(self) -> list[str]:
        """What the client is told of as it happens."""
        return [str(UPDATES.get(name, name)) for name in self.facts["interests"]]

    @property
    def cipher_name(self) -> str:
        """TLS_AES_256_GCM_SHA384 -> AES 256 GCM, ECDHE-RSA-AES128-GCM-SHA256 -> AES128 GCM; the key exchange and the
        hash are in the whole name, which stands beside it.
        """
        parts = [part for part in re.split("[-_]", self.facts["cipher"]) if part not in KEY_EXCHANGES]
        return " ".join(part for part in parts if not part.startswith("SHA"))

    @property
    def extensions(self) -> list[tuple[str, str, str]]:
        """Badges of what the client makes use of: tone, text, explanation."""
        facts = self.facts
        badges = []
        if facts["is_detached"]:
            text = _("The connection broke. The session waits for its client to come back, %(time)s more.")
            left = duration(facts["seconds_left"])
            badges.append(("warn", _("Waiting, %(time)s left") % {"time": left}, text % {"time": left}))
        if facts["is_managed"] and facts["is_resumable"]:
            text = _("Stream management (XEP-0198) with resumption")
            badges.append(("ok", _("0198, resumable"), text))
        elif facts["is_managed"]:
            badges.append(("ok", "0198", _("Stream management (XEP-0198) without resumption")))
        if facts["carbons"]:
            badges.append(("neutral", _("Carbons"), _("Gets a copy of the user's other messages (XEP-0280)")))
        if facts["is_inactive"]:
            text = _("Nobody looks at the client: what is not urgent waits (XEP-0352)")
            badges.append(("neutral", _("Inactive"), text))
        return badges

    @cached_property
    def since(self) -> datetime:
        return datetime.fromisoformat(self.facts["since"])

    @cached_property
    def query(self) -> str:
        """`jid=...` for links: a resource may hold any character, so it cannot be part of a path."""
        return urlencode({"jid": self.facts["jid"]})

    @property
    def user_query(self) -> str:
        return urlencode({"jid": self.facts["user"]})


SORTS = ("jid", "client", "presence", "priority", "tls", "address", "since", "idle", "queue", "traffic")
PRESENCE_FILTERS = ("available", "away", "dnd", "connected")
NOBODY: dict[str, Any] = {
    "rows": [],
    "offset": 0,
    "found": 0,
    "sessions": 0,
    "users": 0,
    "plain": 0,
    "clients": [],
}


@page(permission="sessions.view")
def session_list(request: HttpRequest) -> HttpResponse:
    q = pages.searched(request)
    presence = pages.choice(request, "presence", PRESENCE_FILTERS)
    tls = pages.choice(request, "tls", ("yes", "no"))
    client = request.GET.get("client", "")
    sort = pages.choice(request, "sort", [key for name in SORTS for key in (name, f"-{name}")], "jid")
    page_number, size = pages.page_and_size(request)
    is_running, table = _table(
        query=q,
        presence=presence,
        tls=tls,
        client=client,
        sort=sort,
        offset=(page_number - 1) * size,
        limit=size,
    )
    listed = [Row(facts) for facts in table["rows"]]
    context = {
        "is_running": is_running,
        "plain": table["plain"],
        "page": pages.counted(listed, total=table["found"], number=table["offset"] // size + 1, size=size),
        "q": q,
        "sort": sort,
        "is_filtered": bool(q or presence or tls or client),
        "filters": _filters(table["clients"], presence, tls, client),
        "may_change": request.user.can("sessions.change"),  # type: ignore[union-attr]
        "may_end": live.may_end([row.jid for row in listed], actor=actor_of(request)),
    }
    return render(request, "adminconsole/sessions/list.html", context)


@page(permission="sessions.view")
def session_details(request: HttpRequest) -> HttpResponse:
    jid = _jid(request)
    is_running, rows = _rows(jid.partition("/")[0]) if jid else (True, [])
    row = next((row for row in rows if row.jid == jid), None)
    context = {
        "is_running": is_running,
        "jid": jid,
        "row": row,
        "others": [other for other in rows if other.jid != jid],
        "may_change": request.user.can("sessions.change"),  # type: ignore[union-attr]
        "may_end": bool(live.may_end([jid], actor=actor_of(request))),
        "may_see_user": request.user.can("users.view"),  # type: ignore[union-attr]
    }
    # A page that is open when its session ends fetches itself and should show that.
    is_refresh = bool(request.headers.get("HX-Request"))
    status = 200 if row or is_refresh else 404
    return render(request, "adminconsole/sessions/details.html", context, status=status)


@page(permission="sessions.change")
def session_close(request: HttpRequest) -> HttpResponse:
    """One session (full JID) or all of a user (bare JID), after a question."""
    jid = _jid(request)
    back = _next(request)
    is_user = "/" not in jid
    form = CloseForm(request.POST if request.method == "POST" else None)
    if not jid:
        messages.error(request, _("This is no address of a session."))
        return redirect(back)
    live.require_may_end([jid], actor=actor_of(request))
    if request.method == "POST" and form.is_valid():
        try:
            _close(request, jid, form.cleaned_data["reason"])
        except live.NotRunningError:
            messages.error(request, _("The XMPP service does not run."))
        return redirect(back)
    return pages.confirm(
        request,
        {
            "title": _("Close all sessions of this user?") if is_user else _("Close this session?"),
            "text": jid,
            "consequences": [
                _("The client is disconnected at once; messages under way to it may be lost."),
                _("Most clients connect again by themselves. To keep somebody out, lock the account."),
            ],
            "icon_name": "power",
            "submit_label": _("Close all sessions") if is_user else _("Close session"),
            "cancel_url": back,
            "form": form,
        },
    )


def _close(request: HttpRequest, jid: str, reason: str) -> None:
    actor = actor_of(request)
    if "/" in jid:
        if live.close_session(jid=jid, actor=actor, reason=reason):
            messages.success(request, _("Session closed: %(jid)s") % {"jid": jid})
        else:
            messages.warning(request, _("That session had ended already."))
    else:
        count = live.close_sessions_of(jid=jid, actor=actor, reason=reason)
        text = ngettext("%(n)s session closed.", "%(n)s sessions closed.", count) % {"n": number(count)}
        messages.success(request, text)
    notify("sessions", "audit")


@page(permission="sessions.change")
def message_send(request: HttpRequest) -> HttpResponse:
    """Written, then shown with the number of those who get it, then sent."""
    back = _next(request)
    if request.method != "POST":
        return _compose(request, MessageForm(initial=_initial(request)), back)
    form = MessageForm(request.POST)
    if not form.is_valid():
        return _compose(request, form, back)
    to = form.cleaned_data["to"]
    is_running, recipients, count, users = _recipients(to)
    if not is_running:
        form.add_error(None, _("The XMPP service does not run: nobody is online."))
    elif not recipients:
        form.add_error("to" if to else None, _("Not online at the moment.") if to else _("Nobody is online."))
    if form.errors or "edit" in request.POST:
        return _compose(request, form, back)
    if "send" not in request.POST:
        context = {
            "form": form,
            "audience": form.cleaned_data["audience"],
            "recipients": recipients,
            "more": count - len(recipients),
            "count": count,
            "users": users,
            "back": back,
        }
        return render(request, "adminconsole/sessions/message_review.html", context)
    try:
        count = live.send_message(
            to=to,
            body=form.cleaned_data["body"],
            subject=form.cleaned_data["subject"],
            actor=actor_of(request),
        )
    except live.NotRunningError:
        form.add_error(None, _("The XMPP service does not answer; the message was not sent."))
        return _compose(request, form, back)
    notify("audit")
    text = ngettext("Sent to %(n)s session.", "Sent to %(n)s sessions.", count) % {"n": number(count)}
    messages.success(request, text)
    return redirect(back)


def _compose(request: HttpRequest, form: MessageForm, back: str) -> HttpResponse:
    is_running, table = _table(limit=0)
    context = {
        "form": form,
        "is_running": is_running,
        "total": table["sessions"],
        "users": table["users"],
        "back": back,
    }
    return render(
        request,
        "adminconsole/sessions/message.html",
        context,
        status=422 if form.errors else 200,
    )


def _initial(request: HttpRequest) -> dict[str, str]:
    jid = _jid(request)
    return {"to": jid, "audience": (SESSION if "/" in jid else USER) if jid else EVERYBODY}


def _table(**asked: Any) -> tuple[bool, dict[str, Any]]:
    """Whether the service runs, and what live.session_table() answers."""
    try:
        return True, live.session_table(**asked)
    except live.NotRunningError:
        return False, NOBODY


def _recipients(to: str) -> tuple[bool, list[Row], int, int]:
    """Whether the service runs; the first sessions that a message to this address reaches, how many, of how many
    users.
    """
    if not to:
        is_running, table = _table(limit=SHOWN_RECIPIENTS)
        return is_running, [Row(facts) for facts in table["rows"]], table["sessions"], table["users"]
    is_running, rows = _rows(to.partition("/")[0])
    rows = [row for row in rows if to in (row.jid, row.user)]
    return is_running, rows[:SHOWN_RECIPIENTS], len(rows), len({row.user for row in rows})


def _rows(jid: str) -> tuple[bool, list[Row]]:
    """Whether the service runs, and the sessions of one account."""
    try:
        return True, [Row(facts) for facts in live.sessions(jid)]
    except live.NotRunningError:
        return False, []


def _jid(request: HttpRequest) -> str:
    """The local part, domain and perhaps resource of `?jid=`; empty when it is no address of an account."""
    try:
        jid = JID.parse(request.GET.get("jid", "").strip())
    except JIDError:
        return ""
    return jid.full_str if jid.local else ""


def _next(request: HttpRequest) -> str:
    """Where to go after it: `?next=` on this site, else the list."""
    url = request.GET.get("next", "")
    if url and url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure()):
        return url
    return reverse("sessions")


def _filters(clients: Sequence[str], presence: str, tls: str, client: str) -> list[dict[str, Any]]:
    offered = [*clients, client] if client and client not in clients else clients
    return [
        {
            "name": "presence",
            "label": _("Presence"),
            "value": presence,
            "choices": [
                ("", _("Any presence")),
                ("available", _("Available")),
                ("away", _("Away")),
                ("dnd", _("Do not disturb")),
                ("connected", _("Not available")),
            ],
        },
        {
            "name": "tls",
            "label": _("Encryption"),
            "value": tls,
            "choices": [("", _("Any encryption")), ("yes", _("Encrypted")), ("no", _("Not encrypted"))],
        },
        {
            "name": "client",
            "label": _("Client"),
            "value": client,
            "choices": [("", _("Any client")), *((name, name) for name in offered)],
        },
    ]


urlpatterns = [
    path("sessions/", session_list, name="sessions"),
    path("sessions/details/", session_details, name="session"),
    path("sessions/close/", session_close, name="session-close"),
    path("sessions/message/", message_send, name="message"),
]
