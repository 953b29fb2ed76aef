"""XEP-0115: Entity Capabilities."""

import pytest

from xmppd.protocol.caps import Identity, ver, ver_of
from xmppd.protocol.dataforms import Field, Form
from xmppd.protocol.element import E
from xmppd.protocol.namespaces import CAPS, DATA_FORMS, DISCO_INFO, DISCO_ITEMS

MUC = "http://jabber.org/protocol/muc"
FEATURES = [MUC, DISCO_ITEMS, DISCO_INFO, CAPS]
SOFTWARE = {
    "FORM_TYPE": ["urn:xmpp:dataforms:softwareinfo"],
    "ip_version": ["ipv6", "ipv4"],
    "os": ["Mac"],
    "os_version": ["10.5.1"],
    "software": ["Psi"],
    "software_version": ["0.11"],
}
PSI = [Identity("client", "pc", "Psi 0.11", "en"), Identity("client", "pc", "\u03a8 0.11", "el")]


def test_simple_example_of_the_specification():  # 5.2
    assert ver([Identity("client", "pc", "Exodus 0.9.1")], FEATURES) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_complex_example_of_the_specification():  # 5.3
    assert ver(PSI, FEATURES, [SOFTWARE]) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def answer(*more, identities=PSI):
    return E(
        DISCO_INFO,
        "query",
        *(
            E(DISCO_INFO, "identity", category=i.category, type=i.type, name=i.name, xml_lang=i.lang)
            for i in identities
        ),
        *(E(DISCO_INFO, "feature", var=var) for var in FEATURES),
        *more,
    )


def software(**changed):
    fields = [
        Field(var, value=values) for var, values in {**SOFTWARE, **changed}.items() if var != "FORM_TYPE"
    ]
    return Form("urn:xmpp:dataforms:softwareinfo", fields).to_element("result")


def test_answer_to_disco_gives_the_same():
    assert ver_of(answer(software())) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_hash_can_be_another():
    assert ver_of(answer(), "sha-256") == ver(PSI, FEATURES, hash_name="sha-256") != ver(PSI, FEATURES)
    with pytest.raises(ValueError, match="md5"):
        ver_of(answer(), "md5")


def test_form_without_hidden_form_type_is_left_out():
    visible = E(
        DATA_FORMS,
        "x",
        E(DATA_FORMS, "field", E(DATA_FORMS, "value", "urn:y"), var="FORM_TYPE"),
        type="result",
    )
    anonymous = Form("", [Field("a", value="b")]).to_element("result")
    assert ver_of(answer(visible, anonymous)) == ver(PSI, FEATURES)


def hidden(*values):
    field = E(
        DATA_FORMS,
        "field",
        *(E(DATA_FORMS, "value", value) for value in values),
        var="FORM_TYPE",
        type="hidden",
    )
    return E(DATA_FORMS, "x", field, type="result")


@pytest.mark.parametrize(
    "query",
    [
        answer(identities=[PSI[0], PSI[0]]),
        answer(E(DISCO_INFO, "feature", var=CAPS)),
        answer(software(), software(os=["Linux"])),
        answer(hidden("urn:a", "urn:b")),
        answer(hidden()),
        answer(Form("urn:a", [Field("a", value="1"), Field("a", value="2")]).to_element("result")),
        answer(E(DISCO_INFO, "feature", var="urn:a<urn:b")),
        answer(identities=[Identity("client", "pc", "Psi<urn:a")]),
        answer(software(os=["Mac<Windows"])),
    ],
)
def test_ill_formed_and_ambiguous_answers_are_refused(query):
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        ver_of(query)
