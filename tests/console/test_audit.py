"""The audit log's pages: filters, walking through it, details, export, words for actions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import AsyncClient
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import registry
from accounts.audit import Actor
from accounts.models import AuditEntry
from adminconsole.forms.audit import ACTIONS, Entry, FilterForm, action_label, shown
from adminconsole.views import audit as views
from adminconsole.views.settings import _discover
from xmppd.services import audit

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
ANN, BOB = Actor("ann@example.org", "console", "192.0.2.7"), Actor("bob@example.org", "cli")


@pytest.fixture(autouse=True)
def _fresh_actions() -> None:
    views.forget_actions()


@pytest.fixture
def log(installed: Any) -> dict[str, AuditEntry]:
    """Five entries by two people over some days, the oldest first."""
    _discover()
    AuditEntry.objects.all().delete()
    made = {
        "created": audit.record(ANN, "user-created", "juliet@example.org", after={"name": "Juliet"}),
        "changed": audit.record(
            BOB,
            "user-changed",
            "juliet@example.org",
            before={"name": "Juliet", "role": ""},
            after={"name": "<b>J</b>", "role": ""},
        ),
        "setting": audit.record(
            ANN, "setting-changed", "c2s.login_timeout", before={"value": 60.0}, after={"value": 90.0}
        ),
        "sent": audit.record(BOB, "message-sent", "everyone online", detail="12"),
        "odd": audit.record(ANN, "moon-painted", "moon", detail="=SUM(A1)"),
    }
    for days, entry in enumerate(reversed(made.values())):
        entry.created = timezone.now() - timedelta(days=days)
        entry.save(update_fields=["created"])
    return made


def html_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content.decode()[:500]
    return response.content.decode()


def listed(browser: Browser, query: str = "") -> list[int]:
    html = html_of(browser.get(f"/audit/?{query}"))
    return [int(pk) for pk in re.findall(r'href="/audit/(\d+)/"', html)]


def day(entry: AuditEntry) -> str:
    return f"{timezone.localtime(entry.created):%Y-%m-%d}"


def test_the_newest_come_first_in_words(owner_client: Browser, log: Any) -> None:
    assert listed(owner_client) == sorted((entry.pk for entry in log.values()), reverse=True)
    html = html_of(owner_client.get("/audit/"))
    for text in ("Created a user", "Changed a setting", "Sent a message", "Moon painted", "Command line"):
        assert text in html
    assert "1 minute → 1 minute 30 seconds" in html


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=juliet", ["changed", "created"]),
        ("q=JULIET+bob", ["changed"]),
        ("actor=bob@example.org", ["sent", "changed"]),
        ("target=juliet@example.org&door=console", ["created"]),
        ("action=setting-changed", ["setting"]),
        ("door=cli", ["sent", "changed"]),
        ("q=nothing", []),
    ],
)
def test_filters(owner_client: Browser, log: Any, query: str, names: list[str]) -> None:
    assert listed(owner_client, query) == [log[name].pk for name in names]


def test_days_include_both_ends(owner_client: Browser, log: Any) -> None:
    query = f"since={day(log['changed'])}&until={day(log['sent'])}"
    assert listed(owner_client, query) == [log[name].pk for name in ("sent", "setting", "changed")]


@pytest.mark.parametrize(
    "query", ["since=2026-02-31", "until=soon", "since=2026-03-02&until=2026-03-01", "action=x", "door=x"]
)
def test_a_filter_that_makes_no_sense_is_said(owner_client: Browser, log: Any, query: str) -> None:
    html = html_of(owner_client.get(f"/audit/?{query}"))
    assert "needs your attention" in html


def test_days_at_the_ends_of_time(owner_client: Browser, log: Any) -> None:
    assert len(listed(owner_client, "since=0001-01-01&until=9999-12-31")) == 5


def test_nothing_found_offers_a_way_back(owner_client: Browser, log: Any) -> None:
    html = html_of(owner_client.get("/audit/?q=nothing"))
    assert "Nothing matches" in html
    assert "Show the whole log" in html


def many(count: int) -> list[int]:
    AuditEntry.objects.all().delete()
    rows = [
        audit.AuditEntry(actor="ann@example.org", door="cli", action="user-created", target=f"u{n}")
        for n in range(count)
    ]
    return sorted((row.pk for row in AuditEntry.objects.bulk_create(rows)), reverse=True)


def links(html: str) -> dict[str, str]:
    return {
        rel: href.replace("&amp;", "&") for rel, href in re.findall(r'rel="(prev|next)" href="([^"]+)"', html)
    }


def test_walking_to_the_end_and_back_shows_each_entry_once(owner_client: Browser) -> None:
    ids = many(60)
    url, seen, pages = "/audit/?size=25", [], []
    while url:
        html = html_of(owner_client.get(url))
        page = [int(pk) for pk in re.findall(r'href="/audit/(\d+)/"', html)]
        seen += page
        pages.append(page)
        url = f"/audit/{links(html)['next']}" if "next" in links(html) else ""
    assert seen == ids
    back = []
    while "prev" in links(html):
        html = html_of(owner_client.get(f"/audit/{links(html)['prev']}"))
        back.append([int(pk) for pk in re.findall(r'href="/audit/(\d+)/"', html)])
    assert back == pages[-2::-1]


@pytest.mark.parametrize(
    "query", ["before=x", "before=-5", "after=99999999999999999999", "before=1", "page=9"]
)
def test_odd_addresses_show_a_page(owner_client: Browser, log: Any, query: str) -> None:
    html_of(owner_client.get(f"/audit/?{query}"))


def test_a_text_search_stops_in_time_and_goes_on(
    owner_client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(60)
    oldest = AuditEntry.objects.order_by("pk").first()
    assert oldest
    AuditEntry.objects.filter(pk=oldest.pk).update(detail="needle")
    monkeypatch.setattr(views, "WINDOW_IDS", 20)
    monkeypatch.setattr(views, "PATIENCE_SECONDS", -1.0)
    url, steps = "/audit/?q=needle", 0
    while True:
        html = html_of(owner_client.get(url))
        found = re.findall(r'href="/audit/(\d+)/"', html)
        if found or "next" not in links(html):
            break
        assert "Searched back to" in html
        url, steps = f"/audit/{links(html)['next']}", steps + 1
    assert found == [str(oldest.pk)]
    assert steps == 2


def test_no_page_counts_or_skips_rows(owner_client: Browser) -> None:
    """With a million entries either would take seconds."""
    many(120)
    for query in ("", "before=60", "q=u1", "actor=ann@example.org", f"since={timezone.localdate()}"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            html_of(owner_client.get(f"/audit/?{query}"))
        statements = [q["sql"] for q in queries if "auditentry" in q["sql"]]
        assert statements
        assert not any("COUNT(" in sql or "OFFSET" in sql for sql in statements)
        assert all("LIMIT" in sql or "DISTINCT" in sql for sql in statements)


def test_details_show_before_and_after(owner_client: Browser, log: Any) -> None:
    html = html_of(owner_client.get(f"/audit/{log['changed'].pk}/"))
    assert "<del>Juliet</del>" in html
    assert "<ins>&lt;b&gt;J&lt;/b&gt;</ins>" in html
    assert "Role" not in html.partition("What changed")[2]
    assert "bob@example.org" in html
    html = html_of(owner_client.get(f"/audit/{log['created'].pk}/"))
    assert "192.0.2.7" in html


@pytest.mark.parametrize("pk", [0, 10**9, 2**70])
def test_an_entry_that_does_not_exist(owner_client: Browser, log: Any, pk: int) -> None:
    assert owner_client.get(f"/audit/{pk}/").status_code == 404


def table(response: Any) -> list[list[str]]:
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response["Content-Disposition"]
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def test_export_follows_the_filters(owner_client: Browser, log: Any) -> None:
    header, *rows = table(owner_client.get("/audit/export/?actor=bob@example.org"))
    assert header[:5] == ["Time", "Who", "Through", "Address", "Action"]
    assert [row[4] for row in rows] == ["message-sent", "user-changed"]
    assert rows[1][8:] == ['{"name": "Juliet"}', '{"name": "<b>J</b>"}']
    assert datetime.fromisoformat(rows[0][0]).astimezone(UTC) <= timezone.now()


def test_export_holds_no_formulas(owner_client: Browser, log: Any) -> None:
    rows = table(owner_client.get("/audit/export/?target=moon"))
    assert rows[1][7] == "'=SUM(A1)"


def test_export_of_more_than_is_read_at_once(owner_client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    many(60)
    monkeypatch.setattr(views, "EXPORT_ROWS", 25)
    targets = [row[6] for row in table(owner_client.get("/audit/export/?action=user-created"))[1:]]
    assert targets == [f"u{n}" for n in range(59, -1, -1)]


@pytest.mark.django_db(transaction=True)
async def test_export_streams_where_it_is_served(owner: Any, log: Any) -> None:
    browser = AsyncClient()
    await browser.aforce_login(owner)
    with registry.overridden(console__allowed_hosts=["testserver"]):
        response = await browser.get("/audit/export/?actor=bob@example.org")
    assert response.status_code == 200, response.content
    assert response.is_async
    text = b"".join([part async for part in response.streaming_content]).decode("utf-8-sig")
    assert [row[4] for row in csv.reader(io.StringIO(text))] == ["Action", "message-sent", "user-changed"]


def test_every_action_that_is_recorded_has_words() -> None:
    recorded = {
        action
        for folder in ("accounts", "xmppd", "adminconsole")
        for path in (ROOT / folder).rglob("*.py")
        for action in re.findall(
            r"(?:audit\.)?(?:record|entry)\(\s*[\w.()\"', ]*?\"([a-z]+(?:-[a-z]+)+)\"", path.read_text()
        )
    }
    assert len(recorded) > 15
    assert recorded - set(ACTIONS) == set()


def test_words_for_what_nobody_foresaw() -> None:
    assert action_label("moon-painted") == "Moon painted"
    assert shown({"b": 1, "a": ["ü"]}) == '{"a": ["ü"], "b": 1}'
    entry = Entry(AuditEntry(actor="x", action="a-b", before=["list"], after="text"))
    assert [(c.before, c.after) for c in entry.changes] == [("list", "text")]


def test_filter_form_needs_no_known_action() -> None:
    assert FilterForm({}, []).criteria()["action"] == ""


def test_an_auditor_sees_all_of_it(auditor_client: Browser, log: Any) -> None:
    assert len(listed(auditor_client)) == 5
    html_of(auditor_client.get(f"/audit/{log['odd'].pk}/"))
    assert len(table(auditor_client.get("/audit/export/"))) == 6


def test_the_log_is_not_for_user_managers(
    browse: Callable[..., Browser], make_user: Callable[..., Any]
) -> None:
    browser = browse(make_user("manager", role="user_manager"))
    for url in ("/audit/", "/audit/export/", "/audit/1/"):
        assert browser.get(url).status_code == 403


@pytest.mark.parametrize("url", ["", "1/", "export/"])
def test_a_stranger_is_asked_to_sign_in(stranger_client: Browser, url: str) -> None:
    response = stranger_client.get(f"/audit/{url}")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


def summary(action: str, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None) -> str:
    return Entry(audit.record(ANN, action, "x", before=before, after=after)).summary


def test_locks_are_told_in_words() -> None:
    free = {"locked_from": None, "locked_until": None, "reason": ""}
    start, end = datetime(2026, 11, 20, 14, 39, tzinfo=UTC), datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
    locked = {"locked_from": start, "locked_until": end, "reason": "Spam"}
    text = summary("user-locked", free, locked)
    assert "Locked from: not locked → 20 Nov 2026, 14:39" in text
    assert "Locked until: – → 21 Nov 2026, 09:05" in text
    assert "somebody unlocks it" in summary("user-locked", locked, {**locked, "locked_until": None})
    assert "Locked from: 20 Nov 2026, 14:39 → not locked" in summary("user-unlocked", locked, free)


def test_roles_sharing_and_choices_have_their_labels() -> None:
    _discover()
    assert summary("role-changed", {"role": ""}, {"role": "user_manager"}) == "Role: None → User manager"
    plain = {"sharing": "nobody", "shared_with": []}
    assert "Not shared → Shared among its members" in summary(
        "group-changed", plain, {"sharing": "groups", "shared_with": []}
    )
    assert "Not shared → Shared with chosen groups" in summary(
        "group-changed", plain, {"sharing": "groups", "shared_with": ["Sales"]}
    )
    setting = audit.record(
        ANN, "setting-changed", "console.language", before={"value": "en"}, after={"value": "zh-hans"}
    )
    assert Entry(setting).summary == "Value: English → 简体中文"


def test_addresses_of_older_entries_are_shown_as_ipv4(owner_client: Browser) -> None:
    row = audit.record(
        Actor("ann@example.org", "console", "::ffff:192.0.2.7"), "signed-in", "ann@example.org"
    )
    html = html_of(owner_client.get(f"/audit/{row.pk}/"))
    assert "192.0.2.7" in html
    assert "::ffff:" not in html


def test_the_time_is_the_first_column(owner_client: Browser, log: Any) -> None:
    heads = re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', html_of(owner_client.get("/audit/")))
    assert heads == ["When", "What", "To what", "Details", "Who"]
