"""The sessions pages with a real stream service: the table, details, closing, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client as Browser

from accounts.models import AuditEntry, User
from tests.console.service import Service
from tests.conversation import Client
from xmppd.protocol.element import Element
from xmppd.protocol.namespaces import CLIENT

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = '"><svg/onload=alert(1)>'
AWAY = "<presence><show>away</show><status>On the road</status><priority>5</priority></presence>"


@pytest.fixture
def service(installed: Any) -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def people(service: Service, make_user: Callable[..., Any]) -> dict[str, Any]:
    """juliet with two devices, romeo with one that is not encrypted."""
    for name in ("juliet", "romeo"):
        make_user(name)
    return {
        "phone": service.log_in("juliet@example.org/phone", presence=AWAY, client="Conversations 2.17"),
        "desktop": service.log_in("juliet@example.org/desktop", presence="<presence/>", client="Gajim 2"),
        "romeo": service.log_in("romeo@example.org/home", tls=False),
    }


def of(jid: str) -> str:
    return "?" + urlencode({"jid": jid})


def rows(html: str) -> list[str]:
    """The table's rows."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    return body.split("<tr>")[1:]


def html_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response.content.decode()[:500]
    return response.content.decode()


def test_the_table_shows_every_session(owner_client: Browser, people: Any) -> None:
    found = rows(html_of(owner_client.get("/sessions/")))
    assert len(found) == 3
    desktop, phone, romeo = found
    assert "Available" in desktop
    assert all(
        text in phone for text in ("Away", "priority 5", "TLS 1.3", "AES 256 GCM", "Conversations 2.17")
    )
    assert "192.0.2.1" in phone
    assert "Not available" in romeo
    assert "Not encrypted" in romeo


def test_who_is_not_encrypted_is_warned_of(owner_client: Browser, people: Any) -> None:
    html = html_of(owner_client.get("/sessions/"))
    assert "1 session is not encrypted" in html
    assert len(rows(html_of(owner_client.get("/sessions/?tls=no")))) == 1


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=juliet", ["desktop", "phone"]),
        ("q=CONVERSATIONS+juliet", ["phone"]),
        ("q=road", ["phone"]),
        ("presence=away", ["phone"]),
        ("presence=connected", ["home"]),
        ("client=Gajim+2", ["desktop"]),
        ("tls=yes&sort=-jid", ["phone", "desktop"]),
        ("sort=presence", ["desktop", "phone", "home"]),
        ("sort=nonsense&page=99", ["desktop", "phone", "home"]),
    ],
)
def test_search_filter_and_order(owner_client: Browser, people: Any, query: str, names: list[str]) -> None:
    found = rows(html_of(owner_client.get(f"/sessions/?{query}")))
    assert [next(name for name in ("desktop", "phone", "home") if name in row) for row in found] == names


def test_search_without_result_offers_a_way_back(owner_client: Browser, people: Any) -> None:
    html = html_of(owner_client.get("/sessions/?q=nobody"))
    assert "No session matches" in html
    assert "Show all sessions" in html


def test_nobody_connected(owner_client: Browser, service: Service) -> None:
    assert "Nobody is connected" in html_of(owner_client.get("/sessions/"))


def test_pages(owner_client: Browser, service: Service, make_user: Callable[..., Any]) -> None:
    for user in range(3):
        make_user(f"user{user}")
        for device in range(10):
            service.log_in(f"user{user}@example.org/d{device}")
    assert len(rows(html_of(owner_client.get("/sessions/?size=25")))) == 25
    assert len(rows(html_of(owner_client.get("/sessions/?size=25&page=2")))) == 5


def test_hostile_names_stay_text(
    owner_client: Browser, service: Service, make_user: Callable[..., Any]
) -> None:
    make_user("mallory")
    presence = "<presence><show>&lt;script&gt;</show><status>&lt;script&gt;alert(2)</status></presence>"
    service.log_in(f"mallory@example.org/{HOSTILE}", presence=presence, client=HOSTILE)
    jid = f"mallory@example.org/{HOSTILE}"
    for url in (
        "/sessions/",
        "/sessions/?q=svg",
        "/sessions/" + "?" + urlencode({"client": HOSTILE, "q": HOSTILE}),
        "/sessions/details/" + of(jid),
        "/sessions/close/" + of(jid),
        "/sessions/message/" + of(jid),
    ):
        html = html_of(owner_client.get(url))
        assert "<svg/onload" not in html
        assert "<script>alert" not in html
        assert "&lt;svg/onload=alert(1)&gt;" in html or "q=" in url


def test_details_show_everything(owner_client: Browser, people: Any) -> None:
    html = html_of(owner_client.get("/sessions/details/" + of("juliet@example.org/phone")))
    for text in (
        "On the road",
        "Conversations 2.17",
        "TLS_AES_256_GCM_SHA384",
        "192.0.2.1",
        "memory",
        "TEST",
    ):
        assert text in html
    assert "Other sessions of this user" in html
    assert "desktop" in html


