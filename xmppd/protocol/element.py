"""A light XML element, for the letters that a module opens; envelopes travel as bytes (see stanza.py).

Attribute names are local names; `xml:lang` keeps its prefix. An attribute in another namespace is keyed "{uri}name".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime


class Element:
    """One element: namespace, name, attributes, children (elements and text in document order)."""

    __slots__ = ("attrs", "children", "name", "ns")

    def __init__(
        self,
        ns: str,
        name: str,
        attrs: Mapping[str, str] | None = None,
        children: list[Element | str] | None = None,
    ) -> None:
        self.ns = ns
        self.name = name
        self.attrs: dict[str, str] = dict(attrs) if attrs else {}
        self.children: list[Element | str] = children if children is not None else []

    @property
    def tag(self) -> tuple[str, str]:
        return self.ns, self.name

    @property
    def text(self) -> str:
        """The text directly inside, joined; '' when there is none."""
        return "".join(child for child in self.children if isinstance(child, str))

    def get(self, attribute: str, default: str = "") -> str:
        return self.attrs.get(attribute, default)

    def elements(self) -> Iterator[Element]:
        return (child for child in self.children if isinstance(child, Element))

    def find(self, ns: str, name: str) -> Element | None:
        """The first child element of this namespace and name."""
        return next(self.findall(ns, name), None)

    def findall(self, ns: str, name: str) -> Iterator[Element]:
        return (child for child in self.elements() if child.name == name and child.ns == ns)

    def text_of(self, ns: str, name: str, default: str = "") -> str:
        """The text of the first such child; the default when there is no such child."""
        child = self.find(ns, name)
        return default if child is None else child.text

    def append(self, child: Element | str) -> None:
        self.children.append(child)

    def to_bytes(self, parent_ns: str = "") -> bytes:
        """UTF-8 XML; a namespace is declared where it differs from the parent's."""
        from xmppd.protocol.writer import write

        return write(self, parent_ns).encode()

    def __str__(self) -> str:
        return self.to_bytes().decode()

    def __repr__(self) -> str:
        return f"<Element {self.name} {self.ns!r}>"

    def __eq__(self, other: object) -> bool:
        """Same name, attributes and children; runs of text compare by their sum."""
        if not isinstance(other, Element):
            return NotImplemented
        pairs = [(self, other)]
        while pairs:
            one, two = pairs.pop()
            if one.tag != two.tag or one.attrs != two.attrs:
                return False
            left, right = _joined(one.children), _joined(two.children)
            if len(left) != len(right):
                return False
            for a, b in zip(left, right, strict=True):
                if isinstance(a, Element) and isinstance(b, Element):
                    pairs.append((a, b))
                elif isinstance(a, Element) or isinstance(b, Element) or a != b:
                    return False
        return True

    __hash__ = None  # type: ignore[assignment]


def _joined(children: list[Element | str]) -> list[Element | str]:
    joined: list[Element | str] = []
    for child in children:
        if isinstance(child, str) and joined and isinstance(joined[-1], str):
            joined[-1] += child
        elif child != "":
            joined.append(child)
    return joined


def E(ns: str, name: str, /, *children: Element | str | None, **attrs: object) -> Element:
    """Build an element. None drops a child or an attribute; `from_` writes `from`, `xml_lang` writes `xml:lang`."""
    return Element(
        ns,
        name,
        {_attribute(key): _value(value) for key, value in attrs.items() if value is not None},
        [child for child in children if child is not None],
    )


def _attribute(key: str) -> str:
    return "xml:lang" if key == "xml_lang" else key.rstrip("_")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        raise TypeError("write datetimes with protocol.delay.format_datetime")
    return str(value)
