"""Looks for what is wrong or risky with this installation, each finding with its remedy. Nothing is changed, and nobody
outside is asked but the resolver for the server's own names.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.db import DatabaseError
from django.utils.translation import gettext as _

from xmppd.protocol.addresses import is_address
from xmppd.services import certificates, database_check, db, health, live, properties, setup
from xmppd.services.live import NotRunningError

Level = Literal["ok", "warn", "bad"]
MIN_FREE_BYTES = 1024**3
EXPIRY_WARNING_DAYS = 21


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is a stable name for scripts; `remedy` is '' where all is well."""

    check: str
    level: Level
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings, in the order of the checks. A check that breaks is a finding itself."""
    if not setup.is_set_up():
        text = _("Hearth is not set up yet.")
        return [Finding("setup", "warn", text, _("Open the console in a browser, or run manage.py setup."))]
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check())
        except Exception as error:
            findings.append(Finding(check.__name__.strip("_"), "bad", _("The check failed: %s") % error))
    return findings


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", _("Python %s.") % version)


def _home() -> Iterator[Finding]:
    home = settings.CONFIG.home
    if not home.exists():
        yield Finding(
            "home", "warn", _("The data folder %s does not exist yet.") % home, _("Run `make run`.")
        )
        return
    if home.stat().st_mode & 0o077:
        yield Finding(
            "home", "warn", _("Other users of this machine can look into %s.") % home, f"chmod 700 {home}"
        )
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        text = _("Only %(free)d MiB are free for the data in %(home)s.")
        yield Finding(
            "disk", "bad", text % {"free": free // 1024**2, "home": home}, _("Make room or move HEARTH_HOME.")
        )
    else:
        yield Finding("disk", "ok", _("%d GiB are free for the data.") % (free // 1024**3))


def _database() -> Iterator[Finding]:
    try:
        health.check_usable()
        pending = db.needs_migration()
    except (database_check.DatabaseProblem, DatabaseError) as error:
        yield Finding(
            "database",
            "bad",
            _("The database cannot be used: %s") % error,
            _("Start the database, or restore a backup."),
        )
        return
    if pending:
        yield Finding(
            "database",
            "warn",
            _("The database has an older form."),
            _("Restart Hearth; it is brought up to date."),
        )
    else:
        yield Finding("database", "ok", _("The database answers and is up to date."))


def _certificate() -> Iterator[Finding]:
    path = settings.CONFIG.certificate_path
    replace = _("Put a certificate and its key into %s; they are picked up while Hearth runs.") % path.parent
    if not path.exists():
        yield Finding("certificate", "bad", _("There is no certificate."), replace)
        return
    problem = certificates.problem(settings.CONFIG)
    if problem is not None:
        yield Finding(
            "certificate",
            "bad",
            _("%(path)s cannot be used: %(problem)s.") % {"path": path, "problem": problem},
            replace,
        )
        return
    facts = certificates.read_facts(path)
    days = facts.days_left()
    if days < 0:
        yield Finding("certificate", "bad", _("The certificate has expired."), replace)
    elif days < EXPIRY_WARNING_DAYS:
        yield Finding("certificate", "warn", _("The certificate expires in %d days.") % days, replace)
    for domain in health.domain_names():
        if not facts.covers(domain):
            yield Finding("certificate", "bad", _("The certificate does not name %s.") % domain, replace)
    if facts.is_self_signed:
        text = _("The certificate is self-signed: clients ask their users whether to trust it.")
        yield Finding("certificate", "warn", text, replace)
    elif days >= EXPIRY_WARNING_DAYS:
        yield Finding("certificate", "ok", _("The certificate is valid for %d more days.") % days)


def _listeners() -> Iterator[Finding]:
    try:
        status = live.status()
    except NotRunningError:
        yield Finding(
            "listeners", "warn", _("The XMPP service does not run."), _("Start it with `make run`.")
        )
        return
    names = {row["name"]: row["port"] for row in status["listeners"]}
    if "c2s" not in names and "c2s_tls" not in names:
        yield Finding(
            "listeners", "bad", _("No port is open for clients."), _("Set HEARTH_C2S_PORT, for example 5222.")
        )
    else:
        ports = ", ".join(str(port) for port in names.values())
        yield Finding("listeners", "ok", _("Listening on %s.") % ports)


def _names() -> Iterator[Finding]:
    """Whether clients find the server by its domain (RFC 6120 3.2, the fallback without SRV records)."""
    for domain in health.domain_names():
        if domain == "localhost" or is_address(domain):
            text = _(
                "%s is no name that other machines can look up; clients need the server's address in their settings."
            )
            yield Finding("dns", "warn", text % domain, _("Use a domain of yours for more than a trial."))
            continue
        host = settings.CONFIG.hostname or domain
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            text = _("The name %s cannot be resolved from this machine.")
            port = settings.CONFIG.ports["c2s"] or 5222
            records = f"_xmpp-client._tcp.{domain}. SRV 0 5 {port} {host}."
            yield Finding("dns", "warn", text % host, _("Add an address record for it, and: %s") % records)
        else:
            yield Finding("dns", "ok", _("The name %s resolves.") % host)


def _policy() -> Iterator[Finding]:
    if properties.get("c2s.tls") == "optional":
        text = _("Clients may log in without encryption.")
        yield Finding("tls-policy", "warn", text, "manage.py settings reset c2s.tls")
    if properties.get("registration.open"):
        text = _("Anybody may create accounts from a client.")
        yield Finding("registration", "warn", text, "manage.py settings reset registration.open")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _home,
    _database,
    _certificate,
    _listeners,
    _names,
    _policy,
)
