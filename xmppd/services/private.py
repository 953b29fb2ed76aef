"""What clients keep on the server for themselves, XEP-0049: one element for each namespace and name."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from xmppd.models import PrivateData
from xmppd.models.private import MAX_NAME_CHARS, MAX_NS_CHARS
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.writer import write
from xmppd.services.properties import Setting

MAX_SIZE = Setting(
    "private.max_size",
    "size",
    128 * 1024,
    _("Bytes of one element of a user's private storage."),
    label=_("Largest element of private storage"),
    minimum=1024,
)
MAX_ELEMENTS = Setting(
    "private.max_elements",
    int,
    100,
    _("Number of elements in a user's private storage."),
    label=_("Elements of private storage per user"),
    minimum=1,
)


def get(user_id: int, ns: str, name: str) -> str | None:
    """The stored element as XML; None (none stored) is answered with the empty element (XEP-0049 2.2)."""
    row = PrivateData.objects.filter(user_id=user_id, ns=ns, name=name)
    return row.values_list("xml", flat=True).first()


@transaction.atomic
def set(user_id: int, elements: Sequence[Element]) -> None:
    """Replace these elements, all or none. StanzaError: not-acceptable, not-allowed (too many)."""
    if not elements:
        raise StanzaError("not-acceptable")
    for element in elements:
        _set_one(user_id, element)
    if PrivateData.objects.filter(user_id=user_id).count() > MAX_ELEMENTS.value:
        raise StanzaError("not-allowed", f"at most {MAX_ELEMENTS.value} elements are kept")


def _set_one(user_id: int, element: Element) -> None:
    if not element.ns or len(element.ns) > MAX_NS_CHARS or len(element.name) > MAX_NAME_CHARS:
        raise StanzaError("not-acceptable", "the element's namespace or name cannot be kept")
    if not element.children and not element.attrs:
        # Says nothing that the answer to a missing element does not say.
        PrivateData.objects.filter(user_id=user_id, ns=element.ns, name=element.name).delete()
        return
    xml = write(element)
    if len(xml.encode()) > MAX_SIZE.value:
        raise StanzaError("not-acceptable", f"an element has at most {MAX_SIZE.value} bytes")
    PrivateData.objects.update_or_create(
        user_id=user_id, ns=element.ns, name=element.name, defaults={"xml": xml}
    )
