"""Signing in and out of the console: throttle, sessions, where one lands, one-time links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import credentials, services
from accounts.models import AuditEntry, User

PASSWORD = "correct horse"
pytestmark = pytest.mark.django_db


def sign_in(client: Client, username: str = "boss", password: str = PASSWORD, **extra: Any) -> Any:
    return client.post(reverse("login"), {"username": username, "password": password}, **extra)


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_sign_in_by_name_or_address(browse: Callable[..., Client], owner: User) -> None:
    for name in ("boss", "BOSS", "boss@example.org", " boss "):
        client = browse()
        response = sign_in(client, name)
        assert (response.status_code, response.headers["Location"]) == (302, reverse("dashboard"))
        assert is_signed_in(client)
    entry = AuditEntry.objects.filter(action="signed-in").first()
    assert entry is not None
    assert (entry.actor, entry.door, entry.address) == ("boss@example.org", "console", "127.0.0.1")


def test_unknown_name_and_wrong_password_look_alike(
    browse: Callable[..., Client], owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    pbkdf2 = credentials.hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return pbkdf2(name, password, salt, iterations)

    monkeypatch.setattr("hashlib.pbkdf2_hmac", counted)
    pages, work = [], []
    for name in ("boss", "ghost"):
        rounds.clear()
        response = sign_in(browse(), name, "wrong")
        text = response.content.decode().replace(name, "NAME")
        pages.append((response.status_code, "User name or password is wrong." in text))
        work.append(sum(rounds))
    assert pages == [(200, True)] * 2
    assert work[0] == work[1] > 0


@pytest.mark.parametrize("data", [{}, {"username": "boss"}, {"username": "a b@@", "password": "x"}])
def test_half_filled_form(browse: Callable[..., Client], data: dict[str, str]) -> None:
    client = browse()
    assert client.post(reverse("login"), data).status_code == 200
    assert not is_signed_in(client)


def test_no_role_and_locked_are_told_after_the_right_password_only(
    browse: Callable[..., Client], make_user: Callable[..., Any], owner: User
) -> None:
    make_user("alice")
    locked = make_user("carol", role="auditor")
    services.lock_user(locked, actor=services_actor(owner))
    told = {
        ("alice", PASSWORD): "no administrative role",
        ("alice", "wrong"): "User name or password is wrong.",
        ("carol", PASSWORD): "This account is locked.",
        ("carol", "wrong"): "User name or password is wrong.",
    }
    for (name, password), text in told.items():
        client = browse()
        assert text in sign_in(client, name, password).content.decode()
        assert not is_signed_in(client)


def services_actor(user: User) -> Any:
    from accounts.audit import Actor

    return Actor.of(user, "console")


def test_throttle_is_told_in_words_and_not_evaded(browse: Callable[..., Client], owner: User) -> None:
    client = browse()
    for attempt in range(10):
        sign_in(client, password="wrong", headers={"X-Forwarded-For": f"203.0.113.{attempt}"})
    response = sign_in(client)
    assert response.status_code == 429
    assert "Too many failed attempts. Try again in 15 seconds." in response.content.decode()
    assert int(response.headers["Retry-After"]) in range(1, 16)
    assert not is_signed_in(client)
    elsewhere = browse()
    assert sign_in(elsewhere, REMOTE_ADDR="198.51.100.7").status_code == 302


def test_the_session_is_a_new_one(browse: Callable[..., Client], owner: User) -> None:
    client = browse()
    client.get(reverse("login"))
    client.cookies["hearth_session"] = "planted0planted0planted0planted0"
    response = sign_in(client)
    cookie = response.cookies["hearth_session"]
    assert cookie.value != "planted0planted0planted0planted0"
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_sign_out_by_post_only(owner_client: Client) -> None:
    assert owner_client.get(reverse("logout")).status_code == 405
    assert is_signed_in(owner_client)
    assert owner_client.post(reverse("logout")).status_code == 302
    assert not is_signed_in(owner_client)


def test_a_new_password_ends_the_session(owner_client: Client, owner: User) -> None:
    assert owner_client.get(reverse("dashboard")).status_code == 200
    services.set_password(owner, "another good secret", actor=services_actor(owner))
    assert owner_client.get(reverse("dashboard")).status_code == 302


def test_lock_and_lost_role_hold_at_the_next_click(
    owner: User, browse: Callable[..., Client], make_user: Callable[..., Any]
) -> None:
    for name, change in (
        ("one", lambda user: services.lock_user(user, actor=services_actor(owner))),
        ("two", lambda user: services.set_role(user, "", actor=services_actor(owner))),
        ("three", lambda user: services.delete_user(user, actor=services_actor(owner))),
    ):
        user = make_user(name, role="admin")
        client = browse(user)
        assert client.get(reverse("dashboard")).status_code == 200
        change(user)
        assert client.get(reverse("dashboard")).status_code == 302


ELSEWHERE = [
    "https://evil.example/",
    "http://evil.example",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\\/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "/\n/evil.example",
    " //evil.example",
    "\x00//evil.example",
    "//evil.example%2f..",
    "/%09/evil.example\n",
    "//127.0.0.1:9090@evil.example/",
    "/。evil.example",
    "evil.example",
    "../../evil",
    "/..//evil.example",
    "/users//evil.example",
]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_no_open_redirect(browse: Callable[..., Client], owner: User, target: str) -> None:
    client = browse()
    data = {"username": "boss", "password": PASSWORD, "next": target}
    for response in (client.post(reverse("login"), data), client.get(reverse("login"), {"next": target})):
        assert response.status_code == 302
        assert response.headers["Location"] == reverse("dashboard")


def test_one_lands_where_one_wanted_to_go(browse: Callable[..., Client], owner: User) -> None:
    client = browse()
    wanted = f"{reverse('users')}?q=a&page=2"
    asked = client.get(wanted)
    assert asked.status_code == 302
    response = client.get(asked.headers["Location"])
    assert f'name="next" value="{wanted.replace("&", "&amp;")}"' in response.content.decode()
    data = {"username": "boss", "password": PASSWORD, "next": wanted}
    assert client.post(reverse("login"), data).headers["Location"] == wanted


def test_one_time_link_works_once_and_by_post(browse: Callable[..., Client], owner: User) -> None:
    token = services.make_login_link(owner, actor=services_actor(owner))
    url = reverse("login-link", args=[token])
    client = browse()
    assert client.get(url).status_code == 200
    assert not is_signed_in(client)
    assert client.post(url, REMOTE_ADDR="203.0.113.9").status_code == 302
    assert is_signed_in(client)
    used = AuditEntry.objects.get(action="login-link-used")
    assert (used.actor, used.door, used.address) == (owner.jid, "console", "203.0.113.9")
    second = browse()
    assert second.post(url).status_code == 403
    assert not is_signed_in(second)


def test_one_time_link_grows_old(
    browse: Callable[..., Client], owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = services.make_login_link(owner, actor=services_actor(owner))
    later = timezone.now() + services.LINK_LIFETIME
    monkeypatch.setattr("accounts.services.login.timezone.now", lambda: later)
    assert browse().post(reverse("login-link", args=[token])).status_code == 403


def test_language_switches_at_once(browse: Callable[..., Client]) -> None:
    client = browse()
    data = {"language": "zh-hans", "next": reverse("login")}
    assert client.post(reverse("set_language"), data).headers["Location"] == reverse("login")
    assert '<html lang="zh-Hans"' in client.get(reverse("login")).content.decode()
    away = client.post(reverse("set_language"), {"language": "en", "next": "https://evil.example/"})
    assert away.headers["Location"] == "/"
