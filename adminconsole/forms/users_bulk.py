"""Forms about many users: the file of an import, what a bulk action asks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Group
from accounts.services.search import primary_id
from adminconsole.forms.users import UNTIL, LockForm

MAX_GROUP_CHOICES = 1000


class ImportForm(forms.Form):
    file = forms.FileField(
        label=_("CSV file"),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
        error_messages={
            "required": _("Choose a file."),
            "empty": _("The file is empty."),
            "missing": _("Choose a file."),
        },
    )


class BulkLockForm(LockForm):
    """A lock that begins now."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["start"], self.fields["locked_from"], self.fields["locked_until"]
        duration = self.fields["duration"]
        duration.choices = [pair for pair in duration.choices if pair[0] != UNTIL]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        data["start"] = "now"
        return data


class BulkGroupForm(forms.Form):
    group = forms.ModelChoiceField(
        label=_("Group"),
        queryset=Group.objects.none(),
        empty_label=None,
        error_messages={"required": _("Choose a group."), "invalid_choice": _("Choose a group.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = Group.objects.filter(domain_id=primary_id()).order_by("name")
        ids = list(groups.values_list("pk", flat=True)[:MAX_GROUP_CHOICES])
        self.fields["group"].queryset = groups.filter(pk__in=ids)  # type: ignore[attr-defined]
