"""Form of a report's page: what becomes of it, and why."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from xmppd.services import reports
from xmppd.services.reports import State


class DecisionForm(forms.Form):
    """`state` comes with the button that was pressed."""

    state = forms.ChoiceField(choices=State.choices, widget=forms.HiddenInput)
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=reports.MAX_NOTE_CHARS,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_(
            "For other administrators; neither of the two people sees it. It also goes into the audit log."
        ),
    )
