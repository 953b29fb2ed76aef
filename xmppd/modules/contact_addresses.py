"""XEP-0157: Contact Addresses for XMPP Services. Whom to tell of abuse, of a hole, of a broken server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from xmppd.protocol.dataforms import Field, Form
from xmppd.protocol.element import Element
from xmppd.server.module import Module, Xep
from xmppd.services.properties import Setting

FORM_TYPE = "http://jabber.org/network/serverinfo"
MAX_URIS = 20
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20]+", re.ASCII | re.IGNORECASE)


class AddressSetting(Setting[list[str]]):
    """A list of URIs."""

    def clean(self, value: Any) -> list[str]:
        uris = super().clean(value)
        for uri in uris:
            if not _URI.fullmatch(uri):
                raise ValidationError(
                    _("“%(value)s” is no URI, such as mailto:admin@example.org or xmpp:admin@example.org."),
                    params={"value": uri},
                )
        return uris


def _setting(kind: str, label: Any, help_text: Any) -> AddressSetting:
    return AddressSetting(f"server.contact.{kind}", list, [], help_text, label=label, maximum=MAX_URIS)


class ContactAddresses(Module):
    """A form in the domain's disco#info, as long as there is an address to show."""

    xep = Xep(157, "1.1.1", name="Contact Addresses for XMPP Services")

    # In the order of the XEP's registry, by the part of its field name before `-addresses`.
    addresses = {
        "abuse": _setting(
            "abuse",
            gettext_lazy("Address for reports of abuse"),
            gettext_lazy("Where abuse by users of this server is reported: URIs, public to everybody."),
        ),
        "admin": _setting(
            "admin",
            gettext_lazy("Address of the administrators"),
            gettext_lazy("Where the administrators can be reached: URIs, public to everybody."),
        ),
        "feedback": _setting(
            "feedback",
            gettext_lazy("Address for feedback"),
            gettext_lazy("Where users tell what they think of the service: URIs, public to everybody."),
        ),
        "sales": _setting(
            "sales",
            gettext_lazy("Address for prices and contracts"),
            gettext_lazy("Where one asks about prices and contracts: URIs, public to everybody."),
        ),
        "security": _setting(
            "security",
            gettext_lazy("Address for security problems"),
            gettext_lazy("Where security problems are reported: URIs, public to everybody."),
        ),
        "status": _setting(
            "status",
            gettext_lazy("Address of the status page"),
            gettext_lazy("Where the state of the service is published: URIs, public to everybody."),
        ),
        "support": _setting(
            "support",
            gettext_lazy("Address for help"),
            gettext_lazy("Where users get help: URIs, public to everybody."),
        ),
    }

    def domain_forms(self) -> Sequence[Element]:
        fields = [
            Field(f"{kind}-addresses", "list-multi", value=setting.value)
            for kind, setting in self.addresses.items()
            if setting.value
        ]
        return [Form(FORM_TYPE, fields).to_element("result")] if fields else []
