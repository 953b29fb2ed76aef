"""XEP-0157: Contact Addresses for XMPP Services."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError

from xmppd.modules.contact_addresses import FORM_TYPE, ContactAddresses
from xmppd.modules.disco import Disco
from xmppd.protocol import caps, dataforms
from xmppd.protocol.namespaces import DATA_FORMS, DISCO_INFO
from xmppd.services import properties

INFO = f"<query xmlns='{DISCO_INFO}'/>"


async def write(kind, uris, actor):
    await sync_to_async(properties.set_value)(f"server.contact.{kind}", uris, actor=actor)


async def test_nothing_is_shown_while_nothing_is_set(alice):
    assert (await alice.asks(INFO, to="example.org")).find(DISCO_INFO, "query").find(DATA_FORMS, "x") is None


async def test_addresses_stand_in_the_domains_information(server, alice, actor):
    before = server.module(Disco).caps_hash()
    await write("abuse", ["mailto:abuse@example.org", "xmpp:abuse@example.org"], actor)
    await write("support", ["https://example.org/help?a=1&b=2"], actor)
    query = (await alice.asks(INFO, to="example.org")).find(DISCO_INFO, "query")
    form = query.find(DATA_FORMS, "x")
    assert form.get("type") == "result"
    assert dataforms.values_of(form) == {
        "FORM_TYPE": [FORM_TYPE],
        "abuse-addresses": ["mailto:abuse@example.org", "xmpp:abuse@example.org"],
        "support-addresses": ["https://example.org/help?a=1&b=2"],
    }
    assert server.module(Disco).caps_hash() == caps.ver_of(query) != before


@pytest.mark.parametrize("value", ["abuse@example.org", "mailto:", "mailto:a b@example.org", "", "x<y>:z"])
async def test_what_is_no_uri_is_refused(transactional_db, actor, value):
    with pytest.raises(ValidationError):
        await write("abuse", [value], actor)


def test_every_kind_of_the_registry_has_a_setting():
    assert list(ContactAddresses.addresses) == [
        "abuse", "admin", "feedback", "sales", "security", "status", "support"
    ]  # fmt: skip
