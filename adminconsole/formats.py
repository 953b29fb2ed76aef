"""Values as people read them: numbers, bytes, times, addresses. `{% load hearth %}` has them as filters."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

MONTH_SECONDS = 30.44 * 86400


def number(value: Any) -> str:
    """1204 -> 1,204 in the reader's language."""
    if value is None or value == "":
        return "–"
    return number_format(value, use_l10n=True, force_grouping=True)


def bytes_(value: Any) -> str:
    """Bytes as people read them, powers of 1024: 1.5 MB."""
    if value is None or value == "":
        return "–"
    size = float(value)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(size) < 1024 or unit == "TB":
            break
        size /= 1024
    figure = number_format(size, 0 if unit == "B" or size >= 100 else 1, use_l10n=True, force_grouping=True)
    return f"{figure} {unit}"


def duration(value: Any) -> str:
    """A timedelta or seconds in its two largest units: 3 d 4 h, 12 min, 40 s."""
    if value is None or value == "":
        return "–"
    seconds = int(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds < 60:
        return _("%(n)s s") % {"n": max(seconds, 0)}
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = [(days, _("%(n)s d")), (hours, _("%(n)s h")), (rest // 60, _("%(n)s min"))]
    shown = [text % {"n": n} for n, text in parts if n]
    return " ".join(shown[:2])


def ago(moment: datetime | None) -> SafeString | str:
    """`{{ dt|ago }}`: how long since (or until) an instant, the exact time on hover."""
    if moment is None:
        return _("never")
    seconds = (timezone.now() - moment).total_seconds()
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        date_format(local, "DATETIME_FORMAT"),
        _distance(seconds),
    )


def _distance(seconds: float) -> str:
    size, past = abs(seconds), seconds > 0
    if size < 45:
        return pgettext("time", "now")
    if size < 3600:
        count = max(1, round(size / 60))
        text = _("%(n)s min ago") if past else _("in %(n)s min")
    elif size < 86400:
        count = round(size / 3600)
        text = _("%(n)s h ago") if past else _("in %(n)s h")
    elif size >= 45 * 86400:
        count = round(size / MONTH_SECONDS)
        text = (
            ngettext("%(n)s month ago", "%(n)s months ago", count)
            if past
            else ngettext("in %(n)s month", "in %(n)s months", count)
        )
    else:
        count = round(size / 86400)
        text = (
            ngettext("%(n)s day ago", "%(n)s days ago", count)
            if past
            else ngettext("in %(n)s day", "in %(n)s days", count)
        )
    return text % {"n": count}


def when(moment: datetime | None) -> SafeString | str:
    """An instant as date and time, with <time>."""
    if moment is None:
        return "–"
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), date_and_time(moment))


def date_and_time(moment: datetime) -> str:
    """20 Nov 2026, 14:39, in the server's time zone."""
    return str(date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT"))


def address(text: str) -> str:
    """An IP address as people know it: IPv4 stays IPv4 on a socket that takes both (RFC 4291 2.5.5.2)."""
    mapped = text.removeprefix("::ffff:")
    return mapped if "." in mapped else text


def jid(address: Any) -> SafeString:
    """An address with its parts told apart: local strong, domain and resource quiet. Kept left to right."""
    text = str(address)
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.rpartition("@")
    tail = format_html('<span class="jid-res">/{}</span>', resource) if slash else ""
    head = format_html('<span class="jid-local">{}</span>', local) if at else ""
    return format_html(
        '<bdi class="jid" dir="ltr">{}{}<span class="jid-domain">{}{}</span>{}</bdi>',
        head,
        mark_safe("<wbr>") if at else "",
        "@" if at else "",
        domain,
        tail,
    )


def avatar(name: Any) -> SafeString:
    """A circle with initials; its colour follows the name."""
    text = str(name).partition("@")[0].strip() or "?"
    words = [w for w in text.replace(".", " ").replace("_", " ").replace("-", " ").split() if w]
    initials = (words[0][0] + words[-1][0] if len(words) > 1 else text[:1]).upper()
    hue = hashlib.md5(text.casefold().encode(), usedforsecurity=False).digest()[0] % 8
    return format_html('<span class="avatar hue-{}" aria-hidden="true">{}</span>', hue, initials)


def tone(level_tag: str) -> str:
    """The tone of a Django message level."""
    return {"success": "ok", "warning": "warn", "error": "bad"}.get(level_tag, "info")


def tone_icon(tone_: str) -> str:
    """The icon that goes with a tone."""
    return {"ok": "success", "warn": "warning", "bad": "error"}.get(tone_, "info")


def highlight(text: Any, needle: str) -> SafeString:
    """`{{ user.name|highlight:q }}`: the found part marked."""
    plain, low = str(text), str(needle or "").casefold()
    at = plain.casefold().find(low) if low else -1
    if at < 0 or len(plain.casefold()) != len(plain):
        return conditional_escape(plain)
    end = at + len(low)
    return format_html("{}<mark>{}</mark>{}", plain[:at], plain[at:end], plain[end:])
