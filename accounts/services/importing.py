"""Users from a CSV file: username,password,name,email,groups. First a report per row, then the accounts.

The header is optional (without it the columns stand in that order), `;` or `,` separates, a byte order mark
is borne. Groups are separated by `|` or `,`; those that do not exist are made. Accounts that exist are left
as they are.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit, credentials
from accounts.audit import Actor
from accounts.fields import MAX_NAME_CHARS
from accounts.models import AuditEntry, Domain, Group, User, search_text
from accounts.services import groups as group_services
from accounts.services.checks import clean_text, invalid, require_permission
from accounts.services.domains import clean_domain, primary_domain
from accounts.services.users import check_password_policy, clean_email, clean_name, clean_username
from xmppd.bus.channel import publish
from xmppd.bus.messages import UserCreated

COLUMNS = ("username", "password", "name", "email", "groups")
ALIASES = {
    "user": "username",
    "user name": "username",
    "login": "username",
    "jid": "username",
    "full name": "name",
    "e-mail": "email",
    "mail": "email",
    "group": "groups",
}
CHUNK = 500  # rows in one transaction

Status = Literal["new", "exists", "error", "created"]


@dataclass(slots=True)
class Row:
    """A line of the file, what is to become of it and what is to be said of it."""

    line: int
    username: str
    password: str = field(repr=False, default="")
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    domain: Domain | None = None
    status: Status = "new"
    messages: list[str] = field(default_factory=list)

    @property
    def jid(self) -> str:
        return f"{self.username}@{self.domain.name}" if self.domain else self.username


def read_users(data: bytes) -> list[Row]:
    """Parse and check the file, changing nothing; raises ValidationError when it is no CSV of users."""
    rows = list(_parse(data))
    domains = {domain.name: domain for domain in Domain.objects.all()}
    primary = primary_domain()
    if primary is None:
        raise invalid("domain", _("There is no domain yet: finish the set-up first."))
    seen: dict[str, int] = {}
    for row in rows:
        _check(row, domains, primary)
        if row.status == "error":
            continue
        if row.jid in seen:
            _refuse(row, _("This user stands in line %(line)d already.") % {"line": seen[row.jid]})
        seen.setdefault(row.jid, row.line)
    _mark_existing(rows)
    return rows


def import_users(
    rows: Sequence[Row], *, actor: Actor, progress: Callable[[int, int], None] | None = None
) -> int:
    """Make the accounts of the rows whose status is "new"; return how many. `progress(done, of)` after each
    500.
    """
    require_permission(actor, "users.change")
    new = [row for row in rows if row.status == "new"]
    done = 0
    # PBKDF2 lets go of the interpreter lock, so threads use every core.
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="hearth-import") as pool:
        for chunk in _chunks(new):
            encoded = list(pool.map(_encode, chunk))
            done += _create(chunk, encoded, actor)
            if progress:
                progress(done, len(new))
    return done


def _parse(data: bytes) -> Iterator[Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid("file", _("The file is not UTF-8 text.")) from error
    first = text.lstrip().partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: Sequence[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _header(cells) or COLUMNS
                if columns is not COLUMNS:
                    continue
            yield _row(reader.line_num, dict(zip(columns, cells, strict=False)), len(cells) > len(columns))
    except csv.Error as error:
        message = _("Line %(line)d cannot be read: %(error)s")
        raise invalid("file", message, line=reader.line_num, error=str(error)) from error


def _header(cells: Sequence[str]) -> list[str] | None:
    """The columns that a header names, or None when the line is a user already."""
    names = [cell.strip().lower() for cell in cells]
    names = [ALIASES.get(name, name) for name in names]
    return names if "username" in names else None


def _row(line: int, cells: dict[str, str], has_more: bool) -> Row:
    groups = cells.get("groups", "").replace("|", ",").replace(";", ",").split(",")
    row = Row(
        line=line,
        username=cells.get("username", "").strip(),
        password=cells.get("password", ""),
        name=cells.get("name", ""),
        email=cells.get("email", ""),
        groups=tuple(dict.fromkeys(name.strip() for name in groups if name.strip())),
    )
    if has_more:
        _refuse(row, _("There are more cells than columns."))
    return row


def _check(row: Row, domains: dict[str, Domain], primary: Domain) -> None:
    username, at, domain = row.username.rpartition("@")
    try:
        if not at:
            username, row.domain = domain, primary
        else:
            row.domain = domains.get(clean_domain(domain))
            if row.domain is None:
                _refuse(row, _("“%(domain)s” is not served here.") % {"domain": domain})
        row.username = clean_username(username)
        row.name, row.email = clean_name(row.name), clean_email(row.email)
        row.groups = tuple(clean_text("groups", name, MAX_NAME_CHARS) for name in row.groups)
        if row.password:
            user = User(username=row.username, domain=row.domain or primary)
            check_password_policy(row.password, user=user, enforce=False)
            _warn_of_policy(row, user)
        else:
            row.messages.append(_("No password: nobody can log in before one is set."))
    except ValidationError as error:
        for message in error.messages:
            _refuse(row, message)


def _warn_of_policy(row: Row, user: User) -> None:
    try:
        check_password_policy(row.password, user=user)
    except ValidationError as error:
        row.messages += [_("Weak password: %(why)s") % {"why": message} for message in error.messages]


def _refuse(row: Row, message: str) -> None:
    row.status = "error"
    row.messages.append(message)


def _mark_existing(rows: Iterable[Row]) -> None:
    for chunk in _chunks([row for row in rows if row.status == "new"]):
        taken = set(
            User.objects.filter(username__in=[row.username for row in chunk]).values_list(
                "domain_id", "username"
            )
        )
        for row in chunk:
            if row.domain and (row.domain.pk, row.username) in taken:
                row.status = "exists"
                row.messages = [_("This user exists: nothing is changed.")]


def _chunks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _encode(row: Row) -> str:
    return credentials.encode_password(row.password) if row.password else credentials.unusable_password()


@transaction.atomic
def _create(rows: Sequence[Row], encoded: Sequence[str], actor: Actor) -> int:
    """One chunk: users, their audit rows, their groups. A name taken since the check is left out."""
    _mark_existing(rows)
    pairs = [(row, secret) for row, secret in zip(rows, encoded, strict=True) if row.status == "new"]
    users = [
        User(
            domain=row.domain,
            username=row.username,
            name=row.name,
            email=row.email,
            password=secret,
            search_text=search_text(row.username, row.name, row.email),
        )
        for row, secret in pairs
    ]
    User.objects.bulk_create(users)
    for user in users:
        if user.pk is None:  # MySQL does not return the ids of several rows
            user.pk = User.objects.values_list("pk", flat=True).get(
                domain=user.domain, username=user.username
            )
    AuditEntry.objects.bulk_create(
        audit.entry(
            actor, "user-created", user.jid, after={"name": user.name, "email": user.email}, detail="import"
        )
        for user in users
    )
    members: dict[tuple[int, str], list[User]] = defaultdict(list)
    for user, (row, _secret) in zip(users, pairs, strict=True):
        publish(UserCreated(user_id=user.pk, jid=user.jid))
        for name in row.groups:
            members[user.domain_id, name].append(user)
        row.status = "created"
    for (domain_id, name), joining in members.items():
        group = Group.objects.filter(domain_id=domain_id, name=name).first()
        if group is None:
            group = group_services.create_group(name=name, domain=joining[0].domain, actor=actor)
        group_services.add_members(group, joining, actor=actor)
    return len(users)
