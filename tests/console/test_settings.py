"""The settings pages: found, changed by a control of the right type, checked, reset, audited; secrets never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils.html import escape

from accounts.models import AuditEntry, Property, User
from adminconsole import cautions
from adminconsole.views.settings import _discover
from tests.archived import bodies, keep
from xmppd.services import properties
from xmppd.services.properties import Setting

pytestmark = pytest.mark.django_db(transaction=True)  # a setting holds when it is committed


@pytest.fixture(scope="module", autouse=True)
def examples() -> Iterator[None]:
    """One setting of each type; they leave the registry afterwards."""
    from accounts.registry import _registry

    _discover()
    made = [
        Setting("zoo.open", bool, False, "Whether the zoo is open.", restart=True),
        Setting("zoo.animals", int, 5, "Animals.", minimum=1, maximum=100),
        Setting("zoo.ratio", float, 0.5, "Ratio of monkeys.", minimum=0.0, maximum=1.0),
        Setting(
            "zoo.nap",
            timedelta,
            timedelta(minutes=90),
            "How long they sleep.",
            label="Hours of rest",
            minimum=timedelta(seconds=1),
            maximum=timedelta(days=2),
        ),
        Setting(
            "zoo.visit", timedelta, timedelta(0), "Visits end then.", zero="never", maximum=timedelta(hours=8)
        ),
        Setting("zoo.cage", "size", 1024 * 1024, "Size of a cage.", minimum=1024, maximum=1024**3),
        Setting("zoo.sign", str, "Welcome", "Text of the sign."),
        Setting("zoo.mood", str, "calm", "Mood.", choices=[("calm", "calm"), ("wild", "wild")]),
        Setting("zoo.keepers", list, [], "Keepers.", maximum=3),
        Setting("zoo.feed", list, ["hay"], "What they eat.", choices=[("hay", "Hay"), ("fish", "Fish")]),
        Setting("zoo.key", str, "", "Key of the gate.", secret=True),
    ]
    yield
    for setting in made:
        del _registry[setting.name]


def html_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content.decode()[:500]
    return response.content.decode()


def save(browser: Browser, name: str, **data: Any) -> Any:
    return browser.post(f"/settings/{name}/", data, follow=True)


def test_every_setting_is_listed_with_its_meaning(owner_client: Browser) -> None:
    html = html_of(owner_client.get("/settings/"))
    for setting in properties.all_settings():
        assert f'href="/settings/{setting.name}/"' in html
        assert escape(setting.label) in html
        assert escape(str(setting.help)) in html
    assert "Client connections" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=zoo.nap", {"zoo.nap"}),
        ("q=MONKEYS", {"zoo.ratio"}),
        ("q=zoo+sleep", {"zoo.nap"}),
        ("q=hours+of+rest", {"zoo.nap"}),
        ("section=zoo&q=cage", {"zoo.cage"}),
        ("section=sessions&q=zoo", set()),
        ("show=changed", {"zoo.animals"}),
        ("show=changed&q=nap", set()),
    ],
)
def test_search_and_filters(owner_client: Browser, actor: Any, query: str, found: set[str]) -> None:
    properties.set_value("zoo.animals", 7, actor=actor)
    html = html_of(owner_client.get(f"/settings/?{query}"))
    shown = {s.name for s in properties.all_settings() if f'href="/settings/{s.name}/"' in html}
    assert shown == found
    assert found or "Show all settings" in html


def test_the_label_is_the_title_and_the_key_stands_beside_it(owner_client: Browser) -> None:
    html = html_of(owner_client.get("/settings/zoo.nap/"))
    assert "<title>Hours of rest" in html
    assert "<code>zoo.nap</code>" in html
    assert "Hours of rest is now: 1 hour" in html_of(
        save(owner_client, "zoo.nap", value_0="1", value_1="3600")
    )


def test_a_zero_that_is_no_amount_is_a_word(owner_client: Browser, actor: Any) -> None:
    html = html_of(owner_client.get("/settings/zoo.visit/"))
    assert "<dd>never</dd>" in html
    assert "At most 8 hours. 0 means: never." in html
    properties.set_value("zoo.visit", "2 hours", actor=actor)
    assert "default: never" in html_of(owner_client.get("/settings/?q=zoo.visit"))


def test_a_changed_setting_shows_its_default(owner_client: Browser, actor: Any) -> None:
    properties.set_value("zoo.nap", "2 hours", actor=actor)
    html = html_of(owner_client.get("/settings/?q=zoo.nap"))
    assert "2 hours" in html
    assert "default: 1 hour 30 minutes" in html
    assert "/settings/zoo.nap/reset/" in html


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("zoo.open", {"value": "on"}, True),
        ("zoo.animals", {"value": "42"}, 42),
        ("zoo.ratio", {"value": "0.25"}, 0.25),
        ("zoo.nap", {"value_0": "1.5", "value_1": "3600"}, timedelta(minutes=90)),
        ("zoo.nap", {"value_0": "2", "value_1": "86400"}, timedelta(days=2)),
        ("zoo.cage", {"value_0": "512", "value_1": "1024"}, 512 * 1024),
        ("zoo.sign", {"value": "<b>Hi</b>"}, "<b>Hi</b>"),
        ("zoo.mood", {"value": "wild"}, "wild"),
        ("zoo.keepers", {"value": "Ann\r\n\r\n Bob "}, ["Ann", "Bob"]),
        ("zoo.feed", {"value": ["fish", "hay"]}, ["fish", "hay"]),
        ("zoo.feed", {}, []),
        ("zoo.key", {"value": "sesame"}, "sesame"),
    ],
)
def test_each_type_can_be_changed(owner_client: Browser, name: str, data: dict[str, Any], value: Any) -> None:
    html_of(save(owner_client, name, **data))
    assert properties.get(name) == value


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("zoo.animals", {"value": "0"}, "Must be at least 1."),
        ("zoo.animals", {"value": "many"}, "Enter a whole number."),
        ("zoo.animals", {}, "This field is required."),
        ("zoo.ratio", {"value": "1.01"}, "Must be at most 1."),
        ("zoo.nap", {"value_0": "3", "value_1": "86400"}, "Must be at most 2 days."),
        ("zoo.nap", {"value_0": "1e300", "value_1": "86400"}, "This is too long."),
        ("zoo.nap", {"value_0": "3", "value_1": "7"}, "Select a valid choice."),
        ("zoo.nap", {"value_0": "", "value_1": "60"}, "Enter a number."),
        ("zoo.cage", {"value_0": "1", "value_1": "1"}, "Must be at least 1 KiB."),
        ("zoo.cage", {"value_0": "0.3", "value_1": "1"}, "Bytes cannot be divided."),
        ("zoo.cage", {"value_0": "inf", "value_1": "1"}, "Enter a number."),
        ("zoo.mood", {"value": "sad"}, "Select a valid choice."),
        ("zoo.keepers", {"value": "a\nb\nc\nd"}, "Must be at most 3."),
        ("zoo.feed", {"value": ["meat"]}, "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_and_not_stored(
    owner_client: Browser, name: str, data: dict[str, Any], text: str
) -> None:
    html = html_of(save(owner_client, name, **data), 422)
    assert text in html
    assert not Property.objects.filter(name=name).exists()


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("zoo.open", 'role="switch"'),
        ("zoo.animals", 'max="100"'),
        ("zoo.nap", '<option value="60" selected>minutes</option>'),
        ("zoo.cage", '<option value="1048576" selected>MiB</option>'),
        ("zoo.mood", 'type="radio"'),
        ("zoo.keepers", "<textarea"),
        ("zoo.feed", 'type="checkbox" name="value" value="hay"'),
        ("zoo.key", 'type="password"'),
    ],
)
def test_the_control_suits_the_type(owner_client: Browser, name: str, control: str) -> None:
    assert control in html_of(owner_client.get(f"/settings/{name}/"))


@pytest.mark.parametrize("name", ["zoo.nap", "zoo.cage"])
def test_an_amount_and_its_unit_have_labels(owner_client: Browser, name: str) -> None:
    html = html_of(owner_client.get(f"/settings/{name}/"))
    assert '<label for="id_value_0">' in html
    assert 'aria-label="Unit"' in html


def test_limits_and_default_are_told(owner_client: Browser) -> None:
    html = html_of(owner_client.get("/settings/zoo.nap/"))
    assert "From 1 second to 2 days." in html
    assert "1 hour 30 minutes" in html


def test_a_restart_is_announced(owner_client: Browser) -> None:
    assert "after a restart of the server" in html_of(owner_client.get("/settings/zoo.open/"))
    assert "after a restart of the server" in html_of(save(owner_client, "zoo.open", value="on"))


def test_a_secret_is_written_and_never_shown(owner_client: Browser) -> None:
    save(owner_client, "zoo.key", value="sesame-open")
    pages = [
        html_of(owner_client.get(url))
        for url in (
            "/settings/?q=zoo.key",
            "/settings/zoo.key/",
            "/settings/zoo.key/reset/",
            "/audit/?q=zoo.key",
        )
    ]
    pages.append(html_of(owner_client.get(f"/audit/{AuditEntry.objects.get(target='zoo.key').pk}/")))
    assert not any("sesame" in page for page in pages)
    assert "(set)" in pages[0]


def test_an_empty_secret_keeps_the_value(owner_client: Browser) -> None:
    save(owner_client, "zoo.key", value="sesame")
    save(owner_client, "zoo.key", value="")
    assert properties.get("zoo.key") == "sesame"


def test_reset_shows_the_default_then_restores_it(owner_client: Browser, actor: Any) -> None:
    properties.set_value("zoo.mood", "wild", actor=actor)
    html = html_of(owner_client.get("/settings/zoo.mood/reset/"))
    assert "Now: wild" in html
    assert "Default: calm" in html
    assert properties.get("zoo.mood") == "wild"
    html_of(owner_client.post("/settings/zoo.mood/reset/", follow=True))
    assert properties.get("zoo.mood") == "calm"


def test_changes_are_audited_with_before_and_after(owner_client: Browser) -> None:
    save(owner_client, "zoo.nap", value_0="2", value_1="3600")
    row = AuditEntry.objects.get(action="setting-changed")
    assert (row.actor, row.door, row.target) == ("boss@example.org", "console", "zoo.nap")
    assert (row.before, row.after) == ({"value": 5400.0}, {"value": 7200.0})
    # A person reads durations, not seconds.
    assert "1 hour 30 minutes → 2 hours" in html_of(owner_client.get("/settings/zoo.nap/"))


def test_a_dangerous_value_is_stored_only_when_meant(owner_client: Browser) -> None:
    html = html_of(save(owner_client, "c2s.tls", value="optional"))
    assert "Save anyway" in html
    assert properties.get("c2s.tls") == "required"
    html = html_of(save(owner_client, "c2s.tls", value="optional", understood='"optional"'))
    assert properties.get("c2s.tls") == "optional"
    assert "Encryption is optional" in html
    assert "Encryption is optional" in html_of(owner_client.get("/"))


def test_a_dangerous_value_that_holds_already_is_not_asked_about_again(
    owner_client: Browser, actor: Any
) -> None:
    properties.set_value("c2s.idle_timeout", "3 hours", actor=actor)
    save(owner_client, "c2s.idle_timeout", value_0="4", value_1="3600")
    assert properties.get("c2s.idle_timeout") == timedelta(hours=4)


@pytest.mark.parametrize(
    ("name", "data", "typo"),
    [
        ("archive.keep_days", {"value": "30"}, {"value": "3"}),
        (
            "archive.keep_size",
            {"value_0": "1", "value_1": "1048576"},
            {"value_0": "1.5", "value_1": "1048576"},
        ),
    ],
)
def test_what_deletes_messages_is_asked_about_with_their_number(
    owner_client: Browser, make_user: Any, name: str, data: dict[str, str], typo: dict[str, str]
) -> None:
    for username in ("juliet", "romeo"):
        user = make_user(username)
        for days in (90, 60, 40):
            keep(user, "x" * 600_000, days_ago=days)
        keep(user, "new")
    said = {"archive.keep_days": "6 messages", "archive.keep_size": "4 messages"}[name]
    html = html_of(save(owner_client, name, **data))
    assert f"Within a day, {said} of 2 users will be deleted for good." in html
    assert "Save again to confirm." in html
    assert properties.get(name) == 0
    understood = unescape(re.findall('name="understood" value="([^"]*)"', html)[0])
    # Who types another value then is asked again.
    assert "deleted for good" in html_of(save(owner_client, name, **typo, understood=understood))
    assert properties.get(name) == 0
    html_of(save(owner_client, name, **data, understood=understood))
    value = properties.get(name)
    assert value > 0
    for user in User.objects.filter(username__in=("juliet", "romeo")):
        assert len(bodies(user)) == 4  # the sweep deletes
    # Nothing is lost by a longer limit, and none by the default.
    assert "understood" not in html_of(owner_client.get(f"/settings/{name}/reset/"))
    html_of(save(owner_client, name, **({"value": "400"} if "value" in data else {**data, "value_0": "9"})))
    assert properties.get(name) > value


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [("1023", "1024", "Must be at least 1 MiB."), ("1025", "1073741824", "Must be at most 1 TiB.")],
)
def test_an_archive_of_a_few_bytes_is_a_mistake(
    owner_client: Browser, number: str, unit: str, text: str
) -> None:
    assert text in html_of(save(owner_client, "archive.keep_size", value_0=number, value_1=unit), 422)
    html = html_of(owner_client.get("/settings/archive.keep_size/"))
    assert "From 1 MiB to 1 TiB. 0 means: no limit." in html
    assert '<option value="1048576" selected>MiB</option>' in html
    save(owner_client, "archive.keep_size", value_0="0", value_1="1")
    assert properties.get("archive.keep_size") == 0


def test_every_caution_is_about_a_setting_and_not_about_its_default() -> None:
    for caution in cautions.CAUTIONS:
        assert not caution.when(properties.find(caution.setting).default)


def test_hostile_values_stay_text(owner_client: Browser, actor: Any) -> None:
    properties.set_value("zoo.sign", "<script>alert(1)</script>", actor=actor)
    for url in (
        "/settings/?q=zoo.sign",
        "/settings/zoo.sign/",
        "/settings/zoo.sign/reset/",
        "/settings/?q=<script>",
    ):
        assert "<script>alert" not in html_of(owner_client.get(url))


def test_a_name_that_is_no_setting(owner_client: Browser) -> None:
    for url in ("/settings/no.such/", "/settings/no.such/reset/"):
        assert owner_client.get(url).status_code == 404


def test_an_auditor_sees_and_cannot_change(auditor_client: Browser, actor: Any) -> None:
    properties.set_value("zoo.mood", "wild", actor=actor)
    html = html_of(auditor_client.get("/settings/?q=zoo")) + html_of(
        auditor_client.get("/settings/zoo.mood/")
    )
    assert "wild" in html
    assert "/reset/" not in html
    assert '<form class="form"' not in html
    assert auditor_client.post("/settings/zoo.mood/", {"value": "calm"}).status_code == 403
    assert auditor_client.get("/settings/zoo.mood/reset/").status_code == 403
    assert auditor_client.post("/settings/zoo.mood/reset/").status_code == 403
    assert properties.get("zoo.mood") == "wild"


@pytest.mark.parametrize("url", ["", "c2s.tls/", "c2s.tls/reset/"])
def test_a_stranger_is_asked_to_sign_in(stranger_client: Browser, url: str) -> None:
    response = stranger_client.get(f"/settings/{url}")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")