def test_details_of_a_session_that_ended(owner_client: Browser, service: Service) -> None:
    url = "/sessions/details/" + of("juliet@example.org/phone")
    assert "This session has ended" in html_of(owner_client.get(url), 404)
    # The open page that fetches itself is shown the same instead of an error.
    assert "This session has ended" in html_of(owner_client.get(url, headers={"HX-Request": "true"}))


def test_close_asks_then_ends_the_session(owner_client: Browser, service: Service, people: Any) -> None:
    url = "/sessions/close/" + of("juliet@example.org/phone")
    html = html_of(owner_client.get(url))
    assert "Close this session?" in html
    assert len(service.server.sessions()) == 3
    response = owner_client.post(url, {"reason": "Too <loud>"}, follow=True)
    assert "Session closed" in html_of(response)
    service.run(people["phone"].is_disconnected("policy-violation"))
    assert "Too &lt;loud&gt;" in people["phone"].connection.text
    assert len(service.server.sessions()) == 2
    row = AuditEntry.objects.get(action="session-closed")
    assert (row.actor, row.door, row.target) == ("boss@example.org", "console", "juliet@example.org/phone")


def test_close_all_of_a_user(owner_client: Browser, service: Service, people: Any) -> None:
    url = "/sessions/close/" + of("juliet@example.org")
    assert "Close all sessions of this user?" in html_of(owner_client.get(url))
    assert "2 sessions closed" in html_of(owner_client.post(url, follow=True))
    assert [session.jid.bare_str for session in service.server.sessions()] == ["romeo@example.org"]


def test_user_managers_end_no_sessions_of_administrators(
    browse: Callable[..., Browser], service: Service, people: Any, make_user: Callable[..., Any]
) -> None:
    max_ = make_user("max", role="user_manager")
    make_user("admin", role="admin")
    for jid in ("admin@example.org/desk", "max@example.org/desk"):
        service.log_in(jid)
    browser = browse(max_)
    for jid in ("admin@example.org/desk", "admin@example.org", "Admin@EXAMPLE.org"):
        html_of(browser.get("/sessions/close/" + of(jid)), 403)
        html_of(browser.post("/sessions/close/" + of(jid)), 403)
    offered = "/sessions/close/?jid="
    assert html_of(browser.get("/sessions/")).count(offered) == 4
    assert offered not in html_of(browser.get("/sessions/details/" + of("admin@example.org/desk")))
    assert offered in html_of(browser.get("/sessions/details/" + of("juliet@example.org/phone")))
    assert len(service.server.sessions()) == 5
    for jid in ("max@example.org/desk", "juliet@example.org"):
        assert browser.post("/sessions/close/" + of(jid)).status_code == 302
    assert {s.account.jid.local for s in service.server.sessions()} == {"admin", "romeo"}
    assert not AuditEntry.objects.filter(target__startswith="admin", action__startswith="session").exists()


def test_close_comes_back_to_where_it_was_asked_but_nowhere_else(owner_client: Browser, people: Any) -> None:
    jid = "juliet@example.org/phone"
    response = owner_client.post(f"/sessions/close/{of(jid)}&next=/audit/")
    assert response["Location"] == "/audit/"
    response = owner_client.post(f"/sessions/close/{of(jid)}&next=https://evil.example/")
    assert response["Location"] == "/sessions/"


@pytest.mark.parametrize("reason", ["x" * 201, "bell \x07"])
def test_close_refuses_a_reason_that_cannot_be_sent(
    owner_client: Browser, service: Service, people: Any, reason: str
) -> None:
    owner_client.post("/sessions/close/" + of("juliet@example.org/phone"), {"reason": reason})
    assert len(service.server.sessions()) == 3


def got_messages(client: Client) -> list[Element]:
    return [stanza for stanza in client.connection.received if stanza.name == "message"]


def send(browser: Browser, **data: str) -> Any:
    return browser.post("/sessions/message/", {"body": "Maintenance at <noon>", **data}, follow=True)


@pytest.mark.parametrize(
    ("audience", "to", "getters"),
    [
        ("all", "", ["phone", "desktop", "romeo"]),
        ("user", "Juliet@example.org", ["phone", "desktop"]),
        ("user", "juliet@example.org/phone", ["phone", "desktop"]),
        ("session", "juliet@example.org/phone", ["phone"]),
    ],
)
def test_message_is_counted_then_sent(
    owner_client: Browser, service: Service, people: Any, audience: str, to: str, getters: list[str]
) -> None:
    html = html_of(send(owner_client, audience=audience, to=to, subject="News"))
    count = f"{len(getters)} session" + ("s" if len(getters) > 1 else "")
    assert f"Send to {count}" in html
    assert "Maintenance at &lt;noon&gt;" in html
    assert not any(got_messages(people[name]) for name in people)
    html = html_of(send(owner_client, audience=audience, to=to, subject="News", send="1"))
    assert f"Sent to {count}." in html
    for name, client in people.items():
        got = got_messages(client)
        assert len(got) == (name in getters)
        for stanza in got:
            assert stanza.text_of(CLIENT, "body") == "Maintenance at <noon>"
            assert stanza.text_of(CLIENT, "subject") == "News"
            assert stanza.get("from") == "example.org"


