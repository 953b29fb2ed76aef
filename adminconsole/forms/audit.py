"""The audit log in words: what actions are called, an entry as a page shows it, the filters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Group
from accounts.roles import Role
from adminconsole.formats import address, date_and_time, number
from adminconsole.forms.groups import CHOSEN, DISABLED, EVERYBODY, MEMBERS, SHARING_LABELS
from adminconsole.forms.user_archive import days_text, size_text
from adminconsole.forms.users import SUBSCRIPTIONS
from xmppd.services import properties
from xmppd.services.audit import AuditEntry
from xmppd.services.reports import State as ReportState

# action -> what happened, the icon
ACTIONS: dict[str, tuple[str | Promise, str]] = {
    "signed-in": (gettext_lazy("Signed in"), "login"),
    "signed-out": (gettext_lazy("Signed out"), "logout"),
    "login-link-made": (gettext_lazy("Made a sign-in link"), "link"),
    "login-link-used": (gettext_lazy("Signed in by a link"), "login"),
    "setup-finished": (gettext_lazy("Finished the set-up"), "flame"),
    "domain-created": (gettext_lazy("Created a domain"), "globe"),
    "user-created": (gettext_lazy("Created a user"), "user-plus"),
    "users-imported": (gettext_lazy("Imported users"), "upload"),
    "user-changed": (gettext_lazy("Changed a user"), "edit"),
    "user-deleted": (gettext_lazy("Deleted a user"), "trash"),
    "user-locked": (gettext_lazy("Locked a user"), "lock"),
    "user-unlocked": (gettext_lazy("Unlocked a user"), "unlock"),
    "password-changed": (gettext_lazy("Set a password"), "key"),
    "credentials-upgraded": (gettext_lazy("Added keys made from a password"), "key"),
    "role-changed": (gettext_lazy("Changed a role"), "shield"),
    "roster-item-added": (gettext_lazy("Added a contact"), "plus"),
    "roster-item-changed": (gettext_lazy("Changed a contact"), "edit"),
    "device-renamed": (gettext_lazy("Named a device"), "edit"),
    "device-signed-out": (gettext_lazy("Signed out a device"), "logout"),
    "devices-signed-out": (gettext_lazy("Signed out all devices of a user"), "logout"),
    "archive-retention-changed": (gettext_lazy("Changed how long messages stay"), "clock"),
    "archive-exported": (gettext_lazy("Exported messages"), "download"),
    "archive-purged": (gettext_lazy("Deleted messages beyond the limits"), "trash"),
    "archive-erased": (gettext_lazy("Erased messages"), "trash"),
    "roster-item-removed": (gettext_lazy("Removed a contact"), "minus"),
    "group-created": (gettext_lazy("Created a group"), "group"),
    "group-changed": (gettext_lazy("Changed a group"), "edit"),
    "group-deleted": (gettext_lazy("Deleted a group"), "trash"),
    "group-member-added": (gettext_lazy("Added a group member"), "user-plus"),
    "group-member-removed": (gettext_lazy("Removed a group member"), "minus"),
    "group-members-changed": (gettext_lazy("Changed the members of a group"), "group"),
    "group-admin-changed": (gettext_lazy("Changed a group administrator"), "star"),
    "report-handled": (gettext_lazy("Handled a report"), "check"),
    "report-dismissed": (gettext_lazy("Dismissed a report"), "close"),
    "report-reopened": (gettext_lazy("Opened a report again"), "undo"),
    "report-noted": (gettext_lazy("Changed the note of a report"), "edit"),
    "setting-changed": (gettext_lazy("Changed a setting"), "settings"),
    "login-unblocked": (gettext_lazy("Ended a sign-in lock-out"), "unlock"),
    "session-closed": (gettext_lazy("Closed a session"), "power"),
    "sessions-closed": (gettext_lazy("Closed all sessions of a user"), "power"),
    "message-sent": (gettext_lazy("Sent a message"), "send"),
}

FIRST_YEAR, LAST_YEAR = 1971, 9000  # a bound beyond these is none; far dates overflow when they are shifted

# keys of `before` and `after` -> what a person calls them
FIELDS: dict[str, str | Promise] = {
    "value": gettext_lazy("Value"),
    "username": gettext_lazy("User name"),
    "name": gettext_lazy("Name"),
    "email": gettext_lazy("E-mail"),
    "role": gettext_lazy("Role"),
    "description": gettext_lazy("Description"),
    "display_name": gettext_lazy("Name in contact lists"),
    "sharing": gettext_lazy("Contact list sharing"),
    "shared_with": gettext_lazy("Shared with"),
    "locked_from": gettext_lazy("Locked from"),
    "locked_until": gettext_lazy("Locked until"),
    "lock_reason": gettext_lazy("Reason"),
    "reason": gettext_lazy("Reason"),
    "member": gettext_lazy("Member"),
    "added": gettext_lazy("Added"),
    "removed": gettext_lazy("Removed"),
    "admin": gettext_lazy("Administrator"),
    "is_admin": gettext_lazy("Administrator"),
    "is_primary": gettext_lazy("Primary"),
    "jid": gettext_lazy("Address"),
    "groups": gettext_lazy("Groups"),
    "created": gettext_lazy("Created"),
    "exists": gettext_lazy("Left as they are"),
    "error": gettext_lazy("Problems"),
    "failures": gettext_lazy("Failures"),
    "subscription": gettext_lazy("Subscription"),
    "state": gettext_lazy("State"),
    "note": gettext_lazy("Note"),
    "hashes": gettext_lazy("Keys for"),
    "keep_days": gettext_lazy("Days in the archive"),
    "keep_bytes": gettext_lazy("Size of the archive"),
    "messages": gettext_lazy("Messages"),
    "users": gettext_lazy("Users"),
    "too_old": gettext_lazy("Older than the limit"),
    "too_much": gettext_lazy("Above the size"),
    "of_deleted": gettext_lazy("Of deleted accounts"),
    "format": gettext_lazy("Format"),
    "since": gettext_lazy("From day"),
    "until": gettext_lazy("To day"),
    "before": gettext_lazy("Before day"),
    "peer": gettext_lazy("Contact"),
}

# of these fields, what their values are called
WORDS: dict[str, dict[Any, Any]] = {
    "role": dict(Role.choices),
    "subscription": dict(SUBSCRIPTIONS),
    "state": dict(ReportState.choices),
}
# what an empty value of these fields means
EMPTY: dict[str, str | Promise] = {
    "role": Role.NONE.label,
    "locked_from": gettext_lazy("not locked"),
    "locked_until": gettext_lazy("somebody unlocks it"),
}
MOMENTS = frozenset({"locked_from", "locked_until"})
DAYS = frozenset({"since", "until", "before"})
# numbers with their units
AMOUNTS: dict[str, Callable[[int], str]] = {
    "keep_days": days_text,
    "keep_bytes": size_text,
    "messages": number,
    "users": number,
    "too_old": number,
    "too_much": number,
    "of_deleted": number,
}
# targets and details that are no name or text of anybody's
TERMS: dict[str, str | Promise] = {
    "everyone online": gettext_lazy("Everybody online"),
    "import": gettext_lazy("Import"),
}


def action_label(action: str) -> str:
    """`user-created` -> Created a user; an action without a label of its own in plain words."""
    if action in ACTIONS:
        return str(ACTIONS[action][0])
    return action.replace("-", " ").replace("_", " ").capitalize()


def shown(value: Any) -> str:
    """A JSON value as text."""
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Change:
    """One field before and after; None where it did not exist, "" where it was empty."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Entry:
    """A row of the log with its words."""

    row: AuditEntry

    @property
    def label(self) -> str:
        return action_label(self.row.action)

    @property
    def icon(self) -> str:
        return ACTIONS.get(self.row.action, ("", "audit"))[1]

    @property
    def door(self) -> str:
        return str(self.row.get_door_display())

    @property
    def target(self) -> str:
        return str(TERMS.get(self.row.target, self.row.target))

    @property
    def address(self) -> str:
        return address(self.row.address)

    @property
    def changes(self) -> list[Change]:
        before, after = _mapping(self.row.before), _mapping(self.row.after)
        return [
            Change(
                str(FIELDS.get(key, key)),
                self._shown(key, before, is_change=key in after) if key in before else None,
                self._shown(key, after, is_change=key in before) if key in after else None,
            )
            for key in {**before, **after}
        ]

    def _shown(self, key: str, facts: Mapping[str, Any], *, is_change: bool) -> str:
        """One of the facts as the pages say it: labels, moments in the reader's form, a setting with its unit."""
        value = facts[key]
        if key in EMPTY and not value:
            return self._empty(key, facts) if is_change else ""
        if key == "sharing":
            return _sharing(value, facts)
        if key in MOMENTS and isinstance(value, str):
            try:
                return date_and_time(datetime.fromisoformat(value))
            except ValueError:
                return value
        if key in AMOUNTS and (value is None or isinstance(value, int)):
            return _("as the server's setting says") if value is None else AMOUNTS[key](value)
        if key in DAYS and isinstance(value, str):
            try:
                return date_format(date.fromisoformat(value), "SHORT_DATE_FORMAT")
            except ValueError:
                return value
        if isinstance(value, str) and value in WORDS.get(key, {}):
            return str(WORDS[key][value])
        if self.row.action == "setting-changed":
            try:
                setting = properties.find(self.row.target)
                return shown(value) if setting.secret else setting.words(setting.from_json(value))
            except (KeyError, ValidationError):  # a setting that is gone, or a secret's stars
                pass
        return shown(value)

    def _empty(self, key: str, facts: Mapping[str, Any]) -> str:
        """Of an account that is not locked, no end of a lock is worth a word."""
        is_idle = key == "locked_until" and not facts.get("locked_from", self.row.action == "user-locked")
        return "" if is_idle else str(EMPTY[key])

    @property
    def summary(self) -> str:
        """One line for the table: the detail, or what changed."""
        if self.row.detail:
            return str(TERMS.get(self.row.detail, self.row.detail))
        parts = []
        for change in self.changes:
            if not change.before and not change.after:
                continue
            is_known = change.before is not None and change.after is not None
            text = _("%(field)s: %(before)s → %(after)s") if is_known else _("%(field)s: %(value)s")
            parts.append(
                text
                % {
                    "field": change.name,
                    "before": change.before or "–",
                    "after": change.after or "–",
                    "value": change.before or change.after,
                }
            )
        return _("; ").join(parts)


