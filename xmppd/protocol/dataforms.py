"""XEP-0004: Data Forms, with FORM_TYPE (XEP-0068) and ranges of numbers and lists (XEP-0122).

A `Form` is written once as the schema; `filled` gives it the present values, `to_element` writes it and
`parse` reads what came back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import DATA_FORMS, DATA_VALIDATE

FORM_TYPE = "FORM_TYPE"
INTEGER = "xs:integer"

MULTIPLE = frozenset({"jid-multi", "list-multi", "text-multi"})
TYPES = MULTIPLE | {"boolean", "fixed", "hidden", "jid-single", "list-single", "text-private", "text-single"}
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}  # 3.3, the lexical forms of xs:boolean

Text = Any  # a str, or a lazily translated one, which is written in the language of that moment
Scalar = str | int | JID  # bool is an int
Value = Scalar | Sequence[Scalar] | None
Parsed = str | bool | int | JID | list[str] | list[JID]


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: Text = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One question, or its answer.

    `minimum` and `maximum` bound the number when `datatype` is xs:integer, and how many values may be chosen
    or given for a field of several. `is_open`: values beside the options are welcome.
    """

    var: str
    type: str = "text-single"
    label: Text = ""
    value: Value = None
    options: Sequence[Option] = ()
    is_required: bool = False
    description: Text = ""
    datatype: str = ""
    minimum: int | None = None
    maximum: int | None = None
    is_open: bool = False

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"{self.type!r} is no field type")

    def to_element(self, form_type: str = "form") -> Element:
        """<field/> as it stands in a form to fill in, in a result, or (without ornament) in a submission."""
        values = [E(DATA_FORMS, "value", text) for text in self._texts()]
        if form_type == "submit":
            return E(DATA_FORMS, "field", *values, var=self.var)
        if form_type == "form":
            values += [
                E(DATA_FORMS, "option", E(DATA_FORMS, "value", option.value), label=str(option.label) or None)
                for option in self.options
            ]
        return E(
            DATA_FORMS,
            "field",
            self._validation() if form_type == "form" else None,
            E(DATA_FORMS, "desc", str(self.description)) if self.description else None,
            E(DATA_FORMS, "required") if self.is_required and form_type == "form" else None,
            *values,
            var=self.var or None,  # fixed fields have none
            type=self.type,
            label=str(self.label) or None,
        )

    def _texts(self) -> list[str]:
        if self.value is None:
            return []
        if isinstance(self.value, str) and self.type == "text-multi":
            return self.value.splitlines()  # one <value/> for each line, 3.3
        if isinstance(self.value, str | int | JID):
            return [_text(self.value)]
        return [_text(item) for item in self.value]

    def _validation(self) -> Element | None:
        """XEP-0122 3: <validate/> with the method that the bounds call for."""
        bounds = {"min": self.minimum, "max": self.maximum}
        has_bounds = self.minimum is not None or self.maximum is not None
        children = []
        if self.is_open:
            children.append(E(DATA_VALIDATE, "open"))
        elif has_bounds and self.type not in MULTIPLE:
            children.append(E(DATA_VALIDATE, "range", **bounds))
        if has_bounds and self.type in MULTIPLE:
            children.append(E(DATA_VALIDATE, "list-range", **bounds))
        if not children and not self.datatype:
            return None
        return E(
            DATA_VALIDATE,
            "validate",
            *(children or [E(DATA_VALIDATE, "basic")]),
            datatype=self.datatype or "xs:string",
        )

    def parse(self, texts: list[str]) -> Parsed | None:
        """Return the value typed, None when none was given. Raises StanzaError."""
        if self.type not in ("fixed", "hidden", "text-multi", "text-private", "text-single") or self.datatype:
            texts = [text for text in texts if text or self._offers("")]  # an emptied input sends <value/>
        if self.is_required and not any(texts):
            raise StanzaError("not-acceptable", f"{self.var} is required")
        if self.type in MULTIPLE:
            return self._parse_several(texts)
        if not texts:
            return None
        if len(texts) > 1:
            raise StanzaError("bad-request", f"{self.var} takes one value")
        return self._parse_one(texts[0])

    def _parse_several(self, texts: list[str]) -> list[str] | list[JID]:
        values: list[str] | list[JID] = texts
        if self.type == "jid-multi":
            values = list(dict.fromkeys(map(self._parse_jid, texts)))  # 3.3: each value is unique
        elif self.type == "list-multi":
            values = [self._parse_choice(text) for text in dict.fromkeys(texts)]
        if self.minimum is not None and len(values) < self.minimum:
            raise StanzaError("not-acceptable", f"{self.var} takes at least {self.minimum} values")
        if self.maximum is not None and len(values) > self.maximum:
            raise StanzaError("not-acceptable", f"{self.var} takes at most {self.maximum} values")
        return values

    def _parse_one(self, text: str) -> Parsed:
        if self.type == "boolean":
            if text not in _BOOLEANS:
                raise StanzaError("bad-request", f"{self.var} is true or false")
            return _BOOLEANS[text]
        if self.type == "jid-single":
            return self._parse_jid(text)
        if self.type == "list-single":
            text = self._parse_choice(text)
        return self._parse_integer(text) if self.datatype == INTEGER else text

    def _parse_jid(self, text: str) -> JID:
        try:
            return JID.parse(text)
        except JIDError as error:
            raise StanzaError("jid-malformed", f"{self.var} is no JID") from error

    def _parse_choice(self, text: str) -> str:
        if not self.is_open and not self._offers(text):
            raise StanzaError("not-acceptable", f"{self.var} has no such option")
        return text

    def _parse_integer(self, text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):  # within 64 bits
            raise StanzaError("bad-request", f"{self.var} is a whole number")
        number = int(text)
        if (self.minimum is not None and number < self.minimum) or (
            self.maximum is not None and number > self.maximum
        ):
            raise StanzaError("not-acceptable", f"{self.var} is out of range")
        return number

    def _offers(self, text: str) -> bool:
        return any(option.value == text for option in self.options)


