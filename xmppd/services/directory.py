"""Looking accounts up: at login, by name for contact lists, and in the user search of XEP-0055."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import and_, or_
from typing import Any

from django.db import connection
from django.db.models import F, Q
from django.db.models.lookups import PatternLookup, StartsWith
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Domain, Group, User
from accounts.sharing import SharedContact, is_public, shared_contacts
from xmppd.models import BlockedAddress, OfflineMessage
from xmppd.protocol.errors import StanzaError
from xmppd.services.properties import Setting

ENABLED = Setting(
    "search.enabled",
    bool,
    True,
    _("Whether users may search for other users of their domain."),
    label=_("User search"),
)
MAX_RESULTS = Setting(
    "search.max_results",
    int,
    100,
    _("Number of users shown for one search."),
    label=_("Results of one search"),
    minimum=1,
    maximum=10000,
)
MAX_TERM_CHARS = 200
MAX_WILDCARDS = 5  # each one multiplies the work of LIKE


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What a login needs. `password_encoded`: the SCRAM keys. `locked_until` None: for ever."""

    user_id: int
    jid: str
    name: str
    password_encoded: str
    role: str
    locked_from: datetime | None
    locked_until: datetime | None
    last_seen: datetime | None
    last_status: str
    has_offline: bool
    has_sharing: (
        bool  # whether any group of the domain shares its members; without one nothing is to be computed
    )

    has_blocked: bool

    def is_locked(self, at: datetime | None = None) -> bool:
        at = at or timezone.now()
        if self.locked_from is None or at < self.locked_from:
            return False
        return self.locked_until is None or at < self.locked_until


def find_account(domain: str, username: str) -> AccountRecord | None:
    """The account with this prepared JID, in one query; None when there is none."""
    # Written out since every login asks: the ORM builds it in ten times the time it takes.
    with connection.cursor() as cursor:
        cursor.execute(_FIND_ACCOUNT, [domain, username])
        row = cursor.fetchone()
    if row is None:
        return None
    (
        user_id,
        name,
        password,
        role,
        locked_from,
        locked_until,
        last_seen,
        last_status,
        has_offline,
        has_sharing,
        has_blocked,
    ) = row
    return AccountRecord(
        user_id=user_id,
        jid=f"{username}@{domain}",
        name=name or username,
        password_encoded=password,
        role=role,
        locked_from=_aware(locked_from),
        locked_until=_aware(locked_until),
        last_seen=_aware(last_seen),
        last_status=last_status,
        has_offline=bool(has_offline),
        has_sharing=bool(has_sharing),
        has_blocked=bool(has_blocked),
    )


_FIND_ACCOUNT = f"""
    SELECT account.id, account.name, account.password, account.role,
        account.locked_from, account.locked_until, account.last_seen, account.last_status,
        EXISTS(SELECT 1 FROM {OfflineMessage._meta.db_table} message WHERE message.user_id = account.id),
        EXISTS(
            SELECT 1 FROM {Group._meta.db_table} shared
            WHERE shared.domain_id = account.domain_id AND shared.sharing <> '{Group.Sharing.NOBODY}'
        ),
        EXISTS(SELECT 1 FROM {BlockedAddress._meta.db_table} blocked WHERE blocked.user_id = account.id)
    FROM {User._meta.db_table} account JOIN {Domain._meta.db_table} domain ON domain.id = account.domain_id
    WHERE domain.name = %s AND account.username = %s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Shared:
    """What groups give an account: contacts by bare JID; `is_public`: all its domain sees it, too many to list."""

    contacts: dict[str, SharedContact]
    is_public: bool = False


NOTHING_SHARED = Shared({})


def shared(user_id: int) -> Shared:
    """The account's contacts through groups, and whether everybody sees it."""
    return Shared(shared_contacts(user_id, everybody=False), is_public(user_id))


