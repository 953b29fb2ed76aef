"""The settings registry: types, bounds, text forms, storage, freshness, secrets."""

import asyncio
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError
from django.utils import translation

from accounts import registry
from accounts.models import AuditEntry, Property
from xmppd.bus import channel
from xmppd.bus.messages import SettingChanged
from xmppd.services import properties
from xmppd.services.properties import Setting


@pytest.fixture
def define():
    """define("test.x", int, 5): a setting that is gone after the test."""
    names = []

    def make(name, type, default, **kwargs):
        setting = Setting(name, type, default, "help", **kwargs)
        names.append(name)
        return setting

    yield make
    for name in names:
        del registry._registry[name]


@pytest.mark.parametrize(
    ("type", "text", "value", "shown"),
    [
        (bool, "yes", True, "on"),
        (bool, "OFF", False, "off"),
        (int, " 42 ", 42, "42"),
        (float, "0.50", 0.5, "0.5"),
        (str, " as it is ", " as it is ", " as it is "),
        (timedelta, "90", timedelta(seconds=90), "1 minute 30 seconds"),
        (timedelta, "6 minutes", timedelta(minutes=6), "6 minutes"),
        (timedelta, "1.5h", timedelta(minutes=90), "1 hour 30 minutes"),
        (timedelta, "1 day, 2 hours", timedelta(hours=26), "1 day 2 hours"),
        (timedelta, "250 ms", timedelta(milliseconds=250), "250 ms"),
        (timedelta, "0", timedelta(0), "0 seconds"),
        ("size", "256 KiB", 262144, "256 KiB"),
        ("size", "1.5m", 1572864, "1536 KiB"),
        ("size", "1000", 1000, "1000 bytes"),
        (list, "a, b\nc,,", ["a", "b", "c"], "a, b, c"),
    ],
)
def test_text_is_read_and_written(define, type, text, value, shown):
    setting = define("test.x", type, value)
    assert setting.parse(text) == value
    assert setting.format(value) == shown
    assert setting.parse(shown) == value


@pytest.mark.parametrize("value", [timedelta(days=1, seconds=7), timedelta(minutes=6), timedelta(hours=2)])
def test_chinese_units_are_read_as_well(define, value):
    setting = define("test.x", timedelta, value)
    words = {
        timedelta(days=1, seconds=7): "1 天 7 秒",
        timedelta(minutes=6): "6 分钟",
        timedelta(hours=2): "2小时",
    }
    assert setting.parse(words[value]) == value


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (bool, "maybe"),
        (int, "1.5"),
        (int, ""),
        (float, "x"),
        (timedelta, ""),
        (timedelta, "5 parsecs"),
        (timedelta, "minutes"),
        (timedelta, "1e400 days"),
        ("size", "5 liters"),
        ("size", "-1"),
        ("size", ""),
    ],
)
def test_text_that_is_no_value_is_refused(define, type, text):
    setting = define("test.x", type, None)
    with pytest.raises(ValidationError):
        setting.parse(text)


def test_bounds_are_told_with_their_unit(define):
    setting = define(
        "test.x", timedelta, timedelta(minutes=1), minimum=timedelta(seconds=5), maximum=timedelta(hours=1)
    )
    with pytest.raises(ValidationError, match="at least 5 seconds"):
        setting.parse("1 s")
    with pytest.raises(ValidationError, match="at most 1 hour"):
        setting.parse("2 h")
    assert setting.parse("1 h") == timedelta(hours=1)


def test_list_is_bounded_by_its_length_and_choices_hold_for_each(define):
    setting = define("test.x", list, ["a"], minimum=1, maximum=2, choices=["a", "b", "c"])
    assert setting.parse("a,b") == ["a", "b"]
    for text in ("", "a,b,c", "a,d"):
        with pytest.raises(ValidationError):
            setting.parse(text)


def test_errors_are_in_the_language_of_the_reader(define):
    setting = define("test.x", str, "a", choices=[("a", "A"), ("b", "B")])
    with translation.override("en"), pytest.raises(ValidationError, match="is not one of: a, b"):
        setting.parse("c")


@pytest.mark.parametrize(
    ("type", "wrong"),
    [(bool, 1), (int, True), (int, "5"), (str, 5), (timedelta, 5), (list, "a"), (list, [1])],
)
def test_a_value_of_another_type_is_refused(define, type, wrong):
    with pytest.raises(ValidationError):
        define("test.x", type, None).clean(wrong)


def test_one_name_cannot_be_defined_twice(define):
    define("test.x", int, 1)
    with pytest.raises(ImproperlyConfigured):
        Setting("test.x", int, 2, "help")


def test_setting_is_a_value_on_an_instance_and_itself_on_the_class(define):
    class Module:
        interval = define("test.interval", int, 5)

    assert Module().interval == 5
    assert Module.interval.name == "test.interval"


def test_sections_have_titles(define):
    assert define("c2s.test_x", int, 1).section_title == "Client connections"
    assert define("security.login.test_x", int, 1).section_title == "Failed logins"
    assert define("unheard_of.x", int, 1).section_title == "Unheard of"


# --- storage ---

with_database = pytest.mark.django_db(transaction=True)


