"""The archive of a user in the console: how much and for how long, export and erasing, and who may do what."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone
from lxml import etree

from accounts.models import AuditEntry, User
from adminconsole.forms.audit import Entry
from adminconsole.views import user_archive
from tests.archived import bodies, keep
from xmppd.services import archive_export, archive_query, archive_retention
from xmppd.services.archive_query import Preferences
from xmppd.services.archive_retention import Retention
from xmppd.services.properties import overridden

pytestmark = pytest.mark.django_db
ROMEO, PARIS = "romeo@example.org", "paris@example.org"
SECRET = "meet me at the <orchard>"


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet")


@pytest.fixture
def past(juliet: User) -> User:
    """Juliet with four messages."""
    for days, peer in ((400, ROMEO), (40, ROMEO), (30, PARIS), (1, ROMEO)):
        keep(juliet, SECRET, days_ago=days, peer=peer)
    return juliet


def url(route: str, user: User, **query: str) -> str:
    return reverse(route, args=[user.pk], query=query or None)


def day(days_ago: float) -> str:
    return timezone.localdate(timezone.now() - timedelta(days=days_ago)).isoformat()


def html(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.status_code
    return " ".join(response.content.decode().split())


# --- the tab


def test_what_is_there(auditor_client: Client, past: User) -> None:
    page = auditor_client.get(url("user-archive", past))
    text = html(page)
    assert page.context["usage"].messages == 4
    assert "<dt>Messages</dt><dd>4</dd>" in text
    assert "13 months ago" in text
    assert "for ever" in text
    assert "no limit" in text
    assert next(tab for tab in page.context["tabs"] if tab["current"])["title"] == "Archive"
    assert "orchard" not in text
    assert not any(part in text for part in ("/archive/export/", "/archive/erase/", 'name="days"'))


def test_an_empty_archive(owner_client: Client, juliet: User) -> None:
    text = html(owner_client.get(url("user-archive", juliet)))
    assert "No messages yet" in text
    assert "/archive/export/" not in text
    assert 'name="days"' in text


def test_switched_off(owner_client: Client, juliet: User) -> None:
    with overridden(archive__enabled=False):
        text = html(owner_client.get(url("user-archive", juliet)))
    assert "The message archive is switched off" in text
    assert "No messages yet" not in text
    assert reverse("setting", args=["archive.enabled"]) in text


def test_what_the_user_wants_kept(owner_client: Client, juliet: User) -> None:
    never = frozenset(f"spam{number:02}@example.net" for number in range(25))
    archive_query.set_preferences(juliet.pk, Preferences("roster", frozenset({ROMEO}), never))
    text = html(owner_client.get(url("user-archive", juliet)))
    assert "Messages with people in the contact list are kept" in text
    assert text.count("example.net") >= 25
    assert "15 more" in text
    assert '<span class="jid-local">romeo</span>' in text


# --- how long


def save(
    client: Client, user: User, days: str = "", size: str = "", unit: str = "1048576", **more: str
) -> Any:
    data = {"days": days, "size_0": size, "size_1": unit, **more}
    return client.post(url("user-archive", user), data)


def test_own_limits_and_where_they_come_from(owner_client: Client, juliet: User) -> None:
    with overridden(archive__keep_days=90, archive__keep_size=2**30):
        text = html(owner_client.get(url("user-archive", juliet)))
        assert "<b>90 days</b>" in text
        assert "<b>1.0 GB</b>" in text
        assert "Empty: as the server's setting says, now “90 days”. 0: for ever." in text
        assert "This user's own" not in text.replace("&#x27;", "'")
        assert save(owner_client, juliet, days="0", size="1.5", unit="1073741824").status_code == 302
        text = html(owner_client.get(url("user-archive", juliet))).replace("&#x27;", "'")
        assert "<b>for ever</b>" in text
        assert "<b>1.5 GB</b>" in text
        assert text.count("This user's own") == 2
        assert 'value="1536"' in text  # MiB, the largest unit that makes it whole
        assert archive_retention.retention(juliet.pk) == Retention(0, 3 * 2**29)
    entry = Entry(AuditEntry.objects.get(action="archive-retention-changed"))
    assert entry.label == "Changed how long messages stay"
    assert set(entry.summary.split("; ")) == {
        "Days in the archive: as the server's setting says → for ever",
        "Size of the archive: as the server's setting says → 1.5 GB",
    }


def test_empty_fields_give_the_server_its_say(owner_client: Client, juliet: User, actor: Any) -> None:
    archive_retention.set_retention(juliet, days=7, bytes=1000, actor=actor)
    assert save(owner_client, juliet).status_code == 302
    assert archive_retention.retention(juliet.pk) == Retention()


def test_lower_limits_are_confirmed_before_they_delete(owner_client: Client, past: User) -> None:
    asked = save(owner_client, past, days="35")
    text = html(asked)
    assert "2 messages are outside the new limits" in text
    assert len(bodies(past)) == 4
    assert archive_retention.retention(past.pk) == Retention()
    # What was agreed to were other limits.
    assert "4 messages are outside" in html(save(owner_client, past, size="1", unit="1", understood="35/0"))
    assert save(owner_client, past, days="35", understood=asked.context["form"].consent).status_code == 302
    assert len(bodies(past)) == 2
    toast = html(owner_client.get(url("user-archive", past)))
    assert "Saved. 2 messages are deleted." in toast


@pytest.mark.parametrize(
    ("days", "size", "unit"),
    [
        ("-1", "", "1"),
        ("36501", "", "1"),
        ("x", "", "1"),
        ("", "-1", "1"),
        ("", "1e30", "1073741824"),
        ("", "1", "7"),
    ],
)
def test_limits_that_make_no_sense(owner_client: Client, past: User, days: str, size: str, unit: str) -> None:
    html(save(owner_client, past, days=days, size=size, unit=unit), 422)
    assert archive_retention.retention(past.pk) == Retention()


# --- export


def export(client: Client, user: User, **data: str) -> Any:
    return client.post(url("user-archive-export", user), {"format": "xml", **data})


def test_export_as_xml(owner_client: Client, past: User) -> None:
    assert "audit log notes who made it" in html(owner_client.get(url("user-archive-export", past)))
    response = export(owner_client, past)
    assert response.streaming
    assert response.headers["Content-Type"] == "application/xml; charset=utf-8"
    name = f"hearth-archive-juliet@example.org-{timezone.localdate().isoformat()}.xml"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    root = etree.fromstring(b"".join(response.streaming_content))
    texts = [body.text for body in root.iter("{jabber:client}body")]
    assert texts == [SECRET] * 4
    entry = Entry(AuditEntry.objects.get(action="archive-exported"))
    assert (entry.row.actor, entry.row.target) == ("boss@example.org", past.jid)
    assert set(entry.summary.split("; ")) == {"Messages: 4", "Format: xml"}
    assert "orchard" not in json.dumps([entry.row.after, entry.row.before, entry.row.detail])


def test_export_of_a_part_as_json_lines(owner_client: Client, past: User) -> None:
    response = export(owner_client, past, format="jsonl", since=day(40), until=day(1), contact="romeo")
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert [json.loads(line)["with"] for line in lines] == [ROMEO, ROMEO]
    summary = Entry(AuditEntry.objects.get(action="archive-exported")).summary
    assert "Contact: romeo@example.org" in summary
    assert "Messages: 2" in summary


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"contact": "mercutio"}, "The archive holds no such message."),
        ({"contact": "@@"}, "This is not an address."),
        ({"since": day(1), "until": day(2)}, "This is before the first day."),
        ({"since": "yesterday"}, "Enter a valid date."),
        ({"since": "0001-01-01"}, "Enter a day of the years 2000 to "),
        ({"until": "9999-12-31"}, "Enter a day of the years 2000 to "),
        ({"format": "pdf"}, "not one of the available choices"),
    ],
)
def test_export_of_nothing(owner_client: Client, past: User, data: dict[str, str], text: str) -> None:
    assert text in html(export(owner_client, past, **data), 422)
    assert not AuditEntry.objects.filter(action="archive-exported").exists()


@pytest.mark.django_db(transaction=True)
async def test_export_is_sent_as_it_is_read(
    monkeypatch: pytest.MonkeyPatch, owner: User, past: User, installed: Any
) -> None:
    """Under ASGI too: a page is read when the one before is on its way."""
    monkeypatch.setattr(archive_export, "CHUNK", 1)
    read: list[str] = []
    real = archive_export.WRITERS["jsonl"]

    def writer(*arguments: Any) -> Any:
        for part in real(*arguments):
            read.append(part)
            yield part

    monkeypatch.setitem(archive_export.WRITERS, "jsonl", writer)
    client = AsyncClient()
    await client.aforce_login(owner)
    with overridden(console__allowed_hosts=["testserver"]):
        response = await client.post(url("user-archive-export", past), {"format": "jsonl"})
    assert response.is_async
    content = aiter(response.streaming_content)
    assert read == []
    await anext(content)
    assert len(read) == 1
    assert len([part async for part in content]) == 3
    await content.aclose()


# --- erase


def test_erase_asks_which_then_how_many_then_does_it(owner_client: Client, past: User) -> None:
    text = html(owner_client.get(url("user-archive-erase", past)))
    assert 'method="get"' in text
    address = url("user-archive-erase", past, what="older", before=day(35))
    asked = html(owner_client.get(address))
    assert "2 messages of juliet@example.org from before the chosen day" in asked
    assert timezone.localtime(timezone.now() - timedelta(days=400)).strftime("%b %Y") in asked
    assert len(bodies(past)) == 4
    assert "exactly to confirm" in html(owner_client.post(address, {"confirm": "yes"}), 422)
    assert len(bodies(past)) == 4
    response = owner_client.post(address, {"confirm": "juliet"})
    assert response.headers["Location"] == url("user-archive", past)
    assert len(bodies(past)) == 2
    entry = Entry(AuditEntry.objects.get(action="archive-erased"))
    assert entry.label == "Erased messages"
    assert "Messages: 2" in entry.summary
    assert "Before day: " in entry.summary


def test_erase_one_contact(owner_client: Client, past: User) -> None:
    address = url("user-archive-erase", past, what="contact", contact="PARIS@example.org")
    assert "1 message of juliet@example.org with paris@example.org" in html(owner_client.get(address))
    owner_client.post(address, {"confirm": "juliet"})
    assert len(bodies(past)) == 3


def test_erase_all(owner_client: Client, past: User) -> None:
    # A day that was entered before “all” was chosen changes nothing.
    address = url("user-archive-erase", past, what="all", before=day(35))
    assert "The whole archive of juliet@example.org: 4 messages" in html(owner_client.get(address))
    owner_client.post(address, {"confirm": "juliet"})
    assert bodies(past) == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"what": "older"}, "Choose a day."),
        ({"what": "contact"}, "Enter an address."),
        ({"what": "contact", "contact": "@"}, "This is not an address."),
        ({"what": "older", "before": day(1000)}, "The archive holds no such message."),
        ({"what": "everything"}, "not one of the available choices"),
    ],
)
def test_erase_of_nothing(owner_client: Client, past: User, query: dict[str, str], text: str) -> None:
    address = url("user-archive-erase", past, **query)
    assert text in html(owner_client.get(address), 422)
    owner_client.post(address, {"confirm": "juliet"})
    assert len(bodies(past)) == 4


def test_a_post_that_says_not_what_erases_nothing(owner_client: Client, past: User) -> None:
    response = owner_client.post(url("user-archive-erase", past), {"confirm": "juliet", "what": "all"})
    assert response.headers["Location"] == url("user-archive-erase", past)
    assert len(bodies(past)) == 4


# --- who may


@pytest.mark.django_db(transaction=True)
def test_many_are_erased_behind_the_answer(
    owner_client: Client, past: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_archive, "AT_ONCE", 3)
    address = url("user-archive-erase", past, what="all")
    text = html(owner_client.post(address, {"confirm": "juliet"}, follow=True))
    assert "The messages are being deleted." in text
    for thread in threading.enumerate():
        if thread.name == "hearth-erase":
            thread.join(30)
    assert bodies(past) == []
    assert Entry(AuditEntry.objects.get(action="archive-erased")).row.after == {"messages": 4}


@pytest.mark.parametrize(
    ("role", "may_export", "may_erase"),
    [("owner", True, True), ("admin", True, True), ("user_manager", False, True), ("auditor", False, False)],
)
def test_roles(
    browse: Callable[..., Client],
    make_user: Callable[..., Any],
    past: User,
    role: str,
    may_export: bool,
    may_erase: bool,
) -> None:
    client = browse(make_user("viewer", role=role))
    text = html(client.get(url("user-archive", past)))
    assert ("/archive/export/" in text) == may_export
    assert ("/archive/erase/" in text) == may_erase
    assert client.get(url("user-archive-export", past)).status_code == (200 if may_export else 403)
    assert export(client, past).status_code == (200 if may_export else 403)
    address = url("user-archive-erase", past, what="all")
    assert client.get(address).status_code == (200 if may_erase else 403)
    assert client.post(address, {"confirm": "juliet"}).status_code == (302 if may_erase else 403)
    assert save(client, past, days="0").status_code == (302 if may_erase else 403)
    assert bool(bodies(past)) != may_erase


def test_an_administrator_does_not_read_an_owners_messages(
    browse: Callable[..., Client], make_user: Callable[..., Any], owner: User
) -> None:
    keep(owner, SECRET)
    client = browse(make_user("chief", role="admin"))
    assert "/archive/export/" not in html(client.get(url("user-archive", owner)))
    assert export(client, owner).status_code == 403
    assert client.post(url("user-archive-erase", owner, what="all"), {"confirm": "boss"}).status_code == 403
    assert save(client, owner, days="1").status_code == 403
    assert bodies(owner) == [SECRET.replace("<", "&lt;").replace(">", "&gt;")]


@pytest.mark.parametrize("route", ["user-archive", "user-archive-export", "user-archive-erase"])
def test_strangers_and_users_without_a_role(
    stranger_client: Client, browse: Callable[..., Client], make_user: Any, past: User, route: str
) -> None:
    address = url(route, past)
    assert stranger_client.get(address).headers["Location"].startswith("/login/")
    nobody = browse(make_user("nobody"))
    assert nobody.get(address).status_code in (302, 403)
    assert nobody.post(address, {"confirm": "juliet", "what": "all"}).status_code in (302, 403)
    assert len(bodies(past)) == 4
