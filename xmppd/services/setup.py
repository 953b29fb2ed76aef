"""The first set-up: one call makes a Hearth out of answers, from the wizard, the command or the environment.

Set up means: hearth.toml says so, or the database holds a primary domain. Either closes the wizard for good,
so that neither a lost file nor a missing database brings it back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import credentials
from accounts import services as accounts
from accounts.audit import Actor, record
from accounts.models import Domain, User
from accounts.registry import database_exists
from accounts.roles import Role
from accounts.services.checks import invalid
from accounts.services.domains import clean_domain
from accounts.services.users import clean_email, clean_username
from xmppd import bootstrap
from xmppd.bus import channel
from xmppd.bus.messages import SetupFinished
from xmppd.services import certificates, database_check, db
from xmppd.services.properties import Setting, set_value

log = logging.getLogger("hearth.setup")

LANGUAGE = Setting(
    "console.language",
    str,
    "en",
    gettext_lazy("Language of the console where the browser asks for none that Hearth has."),
    label=gettext_lazy("Language of the console"),
    choices=settings.LANGUAGES,
)
LOCALHOST_ONLY = Setting(
    "console.localhost_only",
    bool,
    False,
    gettext_lazy(
        "Whether only people on this machine may open the console. Others are refused at once; from the next start of "
        "the server on, it also listens on the loopback address alone."
    ),
    label=gettext_lazy("Console from this machine only"),
)
# Read by xmppd.modules.register; it stands here because set-up writes it.
REGISTRATION_OPEN = Setting(
    "registration.open",
    bool,
    False,
    gettext_lazy("Let everybody who reaches this server make an account with an XMPP client."),
    label=gettext_lazy("Open registration"),
)


class SetupConflict(Exception):
    """Somebody else has set Hearth up, or is doing it this moment."""


@dataclass(frozen=True, slots=True)
class SetupAnswers:
    """What the wizard asks. An empty `database_url` is the built-in SQLite file. `admin_credentials` is the
    password as accounts.credentials encodes it, checked before, in place of the password; for a database that was
    set up before, what owner_credentials() gave.
    """

    domain: str
    admin_username: str
    admin_password: str = field(default="", repr=False)
    admin_credentials: str = field(default="", repr=False)
    hostname: str = ""
    admin_email: str = ""
    language: str = "en"
    console_localhost_only: bool = False
    database_url: str = field(default="", repr=False)  # may hold a password
    registration_open: bool = False


_is_set_up = False
_lock = threading.Lock()


def is_set_up() -> bool:
    """Whether the wizard is closed; once true it costs nothing. A database that does not answer proves
    nothing.
    """
    global _is_set_up
    if _is_set_up:
        return True
    if not settings.CONFIG.is_set_up and not _adopt_configuration():
        try:
            if not database_exists() or accounts.primary_domain() is None:
                return False
        except Error:
            return False
    _is_set_up = True
    return True


def _adopt_configuration() -> bool:
    """Whether another process (`manage.py setup`) has written hearth.toml; then use what it says."""
    config = bootstrap.load()
    if not config.is_set_up:
        return False
    db.use_database(config.database_url)
    settings.CONFIG = config
    return True


def finish(answers: SetupAnswers, actor: Actor) -> User:
    """Set Hearth up and return its owner. SetupConflict, ValidationError (fields of SetupAnswers),
    DatabaseProblem.
    """
    answers = check(answers)
    if not _lock.acquire(blocking=False):
        raise SetupConflict(_("Somebody else is finishing the set-up at this moment."))
    try:
        with db.file_lock(settings.CONFIG.home / "setup.lock", wait=False):
            if is_set_up():
                raise SetupConflict(_("Hearth is set up already."))
            return _finish(answers, actor)
    except BlockingIOError as error:
        raise SetupConflict(_("Somebody else is finishing the set-up at this moment.")) from error
    finally:
        _lock.release()


def check(answers: SetupAnswers) -> SetupAnswers:
    """The answers prepared; raises ValidationError with the names of the fields that are wrong."""
    errors: dict[str, list[ValidationError]] = {}

    def cleaned(name: str, clean: object, value: str) -> str:
        try:
            return str(clean(value))  # type: ignore[operator]
        except ValidationError as error:
            errors[name] = [each for found in error.error_dict.values() for each in found]
            return value

    domain = cleaned("domain", clean_domain, answers.domain)
    username = cleaned("admin_username", clean_username, answers.admin_username)
    email = cleaned("admin_email", clean_email, answers.admin_email)
    hostname = cleaned("hostname", clean_domain, answers.hostname) if answers.hostname.strip() else domain
    candidate = User(username=username, domain=Domain(name=domain))
    if not answers.admin_credentials:
        cleaned(
            "admin_password",
            lambda password: accounts.check_password_policy(password, user=candidate),
            answers.admin_password,
        )
    if answers.language not in dict(settings.LANGUAGES):
        errors["language"] = [ValidationError(_("This language is not available."))]
    if errors:
        raise ValidationError(errors)
    return replace(answers, domain=domain, admin_username=username, admin_email=email, hostname=hostname)


def _finish(answers: SetupAnswers, actor: Actor) -> User:
    config = settings.CONFIG
    database_check.test_database(answers.database_url)
    db.use_database(answers.database_url)
    try:
        db.migrate()
        if not certificates.has_certificate(config):
            certificates.install_self_signed(config, answers.domain, answers.hostname)
        owner = _write_rows(answers, actor)
        _write_configuration(answers)
    except BaseException as error:
        db.use_database(config.database_url)  # not somebody else's, which would count as set up
        if isinstance(error, IntegrityError):
            raise SetupConflict(_("Hearth is set up already.")) from error
        raise
    channel.publish(SetupFinished())
    log.info("set up for the domain %s", answers.domain)
    return owner


@transaction.atomic
def _write_rows(answers: SetupAnswers, actor: Actor) -> User:
    domain = accounts.primary_domain()
    if domain is not None:
        return _existing_owner(domain, answers)
    domain = accounts.create_domain(name=answers.domain, is_primary=True, actor=actor)
    owner = accounts.create_user(
        domain=domain,
        username=answers.admin_username,
        password=None if answers.admin_credentials else answers.admin_password,
        encoded_password=answers.admin_credentials,
        email=answers.admin_email,
        role=Role.OWNER,
        actor=actor,
    )
    set_value(LANGUAGE.name, answers.language, actor=actor)
    set_value(LOCALHOST_ONLY.name, answers.console_localhost_only, actor=actor)
    set_value(REGISTRATION_OPEN.name, answers.registration_open, actor=actor)
    record(actor, "setup-finished", answers.domain)
    return owner


def _existing_owner(domain: Domain, answers: SetupAnswers) -> User:
    """The database was set up before and hearth.toml was lost: its owner, with his password, may connect it
    again.
    """
    owner = User.objects.filter(domain=domain, username=answers.admin_username, role=Role.OWNER).first()
    if answers.admin_credentials:
        # The wizard keeps no password: it has the stored keys from owner_credentials(), or keys of its own.
        right = owner is not None and compare_digest(owner.password, answers.admin_credentials)
    else:
        right = credentials.check_password(owner.password if owner else None, answers.admin_password)
    if owner is None or not right or domain.name != answers.domain:
        message = _(
            "This database belongs to a Hearth that is set up already. To use it, give its domain and the "
            "name and password of its owner, or start Hearth with DATABASE_URL set to it; "
            "otherwise choose an empty database."
        )
        raise SetupConflict(message)
    return owner


def owner_credentials(database_url: str, *, domain: str, username: str, password: str) -> str:
    """The stored keys of this owner, if the database holds a Hearth of this domain and the password is right; "" if
    not. They are the `admin_credentials` that connect it again.
    """
    owners = User.objects.filter(
        domain__name=domain, domain__is_primary=True, username=username, role=Role.OWNER
    )
    try:
        rows = database_check.look_up(database_url, owners.values_list("password"))
    except (
        database_check.DatabaseProblem
    ):  # an empty database has no tables; one that is down is told of at the end
        return ""
    return next((stored for (stored,) in rows if credentials.check_password(stored, password)), "")


def _write_configuration(answers: SetupAnswers) -> None:
    """hearth.toml comes last: until then another attempt can finish what this one began."""
    global _is_set_up
    values: dict[str, str | bool] = {
        "set_up": True,
        "database_url": answers.database_url,
        "hostname": answers.hostname,
    }
    bootstrap.write_toml(settings.CONFIG, values)
    settings.CONFIG.setup_token_path.unlink(missing_ok=True)
    settings.CONFIG.setup_state_path.unlink(missing_ok=True)
    settings.CONFIG = replace(
        settings.CONFIG, is_set_up=True, database_url=answers.database_url, hostname=answers.hostname
    )
    _is_set_up = True


# --- unattended ---


def from_environment(environ: Mapping[str, str]) -> SetupAnswers | None:
    """Answers from HEARTH_DOMAIN, HEARTH_ADMIN_PASSWORD[_FILE] ...; None unless domain and password are
    given.

    Raises ValidationError for a password file that cannot be read.
    """
    domain = environ.get("HEARTH_DOMAIN", "")
    password = _password_from(environ)
    if not domain or not password:
        return None
    return SetupAnswers(
        domain=domain,
        hostname=environ.get("HEARTH_HOSTNAME", ""),
        admin_username=environ.get("HEARTH_ADMIN_USER") or "admin",
        admin_password=password,
        admin_email=environ.get("HEARTH_ADMIN_EMAIL", ""),
        language=environ.get("HEARTH_LANGUAGE") or "en",
        database_url=environ.get("DATABASE_URL", ""),
    )


def _password_from(environ: Mapping[str, str]) -> str:
    path = environ.get("HEARTH_ADMIN_PASSWORD_FILE", "")
    if not path:
        return environ.get("HEARTH_ADMIN_PASSWORD", "")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        message = _("The password file %(path)s cannot be read: %(error)s")
        raise invalid("admin_password", message, path=path, error=str(error)) from error