def test_message_is_audited_without_its_text(owner_client: Browser, people: Any) -> None:
    send(owner_client, audience="all", send="1")
    row = AuditEntry.objects.get(action="message-sent")
    assert row.detail == "3"
    assert "Maintenance" not in f"{row.target}{row.detail}{row.before}{row.after}"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"audience": "user", "to": "nobody@example.org"}, "Not online at the moment."),
        ({"audience": "user", "to": "@@"}, "This is not an address."),
        ({"audience": "user", "to": "example.org"}, "has no user before the @"),
        ({"audience": "session", "to": "juliet@example.org"}, "A session has a resource"),
        ({"audience": "all", "body": ""}, "required"),
        ({"audience": "all", "body": "bell \x07"}, "control character"),
        ({"audience": "sky", "to": ""}, "not one of the available choices"),
    ],
)
def test_message_that_cannot_be_sent(
    owner_client: Browser, people: Any, data: dict[str, str], text: str
) -> None:
    html = html_of(send(owner_client, **{"send": "1", **data}), 422)
    assert text in html
    assert not AuditEntry.objects.filter(action="message-sent").exists()


def test_message_can_be_changed_after_the_review(owner_client: Browser, people: Any) -> None:
    html = html_of(send(owner_client, audience="all", edit="1"))
    assert "Continue" in html
    assert "Maintenance at &lt;noon&gt;</textarea>" in html


def test_message_from_a_session_names_it(owner_client: Browser, people: Any) -> None:
    html = html_of(owner_client.get("/sessions/message/" + of("juliet@example.org/phone")))
    assert 'value="juliet@example.org/phone"' in html
    radio = html.partition('value="session"')[2].partition(">")[0]
    assert "checked" in radio


def test_without_the_service(owner_client: Browser) -> None:
    for url in ("/sessions/", "/sessions/details/" + of("a@example.org/b"), "/sessions/message/"):
        response = owner_client.get(url)
        assert "The XMPP service does not run" in response.content.decode()
    assert "does not run" in html_of(send(owner_client, audience="all", send="1"), 422)
    response = owner_client.post("/sessions/close/" + of("a@example.org/b"), follow=True)
    assert "The XMPP service does not run" in html_of(response)


def test_an_auditor_sees_and_cannot_act(auditor_client: Browser, service: Service, people: Any) -> None:
    for url in ("/sessions/", "/sessions/details/" + of("juliet@example.org/phone")):
        html = html_of(auditor_client.get(url))
        assert "/sessions/close/" not in html
        assert "/sessions/message/" not in html
    for url in ("/sessions/close/" + of("juliet@example.org/phone"), "/sessions/message/"):
        assert auditor_client.get(url).status_code == 403
        assert auditor_client.post(url, {"audience": "all", "body": "x", "send": "1"}).status_code == 403
    assert len(service.server.sessions()) == 3


@pytest.mark.parametrize("url", ["", "details/", "close/?jid=a@example.org/b", "message/"])
def test_a_stranger_is_asked_to_sign_in(stranger_client: Browser, url: str) -> None:
    response = stranger_client.get(f"/sessions/{url}")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


def test_what_a_client_has_turned_on(owner_client: Browser, service: Service, people: Any) -> None:
    """XEP-0198 with its queue, XEP-0280, XEP-0352; a broken connection that may come back."""
    phone = people["phone"]
    for xml in (
        "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
        "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
        "<inactive xmlns='urn:xmpp:csi:0'/>",
        "<presence/>",
    ):
        service.run(phone.sends(xml))
    desktop, row, romeo = rows(html_of(owner_client.get("/sessions/")))
    assert all(text in row for text in ("0198, resumable", "Carbons", "Inactive", "1 + 1"))
    user = html_of(owner_client.get(f"/users/{User.objects.get(username='juliet').pk}/sessions/"))
    row = next(row for row in rows(user) if "phone" in row)
    assert all(text in row for text in ("0198, resumable", "Carbons", "Inactive", "1 + 1"))
    assert not any(text in desktop + romeo for text in ("0198", "Carbons", "Inactive", "Waiting"))
    service.run(phone.disconnects())
    row = rows(html_of(owner_client.get("/sessions/?sort=-queue")))[0]
    assert "juliet@example.org" in row
    assert "Waiting, 1 h left" in row or "Waiting, 59 min left" in row
    html = html_of(owner_client.get("/sessions/details/" + of(phone.full)))
    assert all(text in html for text in ("Waiting for the client", " more</span>", "Carbons"))
