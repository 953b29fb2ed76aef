"""Values of settings that an administrator should know to be dangerous; shown wherever they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from xmppd.services import properties
from xmppd.services.properties import Setting


@dataclass(frozen=True, slots=True)
class Caution:
    """`when(value)` says whether it holds."""

    setting: str
    when: Callable[[Any], bool]
    title: str | Promise
    text: str | Promise


# Said by the wizard, and by the overview while it holds.
OPEN_CONSOLE_TITLE = _("The console is open to other machines without encryption")
OPEN_CONSOLE_TEXT = _(
    "It speaks plain HTTP, so passwords can be read on the way. Open it to this machine only and come through an SSH "
    "tunnel, or put a reverse proxy with TLS in front of it."
)
CAUTIONS = (
    Caution(
        "c2s.tls",
        lambda value: value == "optional",
        _("Encryption is optional"),
        _(
            "Clients may log in without TLS. Their passwords and messages can then be read by everybody on the "
            "way. Set it to “required” unless an old client leaves you no choice."
        ),
    ),
    Caution(
        "registration.open",
        bool,
        _("Registration is open"),
        _("Anybody who reaches this server can create an account on it, spammers too."),
    ),
    Caution(
        "accounts.password.min_length",
        lambda value: value < 8,
        _("Short passwords are allowed"),
        _("Passwords of fewer than 8 characters can be guessed from a stolen database within hours."),
    ),
    Caution(
        "accounts.password.reject_common",
        lambda value: not value,
        _("Common passwords are allowed"),
        _("Passwords from the lists that attackers try first are accepted."),
    ),
    Caution(
        "security.login.max_failures_per_account_address",
        lambda value: value > 100,
        _("Guessing passwords is hardly slowed down"),
        _(
            "More than 100 failed logins are allowed for one account from one address before it is locked out."
        ),
    ),
    Caution(
        "c2s.idle_timeout",
        lambda value: value > timedelta(hours=2),
        _("Dead connections stay for hours"),
        _("Users whose network is gone look online until the time-out, and messages to them wait for it."),
    ),
)
BY_SETTING = {caution.setting: caution for caution in CAUTIONS}


def caution_about(setting: Setting[Any], value: Any) -> Caution | None:
    """What is to be said of this value of the setting."""
    caution = BY_SETTING.get(setting.name)
    return caution if caution is not None and caution.when(value) else None


def holding() -> list[Caution]:
    """Those that hold now."""
    known = {setting.name: setting for setting in properties.all_settings()}
    return [c for c in CAUTIONS if c.setting in known and c.when(known[c.setting].value)]
