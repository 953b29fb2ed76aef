"""Forms about accounts. The services decide what is valid; a form only asks and shows what they say."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts import roles
from accounts.fields import MAX_NAME_CHARS
from accounts.models import Group, User
from accounts.services.users import MAX_REASON_CHARS, MIN_LENGTH

MAX_GROUP_CHOICES = 100

# Without signs that look alike; 20 of 32 are 100 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"

ROLE_HELP = {
    roles.Role.NONE: _("Chats only, with no access to this console."),
    roles.Role.OWNER: _("May do everything, including giving and taking any role."),
    roles.Role.ADMIN: _("May do everything except manage owners and administrators."),
    roles.Role.USER_MANAGER: _(
        "Manages users without a role, groups and sessions, and reads what is reported."
    ),
    roles.Role.ROOM_MODERATOR: _("Manages chat rooms, sees sessions."),
    roles.Role.AUDITOR: _("Sees every page, changes nothing, reads no messages."),
}

GENERATED, TYPED = "generated", "typed"


def make_password() -> str:
    """Four groups of five: strong, and can be read out on the telephone."""
    signs = "".join(secrets.choice(ALPHABET) for _n in range(20))
    return "-".join(signs[i : i + 5] for i in range(0, 20, 5))


class PasswordFields(forms.Form):
    """A password made here and shown once, or one typed twice."""

    how = forms.ChoiceField(
        label=_("Password"),
        choices=[(GENERATED, _("Generate one")), (TYPED, _("Enter one"))],
        widget=forms.RadioSelect,
        initial=GENERATED,
    )
    how.choice_help = {  # type: ignore[attr-defined]
        GENERATED: _("Strong, and shown once on the next page."),
        TYPED: _("You choose it and pass it on."),
    }
    password = forms.CharField(
        label=_("Password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password_repeat = forms.CharField(
        label=_("Repeat the password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = _(
            "At least %(limit)d characters; only keys made from it are kept."
        ) % {"limit": MIN_LENGTH.value}

    @property
    def is_typed(self) -> bool:
        return self["how"].value() == TYPED

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("how") == TYPED:
            if not data.get("password"):
                self.add_error("password", _("Enter a password."))
            elif data["password"] != data.get("password_repeat"):
                self.add_error("password_repeat", _("The two passwords do not match."))
        return data

    def chosen(self) -> str:
        """The password that the account gets."""
        return self.cleaned_data["password"] if self.cleaned_data["how"] == TYPED else make_password()


class RoleFields(forms.Form):
    """A role, and the own password of whoever gives it."""

    role = forms.ChoiceField(label=_("Role"), required=False, widget=forms.RadioSelect)
    current_password = forms.CharField(
        label=_("Your own password"),
        required=False,
        strip=False,
        help_text=_("Needed because you are giving or taking a role."),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def set_roles(self, viewer: User, present: str = roles.Role.NONE) -> None:
        # While the server has no chat rooms nobody is made their moderator; who is one already stays it.
        choices = [
            choice
            for choice in roles.assignable(viewer.role)
            if choice[0] != roles.Role.ROOM_MODERATOR or choice[0] == present
        ]
        # "None" first: it is what most accounts have.
        choices.sort(key=lambda pair: pair[0] != roles.Role.NONE)
        if len(choices) > 1:
            self.fields["role"].choices = choices  # type: ignore[attr-defined]
            self.fields["role"].choice_help = ROLE_HELP  # type: ignore[attr-defined]
            self.fields["role"].initial = present
        else:
            del self.fields["role"], self.fields["current_password"]

    @property
    def role_changes(self) -> bool:
        return "role" in self.fields and self.is_bound and "role" in self.changed_data

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if self.role_changes and not data.get("current_password"):
            self.add_error("current_password", _("Enter your own password to change the role."))
        return data


class ProfileFields(forms.Form):
    name = forms.CharField(
        label=pgettext_lazy("of a person", "Name"),
        required=False,
        max_length=MAX_NAME_CHARS,
        help_text=_("Shown to others in shared contact lists."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    email = forms.CharField(
        label=_("E-mail"),
        required=False,
        max_length=254,
        help_text=_("For administrators only."),
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )


class CreateUserForm(ProfileFields, PasswordFields, RoleFields):
    username = forms.CharField(
        label=_("User name"),
        max_length=MAX_NAME_CHARS,
        help_text=_(
            "It cannot be changed later. Capital letters become lower case; spaces and \" & ' / : < > @ are not "
            "allowed."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
    groups = forms.ModelMultipleChoiceField(
        label=_("Groups"), queryset=Group.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, viewer: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_roles(viewer)
        groups = Group.objects.filter(domain__is_primary=True).order_by("name")
        ids = list(groups.values_list("pk", flat=True)[: MAX_GROUP_CHOICES + 1])
        if not ids or not viewer.can("groups.change"):
            del self.fields["groups"]
            return
        self.fields["groups"].queryset = groups.filter(pk__in=ids[:MAX_GROUP_CHOICES])  # type: ignore[attr-defined]
        if len(ids) > MAX_GROUP_CHOICES:
            self.fields["groups"].help_text = _(
                "The first %(n)d groups. Others: later, on the user's page."
            ) % {"n": MAX_GROUP_CHOICES}


class EditUserForm(ProfileFields, RoleFields):
    def __init__(self, *args: Any, viewer: User, user: User, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"name": user.name, "email": user.email, "role": user.role})
        super().__init__(*args, **kwargs)
        if roles.manages(viewer.role, user.role):
            self.set_roles(viewer, user.role)
        else:
            del self.fields["role"], self.fields["current_password"]


class PasswordForm(PasswordFields):
    pass


FOREVER, UNTIL = "forever", "until"
DURATIONS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "1w": timedelta(weeks=1)}


class MomentField(forms.DateTimeField):
    """An instant in the browser's own picker, in the server's time zone."""

    def __init__(self, **kwargs: Any) -> None:
        shape = "%Y-%m-%dT%H:%M"
        super().__init__(
            required=False,
            input_formats=[shape, "%Y-%m-%dT%H:%M:%S"],
            widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=shape),
            **kwargs,
        )
        self.unit = timezone.get_current_timezone_name()


class LockForm(forms.Form):
    start = forms.ChoiceField(
        label=_("Begins"),
        choices=[("now", _("Now")), ("later", _("At a time"))],
        widget=forms.RadioSelect,
        initial="now",
    )
    locked_from = MomentField(label=_("Begins at"))
    duration = forms.ChoiceField(
        label=_("Lasts"),
        choices=[
            (FOREVER, _("Until unlocked")),
            ("1h", _("1 hour")),
            ("1d", _("1 day")),
            ("1w", _("1 week")),
            (UNTIL, _("Until a time")),
        ],
        widget=forms.RadioSelect,
        initial=FOREVER,
    )
    locked_until = MomentField(label=_("Ends at"))
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=MAX_REASON_CHARS,
        help_text=_("For administrators only; the person does not see it."),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("start") == "later" and not data.get("locked_from") and "locked_from" not in self.errors:
            self.add_error("locked_from", _("Say when the lock begins."))
        if (
            data.get("duration") == UNTIL
            and not data.get("locked_until")
            and "locked_until" not in self.errors
        ):
            self.add_error("locked_until", _("Say when the lock ends."))
        return data

    def span(self) -> tuple[datetime | None, datetime | None]:
        """(from, until) as services.lock_user takes them."""
        data = self.cleaned_data
        start: datetime | None = data["locked_from"] if data["start"] == "later" else None
        if data["duration"] == FOREVER:
            return start, None
        if data["duration"] == UNTIL:
            return start, data["locked_until"]
        return start, (start or timezone.now()) + DURATIONS[data["duration"]]


SUBSCRIPTIONS = [
    ("both", _("Both see each other")),
    ("to", _("Sees the contact")),
    ("from", _("Is seen by the contact")),
    ("none", _("Neither sees the other")),
]


class ContactForm(forms.Form):
    """A contact of the personal contact list."""

    contact = forms.CharField(
        label=_("Address"),
        max_length=1023,
        help_text=_("A user name on this server, or a whole XMPP address."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
    name = forms.CharField(
        label=_("Nickname"), required=False, help_text=_("What this user calls the contact.")
    )
    groups = forms.CharField(
        label=_("Groups"),
        required=False,
        help_text=_("Names in this user's own contact list, separated by commas."),
    )
    subscription = forms.ChoiceField(
        label=_("Who sees whom online"),
        required=False,
        choices=[("", _("As usual: both see each other")), *SUBSCRIPTIONS],
    )

    def group_names(self) -> list[str]:
        names = (name.strip() for name in self.cleaned_data["groups"].split(","))
        return list(dict.fromkeys(name for name in names if name))


class EditContactForm(ContactForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["contact"]
        self.fields["subscription"].choices = SUBSCRIPTIONS  # type: ignore[attr-defined]
