"""XEP-0115: Entity Capabilities. The hash of what an entity answers to disco#info."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from xmppd.protocol import dataforms
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import DATA_FORMS, DISCO_INFO

# Names of the IANA registry that `hash` may have: hashlib's.
HASHES = {"sha-1": "sha1", "sha-224": "sha224", "sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
FORM_TYPE = dataforms.FORM_TYPE


class Identity(NamedTuple):
    category: str
    type: str
    name: str = ""
    lang: str = ""


def ver(
    identities: Iterable[Identity],
    features: Iterable[str],
    forms: Iterable[Mapping[str, Sequence[str]]] = (),
    hash_name: str = "sha-1",
) -> str:
    """Return the verification string (5.1). A form is {var: values}; one without FORM_TYPE is left out.

    Raises ValueError for a hash that is not in `HASHES`.
    """
    if hash_name not in HASHES:
        raise ValueError(f"{hash_name[:40]!r} is no hash of XEP-0115 that is supported")
    # i;octet collation: the order of code points is that of their UTF-8 bytes.
    parts = [f"{i.category}/{i.type}/{i.lang}/{i.name}" for i in sorted(identities, key=_identity_order)]
    parts += sorted(features)
    for form in sorted((form for form in forms if form.get(FORM_TYPE)), key=lambda form: form[FORM_TYPE][0]):
        parts.append(form[FORM_TYPE][0])
        for var in sorted(form.keys() - {FORM_TYPE}):
            parts += [var, *sorted(form[var])]
    text = "".join(f"{part}<" for part in parts)
    return base64.b64encode(hashlib.new(HASHES[hash_name], text.encode()).digest()).decode()


def ver_of(query: Element, hash_name: str = "sha-1") -> str:
    """Return the verification string of a disco#info <query/>.

    Raises ValueError when the answer is ill-formed (5.4 steps 3.3 to 3.6) or ambiguous: it must not be
    taken for that of other entities with the same hash.
    """
    identities = [
        Identity(item.get("category"), item.get("type"), item.get("name"), item.get("xml:lang"))
        for item in query.findall(DISCO_INFO, "identity")
    ]
    features = [item.get("var") for item in query.findall(DISCO_INFO, "feature")]
    forms = [_form(x) for x in query.findall(DATA_FORMS, "x")]
    _refuse_repeated([(i.category, i.type, i.lang, i.name) for i in identities])
    _refuse_repeated(features)
    _refuse_repeated([form[FORM_TYPE][0] for form in forms if form.get(FORM_TYPE)])
    texts = [text for identity in identities for text in identity] + features
    texts += [text for form in forms for var, values in form.items() for text in (var, *values)]
    if any("<" in text for text in texts):
        # The separator inside a text lets two different answers have one hash (7.1 warns of preimages).
        raise ValueError("a separator is hidden in the answer")
    return ver(identities, features, forms, hash_name)


def _form(x: Element) -> dict[str, list[str]]:
    try:
        values = dataforms.values_of(x)
    except StanzaError as error:
        raise ValueError("a form repeats itself") from error
    form_type = next((f for f in x.findall(DATA_FORMS, "field") if f.get("var") == FORM_TYPE), None)
    if form_type is None or form_type.get("type") != "hidden":
        return {}  # 5.4 step 3.6: ignored, not ill-formed
    if len(set(values[FORM_TYPE])) != 1:
        raise ValueError("FORM_TYPE must have one value")
    return values


def _identity_order(identity: Identity) -> tuple[str, str, str, str]:
    return identity.category, identity.type, identity.lang, identity.name


def _refuse_repeated(items: Sequence[object]) -> None:
    if len(set(items)) != len(items):
        raise ValueError("the answer repeats itself")
