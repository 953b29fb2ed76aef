"""The questions of the wizard, a form for each step. `to_state()` is what is kept on disk."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from accounts import credentials, services
from accounts.models import Domain, User
from accounts.services.domains import clean_domain
from accounts.services.users import clean_email, clean_username
from adminconsole.setup import probe, state

SQLITE, POSTGRESQL, MYSQL = "sqlite", "postgresql", "mysql"
DEFAULT_PORTS = {POSTGRESQL: 5432, MYSQL: 3306}


class StepForm(forms.Form):
    """A step's form. `known`: the state so far; `is_local`: the visitor sits at this machine."""

    step = ""

    def __init__(self, data: Any = None, *, known: state.State, is_local: bool = True) -> None:
        self.known = known
        self.is_local = is_local
        self.before = known.values.get(self.step, {})
        super().__init__(data, initial={**self.defaults(), **self.before}, label_suffix="")
        for name, bound in self.fields.items():
            variable, value = state.given(self.step, name)
            if variable:
                # A disabled field takes its initial value, whatever is posted.
                self.initial[name] = value
                bound.disabled = True
                bound.help_text = _("Set by %(variable)s in the environment.") % {"variable": variable}

    def defaults(self) -> dict[str, Any]:
        return {}

    def to_state(self) -> dict[str, Any]:
        return dict(self.cleaned_data)


class LanguageForm(StepForm):
    step = "language"
    language = forms.ChoiceField(
        label=gettext_lazy("Language"), choices=settings.LANGUAGES, widget=forms.RadioSelect
    )
    language.choice_help = {}  # type: ignore[attr-defined]  # shown as cards

    def defaults(self) -> dict[str, Any]:
        return {"language": get_language() or settings.LANGUAGE_CODE}


class ServerForm(StepForm):
    step = "server"
    domain = forms.CharField(
        label=gettext_lazy("XMPP domain"),
        max_length=1023,
        help_text=gettext_lazy(
            "The part after the @ in every address. It cannot be changed later. An IP address works too, and "
            "localhost for a trial on this machine."
        ),
    )
    hostname = forms.CharField(
        label=gettext_lazy("Host name"),
        max_length=1023,
        required=False,
        help_text=gettext_lazy(
            "The name or address at which this machine can be reached. Leave it empty if that is the domain."
        ),
    )
    localhost_only = forms.BooleanField(
        label=gettext_lazy("Only this machine may open this console"),
        required=False,
        help_text=gettext_lazy(
            "From other machines you can still come through an SSH tunnel. Chat is not affected."
        ),
    )

    def defaults(self) -> dict[str, Any]:
        return {"localhost_only": self.is_local}

    def clean_domain(self) -> str:
        return _cleaned(clean_domain, self.cleaned_data["domain"])

    def clean_hostname(self) -> str:
        text = self.cleaned_data["hostname"].strip()
        return _cleaned(clean_domain, text) if text else ""

    def clean_localhost_only(self) -> bool:
        only = bool(self.cleaned_data["localhost_only"])
        if only and not self.is_local:
            raise ValidationError(
                _("You are using another machine now, so this would lock you out. You can turn it on later.")
            )
        return only


