"""The overview: what runs, who is online, what needs attention, what was done last."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import services as accounts
from accounts.services import UserFilters
from adminconsole import cautions, hosts
from adminconsole.access import page
from adminconsole.formats import bytes_
from adminconsole.forms.audit import Entry
from adminconsole.samples import history
from xmppd.services import audit, certificates, live, setup
from xmppd.services.certificates import CertificateFacts

RECENT = 8  # audit rows
EXPIRY_WARNING_DAYS, EXPIRY_ALARM_DAYS = 30, 7
DISK_WARNING_BYTES, DISK_ALARM_BYTES = 2 * 1024**3, 256 * 1024**2

LISTENERS: dict[str, str | Promise] = {
    "c2s": gettext_lazy("Clients (STARTTLS)"),
    "c2s_tls": gettext_lazy("Clients (direct TLS)"),
    "console": gettext_lazy("Admin console"),
}
TLS_KINDS: dict[str, tuple[str, str | Promise]] = {
    "required": ("ok", gettext_lazy("TLS required")),
    "optional": ("warn", gettext_lazy("TLS optional")),
    "direct": ("ok", gettext_lazy("Direct TLS")),
}


@dataclass(frozen=True, slots=True)
class Warning_:
    """One thing to look at; `url` leads to where it is mended."""

    tone: str
    title: str | Promise
    text: str | Promise
    url: str = ""
    link: str = ""


@page(permission="dashboard.view")
def dashboard(request: HttpRequest) -> HttpResponse:
    user = request.user
    try:
        status: dict[str, Any] | None = live.status()
    except live.NotRunningError:
        status = None
    certificate = _certificate()
    disk = shutil.disk_usage(settings.CONFIG.home)
    may_see_settings = user.can("settings.view")  # type: ignore[union-attr]
    context = {
        "status": status,
        "started": datetime.fromisoformat(status["started"]) if status else None,
        "listeners": [_listener(row) for row in status["listeners"]] if status else [],
        "counters": status["counters"] if status else {},
        "series": history.series(),
        "total_users": accounts.search_users(per_page=1).total,
        "locked_users": accounts.search_users(filters=UserFilters(is_locked=True), per_page=1).total,
        "certificate": certificate,
        "disk": disk,
        "home": settings.CONFIG.home,
        "warnings": [
            *_warnings(status, certificate, disk.free, may_see_settings),
            *_console_warnings(request, status, may_see_settings),
        ],
        "certificate_problem": certificates.problem(settings.CONFIG),
        "may_change_sessions": user.can("sessions.change"),  # type: ignore[union-attr]
    }
    for area in ("users", "sessions", "audit"):
        context[f"may_see_{area}"] = user.can(f"{area}.view")  # type: ignore[union-attr]
    if context["may_see_audit"]:
        context["entries"] = [Entry(row) for row in audit.search()[:RECENT]]
    return render(request, "adminconsole/dashboard/dashboard.html", context)


def _certificate() -> CertificateFacts | None:
    try:
        return certificates.read_facts(settings.CONFIG.certificate_path)
    except (OSError, ValueError):
        return None


def _listener(row: dict[str, Any]) -> dict[str, Any]:
    """A listener's row with words for its name and TLS. A plain client port says what the setting says."""
    kind = row["tls"]
    if kind is True:
        kind = "direct"
    if row["name"] == "c2s":
        kind = "optional" if any(c.setting == "c2s.tls" for c in cautions.holding()) else "required"
    tone, label = TLS_KINDS.get(str(kind), ("neutral", _("No TLS")))
    return {**row, "title": LISTENERS.get(row["name"], row["name"]), "tone": tone, "tls": label}


def _warnings(
    status: dict[str, Any] | None, certificate: CertificateFacts | None, free: int, may_see_settings: bool
) -> list[Warning_]:
    found = []
    if status is None:
        found.append(
            Warning_(
                "bad",
                _("The XMPP service does not run"),
                _("Nobody can sign in or chat. Start it with “manage.py serve”, and read its log."),
            )
        )
    for caution in cautions.holding():
        url = reverse("setting", args=[caution.setting]) if may_see_settings else ""
        found.append(Warning_("warn", caution.title, caution.text, url, _("Change the setting")))
    found += _certificate_warnings(certificate, status["domain"] if status else _domain())
    if free < DISK_WARNING_BYTES:
        text = _("Only %(free)s are left on the disk of the data directory. A full disk stops the server.")
        tone = "bad" if free < DISK_ALARM_BYTES else "warn"
        found.append(Warning_(tone, _("Little disk space"), text % {"free": bytes_(free)}))
    return found


def _console_warnings(
    request: HttpRequest, status: dict[str, Any] | None, may_see_settings: bool
) -> list[Warning_]:
    """Whether passwords for the console may cross a network in the clear. Behind TLS somebody has seen to it."""
    rows = status["listeners"] if status else []
    is_open = any(row["name"] == "console" and not _is_loopback(row["address"]) for row in rows)
    if not is_open or setup.LOCALHOST_ONLY.value or request.is_secure():
        return []
    url = reverse("setting", args=[setup.LOCALHOST_ONLY.name]) if may_see_settings else ""
    title, text = cautions.OPEN_CONSOLE_TITLE, cautions.OPEN_CONSOLE_TEXT
    return [Warning_("warn", title, text, url, _("Change the setting"))]


def _is_loopback(address: str) -> bool:
    parsed = hosts.parse_address(address)
    return parsed is not None and parsed.is_loopback


def _certificate_warnings(certificate: CertificateFacts | None, domain: str) -> list[Warning_]:
    if certificate is None:
        path_ = settings.CONFIG.certificate_path
        text = _("There is no readable certificate at %(path)s: clients cannot encrypt.") % {"path": path_}
        return [Warning_("bad", _("No certificate"), text)]
    found = []
    if problem := certificates.problem(settings.CONFIG):
        title = _("The certificate files on disk cannot be used")
        text = _("%(problem)s. The server keeps the one it has until they are right.")
        found.append(Warning_("bad", title, text % {"problem": _capital(problem)}))
    days = certificate.days_left()
    if days < 0:
        found.append(Warning_("bad", _("The certificate has expired"), _("Clients refuse to connect.")))
    elif days <= EXPIRY_WARNING_DAYS:
        title = ngettext("The certificate ends in %(n)d day", "The certificate ends in %(n)d days", days)
        tone = "bad" if days <= EXPIRY_ALARM_DAYS else "warn"
        text = _("Put the new files in its place. They are picked up within 30 seconds, without a restart.")
        found.append(Warning_(tone, title % {"n": days}, text))
    if domain and not certificate.covers(domain):
        text = _("Its names do not include %(domain)s, so clients will refuse it.") % {"domain": domain}
        found.append(Warning_("bad", _("The certificate is for another name"), text))
    if certificate.is_self_signed:
        text = _(
            "Clients will ask people whether they trust it. Replace server.crt and server.key in %(folder)s with a "
            "certificate from a public authority, for example Let’s Encrypt."
        )
        folder = settings.CONFIG.certificate_path.parent
        found.append(Warning_("info", _("The certificate is self-signed"), text % {"folder": folder}))
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _domain() -> str:
    domain = accounts.primary_domain()
    return domain.name if domain else ""


urlpatterns = [path("", dashboard, name="dashboard")]
