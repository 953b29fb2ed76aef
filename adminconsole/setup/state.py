"""What the wizard knows so far, on disk, so that a reload or a restart of the server loses nothing.

The file is readable by its owner alone and is deleted when the set-up is done. The administrator's password
is kept as SCRAM keys only; a database password has to be kept as it is.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from xmppd import bootstrap
from xmppd.services.setup import SetupAnswers

log = logging.getLogger("hearth.setup")

lock = threading.RLock()  # around load ... save

# What the environment decides is shown and cannot be changed: {(step, field): variable}.
VARIABLES = {
    ("language", "language"): "HEARTH_LANGUAGE",
    ("server", "domain"): "HEARTH_DOMAIN",
    ("server", "hostname"): "HEARTH_HOSTNAME",
    ("administrator", "username"): "HEARTH_ADMIN_USER",
    ("administrator", "email"): "HEARTH_ADMIN_EMAIL",
}


@dataclass(slots=True)
class State:
    """`claim`: the browser that holds the wizard; `values`: {step: what was answered there}."""

    claim: str = ""
    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self) -> str:
        """Give the wizard to a new browser; the claim goes into its cookie."""
        self.claim = secrets.token_urlsafe(16)
        return self.claim

    def is_done(self, step: str) -> bool:
        return step in self.values and bool(self.values[step].get("credentials", True))

    def destination(self) -> tuple[str, str]:
        """The domain and the database answered so far, for which the administrator's password was checked."""
        database = given_database_url() or self.values.get("database", {}).get("url", "")
        return self.values.get("server", {}).get("domain", ""), database

    def keep(self, step: str, values: dict[str, Any]) -> None:
        """Take an answer. Another domain or database may know another password: it is asked for again."""
        before = self.destination()
        self.values[step] = values
        after = self.destination()
        if before != after and "administrator" in self.values and (before[1] or after[1]):
            self.values["administrator"]["credentials"] = ""

    def answers(self) -> SetupAnswers:
        """Everything for services.setup.finish(); KeyError for a step that was left out."""
        server, administrator = self.values["server"], self.values["administrator"]
        return SetupAnswers(
            language=self.values["language"]["language"],
            domain=server["domain"],
            hostname=server["hostname"],
            console_localhost_only=server["localhost_only"],
            database_url=given_database_url() or self.values["database"]["url"],
            registration_open=self.values["accounts"]["registration"] == "open",
            admin_username=administrator["username"],
            admin_credentials=administrator["credentials"],
            admin_email=administrator["email"],
        )


def load() -> State:
    """The state on disk; an empty one when there is none or it cannot be read."""
    path = settings.CONFIG.setup_state_path
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return State(str(stored["claim"]), dict(stored["values"]))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read, the wizard begins anew: %s", path, error)
        return State()


def save(state: State) -> None:
    text = json.dumps({"claim": state.claim, "values": state.values}, indent=1)
    bootstrap.write_private(settings.CONFIG.setup_state_path, text)


def given(step: str, name: str) -> tuple[str, str]:
    """(variable, value) where the environment answers this field; ("", "") where it does not."""
    variable = VARIABLES.get((step, name), "")
    value = os.environ.get(variable, "") if variable else ""
    return (variable, value) if value else ("", "")


def given_database_url() -> str:
    """The database that DATABASE_URL or hearth.toml names; "" when the wizard decides."""
    return str(settings.CONFIG.database_url)


def without_password(url: str) -> str:
    """A database address that may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()
