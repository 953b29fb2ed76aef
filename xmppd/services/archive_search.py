"""Searching the archive for words (XEP-0431), with the same result on every database.

What counts is the text of bodies and subjects, without regard to case. A database can tell neither text from markup
nor, beyond ASCII, capitals from small letters: it leaves out what cannot match, and the rest is read here.
"""

from __future__ import annotations

import re

from django.db.models import Q

from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.parser import parse_element
from xmppd.protocol.stanza import CLIENT_CONTEXT

_PLAIN = re.compile(r"[^&<>'\"\r\n]+")  # what stands in a stanza as it stands in its text
_REFERENCE = "&#"
# Letters beyond ASCII whose small form has one of ASCII: "K" for Kelvin, and "I" with a dot.
_FOREIGN = {"k": "\u212a", "i": "\u0130"}


def fold(text: str) -> str:
    """Small letters, each of its own whatever stands around it: a sigma is one at the end of a word too."""
    return text.lower().replace("ς", "σ")


def candidates(wanted: str) -> Q:
    """A condition that all rows fulfil which `matches` will find, and as few others as the database can tell."""
    part = _surest_part(fold(wanted))
    if not part:
        return Q()
    found = Q(stanza__icontains=part) | Q(stanza__contains=_REFERENCE)
    for letter, foreign in _FOREIGN.items():
        if letter in part:
            found |= Q(stanza__contains=foreign)
    return found


def _surest_part(folded: str) -> str:
    """The longest run of letters that every database compares alike: ASCII, and scripts that have no capitals."""
    runs = "".join(letter if _is_sure(letter) else " " for letter in folded).split()
    return max(runs, key=len, default="")


def _is_sure(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum()
    return letter.isalnum() and letter.upper() == letter.lower() == letter


def matches(stanza: str, wanted: str) -> bool:
    """Whether a body or the subject of the stanza holds what is wanted."""
    folded = fold(wanted)
    if _REFERENCE not in stanza:
        part = max(_PLAIN.findall(folded), key=len, default="")
        if part and not _is_in_text(part, fold(stanza)):
            return False  # most end here: parsing takes ten times as long
    message = parse_element(stanza.encode(), CLIENT_CONTEXT)
    return any(
        folded in fold(child.text)
        for child in message.elements()
        if child.ns == CLIENT and child.name in ("body", "subject")
    )


def _is_in_text(part: str, stanza: str) -> bool:
    """Whether it stands anywhere between tags. Text has no "<" of its own; what stands behind a ">" in an attribute
    is taken for text, until it is parsed.
    """
    at = stanza.find(part)
    while at >= 0:
        if stanza.rfind("<", 0, at) < stanza.rfind(">", 0, at):
            return True
        at = stanza.find(part, at + 1)
    return False
