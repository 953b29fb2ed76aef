"""XEP-0055: Jabber Search. The user directory, at the domain and at an address that clients look for."""

from __future__ import annotations

from collections.abc import Awaitable

from django.utils import translation
from django.utils.translation import gettext, gettext_lazy

from xmppd.modules.disco import info, items
from xmppd.protocol import dataforms
from xmppd.protocol.dataforms import Field, Form
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.namespaces import DATA_FORMS, DISCO_INFO, DISCO_ITEMS, PING, VCARD
from xmppd.protocol.stanza import Stanza
from xmppd.server.module import SERVER, DiscoNode, Identity, Module, Xep, iq_get, iq_set
from xmppd.server.router import IQHandler
from xmppd.server.session import Session
from xmppd.services import directory
from xmppd.services.db import db
from xmppd.services.directory import Found

NS = "jabber:iq:search"
SERVICE = "search"  # the first label of the service's address

# All that the schema of jabber:iq:search knows, as fields of the directory. Nicknames are rarely known, user
# names always.
LEGACY = {"first": "first", "last": "last", "nick": "username", "email": "email"}
# Field of the form, of the directory, label. What XEP-0055 does not register begins with x- (XEP-0068 3.4).
FIELDS = (
    ("x-username", "username", gettext_lazy("User name")),
    ("x-name", "name", gettext_lazy("Name")),
    ("first", "first", gettext_lazy("First name")),
    ("last", "last", gettext_lazy("Family name")),
    ("nick", "nick", gettext_lazy("Nickname")),
    ("email", "email", gettext_lazy("E-mail")),
    ("x-locality", "locality", gettext_lazy("Town")),
    ("x-organisation", "organisation", gettext_lazy("Organisation")),
)
FORM = Form(
    NS,
    [Field(var, label=label) for var, _name, label in FIELDS],
    title=gettext_lazy("User search"),
    instructions=gettext_lazy(
        "Fill in the beginning of what you look for. * stands for any characters. "
        "All fields that are filled in have to match."
    ),
)
COLUMNS = [
    Field("jid", "jid-single", label=gettext_lazy("Address")),
    *(Field(var, label=label) for var, _name, label in FIELDS),
]


class Search(Module):
    """Answers as long as searching is allowed; otherwise there is neither feature nor service."""

    xep = Xep(55, "1.3", name="Jabber Search")

    async def start(self) -> None:
        self._service: dict[tuple[str, str], IQHandler] = {
            ("get", f"{NS}\nquery"): self.form,
            ("set", f"{NS}\nquery"): self.search,
            ("get", f"{DISCO_INFO}\nquery"): self._info,
            ("get", f"{DISCO_ITEMS}\nquery"): self._items,
            ("get", f"{VCARD}\nvCard"): self._vcard,
            ("get", f"{PING}\nping"): self._ping,
        }
        self.server.sweeps.append(self.follow_setting)
        self.follow_setting()

    def domain_features(self) -> list[str]:
        return [NS] if directory.ENABLED.value else []

    def follow_setting(self) -> None:
        """The service is there while searching is allowed."""
        for domain in self.server.domains:
            if directory.ENABLED.value:
                self.server.services.setdefault(f"{SERVICE}.{domain}", self.receive)
            elif self.server.services.get(f"{SERVICE}.{domain}") == self.receive:
                del self.server.services[f"{SERVICE}.{domain}"]

    # -- what is asked of the domain or of the service

    @iq_get(NS, "query", to=SERVER)
    def form(self, iq: Stanza, origin: Session | None) -> Element:
        """2.1: the fields, for clients with and without data forms (3)."""
        _check_enabled()
        with translation.override(_language(origin)):
            return E(
                NS,
                "query",
                E(NS, "instructions", gettext("Fill in one or more fields to search for users.")),
                *(E(NS, name) for name in LEGACY),
                FORM.to_element(),
            )

    @iq_set(NS, "query", to=SERVER)
    async def search(self, iq: Stanza, origin: Session | None) -> Element:
        """2.2: users of the asked service's own domain."""
        _check_enabled()
        query = iq.payload
        x = query.find(DATA_FORMS, "x")
        terms = _legacy_terms(query) if x is None else _form_terms(x)
        found, is_cut = await db(directory.search, self._searched_domain(iq), terms)
        if x is None:
            return E(NS, "query", *map(_legacy_item, found))
        with translation.override(_language(origin)):
            title = gettext("There are more; these are the first %(count)d.") % {"count": len(found)}
            rows = [_row(each) for each in found]
            return E(NS, "query", dataforms.table(NS, COLUMNS, rows, title=title if is_cut else ""))

    def _searched_domain(self, iq: Stanza) -> str:
        """Users find those of their own domain only."""
        asked = iq.to.domain
        domain = asked if asked in self.server.domains else asked.removeprefix(f"{SERVICE}.")
        if iq.from_.domain != domain:
            raise StanzaError("forbidden")
        return domain

    # -- the service at its own address

    def receive(self, stanza: Stanza) -> Awaitable[object] | None:
        """Every stanza for search.<domain>."""
        if stanza.kind == "iq" and stanza.type in ("get", "set"):
            handler = self._service.get((stanza.type, stanza.children[0]))
            if handler is None or stanza.to.local:
                raise StanzaError("service-unavailable")
            return self.server.router.answer(stanza, self.server.router.origin(stanza.from_), handler)
        if stanza.kind == "message" and stanza.type not in ("error", "headline"):
            raise StanzaError("service-unavailable")
        return None

    def _info(self, iq: Stanza, origin: Session | None) -> Element:
        _refuse_nodes(iq)
        with translation.override(_language(origin)):
            identity = Identity("directory", "user", gettext("User search"))
        return info(DiscoNode([identity], sorted([DISCO_INFO, DISCO_ITEMS, NS, PING, VCARD])))

    def _items(self, iq: Stanza, origin: Session | None) -> Element:
        _refuse_nodes(iq)
        return items(iq.payload, [])

    def _vcard(self, iq: Stanza, origin: Session | None) -> Element:
        with translation.override(_language(origin)):
            return E(VCARD, "vCard", E(VCARD, "FN", gettext("User search")))

    def _ping(self, iq: Stanza, origin: Session | None) -> None:
        return None


def _check_enabled() -> None:
    if not directory.ENABLED.value:
        raise StanzaError("service-unavailable")


def _refuse_nodes(iq: Stanza) -> None:
    if iq.payload.get("node"):
        raise StanzaError("item-not-found")


def _legacy_terms(query: Element) -> dict[str, str]:
    return {name: query.text_of(NS, element) for element, name in LEGACY.items()}


def _form_terms(x: Element) -> dict[str, str]:
    values = FORM.parse(x)
    return {name: str(values[var]) for var, name, _label in FIELDS if var in values}


def _legacy_item(found: Found) -> Element:
    """All four elements have to be there."""
    texts = [E(NS, element, getattr(found, name)) for element, name in LEGACY.items()]
    return E(NS, "item", *texts, jid=found.jid)


def _row(found: Found) -> dict[str, str]:
    return {"jid": found.jid} | {var: getattr(found, name) for var, name, _label in FIELDS}


def _language(origin: Session | None) -> str | None:
    """The stream's language where there is a translation into it; None: the language of the source."""
    try:
        return translation.get_supported_language_variant(origin.lang.lower()) if origin is not None else None
    except LookupError:
        return None
