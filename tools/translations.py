#!/usr/bin/env python3
"""Keep the translations whole: `tools/translations.py` updates them, `--check` fails when a text is missing or
its translation has lost a placeholder.

Works on Django's makemessages and GNU gettext, which only those who change texts need: the compiled .mo files
are part of the tree.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ["zh_Hans"]
# What can hold a text that a person sees.
SOURCES = ["manage.py", "xmppd", "accounts", "adminconsole", "templates"]

# What a translation repeats as it is: placeholders, tags, commands in backticks, options, names_with_underscores.
KEPT = re.compile(
    r"%(?:\(\w+\))?[a-z]|\{\w*\}|</?\w[^>]*>|`[^`]+`|--[a-z][a-z-]+|\b[A-Za-z]+(?:_\w+)+", re.ASCII
)
# In Chinese: full-width punctuation, and a space between Chinese and Latin letters or figures.
HAN = "[\u4e00-\u9fff]"
NOT_CHINESE = re.compile(f"{HAN}[,.;:?!]|[,;:?!]{HAN}|{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN}")
SENTENCE_ENDS = {".": "。", "?": "？", "!": "！", ":": "："}


def po_path(tree: Path, locale: str) -> Path:
    return tree / "adminconsole" / "locale" / locale / "LC_MESSAGES" / "django.po"


# makemessages needs to know where the texts go, and nothing else of the project.
MAKEMESSAGES = """
import sys, django
from django.conf import settings
from django.core.management import call_command
settings.configure(LOCALE_PATHS=["adminconsole/locale"])
django.setup()
call_command("makemessages", locale=sys.argv[1:], no_obsolete=True, add_location="file")
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The standard output of a program; ends this one with the program's message when it fails."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{result.stdout}{result.stderr}")
    return result.stdout


def extract(tree: Path) -> None:
    """Bring the .po files of a tree in line with its sources; texts that are gone are dropped."""
    for locale in LOCALES:
        po_path(tree, locale).parent.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-c", MAKEMESSAGES, *LOCALES, cwd=tree)


def compile_po(po: Path, mo: Path) -> None:
    run("msgfmt", "--check-format", "--check-header", "--no-hash", "-o", mo, po)


def update() -> int:
    extract(ROOT)
    for locale in LOCALES:
        po = po_path(ROOT, locale)
        compile_po(po, po.with_suffix(".mo"))
        subprocess.run(["msgfmt", "--statistics", "-o", os.devnull, po], check=True)
    return 0


def messages(mo: bytes) -> Iterator[tuple[str, str]]:
    """(text, translation) of everything in a compiled catalogue; of a text with a plural, the plural."""
    count, texts_at, translations_at = struct.unpack_from("<3I", mo, 8)

    def last_form(table_at: int, index: int) -> str:
        length, at = struct.unpack_from("<2I", mo, table_at + 8 * index)
        return mo[at : at + length].decode().rpartition("\0")[2].rpartition("\4")[2]

    for index in range(count):
        if text := last_form(texts_at, index):
            yield text, last_form(translations_at, index)


def faults(text: str, translation: str) -> list[str]:
    """What a machine can see of a Chinese translation that is not right."""
    found = []
    if sorted(KEPT.findall(text)) != sorted(KEPT.findall(translation)):
        found.append("other placeholders in the translation")
    if bad := NOT_CHINESE.search(KEPT.sub("\0", translation)):
        found.append(f"punctuation or space at “{bad[0]}” in the translation")
    end = SENTENCE_ENDS.get(text.rstrip()[-1:])
    if end and not translation.rstrip().endswith(end):
        found.append(f"the translation does not end in “{end}”")
    return found


def problems(tree: Path, locale: str) -> list[str]:
    """What is wrong with one language of the tree, judged by a copy whose .po has been extracted anew."""
    committed, extracted = po_path(ROOT, locale), po_path(tree, locale)
    if not committed.exists():
        return [f"{committed.relative_to(ROOT)} is missing"]
    found = []
    for option, what in [("--untranslated", "not translated"), ("--only-fuzzy", "marked fuzzy")]:
        entries = run("msgattrib", option, "--no-obsolete", "--no-wrap", extracted)
        texts = re.findall(r'^msgid ("(?!"\n\n|"\nmsgstr).*(?:\n".*)*)', entries, re.MULTILINE)
        found += [f"{locale}: {what}: {text}" for text in texts]
    compiled = tree / "compiled.mo"
    compile_po(committed, compiled)
    for text, translation in messages(compiled.read_bytes()):
        found += [f'{locale}: {fault}: "{text}"' for fault in faults(text, translation)]
    mo = committed.with_suffix(".mo")
    if not mo.exists() or mo.read_bytes() != compiled.read_bytes():
        found.append(f"{mo.relative_to(ROOT)} is not what django.po compiles to")
    return found


def check() -> int:
    if not all(shutil.which(tool) for tool in ("xgettext", "msgfmt", "msgattrib")):
        print(
            "translations: not checked, GNU gettext is not installed (apt install gettext)", file=sys.stderr
        )
        return 1 if os.environ.get("HEARTH_REQUIRE_TOOLS") == "1" else 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for source in SOURCES:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tree / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tree / source)
        extract(tree)
        found = [problem for locale in LOCALES for problem in problems(tree, locale)]
    for problem in found:
        print(f"translations: {problem}", file=sys.stderr)
    if found:
        print(
            "translations: run tools/translations.py, fill in django.po and run it again.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1:] == ["--check"] else update())
