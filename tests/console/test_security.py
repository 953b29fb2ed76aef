"""What the gates refuse: hosts, paths, forged headers, forms from elsewhere; and the headers of answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import registry
from accounts.models import AuditEntry, User
from adminconsole import access, hosts
from adminconsole.middleware import ConsoleAccess, HostGuard
from xmppd.services import setup

pytestmark = pytest.mark.django_db

GOOD_HOSTS = [
    "localhost",
    "LOCALHOST:9090",
    "127.0.0.1:9090",
    "[::1]:9090",
    "192.0.2.7",
    "example.org",
    "example.org.",
]
BAD_HOSTS = [
    "evil.example",
    "example.org.evil.example",
    "evil.example:9090",
    "example.org@evil.example",
    "localhost, evil.example",
    "localhost/evil",
    "exam ple.org",
    "[::1",
    "localhost:port",
    "*",
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_hosts_of_ours(stranger_client: Client, host: str) -> None:
    assert stranger_client.get(reverse("login"), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_hosts_of_others(stranger_client: Client, host: str) -> None:
    response = stranger_client.get(reverse("login"), headers={"Host": host})
    assert response.status_code == 400
    assert "evil" not in response.content.decode()


def test_further_names_by_configuration_and_setting(
    stranger_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(host: str) -> int:
        return stranger_client.get(reverse("login"), headers={"Host": host}).status_code

    assert status("console.example.net") == 400
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, hostname="Console.example.net"))
    assert status("console.example.net") == 200
    assert status("münchen.example".encode("idna").decode()) == 400
    with registry.overridden(console__allowed_hosts=["münchen.example"]):
        assert status("münchen.example".encode("idna").decode()) == 200


TRICKS = [
    "/setup/setup-s/%u002e%u002e/%u002e%u002e/users/",
    "/setup/setup-/../../users/",
    "/login/../users/",
    "/login/%2e%2e/users/",
    "/login/%2E%2E/users/",
    "/login/..%2fusers/",
    "/login/..%5cusers/",
    "/login/..\\users/",
    "/login/.%2e/users/",
    "/login/%252e%252e/users/",
    "/login/%c0%ae%c0%ae/users/",
    "/login/..;/users/",
    "/login;/../users/",
    "/users/;/login/",
    "/login//users/",
    "/./users/",
    "/users/%00",
    "/users/%0d%0aSet-Cookie:x=y",
    "/static/../users/",
    "/static/%2e%2e/%2e%2e/manage.py",
    "/healthz/../users/",
    "/users/.",
    "/%75sers%u002f",
]


@pytest.mark.parametrize("path", TRICKS)
def test_paths_with_two_readings(owner_client: Client, stranger_client: Client, path: str) -> None:
    for client in (owner_client, stranger_client):
        response = client.get(path)
        assert response.status_code in (400, 404), path
        assert b"boss" not in response.content


RAW = [
    b"//users/",
    b"/users%2f",
    b"/%75sers%2F",
    b"/login/%2e%2e/users/",
    b"/users/%5c",
    b"/a/%u002e",
    b"/a%25",
]


@pytest.mark.parametrize("raw", RAW)
def test_paths_are_judged_as_they_were_sent(rf: RequestFactory, raw: bytes) -> None:
    request = rf.get("/users/")
    request.scope = {"raw_path": raw}  # type: ignore[attr-defined]
    assert not hosts.is_canonical_path(request)
    request.scope = {"raw_path": b"/users/?q=%2e%2e%2f//"}  # type: ignore[attr-defined]
    assert hosts.is_canonical_path(request)


def test_headers_of_pages_and_errors(stranger_client: Client, owner_client: Client) -> None:
    answers = [
        stranger_client.get(reverse("login")),
        stranger_client.get("/nothing/"),
        stranger_client.get(reverse("users")),
        stranger_client.get(reverse("login"), headers={"Host": "evil.example"}),
        stranger_client.post(reverse("login"), {}),
        owner_client.get(reverse("dashboard")),
        owner_client.get("/healthz"),
    ]
    nonces = set()
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        nonces.add(re.search(r"'nonce-([\w-]{20,})'", policy)[1])  # type: ignore[index]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in answer.headers["Permissions-Policy"]
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "no-store" in answer.headers["Cache-Control"]
    assert len(nonces) == len(answers)


def test_static_files_may_be_kept(stranger_client: Client) -> None:
    response = stranger_client.get("/static/hearth.css")
    assert response.status_code == 200
    assert "max-age" in response.headers["Cache-Control"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_forms_need_their_token(browse: Callable[..., Client], owner: User) -> None:
    client = browse(owner, enforce_csrf_checks=True)
    page = client.get(reverse("dashboard")).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]  # type: ignore[index]
    logout = reverse("logout")
    refused = [
        client.post(logout),
        client.post(logout, {"csrfmiddlewaretoken": "a" * 64}),
        client.post(logout, {"csrfmiddlewaretoken": token}, headers={"Origin": "https://evil.example"}),
        client.post(logout, {"csrfmiddlewaretoken": token}, headers={"Origin": "null"}),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert "_auth_user_id" in client.session
    planted = browse(owner, enforce_csrf_checks=True)
    planted.cookies["hearth_csrf"] = "b" * 32
    assert planted.post(logout, {"csrfmiddlewaretoken": token}).status_code == 403
    assert client.post(logout, {"csrfmiddlewaretoken": token}).status_code == 302


def test_signing_in_needs_its_token_too(browse: Callable[..., Client], owner: User) -> None:
    client = browse(enforce_csrf_checks=True)
    answer = client.post(reverse("login"), {"username": "boss", "password": "correct horse"})
    assert answer.status_code == 403
    assert "_auth_user_id" not in client.session


# --- who asks ---


def asked(address: str, **headers: str) -> HttpRequest:
    return RequestFactory().get("/", REMOTE_ADDR=address, headers=headers)


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("203.0.113.9", {}, "203.0.113.9"),
        ("203.0.113.9", {"X-Forwarded-For": "127.0.0.1"}, "203.0.113.9"),
        ("10.1.2.3", {"X-Forwarded-For": "127.0.0.1, 198.51.100.4"}, "198.51.100.4"),
        ("10.1.2.3", {"X-Forwarded-For": "198.51.100.4, 10.9.9.9"}, "198.51.100.4"),
        ("10.1.2.3", {"X-Forwarded-For": "198.51.100.4, rubbish"}, "10.1.2.3"),
        ("10.1.2.3", {"X-Forwarded-For": "198.51.100.4:5555"}, "198.51.100.4"),
        ("10.1.2.3", {"Forwarded": 'for="[2001:db8::1]:4711";proto=https'}, "2001:db8::1"),
        ("10.1.2.3", {"Forwarded": "for=127.0.0.1, for=198.51.100.4"}, "198.51.100.4"),
        ("10.1.2.3", {"Forwarded": "for=_hidden"}, "10.1.2.3"),
        ("10.1.2.3", {}, "10.1.2.3"),
        ("::ffff:10.1.2.3", {"X-Forwarded-For": "198.51.100.4"}, "198.51.100.4"),
    ],
)
def test_only_trusted_proxies_name_the_client(peer: str, headers: dict[str, str], client: str) -> None:
    with registry.overridden(console__trusted_proxies=["10.0.0.0/8", "not a network"]):
        assert hosts.client_address(asked(peer, **headers)) == client


def test_https_is_believed_from_trusted_proxies_only(browse: Callable[..., Client], owner: User) -> None:
    def cookie(address: str) -> Any:
        data = {"username": "boss", "password": "correct horse"}
        answer = browse().post(
            reverse("login"), data, REMOTE_ADDR=address, headers={"X-Forwarded-Proto": "https"}
        )
        return answer.cookies["hearth_session"]["secure"]

    with registry.overridden(console__trusted_proxies=["10.0.0.1"]):
        assert cookie("10.0.0.1")
        assert not cookie("10.0.0.2")


def test_localhost_only_holds_at_once(owner_client: Client) -> None:
    def status(address: str, **headers: str) -> int:
        return owner_client.get(reverse("dashboard"), REMOTE_ADDR=address, headers=headers).status_code

    assert status("203.0.113.9") == 200
    with registry.overridden(console__localhost_only=True):
        assert status("203.0.113.9") == 403
        assert status("127.0.0.1") == 200
        assert status("::1") == 200
        assert status("127.0.0.1", X_Forwarded_For="203.0.113.9") == 403


def test_localhost_only_names_the_way_in_with_the_port_in_use(owner_client: Client) -> None:
    with registry.overridden(console__localhost_only=True):
        answer = owner_client.get(
            "/", REMOTE_ADDR="203.0.113.9", SERVER_PORT="19090", HTTP_HOST="192.0.2.7:8443"
        )
    text = answer.content.decode()
    assert "ssh -L 19090:127.0.0.1:19090 192.0.2.7<" in text
    assert "http://127.0.0.1:19090/" in text
    assert "console.localhost_only off" in text
    assert "9090:localhost" not in text


def test_localhost_only_asks_for_no_restart(owner_client: Client) -> None:
    text = owner_client.get("/settings/console.localhost_only/").content.decode()
    assert "at once" in text
    assert "after a restart" not in text


# --- who may see what ---


def test_a_view_without_marker_is_refused_to_everybody(owner: User, rf: RequestFactory) -> None:
    def unmarked(request: HttpRequest) -> HttpResponse:
        return HttpResponse("secret")

    request = rf.get("/")
    request.user = owner
    gate = ConsoleAccess(unmarked)
    with pytest.raises(access.PermissionDenied):
        gate.process_view(request, unmarked, [], {})
    gate.process_view(request, access.page(permission="users.view")(unmarked), [], {})


def test_write_needs_its_own_permission(auditor: User, rf: RequestFactory) -> None:
    @access.page(permission="users.view")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    request = rf.get("/")
    request.user = auditor
    access.check(request, view)
    request = rf.post("/")
    request.user = auditor
    with pytest.raises(access.PermissionDenied):
        access.check(request, view)


def test_markers_that_make_no_sense_fail_at_import() -> None:
    for wrong in ({}, {"permission": "users.view", "public": True}, {"permission": "users.fly"}):
        with pytest.raises((TypeError, ValueError)):
            access.page(**wrong)  # type: ignore[arg-type]


def test_password_is_asked_again_and_throttled(owner: User, rf: RequestFactory) -> None:
    request = rf.post("/")
    request.user = owner
    access.confirm_password(request, "correct horse")
    for _attempt in range(10):
        with pytest.raises(ValidationError) as refused:
            access.confirm_password(request, "wrong")
    with pytest.raises(ValidationError) as refused:
        access.confirm_password(request, "correct horse")
    assert "Too many failed attempts" in refused.value.messages[0]


# --- a database that fails ---


def test_a_database_that_fails_is_503_and_never_the_wizard(
    owner_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("no such table: accounts_user")

    owner_client.raise_request_exception = False
    monkeypatch.setattr("accounts.backends.User.objects.filter", fail)
    for address in (reverse("dashboard"), reverse("users")):
        answer = owner_client.get(address)
        assert answer.status_code == 503
        assert "database cannot be reached" in answer.content.decode()
    assert owner_client.get("/setup/").status_code == 404
    assert owner_client.get("/healthz").status_code == 200


def test_health(stranger_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stranger_client.get("/healthz").content == b"ok\n"
    answer = stranger_client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "reasons": {"listeners": "the stream service does not answer"},
    }
    off = replace(settings.CONFIG, ports=dict.fromkeys(settings.CONFIG.ports))
    monkeypatch.setattr(settings, "CONFIG", off)
    assert stranger_client.get("/readyz").json() == {"ready": True, "reasons": {}}


def test_the_language_of_a_browser_that_asks_for_none_of_ours(stranger_client: Client) -> None:
    def language(accept: str) -> str:
        page = stranger_client.get(reverse("login"), headers={"Accept-Language": accept}).content.decode()
        return re.search(r'<html lang="([\w-]+)"', page)[1]  # type: ignore[index]

    assert language("fr") == "en"
    with registry.overridden(console__language="zh-hans"):
        assert language("fr") == "zh-Hans"
        assert language("en-GB, fr;q=0.5") == "en"
    assert setup.LANGUAGE.value == "en"


def test_host_guard_needs_no_database_for_addresses(django_assert_num_queries: Any) -> None:
    guard = HostGuard(lambda request: HttpResponse("through"))
    with registry.overridden(console__allowed_hosts=[]), django_assert_num_queries(0):
        assert guard(RequestFactory().get("/", headers={"Host": "192.0.2.1"})).content == b"through"


def test_ipv4_on_a_socket_for_both_is_recorded_as_ipv4(owner_client: Client) -> None:
    owner_client.post(reverse("group-create"), {"name": "Design"}, REMOTE_ADDR="::ffff:192.0.2.7")
    assert AuditEntry.objects.latest("id").address == "192.0.2.7"
