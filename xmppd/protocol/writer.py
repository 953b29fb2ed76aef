"""Trees to XML text: escaped completely, without recursion, namespaces declared where they change."""

from __future__ import annotations

import re

from xmppd.protocol.element import Element
from xmppd.protocol.namespaces import XML

_TEXT_SPECIAL = re.compile(r"[&<>\r]")
_ATTR_SPECIAL = re.compile(r"[&<>\"'\t\n\r]")
_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
# XML 1.0 2.2: what no document may hold, not even escaped. Such text can only come from our own stores and forms.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _entity(match: re.Match[str]) -> str:
    return _ENTITIES[match.group()]


def escape(text: str) -> str:
    """Text content; a carriage return is escaped since a parser would turn it into a newline."""
    return _TEXT_SPECIAL.sub(_entity, text)


def escape_attr(text: str) -> str:
    """An attribute value for either quote; tab and newline survive normalisation (XML 1.0 3.3.3)."""
    return _ATTR_SPECIAL.sub(_entity, text) if _ATTR_SPECIAL.search(text) else text


def clean(text: str) -> str:
    """Replace characters that XML cannot carry by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def write(element: Element, parent_ns: str = "") -> str:
    """The element as XML inside a parent whose default namespace is `parent_ns`."""
    out: list[str] = []
    # What is still to be written, last first: elements with their parent's namespace, or finished text.
    todo: list[tuple[Element, str] | str] = [(element, parent_ns)]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        node, outer = item
        out.append(_start_tag(node, outer))
        if not node.children:
            out.append("/>")
            continue
        out.append(">")
        name, default = (f"xml:{node.name}", outer) if node.ns == XML else (node.name, node.ns)
        todo.append(f"</{name}>")
        for child in reversed(node.children):
            todo.append(escape(clean(child)) if isinstance(child, str) else (child, default))
    return "".join(out)


def _start_tag(node: Element, outer: str) -> str:
    # Namespaces in XML 3: that of XML itself has its prefix and cannot be the default.
    parts = [f"<xml:{node.name}" if node.ns == XML else f"<{node.name}"]
    if node.ns not in (outer, XML):
        parts.append(f" xmlns='{escape_attr(node.ns)}'")
    prefixes = 0
    for key, value in node.attrs.items():
        if key[0] == "{":
            uri, _, key = key[1:].rpartition("}")
            parts.append(f" xmlns:a{prefixes}='{escape_attr(uri)}'")
            key = f"a{prefixes}:{key}"
            prefixes += 1
        parts.append(f" {key}='{escape_attr(clean(value))}'")
    return "".join(parts)