@dataclass(frozen=True, slots=True)
class Form:
    """`form_type` is the FORM_TYPE, '' for a form without one."""

    form_type: str
    fields: Sequence[Field]
    title: Text = ""
    instructions: Text = ""

    def filled(self, values: Mapping[str, Value]) -> Form:
        """The same form with these values; fields that are not named keep theirs."""
        return replace(
            self,
            fields=[
                replace(field, value=values[field.var]) if field.var in values else field
                for field in self.fields
            ],
        )

    def to_element(self, type: str = "form") -> Element:
        """<x/> as a form to fill in, as a result, or as a submission. 3.2: titles are not for submissions."""
        return E(
            DATA_FORMS,
            "x",
            *(_head(self.title, self.instructions) if type != "submit" else ()),
            _form_type(self.form_type, type),
            *(
                field.to_element(type)
                for field in self.fields
                if type == "form" or (field.type != "fixed" and field.value is not None)
            ),
            type=type,
        )

    def parse(self, x: Element, *, refuse_unknown: bool = False) -> dict[str, Parsed]:
        """Return {var: value} of a submission; what was not answered is absent.

        bool for boolean, JID and lists as the type says, int for xs:integer, else str. Raises bad-request,
        jid-malformed or not-acceptable; with `refuse_unknown` feature-not-implemented for a field that the
        form does not have, which is ignored otherwise.
        """
        if x.get("type") != "submit":
            raise StanzaError("bad-request", "The form is not a submission")
        given = values_of(x)
        if given.pop(FORM_TYPE, [self.form_type]) != [self.form_type]:
            raise StanzaError("bad-request", "The form is of another FORM_TYPE")
        fields = {field.var: field for field in self.fields if field.type != "fixed"}
        if refuse_unknown and given.keys() - fields.keys():
            raise StanzaError("feature-not-implemented", "The form has a field that is not known")
        parsed: dict[str, Parsed] = {}
        for var, field in fields.items():
            if var not in given and not field.is_required:
                continue
            value = field.parse(given.get(var, []))
            if value is not None:
                parsed[var] = value
        return parsed


def values_of(x: Element) -> dict[str, list[str]]:
    """Return {var: values} of any form, FORM_TYPE included. Raises bad-request for a repeated var."""
    values: dict[str, list[str]] = {}
    for field in x.findall(DATA_FORMS, "field"):
        var = field.get("var")
        if not var:
            continue  # fixed
        if var in values:
            raise StanzaError("bad-request", f"{var} is in the form twice")
        values[var] = [value.text for value in field.findall(DATA_FORMS, "value")]
    return values


def form_type_of(x: Element) -> str:
    """The FORM_TYPE; '' when there is none."""
    return next(iter(values_of(x).get(FORM_TYPE, [])), "")


def table(
    form_type: str, columns: Sequence[Field], rows: Iterable[Mapping[str, Value]], title: Text = ""
) -> Element:
    """A result of many items (3.4): <reported/> names the columns, each <item/> is a row."""
    return E(
        DATA_FORMS,
        "x",
        *_head(title, ""),
        _form_type(form_type, "result"),
        E(DATA_FORMS, "reported", *(replace(column, value=None).to_element("result") for column in columns)),
        *(
            E(
                DATA_FORMS,
                "item",
                *(replace(column, value=row.get(column.var)).to_element("submit") for column in columns),
            )
            for row in rows
        ),
        type="result",
    )


def cancel() -> Element:
    return E(DATA_FORMS, "x", type="cancel")


def _head(title: Text, instructions: Text) -> list[Element]:
    head = [E(DATA_FORMS, "title", str(title))] if title else []
    return head + ([E(DATA_FORMS, "instructions", str(instructions))] if instructions else [])


def _form_type(form_type: str, type: str) -> Element | None:
    if not form_type:
        return None
    hidden = "hidden" if type != "submit" else None  # XEP-0068 3.1: not needed in a submission
    return E(DATA_FORMS, "field", E(DATA_FORMS, "value", form_type), var=FORM_TYPE, type=hidden)


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)
