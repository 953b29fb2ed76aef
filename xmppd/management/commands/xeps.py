"""manage.py xeps [--check]: what is implemented; writes docs/xeps.md and docs/hearth.doap."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from xmppd.server.loader import module_classes
from xmppd.server.module import Module, Xep
from xmppd.server.specifications import RFCS, implemented

# The documents are for readers of the source and for registries: English, whatever the language of the shell.
MARKDOWN = "docs/xeps.md"
DOAP = "docs/hearth.doap"
SUMMARY = "An XMPP server that is set up and run from a browser"

HEAD = """\
# What Hearth implements

Written by `manage.py xeps` from what the modules declare; `manage.py xeps --check` tells whether it is up
to date. The same for programs: [hearth.doap](hearth.doap).
"""

DOAP_HEAD = f"""\
<?xml version='1.0' encoding='UTF-8'?>
<!-- Written by manage.py xeps. -->
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
         xmlns='http://usefulinc.com/ns/doap#'
         xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>
  <Project>
    <name>Hearth</name>
    <shortdesc xml:lang='en'>{SUMMARY}</shortdesc>
    <license rdf:resource='https://spdx.org/licenses/Apache-2.0'/>
    <programming-language>Python</programming-language>
    <os>Linux</os>
    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>
"""
DOAP_TAIL = """\
  </Project>
</rdf:RDF>
"""


class Command(BaseCommand):
    help = "List the specifications that are implemented and write docs/xeps.md and docs/hearth.doap."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; fail when a document is not up to date"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        classes = own_classes()
        texts = {MARKDOWN: markdown(classes), DOAP: doap(classes)}
        stale = [name for name, text in texts.items() if read(name) != text]
        if options["check"]:
            if stale:
                raise CommandError(f"not up to date: {', '.join(stale)}; run manage.py xeps")
            return
        for name in stale:
            path_of(name).parent.mkdir(exist_ok=True)
            path_of(name).write_text(texts[name], encoding="utf-8")
        for xep in implemented(classes):
            self.stdout.write(" ".join([f"{xep.label}  {xep.version:8} {xep.name}", remark(xep)]).rstrip())
        for name in stale:
            self.stdout.write(f"{name} was written")


def own_classes() -> list[type[Module]]:
    """Without those of other packages that happen to be installed here."""
    return [cls for cls in module_classes() if cls.__module__.startswith("xmppd.")]


def markdown(classes: list[type[Module]]) -> str:
    files = {xep.number: _file(cls) for cls in classes for xep in (cls.xep, *cls.also) if xep is not None}
    lines = [HEAD, "## RFCs", "", "| RFC | title | what of it |", "|---|---|---|"]
    lines += [
        f"| [{number}](https://www.rfc-editor.org/rfc/rfc{number}) | {title} | {part} |"
        for number, title, part in RFCS
    ]
    lines += ["", "Parts of RFCs that are modules:", ""]
    lines += [f"- {cls.rfc}: {_file(cls)}" for cls in sorted(classes, key=lambda cls: cls.rfc) if cls.rfc]
    lines += ["", "## XEPs", "", "| XEP | title | version | where | remarks |", "|---|---|---|---|---|"]
    lines += [
        f"| [{xep.label[4:]}]({url(xep)}) | {xep.name} | {xep.version} "
        f"| {files.get(xep.number, 'throughout')} | {remark(xep)} |"
        for xep in implemented(classes)
    ]
    return "\n".join(lines) + "\n"


def doap(classes: list[type[Module]]) -> str:
    rfcs = [
        f"    <implements rdf:resource='https://www.rfc-editor.org/info/rfc{number}'/>\n"
        for number, _title, _part in RFCS
    ]
    return "".join([DOAP_HEAD, *rfcs, *map(_doap_entry, implemented(classes)), DOAP_TAIL])


def _doap_entry(xep: Xep) -> str:
    note = f"        <xmpp:note xml:lang='en'>{escape(xep.note)}</xmpp:note>\n" if xep.note else ""
    return (
        "    <implements>\n"
        "      <xmpp:SupportedXep>\n"
        f"        <xmpp:xep rdf:resource='{url(xep)}'/>\n"
        f"        <xmpp:version>{xep.version}</xmpp:version>\n"
        f"        <xmpp:status>{'partial' if xep.is_partial else 'complete'}</xmpp:status>\n"
        f"{note}"
        "      </xmpp:SupportedXep>\n"
        "    </implements>\n"
    )


def url(xep: Xep) -> str:
    return f"https://xmpp.org/extensions/{xep.label.lower()}.html"


def remark(xep: Xep) -> str:
    return ": ".join(part for part in ("partial" if xep.is_partial else "", xep.note) if part)


def _file(cls: type[Module]) -> str:
    return f"`{cls.__module__.replace('.', '/')}.py`"


def path_of(name: str) -> Path:
    return Path(settings.BASE_DIR) / name


def read(name: str) -> str:
    """The document as it is; '' when there is none."""
    try:
        return path_of(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