@with_database
@pytest.mark.parametrize(
    ("type", "default", "value"),
    [
        (bool, False, True),
        (int, 1, 2),
        (float, 1.0, 2.5),
        (str, "a", "b"),
        (timedelta, timedelta(0), timedelta(seconds=1.5)),
        ("size", 1, 1024),
        (list, [], ["a", "ä"]),
    ],
)
def test_stored_value_holds_at_once_and_after_a_restart(define, actor, type, default, value):
    setting = define("test.x", type, default)
    assert setting.value == default
    properties.set_value("test.x", value, actor=actor)
    assert setting.value == value
    assert setting.is_changed
    registry.forget()
    assert setting.value == value
    properties.reset("test.x", actor=actor)
    assert setting.value == default
    assert not Property.objects.exists()


@with_database
def test_change_is_told_and_audited(define, actor, heard):
    define("test.x", timedelta, timedelta(seconds=5))
    properties.set_value("test.x", "1 minute", actor=actor)
    properties.reset("test.x", actor=actor)
    assert heard == [SettingChanged(name="test.x")] * 2
    changes = [(e.action, e.target, e.before, e.after) for e in AuditEntry.objects.order_by("id")]
    assert changes == [
        ("setting-changed", "test.x", {"value": 5.0}, {"value": 60.0}),
        ("setting-changed", "test.x", {"value": 60.0}, {"value": 5.0}),
    ]


@with_database
def test_secret_is_neither_shown_nor_audited(define, actor):
    setting = define("test.x", str, "", secret=True)
    assert setting.display() == "(not set)"
    properties.set_value("test.x", "hunter2", actor=actor)
    assert setting.value == "hunter2"
    assert setting.display() == "(set)"
    entry = AuditEntry.objects.get()
    assert "hunter2" not in f"{entry.before}{entry.after}{entry.detail}"


@with_database
def test_change_by_another_process_is_read_again(define):
    setting = define("test.x", int, 1)
    assert setting.value == 1
    Property.objects.create(name="test.x", value=7)
    assert setting.value == 1
    channel.deliver_locally(SettingChanged(name="test.x"))
    assert setting.value == 7


@with_database
@pytest.mark.parametrize("stored", ["seven", 99, [], {"a": 1}])
def test_stored_value_that_is_invalid_is_logged_and_the_default_used(define, caplog, stored):
    setting = define("test.x", int, 1, maximum=10)
    Property.objects.create(name="test.x", value=stored)
    assert setting.value == 1
    assert "test.x" in caplog.text


@with_database
def test_all_values_cost_one_query(define, django_assert_num_queries):
    settings = [define(f"test.x{number}", int, number) for number in range(5)]
    with django_assert_num_queries(1):
        assert [setting.value for setting in settings] == [0, 1, 2, 3, 4]
        assert [setting.value for setting in settings] == [0, 1, 2, 3, 4]


@with_database
async def test_first_use_may_be_on_the_event_loop(define):
    assert define("test.x", int, 1).value == 1
    assert asyncio.get_running_loop()


@with_database
def test_unknown_names_are_refused(actor):
    for call in (
        lambda: properties.get("no.such"),
        lambda: properties.set_value("no.such", 1, actor=actor),
        lambda: properties.reset("no.such", actor=actor),
    ):
        with pytest.raises(KeyError):
            call()


def test_without_a_database_the_default_holds_and_it_is_not_asked_each_time(define, monkeypatch):
    reads = []

    def down():
        reads.append(1)
        raise DatabaseError("no such table")

    monkeypatch.setattr(registry, "_read_rows", down)
    registry.forget()
    setting = define("test.x", int, 1)
    assert [setting.value for _n in range(5)] == [1] * 5
    assert len(reads) == 1


def test_last_known_values_hold_while_the_database_is_down(define, monkeypatch):
    setting = define("test.x", int, 1)
    monkeypatch.setattr(registry, "_read_rows", lambda: {"test.x": 7})
    properties.reload()
    assert setting.value == 7

    def down():
        raise DatabaseError("gone")

    monkeypatch.setattr(registry, "_read_rows", down)
    channel.deliver_locally(SettingChanged(name="test.x"))
    assert setting.value == 7


def test_override_ends(define):
    setting = define("test.x", int, 1)
    with properties.overridden(test__x=5):
        assert setting.value == 5
    assert setting.value == 1


def test_all_defaults_are_values_of_their_settings():
    properties.discover()
    for setting in properties.all_settings():
        assert setting.clean(setting.default) == setting.default, setting.name
        assert setting.parse(setting.format(setting.default)) == setting.default, setting.name
        assert str(setting.help), setting.name


def test_every_setting_has_a_label_of_its_own_and_its_section_a_title():
    properties.discover()
    labels = [str(setting._label) for setting in properties.all_settings()]
    for setting in properties.all_settings():
        assert setting._label, setting.name
        assert setting.label[0].isupper(), setting.name
        assert not setting.label.endswith("."), setting.name
        assert {setting.section, setting.section.split(".")[0]} & properties.SECTION_TITLES.keys(), (
            setting.name
        )
    assert sorted(set(labels)) == sorted(labels)


def test_a_label_is_made_of_the_key_where_there_is_none(define):
    assert define("test.max_size_of_x", int, 1).label == "Max size of x"
    assert define("test.x", int, 1, label="Cages").label == "Cages"


def test_a_zero_may_be_a_word(define):
    setting = define("test.x", timedelta, timedelta(0), zero="never")
    assert setting.format() == "never"
    assert setting.parse("Never") == setting.parse("0") == timedelta(0)
    assert setting.format(timedelta(hours=1)) == "1 hour"
    assert setting.format_limit(timedelta(0)) == "0 seconds"