def _sharing(value: Any, facts: Mapping[str, Any]) -> str:
    """Which of the four ways it was: two of them are one in the model, told apart by the groups chosen."""
    modes = {Group.Sharing.NOBODY: DISABLED, Group.Sharing.EVERYBODY: EVERYBODY}
    mode = modes.get(value) or (CHOSEN if facts.get("shared_with") else MEMBERS)
    return str(SHARING_LABELS[mode])


def _mapping(value: Any) -> Mapping[str, Any]:
    """Rows of older versions may hold anything."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"value": value}


class FilterForm(forms.Form):
    """What `?...` of the list may say; what cannot be understood is an error at its field and filters nothing."""

    q = forms.CharField(required=False, max_length=200, label=gettext_lazy("Text"))
    actor = forms.CharField(
        required=False,
        max_length=512,
        label=gettext_lazy("Who"),
        help_text=gettext_lazy("The whole address"),
    )
    target = forms.CharField(
        required=False,
        max_length=512,
        label=gettext_lazy("To what"),
        help_text=gettext_lazy("The whole address or name"),
    )
    action = forms.ChoiceField(required=False, label=gettext_lazy("Action"))
    door = forms.ChoiceField(required=False, label=gettext_lazy("Through"))
    since = forms.DateField(
        required=False,
        label=gettext_lazy("From day"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
    )
    until = forms.DateField(
        required=False,
        label=gettext_lazy("To day"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
    )

    def __init__(self, data: Mapping[str, Any], actions: list[str]) -> None:
        super().__init__(data, use_required_attribute=False)
        known = sorted(actions, key=action_label)
        self._choices("action", [("", _("Any action")), *((name, action_label(name)) for name in known)])
        self._choices("door", [("", _("Any way")), *AuditEntry.Door.choices])

    def _choices(self, name: str, choices: list[tuple[str, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        since, until = data.get("since"), data.get("until")
        if since and until and until < since:
            self.add_error("until", _("This is before the first day."))
        return data

    def criteria(self) -> dict[str, Any]:
        """Arguments of xmppd.services.audit.search(); days are those of the server's time zone, both included."""
        self.is_valid()
        data = self.cleaned_data
        wanted: dict[str, Any] = {
            name: data.get(name) or "" for name in ("actor", "target", "action", "door")
        }
        wanted["query"] = data.get("q") or ""
        wanted["since"] = _start_of(data.get("since"))
        until = data.get("until")
        wanted["until"] = _start_of(until + timedelta(days=1)) if until and until.year < LAST_YEAR else None
        return wanted

    @property
    def is_filtering(self) -> bool:
        return any(self.data.get(name) for name in self.fields)


def _start_of(day: date | None) -> datetime | None:
    if day is None or day.year < FIRST_YEAR:
        return None
    return timezone.make_aware(datetime.combine(day, time.min))
