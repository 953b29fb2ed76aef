"""The reports pages: list, details, decisions; as owner, auditor, user manager and stranger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.audit import Actor
from accounts.models import AuditEntry, User
from accounts.roles import Role
from adminconsole.forms.users import ROLE_HELP
from xmppd.models import Report
from xmppd.protocol.jid import JID
from xmppd.services import reports
from xmppd.services.properties import overridden
from xmppd.services.reports import Filing

pytestmark = pytest.mark.django_db

HOSTILE = '"><svg/onload=alert(1)>'
SPAM, ABUSE = "urn:xmpp:reporting:spam", "urn:xmpp:reporting:abuse"


@pytest.fixture
def filed(installed: Any, make_user: Callable[..., User]) -> dict[str, Report]:
    """Alice reports Bob of this server and a stranger of another one; Bob reports a whole domain."""
    alice, bob = make_user("alice"), make_user("bob")
    filings = [
        Filing(JID.parse("bob@example.org"), ABUSE, "Calls me names", [("alice@example.org", "id-17")]),
        Filing(
            JID.parse("seller@spam.example/bot"), SPAM, f"Cheap pills {HOSTILE}", may_go_to=["report-origin"]
        ),
    ]
    reports.file(alice.pk, filings)
    reports.file(bob.pk, [Filing(JID.parse("spam.example"), "urn:example:odd")])
    rows = list(Report.objects.order_by("id"))
    return dict(zip(("bob", "seller", "domain"), rows, strict=True))


def html_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content.decode()[:500]
    return str(response.content.decode())


def rows(html: str) -> list[str]:
    return html.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]


def address(report: Report) -> str:
    return f"/reports/{report.pk}/"


def decide(client: Client, report: Report, state: str, note: str = "") -> Any:
    return client.post(address(report), {"state": state, "note": note})


# -- the list


def test_list_shows_open_reports_the_newest_first(owner_client: Client, filed: dict[str, Report]) -> None:
    reports.decide(filed["bob"], "handled", actor=Actor("x"))
    html = html_of(owner_client.get("/reports/"))
    domain, seller = rows(html)
    assert all(
        text in domain for text in ("spam.example", "Other", "bob@example.org", address(filed["domain"]))
    )
    assert all(
        text in seller for text in ("seller@spam.example/bot", "Spam", "Cheap pills", "alice@example.org")
    )
    assert HOSTILE not in html


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["domain", "seller"]),
        ("state=handled", ["bob"]),
        ("state=dismissed", []),
        ("state=all", ["domain", "seller", "bob"]),
        ("state=nonsense", ["domain", "seller"]),
        ("state=all&reason=abuse", ["bob"]),
        ("state=all&q=NAMES", ["bob"]),
        ("state=all&q=alice%40", ["seller", "bob"]),
        ("q=spam.example+pills", ["seller"]),
        ("q=%00%25_", []),
        ("state=all&size=25&page=99", ["domain", "seller", "bob"]),
    ],
)
def test_filters_and_search(
    owner_client: Client, filed: dict[str, Report], query: str, names: list[str]
) -> None:
    reports.decide(filed["bob"], "handled", actor=Actor("x"))
    found = rows(html_of(owner_client.get(f"/reports/?{query}")))
    assert len(found) == len(names)
    assert all(address(filed[name]) in row for name, row in zip(names, found, strict=True))


def test_list_is_cut_into_pages(owner_client: Client, filed: dict[str, Report]) -> None:
    alice = User.objects.get(username="alice")
    with overridden(reports__max_per_day=100):
        reports.file(alice.pk, [Filing(JID.parse(f"pest{number}@example.net")) for number in range(40)])
    assert len(rows(html_of(owner_client.get("/reports/?size=25")))) == 25
    assert len(rows(html_of(owner_client.get("/reports/?size=25&page=2")))) == 18


def test_empty_lists_say_what_to_do(owner_client: Client, filed: dict[str, Report]) -> None:
    assert "No report matches" in html_of(owner_client.get("/reports/?q=nobody"))
    for report in filed.values():
        reports.decide(report, "dismissed", actor=Actor("x"))
    html = html_of(owner_client.get("/reports/"))
    assert "No open reports" in html
    assert "Show all reports" in html


def test_list_says_when_reports_are_switched_off(owner_client: Client) -> None:
    assert "switched off" not in html_of(owner_client.get("/reports/"))
    with overridden(reports__enabled=False):
        assert "switched off" in html_of(owner_client.get("/reports/"))


def test_menu_counts_open_reports(owner_client: Client, filed: dict[str, Report]) -> None:
    def count() -> Any:
        items = [
            item for section in owner_client.get("/reports/").context["nav"] for item in section["items"]
        ]
        return next(item["count"] for item in items if item["url"] == "/reports/")

    assert count() == 3
    for report in filed.values():
        reports.decide(report, "handled", actor=Actor("x"))
    assert count() is None


# -- one report


def test_details_say_everything_and_lead_on(owner_client: Client, filed: dict[str, Report]) -> None:
    html = html_of(owner_client.get(address(filed["bob"])))
    bob, alice = User.objects.get(username="bob"), User.objects.get(username="alice")
    wanted = (
        "Calls me names",
        "Abuse",
        "id-17",
        f'href="/users/{bob.pk}/"',
        f'href="/users/{alice.pk}/"',
        f'href="/users/{bob.pk}/lock/"',
        "/sessions/message/?jid=bob%40example.org",
        "/sessions/message/?jid=alice%40example.org",
        "nobody beyond this server",
        "1 other report",
        "Mark as handled",
    )
    for text in wanted:
        assert text in html, text


def test_stranger_of_another_server_has_no_buttons(owner_client: Client, filed: dict[str, Report]) -> None:
    html = html_of(owner_client.get(address(filed["seller"])))
    assert "/lock/" not in html
    assert "/sessions/message/?jid=seller" not in html
    assert "the operator of the reported address" in html
    assert HOSTILE not in html
    assert "urn:example:odd" in html_of(owner_client.get(address(filed["domain"])))


def test_locked_and_deleted_users(owner_client: Client, filed: dict[str, Report], actor: Any) -> None:
    bob = User.objects.get(username="bob")
    services.lock_user(bob, actor=actor)
    html = html_of(owner_client.get(address(filed["bob"])))
    assert "The reported user is locked." in html
    assert f"/users/{bob.pk}/lock/" not in html
    for username in ("alice", "bob"):
        services.delete_user(User.objects.get(username=username), actor=actor)
    html = html_of(owner_client.get(address(filed["bob"])))
    assert "(deleted)" in html
    assert "bob@example.org" in html
    assert f"/users/{bob.pk}/" not in html


@pytest.mark.parametrize("number", ["0", "4711", "9" * 30])
def test_unknown_report_is_not_found(owner_client: Client, number: str) -> None:
    assert owner_client.get(f"/reports/{number}/").status_code == 404


# -- decisions


@pytest.mark.parametrize(
    ("state", "action"), [("handled", "report-handled"), ("dismissed", "report-dismissed")]
)
def test_owner_closes_a_report(
    owner_client: Client, filed: dict[str, Report], state: str, action: str
) -> None:
    response = decide(owner_client, filed["bob"], state, "Spoke to him.")
    assert (response.status_code, response.headers["Location"]) == (302, "/reports/")
    row = Report.objects.get(pk=filed["bob"].pk)
    assert (row.state, row.note, row.handled_by) == (state, "Spoke to him.", "boss@example.org")
    assert timezone.now() - row.handled < timedelta(minutes=1)
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.actor, entry.door) == (action, "boss@example.org", "console")
    assert entry.target == "bob@example.org"
    html = html_of(owner_client.get(address(row)))
    assert "Spoke to him." in html
    assert "Open again" in html
    assert "Mark as handled" not in html


def test_closed_report_is_opened_again_and_its_note_changed(
    owner_client: Client, filed: dict[str, Report]
) -> None:
    report = filed["bob"]
    decide(owner_client, report, "handled", "first")
    decide(owner_client, report, "handled", "second")
    assert AuditEntry.objects.latest("id").action == "report-noted"
    response = decide(owner_client, report, "open", "second")
    assert response.headers["Location"] == address(report)
    report.refresh_from_db()
    assert (report.state, report.note, report.handled_by, report.handled) == ("open", "second", "", None)
    assert AuditEntry.objects.latest("id").action == "report-reopened"


@pytest.mark.parametrize(
    "data",
    [{}, {"state": "gone"}, {"state": "handled", "note": "x" * 2001}, {"state": "handled", "note": "\x07"}],
)
def test_bad_decisions_are_shown_again(
    owner_client: Client, filed: dict[str, Report], data: dict[str, str]
) -> None:
    before = AuditEntry.objects.count()
    html_of(owner_client.post(address(filed["bob"]), data), 422)
    assert Report.objects.get(pk=filed["bob"].pk).state == "open"
    assert AuditEntry.objects.count() == before


def test_user_managers_decide(
    browse: Callable[..., Client], make_user: Callable[..., User], filed: dict[str, Report]
) -> None:
    client = browse(make_user("helper", role="user_manager"))
    assert decide(client, filed["bob"], "handled").status_code == 302
    assert Report.objects.get(pk=filed["bob"].pk).handled_by == "helper@example.org"


def test_auditors_read_and_decide_nothing(auditor_client: Client, filed: dict[str, Report]) -> None:
    assert len(rows(html_of(auditor_client.get("/reports/")))) == 3
    html = html_of(auditor_client.get(address(filed["bob"])))
    assert "Calls me names" in html
    for text in ("Mark as handled", "/lock/", "/sessions/message/"):
        assert text not in html
    assert decide(auditor_client, filed["bob"], "handled").status_code == 403
    assert Report.objects.get(pk=filed["bob"].pk).state == "open"


def test_others_see_nothing(
    browse: Callable[..., Client],
    make_user: Callable[..., User],
    stranger_client: Client,
    filed: dict[str, Report],
) -> None:
    moderator = browse(make_user("mod", role="room_moderator"))
    for path in ("/reports/", address(filed["bob"])):
        assert moderator.get(path).status_code == 403
        assert stranger_client.get(path).headers["Location"].startswith("/login/")
    assert decide(moderator, filed["bob"], "handled").status_code == 403
    assert decide(stranger_client, filed["bob"], "handled").status_code == 302
    assert Report.objects.get(pk=filed["bob"].pk).state == "open"


@pytest.fixture
def with_messages(filed: dict[str, Report]) -> Report:
    report = filed["seller"]
    read = {"by": "alice@example.org", "sent": "2026-01-01T12:00:00+00:00"}
    report.stanza_ids = [
        {**read, "id": "17", "text": f"Pills {HOSTILE}"},
        {**read, "id": "18", "text": ""},
        {"by": "alice@example.org", "id": "19", "missing": "gone"},
        {"by": "alice@example.org", "id": "20", "missing": "other-sender"},
        {"by": "bob@example.org", "id": "21", "missing": "foreign"},
        {"by": "alice@example.org", "id": "22"},  # filed before reasons were kept
    ]
    report.save()
    return report


def test_reported_messages_are_shown(with_messages: Report, owner_client: Client) -> None:
    html = html_of(owner_client.get(address(with_messages)))
    first, empty, gone, other, foreign, old = rows(html)
    assert "Pills" in first
    assert HOSTILE not in html
    assert "2026-01-01T12:00:00" in first
    assert "no readable text" in empty
    assert "did not hold this message" in gone
    assert "Somebody else than the reported address" in other
    assert "Not an id of the reporter" in foreign
    assert "did not hold this message" in old
    assert "<time" in empty
    assert "<time" not in gone


def test_reported_messages_are_read_by_those_who_decide(
    with_messages: Report,
    auditor_client: Client,
    browse: Callable[..., Client],
    make_user: Callable[..., User],
) -> None:
    """What the roles are said to do: an auditor sees every page and reads no messages."""
    html = html_of(auditor_client.get(address(with_messages)))
    first, empty = rows(html)[:2]
    assert "Pills" not in html
    assert "Your role reads no messages." in first
    assert "Your role reads no messages." in empty
    assert "2026-01-01T12:00:00" in first
    assert "reads no messages" in str(ROLE_HELP[Role.AUDITOR])
    helper = browse(make_user("helper", role="user_manager"))
    assert "Pills" in rows(html_of(helper.get(address(with_messages))))[0]
    assert "reads what is reported" in str(ROLE_HELP[Role.USER_MANAGER])