class DatabaseForm(StepForm):
    step = "database"
    kind = forms.ChoiceField(
        label=gettext_lazy("Database"),
        widget=forms.RadioSelect,
        choices=[
            (SQLITE, gettext_lazy("Built-in")),
            (POSTGRESQL, "PostgreSQL"),
            (MYSQL, "MySQL / MariaDB"),
        ],
    )
    kind.choice_help = {  # type: ignore[attr-defined]
        SQLITE: gettext_lazy(
            "SQLite, one file in the data directory. Nothing to install; right for most servers."
        ),
        POSTGRESQL: gettext_lazy("Your own database server, for several machines or very many users."),
        MYSQL: gettext_lazy("If you run such a server already. It needs a driver."),
    }
    host = forms.CharField(
        label=gettext_lazy("Host"),
        max_length=255,
        required=False,
        help_text=gettext_lazy("Host name, IP address or the directory of a Unix socket."),
    )
    port = forms.IntegerField(
        label=gettext_lazy("Port"),
        min_value=1,
        max_value=65535,
        required=False,
        help_text=gettext_lazy("Empty for the usual one: 5432 for PostgreSQL, 3306 for MySQL and MariaDB."),
    )
    name = forms.CharField(
        label=gettext_lazy("Database name"),
        max_length=128,
        required=False,
        help_text=gettext_lazy("An empty database that exists already, in UTF-8."),
    )
    user = forms.CharField(label=gettext_lazy("User"), max_length=128, required=False)
    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=1024,
        strip=False,
        required=False,
        widget=forms.PasswordInput,
    )

    def __init__(self, data: Any = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        if self.before.get("password"):
            self.fields["password"].help_text = _("Leave it empty to keep the one entered before.")

    def defaults(self) -> dict[str, Any]:
        return {"kind": SQLITE, "host": "localhost"}

    def clean_host(self) -> str:
        host = str(self.cleaned_data["host"]).strip()
        if host and not re.fullmatch(r"/[\w./-]*|\[?[0-9A-Fa-f:.]+\]?|[\w.-]+", host):
            raise ValidationError(_("This is neither a host name nor an address."))
        return host.strip("[]")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("kind") in DEFAULT_PORTS:
            data["host"] = data.get("host") or "localhost"
            data["port"] = data.get("port") or DEFAULT_PORTS[data["kind"]]
            for name in ("name", "user"):
                if not data.get(name) and name not in self.errors:
                    self.add_error(name, self.fields[name].error_messages["required"])
            # The stored password goes to the server and user it was typed for, and to no other.
            same = all(data.get(key) == self.before.get(key) for key in ("kind", "host", "port", "user"))
            if not data.get("password") and same:
                data["password"] = self.before.get("password", "")
        return data

    def url(self) -> str:
        """The database's address; "" is the built-in one."""
        return state.given_database_url() or database_url(self.cleaned_data)

    def to_state(self) -> dict[str, Any]:
        if self.cleaned_data["kind"] == SQLITE:
            return {"kind": SQLITE, "url": ""}
        return {**self.cleaned_data, "url": database_url(self.cleaned_data)}


class GivenDatabaseForm(StepForm):
    """In place of DatabaseForm where DATABASE_URL decides: nothing to ask."""

    step = "database"

    def url(self) -> str:
        return state.given_database_url()

    def to_state(self) -> dict[str, Any]:
        return {"kind": "given", "url": ""}


class AccountsForm(StepForm):
    step = "accounts"
    registration = forms.ChoiceField(
        label=gettext_lazy("Who creates accounts?"),
        widget=forms.RadioSelect,
        choices=[
            ("closed", gettext_lazy("Administrators only")),
            ("open", gettext_lazy("Anybody, from an XMPP client")),
        ],
    )
    registration.choice_help = {  # type: ignore[attr-defined]
        "closed": gettext_lazy("You create accounts here or import a list. Recommended."),
        "open": gettext_lazy(
            "Anybody who reaches this server may register, a limited number for each address. Such servers "
            "attract spammers; watch the list of users."
        ),
    }

    def defaults(self) -> dict[str, Any]:
        return {"registration": "closed"}


class AdministratorForm(StepForm):
    step = "administrator"
    username = forms.CharField(label=gettext_lazy("User name"), max_length=1023)
    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=1024,
        strip=False,
        required=False,
        widget=forms.PasswordInput,
    )
    password2 = forms.CharField(
        label=gettext_lazy("Password again"),
        max_length=1024,
        strip=False,
        required=False,
        widget=forms.PasswordInput,
    )
    email = forms.CharField(
        label=gettext_lazy("E-mail"),
        max_length=254,
        required=False,
        widget=forms.EmailInput,
        help_text=gettext_lazy("Shown as the contact of this server to other administrators."),
    )

    def __init__(self, data: Any = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        # Required without the attribute of the same name: a reload of the step keeps the password.
        self.has_password = bool(self.before.get("credentials"))
        if self.has_password:
            self.fields["password"].help_text = _("Leave it empty to keep the one entered before.")

    def defaults(self) -> dict[str, Any]:
        return {"username": "admin"}

    def clean_username(self) -> str:
        return _cleaned(clean_username, self.cleaned_data["username"])

    def clean_email(self) -> str:
        return _cleaned(clean_email, self.cleaned_data["email"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        password, username = data.get("password", ""), data.get("username", "")
        if not password and not data.get("password2"):
            if not self.has_password or username != self.before.get("username"):
                self.add_error("password", self.fields["password"].error_messages["required"])
            return data
        if password != data.get("password2", ""):
            self.add_error("password2", _("The two passwords do not match."))
        domain, database_url = self.known.destination()
        try:
            # Whoever has lost hearth.toml connects the database again as its owner, with the password it knows.
            data["credentials"] = probe.owner_credentials(
                database_url, domain=domain, username=username, password=password
            )
            if not data["credentials"]:
                candidate = User(username=username, domain=Domain(name=domain))
                services.check_password_policy(password, user=candidate)
                data["credentials"] = credentials.encode_password(password)
        except ValidationError as error:
            for found in error.error_dict.values() if hasattr(error, "error_dict") else [error]:
                self.add_error("password", found)
        except ValueError:
            self.add_error("password", _("This password holds a character that is not allowed."))
        return data

    def to_state(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {
            "username": data["username"],
            "email": data["email"],
            "credentials": data.get("credentials") or self.before["credentials"],
        }


def database_url(data: dict[str, Any]) -> str:
    """The address in the form that bootstrap.database_config() reads."""
    if data["kind"] == SQLITE:
        return ""
    login = quote(data["user"], safe="")
    if data["password"]:
        login += ":" + quote(data["password"], safe="")
    host, query = data["host"], ""
    if host.startswith("/"):
        host, query = "", "?" + urlencode({"host": host})
    elif ":" in host:
        host = f"[{host}]"
    return f"{data['kind']}://{login}@{host}:{data['port']}/{quote(data['name'], safe='')}{query}"


def _cleaned(clean: Any, text: str) -> str:
    """A service's check as a field's: its errors without the service's field name."""
    try:
        return str(clean(text))
    except ValidationError as error:
        raise ValidationError(error.messages) from error
