"""Settings: the typed registry as pages, built from nothing but the registry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.text import slugify
from django.utils.translation import gettext as _

from adminconsole import cautions
from adminconsole.access import actor_of, page
from adminconsole.exclusion import exclusion
from adminconsole.forms.audit import Entry
from adminconsole.forms.settings import SettingForm
from adminconsole.pages import confirm
from xmppd.services import audit, properties
from xmppd.services.properties import Setting

RECENT_CHANGES = 5


@dataclass(frozen=True)
class Row:
    """A setting with what the list shows of it."""

    setting: Setting[Any]

    @property
    def is_on(self) -> bool | None:
        """For switches: on or off; None for other types."""
        return bool(self.setting.value) if self.setting.kind == "bool" else None

    @property
    def shown(self) -> str:
        return display(self.setting, self.setting.value)

    @property
    def default(self) -> str:
        return display(self.setting, self.setting.default)

    @property
    def caution(self) -> cautions.Caution | None:
        return cautions.caution_about(self.setting, self.setting.value)

    @property
    def searched(self) -> str:
        setting = self.setting
        return f"{setting.label}\n{setting.name}\n{setting.help}\n{setting.section_title}\n{self.shown}".casefold()


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    anchor: str
    rows: list[Row]


def display(setting: Setting[Any], value: Any) -> str:
    """A value as a person reads it: the label of a choice, units, never a secret."""
    return setting.display(value) if setting.secret else setting.words(value)


@cache
def _discover() -> None:
    """Where the stream service does not run in this process, its modules have not been imported yet."""
    properties.discover()


@page(permission="settings.view")
def setting_list(request: HttpRequest) -> HttpResponse:
    _discover()
    rows = [Row(setting) for setting in properties.all_settings()]
    q = request.GET.get("q", "").strip()
    section = request.GET.get("section", "")
    show = request.GET.get("show", "")
    found = [row for row in rows if _matches(row, q, section, show)]
    sections: dict[str, list[Row]] = {}
    for row in found:
        sections.setdefault(row.setting.section_title, []).append(row)
    titles = sorted({row.setting.section_title for row in rows})
    context = {
        "sections": [Section(title, _anchor(title), sections[title]) for title in sorted(sections)],
        "found": len(found),
        "q": q,
        "is_filtered": bool(q or section or show),
        "filters": [
            {
                "name": "section",
                "label": _("Section"),
                "value": section,
                "choices": [("", _("All sections")), *((_anchor(title), title) for title in titles)],
            },
            {
                "name": "show",
                "label": _("Show"),
                "value": show,
                "choices": [("", _("All settings")), ("changed", _("Only changed ones"))],
            },
        ],
        "cautions": cautions.holding(),
        "may_change": _may_change(request),
    }
    return render(request, "adminconsole/settings/list.html", context)


def search_settings(query: str) -> list[Row]:
    """The settings whose label, name, help, section or value holds every word."""
    _discover()
    return [row for row in map(Row, properties.all_settings()) if _matches(row, query, "", "")]


def _matches(row: Row, q: str, section: str, show: str) -> bool:
    if any(word not in row.searched for word in q.casefold().split()):
        return False
    if section and _anchor(row.setting.section_title) != section:
        return False
    return show != "changed" or row.setting.is_changed


@page(permission="settings.view", write="settings.change")
def setting_edit(request: HttpRequest, name: str) -> HttpResponse:
    setting = _find(name)
    form = SettingForm(setting, request.POST if request.method == "POST" else None, request=request)
    if request.method == "POST" and form.is_valid() and not form.needs_consent:
        value = form.cleaned_data["value"]
        if setting.secret and value == "":
            messages.info(request, _("Nothing was entered, so the value is as before."))
            return redirect("settings")
        try:
            properties.set_value(name, value, actor=actor_of(request))
        except ValidationError as error:
            form.add_error("value", error)
        else:
            _tell(request, setting, value)
            return redirect("settings")
    context = {
        "row": Row(setting),
        "form": form,
        "bound": form["value"],
        "needs_consent": form.is_bound and not form.errors and form.needs_consent,
        "may_change": _may_change(request),
        "changes": _changes(request, name),
    }
    return render(request, "adminconsole/settings/edit.html", context, status=422 if form.errors else 200)


@page(permission="settings.change")
def setting_reset(request: HttpRequest, name: str) -> HttpResponse:
    setting = _find(name)
    if request.method == "POST":
        properties.reset(name, actor=actor_of(request))
        _tell(request, setting, setting.default)
        return redirect("settings")
    row = Row(setting)
    shut_out = exclusion(request, setting, setting.default)
    return confirm(
        request,
        {
            "title": _("Reset “%(name)s”?") % {"name": setting.label},
            "text": setting.help,
            "consequences": [
                _("Now: %(value)s") % {"value": row.shown or _("empty")},
                _("Default: %(value)s") % {"value": row.default or _("empty")},
                *([f"{shut_out.title}. {shut_out.text}"] if shut_out else []),
                *filter(None, [setting.warning(setting.default)]),
                *([_("The change holds after a restart of the server.")] if setting.restart else []),
            ],
            "icon_name": "undo",
            "submit_label": _("Reset to default"),
            "cancel_url": "../",
        },
    )


def _find(name: str) -> Setting[Any]:
    _discover()
    try:
        return properties.find(name)
    except KeyError:
        raise Http404 from None


def _tell(request: HttpRequest, setting: Setting[Any], value: Any) -> None:
    shown = display(setting, value) or _("empty")
    messages.success(request, _("%(name)s is now: %(value)s") % {"name": setting.label, "value": shown})
    if setting.restart:
        messages.warning(request, _("This setting takes effect after a restart of the server."))


def _changes(request: HttpRequest, name: str) -> list[Entry]:
    if not request.user.can("audit.view"):  # type: ignore[union-attr]
        return []
    return [Entry(row) for row in audit.search(action="setting-changed", target=name)[:RECENT_CHANGES]]


def _may_change(request: HttpRequest) -> bool:
    return bool(request.user.can("settings.change"))  # type: ignore[union-attr]


def _anchor(title: str) -> str:
    return slugify(title, allow_unicode=True)


urlpatterns = [
    path("settings/", setting_list, name="settings"),
    path("settings/<str:name>/", setting_edit, name="setting"),
    path("settings/<str:name>/reset/", setting_reset, name="setting-reset"),
]
