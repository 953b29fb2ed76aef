"""Forms about the archive of one user: how long messages stay, which of them go into a file or are erased."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from adminconsole.formats import bytes_, number
from adminconsole.forms.settings import SIZE_UNITS, AmountField
from xmppd.protocol.jid import JID, JIDError
from xmppd.services.archive_retention import KEEP_BYTES, KEEP_DAYS, MAX_DAYS, Limits, Retention

FIRST_YEAR = 2000  # no archive is older
ALL, OLDER, CONTACT = "all", "older", "contact"


def days_text(days: int) -> str:
    return ngettext("%(n)s day", "%(n)s days", days) % {"n": number(days)} if days else _("for ever")


def size_text(size: int) -> str:
    return bytes_(size) if size else _("no limit")


class RetentionForm(forms.Form):
    """`own()` after is_valid(). `understood` appears where messages would be deleted: the number is shown first."""

    days = forms.IntegerField(
        label=gettext_lazy("Days in the archive"), required=False, min_value=0, max_value=MAX_DAYS
    )
    size = AmountField(
        SIZE_UNITS,
        label=gettext_lazy("Size of the archive"),
        required=False,
        is_whole=False,
        empty_unit="1048576",
    )

    def __init__(self, data: Any = None, *, own: Retention) -> None:
        super().__init__(data, initial={"days": own.days, "size": own.bytes})
        self.fields["days"].unit = _("days")  # type: ignore[attr-defined]
        help_text = _("Empty: as the server's setting says, now “%(value)s”. 0: %(zero)s.")
        for name, value, zero in (
            ("days", days_text(KEEP_DAYS.value), KEEP_DAYS.zero),
            ("size", size_text(KEEP_BYTES.value), KEEP_BYTES.zero),
        ):
            self.fields[name].help_text = help_text % {"value": value, "zero": zero}

    def clean_size(self) -> int | None:
        size = self.cleaned_data["size"]
        return None if size is None else int(size)

    def own(self) -> Retention:
        return Retention(self.cleaned_data["days"], self.cleaned_data["size"])

    @property
    def consent(self) -> str:
        """What a person agrees to who saves again: these limits and no others."""
        limits: Limits = self.own().effective
        return f"{limits.days}/{limits.bytes}"

    @property
    def has_consent(self) -> bool:
        return self.data.get("understood") == self.consent


class DayField(forms.DateField):
    """A day in the browser's own picker, in the server's time zone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            input_formats=["%Y-%m-%d"],
            widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            **kwargs,
        )

    def clean(self, value: Any) -> date | None:
        day: date | None = super().clean(value)
        last_year = timezone.localdate().year + 1
        if day is not None and not FIRST_YEAR <= day.year <= last_year:
            text = _("Enter a day of the years %(first)s to %(last)s.")
            raise forms.ValidationError(text % {"first": FIRST_YEAR, "last": last_year})
        return day


class ContactField(forms.CharField):
    """A bare JID, prepared; a user name means one of this user's domain."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        )
        super().__init__(
            label=gettext_lazy("Contact"), required=False, max_length=1023, widget=widget, **kwargs
        )
        self.domain = ""

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        if not text:
            return ""
        try:
            return JID.parse(text if "@" in text or "." in text else f"{text}@{self.domain}").bare_str
        except JIDError:
            raise forms.ValidationError(_("This is not an address. Enter user@domain.")) from None


class ExportForm(forms.Form):
    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        widget=forms.RadioSelect,
        choices=[("xml", gettext_lazy("XML for XMPP servers")), ("jsonl", gettext_lazy("JSON Lines"))],
        initial="xml",
    )
    format.choice_help = {  # type: ignore[attr-defined]
        "xml": gettext_lazy("XEP-0227: other servers and many clients can import it."),
        "jsonl": gettext_lazy("One message per line, for scripts and other programs."),
    }
    since = DayField(label=gettext_lazy("From day"), help_text=gettext_lazy("Empty: from the first message."))
    until = DayField(
        label=gettext_lazy("To day"),
        help_text=gettext_lazy("This day is included. Empty: to the last message."),
    )
    contact = ContactField(
        help_text=gettext_lazy("Only messages with this user name or address. Empty: with everybody.")
    )

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data)
        self.fields["contact"].domain = user.domain.name  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        since, until = data.get("since"), data.get("until")
        if since and until and until < since:
            self.add_error("until", _("This is before the first day."))
        return data


class EraseForm(forms.Form):
    """Which messages; part of the address, so that the page that asks and the POST mean the same."""

    what = forms.ChoiceField(
        label=gettext_lazy("Erase"),
        widget=forms.RadioSelect,
        choices=[
            (OLDER, gettext_lazy("Messages before a day")),
            (CONTACT, gettext_lazy("Messages with one contact")),
            (ALL, gettext_lazy("All messages")),
        ],
        initial=OLDER,
    )
    before = DayField(
        label=gettext_lazy("Before day"), help_text=gettext_lazy("Messages of this day and later ones stay.")
    )
    contact = ContactField(help_text=gettext_lazy("A user name on this server, or a whole XMPP address."))

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data)
        self.fields["contact"].domain = user.domain.name  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        what = data.get("what")
        if what == OLDER and not data.get("before") and "before" not in self.errors:
            self.add_error("before", _("Choose a day."))
        if what == CONTACT and not data.get("contact") and "contact" not in self.errors:
            self.add_error("contact", _("Enter an address."))
        return data

    def chosen(self) -> dict[str, Any]:
        """Arguments of archive_retention.erase() and between()."""
        data = self.cleaned_data
        if data["what"] == OLDER:
            return {"before": data["before"]}
        return {"peer": data["contact"]} if data["what"] == CONTACT else {}
