"""What the commands share: who acts, which account is meant, where a password comes from, how errors read."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import services
from accounts.audit import Actor
from accounts.models import Domain, User
from xmppd.protocol.jid import JID, JIDError
from xmppd.services.setup import is_set_up

# Without the letters and digits that are mistaken for one another.
PASSWORD_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # noqa: S105
PASSWORD_CHARS = 16


def shell_language() -> str:
    """The language of LC_ALL, LC_MESSAGES or LANG (locale(7)) if there is a translation into it, else English."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    try:
        return translation.get_supported_language_variant(
            translation.to_language(locale.partition(".")[0].partition("@")[0])
        )
    except LookupError:
        return "en"


def shell_gettext(text: str) -> str:
    """For what a server that speaks many languages tells the person who started it."""
    with translation.override(shell_language()):
        return _(text)


class ShellCommand(BaseCommand):
    """A command in the language of the shell; `help` is marked with gettext_noop."""

    # The checks look at the console's pages as well: too slow, and none of a command's business.
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        with translation.override(shell_language()):
            super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description = _(self.help)
        return parser


class HearthCommand(ShellCommand):
    """A command that needs Hearth to be set up and shows refusals as one line each."""

    def execute(self, *args: Any, **options: Any) -> Any:
        with readable_errors():
            self.require_setup()
            return super().execute(*args, **options)

    def require_setup(self) -> None:
        if not is_set_up():
            raise CommandError(
                _("Hearth is not set up yet: open the console in a browser, or run manage.py setup.")
            )

    def warn(self, text: str) -> None:
        self.stderr.write(self.style.WARNING(_("warning: %s") % text))


@contextmanager
def readable_errors() -> Iterator[None]:
    """Refusals of the services and of the database as a CommandError (one line each, exit status 1)."""
    try:
        yield
    except ValidationError as error:
        raise CommandError("\n".join(error.messages)) from error
    except PermissionDenied as error:
        raise CommandError(str(error)) from error
    except Error as error:
        raise CommandError(_("The database does not answer: %(error)s") % {"error": error}) from error


def cli_actor() -> Actor:
    """The system user who runs the command."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in containers
        name = "root"
    return Actor(name, "cli")


def split_jid(text: str) -> tuple[str, Domain]:
    """(localpart, Domain) of `user` or `user@domain`; raises CommandError."""
    if "@" not in text:
        domain = services.primary_domain()
        if domain is None:
            raise CommandError(_("There is no domain yet."))
        return text, domain
    try:
        jid = JID.parse(text)
    except JIDError as error:
        raise CommandError(_("“%(jid)s” is not an XMPP address.") % {"jid": text}) from error
    domain = Domain.objects.filter(name=jid.domain).first()
    if domain is None:
        names = ", ".join(Domain.objects.order_by("-is_primary", "name").values_list("name", flat=True))
        message = _("“%(domain)s” is not served here; served are: %(names)s.")
        raise CommandError(message % {"domain": jid.domain, "names": names})
    return jid.local, domain


def find_user(text: str) -> User:
    """The account of `user` or `user@domain`; raises CommandError."""
    user = User.objects.by_jid(text) if "@" in text else User.objects.by_username(text)
    if user is None:
        raise CommandError(_("There is no user “%(jid)s”.") % {"jid": text})
    return user


def add_password_options(parser: ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--password-file", metavar="F", help=_("read the password from the first line of this file")
    )
    group.add_argument(
        "--password-stdin", action="store_true", help=_("read the password from standard input")
    )
    group.add_argument("--generate", action="store_true", help=_("make a password and print it"))


def read_password(options: dict[str, Any]) -> str:
    """The password from where the options say, else asked for on the terminal; raises CommandError."""
    if options["generate"]:
        return "".join(secrets.choice(PASSWORD_ALPHABET) for _n in range(PASSWORD_CHARS))
    if options["password_stdin"]:
        return sys.stdin.readline().rstrip("\r\n")
    if options["password_file"]:
        try:
            text = Path(options["password_file"]).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(_("The password file cannot be read: %(error)s") % {"error": error}) from error
        return text.partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CommandError(_("Give a password with --password-stdin, --password-file or --generate."))
    password = getpass.getpass(_("Password: "))
    if getpass.getpass(_("Password again: ")) != password:
        raise CommandError(_("The two passwords differ."))
    return password


def policy_warnings(password: str, user: User) -> list[str]:
    """What the console would refuse. The operator decides: bots have the passwords they have."""
    try:
        services.check_password_policy(password, user=user)
    except ValidationError as error:
        return error.messages
    return []
