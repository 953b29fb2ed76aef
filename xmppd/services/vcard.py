"""Profiles, XEP-0054: kept as the client wrote them, with columns beside them for the user directory."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from xmppd.models import VCard
from xmppd.models.vcard import MAX_SEARCHED_CHARS
from xmppd.protocol.element import Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import VCARD
from xmppd.protocol.writer import write
from xmppd.services.properties import Setting

MAX_SIZE = Setting(
    "vcard.max_size",
    "size",
    256 * 1024,
    _("Bytes of one profile (vCard), its picture included."),
    label=_("Largest profile"),
    minimum=1024,
)

# Column: where XEP-0054 3 keeps it.
SEARCHED: dict[str, tuple[str, ...]] = {
    "full_name": ("FN",),
    "nickname": ("NICKNAME",),
    "family": ("N", "FAMILY"),
    "given": ("N", "GIVEN"),
    "email": ("EMAIL", "USERID"),
    "locality": ("ADR", "LOCALITY"),
    "organisation": ("ORG", "ORGNAME"),
}


def get(user_id: int) -> str | None:
    """The complete <vCard/> as XML; None when there is none."""
    return VCard.objects.filter(user_id=user_id).values_list("xml", flat=True).first()


def get_fields(user_id: int) -> dict[str, str]:
    """The searched values as they were written, by the names of SEARCHED; without those that are absent."""
    fields: dict[str, str] = (
        VCard.objects.filter(user_id=user_id).values_list("shown", flat=True).first() or {}
    )
    return fields


@transaction.atomic
def set(user_id: int, vcard: Element) -> None:
    """Replace the profile; an empty <vCard/> deletes it. StanzaError(not-acceptable): it is too large."""
    if vcard.tag != (VCARD, "vCard"):
        raise StanzaError("bad-request")
    if not vcard.children:
        VCard.objects.filter(user_id=user_id).delete()
        return
    xml = write(vcard)
    if len(xml.encode()) > MAX_SIZE.value:
        raise StanzaError("not-acceptable", f"a profile has at most {MAX_SIZE.value} bytes")
    shown = searched_values(vcard)
    columns = {name: shown.get(name, "").casefold()[:MAX_SEARCHED_CHARS] for name in SEARCHED}
    VCard.objects.update_or_create(
        user_id=user_id, defaults={"xml": xml, "updated": timezone.now(), "shown": shown, **columns}
    )


def searched_values(vcard: Element) -> dict[str, str]:
    """The first non-empty text at each place of SEARCHED, on one line, cut to the column."""
    values = {name: _text_at(vcard, path) for name, path in SEARCHED.items()}
    return {name: value for name, value in values.items() if value}


def _text_at(vcard: Element, path: tuple[str, ...]) -> str:
    found = [vcard]
    for name in path:
        found = [child for parent in found for child in parent.findall(VCARD, name)]
    texts = (" ".join(element.text.split())[:MAX_SEARCHED_CHARS] for element in found)
    return next((text for text in texts if text), "")
