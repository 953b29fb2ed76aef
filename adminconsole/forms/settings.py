"""The form of one setting: a control that suits its type, limits and units said, checked by the registry itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from adminconsole import exclusion
from adminconsole.cautions import BY_SETTING, Caution, caution_about
from xmppd.services.properties import Setting

TIME_UNITS = (
    ("0.001", gettext_lazy("milliseconds")),
    ("1", gettext_lazy("seconds")),
    ("60", gettext_lazy("minutes")),
    ("3600", gettext_lazy("hours")),
    ("86400", gettext_lazy("days")),
)
SIZE_UNITS = (
    ("1", gettext_lazy("bytes")),
    ("1024", gettext_lazy("KiB")),
    ("1048576", gettext_lazy("MiB")),
    ("1073741824", gettext_lazy("GiB")),
)
MAX_TEXT_CHARS = 10_000


class AmountWidget(forms.MultiWidget):
    """A number and its unit, side by side under one label."""

    use_fieldset = False

    def __init__(self, units: Sequence[tuple[str, Any]], is_whole: bool, empty_unit: str = "1") -> None:
        self.units = [unit for unit, _label in units]
        number = forms.NumberInput(attrs={"step": "1" if is_whole else "any", "min": "0"})
        self.empty_unit = empty_unit
        super().__init__([number, forms.Select(attrs={"aria-label": gettext_lazy("Unit")}, choices=units)])

    def id_for_label(self, id_: str) -> str:
        return f"{id_}_0" if id_ else ""

    def decompress(self, value: float | None) -> list[Any]:
        """Base units (seconds, bytes) in the largest unit that leaves a whole number."""
        if value is None:
            return [None, self.empty_unit]
        if not value:
            return [0, self.empty_unit]
        for unit in reversed(self.units):
            if (value / float(unit)) == int(value / float(unit)):
                return [int(value / float(unit)), unit]
        return [f"{value:g}", "1"]


class AmountField(forms.MultiValueField):
    """Seconds or bytes as a number, from a number and a unit."""

    def __init__(
        self, units: Sequence[tuple[str, Any]], *, is_whole: bool, empty_unit: str = "1", **kwargs: Any
    ) -> None:
        number = forms.FloatField(min_value=0, required=kwargs.get("required", True))
        super().__init__(
            (number, forms.ChoiceField(choices=units)),
            widget=AmountWidget(units, is_whole, empty_unit),
            require_all_fields=False,
            error_messages={"incomplete": gettext_lazy("Enter a number.")},
            **kwargs,
        )

    def compress(self, values: list[Any]) -> float | None:
        if not values or values[0] is None:
            return None
        return float(values[0]) * float(values[1])


class SettingForm(forms.Form):
    """Field `value`; after is_valid() `cleaned_data["value"]` is what the registry takes.

    `understood` appears where a dangerous value is chosen anew: the caution is shown first. It names the value, so
    that who changes it once more is asked once more.
    """

    understood = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, setting: Setting[Any], data: Any = None, *, request: HttpRequest) -> None:
        self.setting = setting
        self.request = request
        super().__init__(data)
        self.fields["value"] = _field(setting)
        self.fields["value"].help_text = _limits(setting)
        self.initial["value"] = _initial(setting)
        self.caution: Caution | None = None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "value" in self.errors:
            return data
        try:
            data["value"] = self._convert(data.get("value"))
        except ValidationError as error:
            self.add_error("value", error)
            return data
        caution = caution_about(self.setting, data["value"])
        if caution is not None and caution_about(self.setting, self.setting.value) is None:
            self.caution = caution
        elif data["value"] != self.setting.value:
            self.caution = exclusion.exclusion(self.request, self.setting, data["value"])
        if self.caution is None and (text := self.setting.warning(data["value"])):
            self.caution = Caution(self.setting.name, bool, _("This cannot be taken back"), text)
        return data

    @property
    def consent(self) -> str:
        """What a person agrees to who saves again: this value and no other."""
        return json.dumps(self.setting.to_json(self.cleaned_data["value"]))

    @property
    def needs_consent(self) -> bool:
        """Whether the value is dangerous and nobody has said that it is meant."""
        return self.caution is not None and self.cleaned_data.get("understood") != self.consent

    def _convert(self, value: Any) -> Any:
        """What the control gave -> the registry's type, checked against its limits."""
        kind = self.setting.kind
        if kind == "timedelta" and value is not None:
            try:
                value = timedelta(seconds=value)
            except OverflowError:
                raise ValidationError(_("This is too long.")) from None
        elif kind == "size" and value is not None:
            if value != int(value):
                raise ValidationError(_("Bytes cannot be divided."))
            value = int(value)
        elif kind == "list" and isinstance(value, str):
            value = self.setting.parse(value)
        if value is None:
            raise ValidationError(_("Enter a value."))
        value = self.setting.clean(value)
        exclusion.check(self.setting, value)
        return value


