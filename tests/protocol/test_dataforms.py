"""XEP-0004: Data Forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.protocol.dataforms import INTEGER, Field, Form, Option, cancel, form_type_of, table, values_of
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import DATA_FORMS, DATA_VALIDATE

NS = "urn:example:bot"
COLOURS = [Option("r", "Red"), Option("g", "Green")]
BOT = Form(
    NS,
    [
        Field("", "fixed", value="Section 1"),
        Field("name", label="Name of the bot", is_required=True),
        Field("public", "boolean", value=True),
        Field("owner", "jid-single"),
        Field("friends", "jid-multi", maximum=3),
        Field("colour", "list-single", options=COLOURS, value="r"),
        Field("features", "list-multi", options=COLOURS, minimum=0, maximum=2),
        Field("about", "text-multi", description="In your own words"),
        Field("password", "text-private"),
        Field("size", value=5, datatype=INTEGER, minimum=1, maximum=10),
        Field("key", "hidden", value="k1"),
        Field("mood", "list-single", options=COLOURS, is_open=True),
    ],
    title="Bot",
    instructions="Fill in",
)


def submission(fields, form_type=NS, type_="submit"):
    given_ = [
        Field(var, "list-multi", value=[value] if isinstance(value, str) else value)
        for var, value in fields.items()
    ]
    x = Form(form_type, given_).to_element("submit")
    x.attrs["type"] = type_
    return x


def field_of(x, var):
    return next(f for f in x.findall(DATA_FORMS, "field") if f.get("var") == var)


def test_form_to_fill_in():
    x = BOT.to_element()
    assert x.get("type") == "form"
    assert x.text_of(DATA_FORMS, "title") == "Bot"
    assert x.text_of(DATA_FORMS, "instructions") == "Fill in"
    assert field_of(x, "FORM_TYPE") == E(
        DATA_FORMS, "field", E(DATA_FORMS, "value", NS), var="FORM_TYPE", type="hidden"
    )
    assert field_of(x, "") == E(DATA_FORMS, "field", E(DATA_FORMS, "value", "Section 1"), type="fixed")
    assert field_of(x, "name") == E(
        DATA_FORMS,
        "field",
        E(DATA_FORMS, "required"),
        var="name",
        type="text-single",
        label="Name of the bot",
    )
    assert values_of(x)["public"] == ["1"]
    assert field_of(x, "colour") == E(
        DATA_FORMS,
        "field",
        E(DATA_FORMS, "value", "r"),
        E(DATA_FORMS, "option", E(DATA_FORMS, "value", "r"), label="Red"),
        E(DATA_FORMS, "option", E(DATA_FORMS, "value", "g"), label="Green"),
        var="colour",
        type="list-single",
    )
    assert field_of(x, "about").text_of(DATA_FORMS, "desc") == "In your own words"


@pytest.mark.parametrize(
    ("var", "datatype", "method"),
    [
        ("size", "xs:integer", E(DATA_VALIDATE, "range", min=1, max=10)),
        ("friends", "xs:string", E(DATA_VALIDATE, "list-range", max=3)),
        ("features", "xs:string", E(DATA_VALIDATE, "list-range", min=0, max=2)),
        ("mood", "xs:string", E(DATA_VALIDATE, "open")),
    ],
)
def test_bounds_are_told(var, datatype, method):
    found = field_of(BOT.to_element(), var).find(DATA_VALIDATE, "validate")
    assert found == E(DATA_VALIDATE, "validate", method, datatype=datatype)


def test_result_has_the_answers_without_the_questions():
    x = BOT.filled({"name": "Rob", "friends": [JID("a", "b"), "c@d"], "about": "one\ntwo"}).to_element(
        "result"
    )
    assert values_of(x) == {
        "FORM_TYPE": [NS],
        "name": ["Rob"],
        "public": ["1"],
        "friends": ["a@b", "c@d"],
        "colour": ["r"],
        "about": ["one", "two"],
        "size": ["5"],
        "key": ["k1"],
    }
    assert field_of(x, "colour").find(DATA_FORMS, "option") is None
    assert field_of(x, "size").find(DATA_VALIDATE, "validate") is None


def test_answers_are_typed():
    x = submission(
        {
            "name": "Rob",
            "public": "false",
            "owner": "Romeo@Example.com",
            "friends": ["a@b", "c@d", "A@B"],
            "colour": "g",
            "features": ["r", "g", "r"],
            "about": ["one", "", "two"],
            "password": " x ",
            "size": "7",
            "key": "k1",
            "mood": "blue",
        }
    )
    assert BOT.parse(x) == {
        "name": "Rob",
        "public": False,
        "owner": JID("romeo", "example.com"),
        "friends": [JID("a", "b"), JID("c", "d")],
        "colour": "g",
        "features": ["r", "g"],
        "about": ["one", "", "two"],
        "password": " x ",
        "size": 7,
        "key": "k1",
        "mood": "blue",
    }


def test_what_was_not_answered_is_absent():
    assert BOT.parse(submission({"name": "Rob"})) == {"name": "Rob"}
    emptied = {
        "name": "Rob",
        "public": "",
        "owner": "",
        "size": "",
        "colour": "",
        "friends": "",
        "password": "",
    }
    assert BOT.parse(submission(emptied)) == {"name": "Rob", "friends": [], "password": ""}


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({}, "not-acceptable"),
        ({"name": ""}, "not-acceptable"),
        ({"name": []}, "not-acceptable"),
        ({"name": ["a", "b"]}, "bad-request"),
        ({"name": "a", "public": "yes"}, "bad-request"),
        ({"name": "a", "owner": "@"}, "jid-malformed"),
        ({"name": "a", "friends": ["a@b", "a b@c"]}, "jid-malformed"),
        ({"name": "a", "friends": ["a@b", "b@b", "c@b", "d@b"]}, "not-acceptable"),
        ({"name": "a", "colour": "blue"}, "not-acceptable"),
        ({"name": "a", "features": ["r", "blue"]}, "not-acceptable"),
        ({"name": "a", "size": "0"}, "not-acceptable"),
        ({"name": "a", "size": "11"}, "not-acceptable"),
        ({"name": "a", "size": "1.5"}, "bad-request"),
        ({"name": "a", "size": "\u0667"}, "bad-request"),
        ({"name": "a", "size": "9" * 5000}, "bad-request"),
    ],
)
def test_wrong_answers_are_refused(fields, condition):
    with pytest.raises(StanzaError, match=condition):
        BOT.parse(submission(fields))


def test_form_of_another_kind_is_refused():
    with pytest.raises(StanzaError, match="bad-request"):
        BOT.parse(submission({"name": "a"}, form_type="urn:other"))
    for type_ in ("form", "result", "cancel", ""):
        with pytest.raises(StanzaError, match="bad-request"):
            BOT.parse(submission({"name": "a"}, type_=type_))
    assert BOT.parse(submission({"name": "a"}, form_type="")) == {"name": "a"}


def test_unknown_fields_are_ignored_unless_they_matter():
    x = submission({"name": "a", "other": "b"})
    assert BOT.parse(x) == {"name": "a"}
    with pytest.raises(StanzaError, match="feature-not-implemented"):
        BOT.parse(x, refuse_unknown=True)


def test_repeated_field_is_refused():
    x = submission({"name": "a"})
    x.append(field_of(x, "name"))
    with pytest.raises(StanzaError, match="bad-request"):
        BOT.parse(x)


def test_table():
    columns = [Field("jid", "jid-single", "Address"), Field("n", label="Count")]
    x = table("urn:t", columns, [{"jid": JID("a", "b"), "n": 3}, {"jid": "c@d"}], title="Found")
    assert form_type_of(x) == "urn:t"
    assert x.get("type") == "result"
    assert x.find(DATA_FORMS, "reported") == E(
        DATA_FORMS,
        "reported",
        E(DATA_FORMS, "field", var="jid", type="jid-single", label="Address"),
        E(DATA_FORMS, "field", var="n", type="text-single", label="Count"),
    )
    assert [values_of(item) for item in x.findall(DATA_FORMS, "item")] == [
        {"jid": ["a@b"], "n": ["3"]},
        {"jid": ["c@d"], "n": []},
    ]


def test_cancel():
    assert cancel() == E(DATA_FORMS, "x", type="cancel")


def test_unknown_field_type_is_our_mistake():
    with pytest.raises(ValueError, match="number"):
        Field("a", "number")


@given(
    st.dictionaries(
        st.sampled_from([f.var for f in BOT.fields if f.var]), st.lists(st.text(max_size=6), max_size=5)
    )
)
def test_whatever_is_submitted_only_stanza_errors_come(fields):
    try:
        parsed = BOT.parse(submission(fields))
    except StanzaError:
        return
    again = BOT.parse(BOT.filled(parsed).to_element("submit"))
    assert {var: again[var] for var in parsed if parsed[var] != []} == {
        var: value for var, value in parsed.items() if value != []
    }
