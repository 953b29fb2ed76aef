"""manage.py settings list|get|set|reset: the settings registry on the command line."""

from __future__ import annotations

import json
import sys
from typing import Any
from unicodedata import east_asian_width

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from xmppd.management.cli import HearthCommand, cli_actor
from xmppd.services import properties
from xmppd.services.properties import Setting


class Command(HearthCommand):
    help = gettext_noop("Show and change settings. A change holds at once in a running server.")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|get|set|reset")
        show = actions.add_parser("list", help=_("all settings with their values"))
        show.add_argument("prefix", nargs="?", default="", help=_("only names that begin so"))
        show.add_argument("--changed", action="store_true", help=_("only those that differ from the default"))
        show.add_argument("--json", action="store_true")
        get = actions.add_parser("get", help=_("one setting"))
        get.add_argument("key", metavar="KEY")
        get.add_argument("--json", action="store_true")
        change = actions.add_parser("set", help=_("give a setting a value"))
        change.add_argument("key", metavar="KEY")
        change.add_argument("value", metavar="VALUE")
        reset = actions.add_parser("reset", help=_("let the default hold again"))
        reset.add_argument("key", metavar="KEY")
        for each in (change, reset):
            each.add_argument("--yes", action="store_true", help=_("do not ask"))

    def handle(self, *args: Any, **options: Any) -> None:
        properties.discover()
        getattr(self, f"_{options['action']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        settings = [
            setting
            for setting in properties.all_settings()
            if setting.name.startswith(options["prefix"]) and (setting.is_changed or not options["changed"])
        ]
        if options["json"]:
            self.stdout.write(json.dumps([_facts(each) for each in settings], ensure_ascii=False, indent=2))
            return
        width = max((len(each.name) for each in settings), default=0)
        label_width = max((_columns(each.label) for each in settings), default=0)
        for setting in settings:
            mark = "*" if setting.is_changed else " "
            label = setting.label + " " * (label_width - _columns(setting.label))
            self.stdout.write(f"{mark} {setting.name:{width}}  {label}  {setting.display()}")

    def _get(self, options: dict[str, Any]) -> None:
        setting = _find(options["key"])
        if options["json"]:
            self.stdout.write(json.dumps(_facts(setting), ensure_ascii=False, indent=2))
        else:
            self.stdout.write(setting.display())

    def _set(self, options: dict[str, Any]) -> None:
        setting = _find(options["key"])
        value = setting.parse(options["value"])
        self._agree(setting, value, options)
        properties.set_value(setting.name, value, actor=cli_actor())
        self._tell(setting)

    def _reset(self, options: dict[str, Any]) -> None:
        setting = _find(options["key"])
        self._agree(setting, setting.default, options)
        properties.reset(setting.name, actor=cli_actor())
        self._tell(setting)

    def _agree(self, setting: Setting[Any], value: Any, options: dict[str, Any]) -> None:
        """Say what the change brings that a person has to know; CommandError unless it is meant."""
        text = setting.warning(value)
        if not text:
            return
        self.warn(text)
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(_("Nothing was changed. Add --yes if this is meant."))
        word = _("yes")
        if input(_("Type “%(word)s” to go on: ") % {"word": word}).strip().casefold() != word.casefold():
            raise CommandError(_("Nothing was changed."))

    def _tell(self, setting: Setting[Any]) -> None:
        self.stdout.write(f"{setting.name} = {setting.display()}")
        if setting.restart:
            self.warn(_("This setting holds after the next start of the server."))


def _columns(text: str) -> int:
    """How many columns of a terminal it takes: Chinese characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _find(name: str) -> Setting[Any]:
    try:
        return properties.find(name)
    except KeyError as error:
        close = [each.name for each in properties.all_settings() if name.split(".")[-1] in each.name][:5]
        hint = _(" Did you mean: %(names)s?") % {"names": ", ".join(close)} if close else ""
        raise CommandError(_("There is no setting “%(name)s”.") % {"name": name} + hint) from error


def _facts(setting: Setting[Any]) -> dict[str, Any]:
    shown = {"value": setting.to_json(setting.value), "default": setting.to_json(setting.default)}
    if setting.secret:
        shown = {"is_set": bool(setting.value)}
    return {
        "name": setting.name,
        "label": setting.label,
        "section": setting.section_title,
        "type": setting.kind,
        **shown,
        "text": setting.display(),
        "changed": setting.is_changed,
        "restart": setting.restart,
        "help": str(setting.help),
    }