def _field(setting: Setting[Any]) -> forms.Field:
    kind, label = setting.kind, _("Value")
    field: forms.Field
    if setting.secret:
        field = forms.CharField(
            required=False,
            max_length=MAX_TEXT_CHARS,
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )
        label = _("New value")
    elif kind == "bool":
        field = forms.BooleanField(required=False, widget=forms.CheckboxInput(attrs={"role": "switch"}))
        label = _("On")
    elif setting.choices is not None and kind == "list":
        field = forms.MultipleChoiceField(
            required=False, choices=setting.choices, widget=forms.CheckboxSelectMultiple
        )
    elif setting.choices is not None:
        field = forms.TypedChoiceField(
            choices=[(value, _capital(text)) for value, text in setting.choices],
            coerce=int if kind == "int" else str,
            widget=forms.RadioSelect if len(setting.choices) <= 6 else forms.Select,
        )
        caution = BY_SETTING.get(setting.name)
        field.choice_help = {  # type: ignore[attr-defined]
            value: caution.text if caution and caution.when(value) else "" for value, _text in setting.choices
        }
    elif kind == "timedelta":
        units = TIME_UNITS if _has_fractions(setting) else TIME_UNITS[1:]
        field = AmountField(units, is_whole=False)
    elif kind == "size":
        field = AmountField(SIZE_UNITS, is_whole=False, empty_unit="1048576")
    elif kind == "int":
        field = forms.IntegerField()
        _bound(field.widget, setting)
    elif kind == "float":
        field = forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}))
        _bound(field.widget, setting)
    elif kind == "list":
        field = forms.CharField(
            required=False, max_length=MAX_TEXT_CHARS, widget=forms.Textarea(attrs={"rows": 6})
        )
        label = _("Values, one per line")
    else:
        field = forms.CharField(required=False, max_length=MAX_TEXT_CHARS)
    field.label = label
    return field


def _bound(widget: forms.Widget, setting: Setting[Any]) -> None:
    minimum = 0 if setting.zero and setting.minimum is not None else setting.minimum
    for name, limit in (("min", minimum), ("max", setting.maximum)):
        if limit is not None:
            widget.attrs[name] = str(limit)


def _has_fractions(setting: Setting[Any]) -> bool:
    return any(
        value.total_seconds() % 1
        for value in (setting.value, setting.default, setting.minimum or timedelta(0))
    )


def _initial(setting: Setting[Any]) -> Any:
    value = setting.value
    if setting.secret:
        return ""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if setting.kind == "list" and setting.choices is None:
        return "\n".join(value)
    return value


def _limits(setting: Setting[Any]) -> str:
    """Between what the value must lie, in words."""
    if setting.secret:
        return _("It is stored and never shown again. Leave it empty to keep the present value.")
    if setting.kind == "bool" or setting.choices is not None:
        return ""
    low, high = (
        None if limit is None else setting.format_limit(limit) for limit in (setting.minimum, setting.maximum)
    )
    text = _between(setting.kind, low, high)
    if setting.zero:
        text = " ".join(filter(None, (text, _("0 means: %(word)s.") % {"word": setting.zero})))
    return text


def _between(kind: str, low: str | None, high: str | None) -> str:
    names = {"low": low, "high": high}
    if kind == "list":
        return _("At most %(high)s entries.") % names if high else ""
    if low and high:
        return _("From %(low)s to %(high)s.") % names
    if low:
        return _("At least %(low)s.") % names
    return _("At most %(high)s.") % names if high else ""


def _capital(text: Any) -> str:
    text = str(text)
    return text[:1].upper() + text[1:]
