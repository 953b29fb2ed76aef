"""What does not work in the running server, in words: the banner of every page, `manage.py status` and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from adminconsole.access import page
from xmppd.services import live

PERMISSION = "dashboard.view"
# name -> what it is, what it means and what to do
WORDS: dict[str, tuple[str | Promise, str | Promise]] = {
    "archive": (
        gettext_lazy("Messages cannot be kept"),
        gettext_lazy(
            "The database does not take them, so messages between users are not delivered; their senders are told "
            "to try again. Make room on the disk or see that the database runs; the server's log says what is wrong."
        ),
    ),
    "database": (
        gettext_lazy("The database does not answer"),
        gettext_lazy(
            "Logins and changes fail, and their clients are told to try again. See that the database runs, that its "
            "disk has room and that nobody locks it; the server's log says what is wrong."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    name: str
    title: str
    text: str
    since: datetime


def found() -> list[Problem]:
    """Those that hold now; none where the stream service cannot be asked."""
    return [
        Problem(row["name"], *_words(row["name"]), datetime.fromisoformat(row["since"]))
        for row in live.problems()
    ]


def _words(name: str) -> tuple[str, str]:
    title, text = WORDS.get(name, (name, _("The server's log says what is wrong.")))
    return str(title), str(text)


def seen_by(request: HttpRequest) -> dict[str, object]:
    """For the page of this visitor: `is_watched` says whether the page may ask again, `found` what to show."""
    user = getattr(request, "user", None)
    is_watched = isinstance(user, User) and user.can(PERMISSION)
    return {"is_watched": is_watched, "found": found() if is_watched else []}


@page(permission=PERMISSION)
def problem_list(request: HttpRequest) -> HttpResponse:
    """The banner with little else, for open pages that hear of a change."""
    return render(request, "adminconsole/problems.html")


urlpatterns = [path("problems/", problem_list, name="problems")]