def _aware(value: datetime | None) -> datetime | None:
    """SQLite and MySQL give UTC without saying so."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def contact_names(jids: Iterable[str]) -> dict[str, str]:
    """{bare JID: display name} of those that are accounts here."""
    wanted = set(jids)
    by_domain: dict[str, list[str]] = {}
    for jid in wanted:
        username, _at, domain = jid.partition("@")
        by_domain.setdefault(domain, []).append(username)
    names = {}
    for domain, usernames in by_domain.items():
        for start in range(0, len(usernames), 500):
            rows = User.objects.filter(domain__name=domain, username__in=usernames[start : start + 500])
            for username, name in rows.values_list("username", "name"):
                names[f"{username}@{domain}"] = name or username
    return names


@dataclass(frozen=True, slots=True)
class Found:
    """One user of a search; what is unknown is ''."""

    jid: str
    username: str
    name: str
    email: str
    first: str
    last: str
    nick: str
    locality: str
    organisation: str


# Field of a search: pattern of User.search_text, where exactly two newlines part user name, name and
# e-mail, and columns of the vCard. All are case-folded.
_SEARCHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "username": ("{}\n%\n%", ()),
    "name": ("%\n{}\n%", ("full_name",)),
    "email": ("%\n%\n{}", ("email",)),
    "first": ("", ("given",)),
    "last": ("", ("family",)),
    "nick": ("", ("nickname",)),
    "locality": ("", ("locality",)),
    "organisation": ("", ("organisation",)),
}
FIELDS = frozenset(_SEARCHED)


def search(domain: str, terms: Mapping[str, str], *, match_any: bool = False) -> tuple[list[Found], bool]:
    """Users of the domain by {field of FIELDS: term}, and whether there are more than the setting shows.

    A term is the beginning of the value; with `*`, which stands for anything, it is the whole value. All
    terms have to match, or one of them with `match_any`; empty ones do not count. Raises StanzaError:
    service-unavailable when switched off, not-acceptable for too long a term, bad-request for no known field.
    """
    if not ENABLED.value:
        raise StanzaError("service-unavailable")
    if not FIELDS.issuperset(terms):
        raise StanzaError("bad-request", "there is no such field")
    conditions = [_condition(field, term.strip()) for field, term in terms.items() if term.strip()]
    if not conditions:
        return [], False
    rows = (
        User.objects.filter(reduce(or_ if match_any else and_, conditions), domain__name=domain)
        .order_by("username")
        .values_list("username", "name", "email", "vcard__shown")
    )
    limit = MAX_RESULTS.value
    found = [_found(domain, *row) for row in rows[: limit + 1]]
    return found[:limit], len(found) > limit


def _condition(field: str, term: str) -> Q:
    template, columns = _SEARCHED[field]
    pattern = _pattern(term)
    conditions = [Q(_Like(F(f"vcard__{column}"), pattern)) for column in columns]
    if template:
        conditions.append(Q(_Like(F("search_text"), template.format(pattern))))
    return reduce(or_, conditions)


def _pattern(term: str) -> str:
    """For LIKE: `*` becomes %, what LIKE would take for a wildcard is escaped."""
    term = re.sub(r"\*+", "*", term.casefold())
    if len(term) > MAX_TERM_CHARS or term.count("*") > MAX_WILDCARDS:
        raise StanzaError("not-acceptable", "the search is too long")
    escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%") if "*" in term else escaped + "%"


class _Like(StartsWith):
    """LIKE with a finished pattern."""

    def process_rhs(self, qn: Any, connection: Any) -> Any:
        return super(PatternLookup, self).process_rhs(qn, connection)


def _found(domain: str, username: str, name: str, email: str, shown: dict[str, str] | None) -> Found:
    card = shown or {}
    return Found(
        jid=f"{username}@{domain}",
        username=username,
        name=name or card.get("full_name", ""),
        email=email or card.get("email", ""),
        first=card.get("given", ""),
        last=card.get("family", ""),
        nick=card.get("nickname", ""),
        locality=card.get("locality", ""),
        organisation=card.get("organisation", ""),
    )
