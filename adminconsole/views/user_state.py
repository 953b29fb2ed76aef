"""What a list says of a user in one word: online, away, offline, locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from adminconsole.formats import date_and_time
from xmppd.services import live

SHOWS = ("chat", "", "away", "xa", "dnd")  # the most reachable first


@dataclass(frozen=True, slots=True)
class State:
    """A badge: tone, text, and either a dot or an icon; `hint` is said on hover."""

    tone: str
    text: str
    icon: str = ""
    hint: str = ""
    is_online: bool = False


def state_of(user: User, sessions: list[dict[str, Any]]) -> State:
    """Of an account with these live sessions (rows of live.sessions)."""
    if user.is_locked():
        return State("bad", _("Locked"), "lock", _lock_note(user))
    if sessions:
        return _online(sessions)
    if user.locked_from and user.locked_from > timezone.now():
        return State("warn", _("Lock is planned"), "clock", _lock_note(user))
    return State("neutral", _("Offline"))


def online_jids() -> tuple[set[str], bool]:
    """Who is online, and whether the stream service could say."""
    try:
        return set(live.online_users()), True
    except live.NotRunningError:
        return set(), False


def _online(sessions: list[dict[str, Any]]) -> State:
    shows = [row["show"] for row in sessions if row["status"] == "available"]
    if not shows:
        return State("info", _("Connected"), hint=_("Signed in, but not available"), is_online=True)
    best = min(shows, key=lambda show: SHOWS.index(show) if show in SHOWS else len(SHOWS))
    words = {"away": _("Away"), "xa": _("Away for long"), "dnd": _("Do not disturb")}
    if best in words:
        return State("warn", words[best], is_online=True)
    return State("ok", _("Online"), is_online=True)


def _lock_note(user: User) -> str:
    hint = lock_hint(user)
    if not user.lock_reason:
        return hint
    return _("%(hint)s. Reason: %(reason)s") % {"hint": hint, "reason": user.lock_reason}


def lock_hint(user: User) -> str:
    """From when until when, as plain text."""
    parts = []
    now = timezone.now()
    if user.locked_from and user.locked_from > now:
        parts.append(_("from %(time)s") % {"time": date_and_time(user.locked_from)})
    parts.append(
        _("until %(time)s") % {"time": date_and_time(user.locked_until)}
        if user.locked_until
        else _("until unlocked")
    )
    return ", ".join(parts)
