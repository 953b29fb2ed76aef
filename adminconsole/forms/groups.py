"""Forms about groups."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.fields import MAX_NAME_CHARS
from accounts.models import Group
from accounts.services.groups import MAX_DESCRIPTION_CHARS

DISABLED, MEMBERS, EVERYBODY, CHOSEN = "disabled", "members", "everybody", "chosen"
# One wording in form, list, filter and audit log.
SHARING_LABELS = {
    DISABLED: _("Not shared"),
    MEMBERS: _("Shared among its members"),
    CHOSEN: _("Shared with chosen groups"),
    EVERYBODY: _("Shared with everybody"),
}
MAX_PARTNER_CHOICES = 200
MAX_ADDRESSES_CHARS = 100_000


class GroupForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=MAX_NAME_CHARS, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    description = forms.CharField(
        label=_("Description"),
        required=False,
        max_length=MAX_DESCRIPTION_CHARS,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What the group is for. Administrators see it."),
    )


class SharingForm(forms.Form):
    """Openfire's four ways as one choice. In the model, the second and the fourth are `groups`."""

    mode = forms.ChoiceField(
        label=_("In contact lists"),
        widget=forms.RadioSelect,
        choices=list(SHARING_LABELS.items()),
    )
    mode.choice_help = {  # type: ignore[attr-defined]
        DISABLED: _("The group is for administrators only."),
        MEMBERS: _("Members find each other in their contact lists."),
        CHOSEN: _("Its members and those of the chosen groups find them."),
        EVERYBODY: _("Every user of the domain finds its members."),
    }
    display_name = forms.CharField(
        label=_("Name in contact lists"),
        required=False,
        max_length=MAX_NAME_CHARS,
        help_text=_("The heading that people see above these contacts."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    groups = forms.ModelMultipleChoiceField(
        label=_("Shared with the members of"),
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, group: Group, **kwargs: Any) -> None:
        chosen = list(group.shared_with.values_list("pk", flat=True))
        initial = {"mode": mode_of(group, chosen), "display_name": group.display_name or group.name}
        kwargs["initial"] = {**initial, "groups": chosen}
        super().__init__(*args, **kwargs)
        others = Group.objects.filter(domain=group.domain).exclude(pk=group.pk).order_by("name")
        ids = list(others.values_list("pk", flat=True)[:MAX_PARTNER_CHOICES])
        self.fields["groups"].queryset = others.filter(pk__in={*ids, *chosen})  # type: ignore[attr-defined]
        if len(ids) == MAX_PARTNER_CHOICES:
            self.fields["groups"].help_text = _("The first %(n)d groups by name.") % {
                "n": MAX_PARTNER_CHOICES
            }

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("mode") not in (None, DISABLED) and not data.get("display_name", "").strip():
            self.add_error("display_name", _("A shared group needs a name to stand under in contact lists."))
        if data.get("mode") == CHOSEN and "groups" in data and not data["groups"]:
            self.add_error("groups", _("Choose at least one group."))
        return data

    def wanted(self) -> tuple[str, list[Group]]:
        """(sharing, shared_with) as services.update_group takes them."""
        mode = self.cleaned_data["mode"]
        if mode == DISABLED:
            return Group.Sharing.NOBODY, []
        if mode == EVERYBODY:
            return Group.Sharing.EVERYBODY, []
        return Group.Sharing.GROUPS, list(self.cleaned_data["groups"]) if mode == CHOSEN else []


def mode_of(group: Group, shared_with: list[int]) -> str:
    if group.sharing == Group.Sharing.NOBODY:
        return DISABLED
    if group.sharing == Group.Sharing.EVERYBODY:
        return EVERYBODY
    return CHOSEN if shared_with else MEMBERS


def sharing_filter(mode: str) -> Q:
    """The groups that are shared in this way."""
    if mode == DISABLED:
        return Q(sharing=Group.Sharing.NOBODY)
    if mode == EVERYBODY:
        return Q(sharing=Group.Sharing.EVERYBODY)
    partners = Group.shared_with.through.objects.values("from_group_id")
    chosen = Q(pk__in=partners) if mode == CHOSEN else ~Q(pk__in=partners)
    return Q(sharing=Group.Sharing.GROUPS) & chosen


class AddMembersForm(forms.Form):
    """People ticked in a list, addresses typed, or both."""

    addresses = forms.CharField(
        label=_("Addresses"),
        required=False,
        max_length=MAX_ADDRESSES_CHARS,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "off"}),
        help_text=_(
            "User names on this server or whole XMPP addresses, separated by spaces, commas or line breaks. This "
            "server does not talk to other servers yet: their addresses are kept, but not reached."
        ),
    )
    is_admin = forms.BooleanField(
        label=_("As admins of the group"),
        required=False,
        help_text=_("Admins are members too. The mark tells who is in charge of the group."),
    )

    def words(self) -> list[str]:
        text = self.cleaned_data["addresses"].replace(",", " ").replace(";", " ")
        return list(dict.fromkeys(text.split()))
