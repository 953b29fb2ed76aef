"""The first-run wizard from the first page to the last, and everything that must not be possible in it."""

from __future__ import annotations

import json
import re
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import Client

from accounts import credentials, registry
from accounts.models import AuditEntry, Domain, User
from adminconsole.setup import probe, state
from tests import postgresql
from tests.hearth import PASSWORD as OWNERS
from tests.hearth import Hearth
from xmppd import bootstrap
from xmppd.bus.messages import SetupFinished
from xmppd.services import certificates, db, setup
from xmppd.services.database_check import DatabaseProblem

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long good secret"
ANSWERS: dict[str, dict[str, str]] = {
    "language": {"language": "en"},
    "server": {"domain": "chat.example.org", "hostname": "xmpp.example.org"},
    "database": {"kind": "sqlite"},
    "accounts": {"registration": "closed"},
    "administrator": {
        "username": "boss",
        "password": PASSWORD,
        "password2": PASSWORD,
        "email": "boss@example.org",
    },
}
STEPS = [*ANSWERS, "review"]


def browser(address: str = "127.0.0.1", **extra: Any) -> Client:
    return Client(headers={"Host": "127.0.0.1"}, REMOTE_ADDR=address, **extra)


def url(step: str) -> str:
    return f"/setup/{step}/"


def answer(client: Client, *steps: str, **changes: str) -> Any:
    """Fill in these steps (all by default) and return the last answer."""
    response = None
    for step in steps or ANSWERS:
        data = {
            **ANSWERS[step],
            **{k: v for k, v in changes.items() if k in {*ANSWERS[step], "localhost_only"}},
        }
        response = client.post(url(step), data)
    return response


def text_of(response: Any) -> str:
    return str(response.content.decode())


@pytest.fixture
def wizard(fresh: Path) -> Client:
    """A browser at this machine, before set-up."""
    return browser()


# --- the whole way ---


def test_from_the_first_page_to_signed_in(wizard: Client, fresh: Path, heard: list[Any]) -> None:
    assert wizard.get("/").headers["Location"] == "/setup/"
    assert wizard.get("/setup/").headers["Location"] == url("language")
    for step, following in pairwise(STEPS):
        assert wizard.get(url(step)).status_code == 200
        response = wizard.post(url(step), ANSWERS[step])
        assert (response.status_code, response.headers["Location"]) == (302, url(following))
    review = text_of(wizard.get(url("review")))
    for shown in ("chat.example.org", "xmpp.example.org", "boss@chat.example.org", "Built-in (SQLite)"):
        assert shown in review
    done = wizard.post(url("review"))
    assert (done.status_code, done.headers["Location"]) == (302, "/welcome/")

    owner = User.objects.get(username="boss")
    assert (owner.role, owner.domain.name, owner.email) == ("owner", "chat.example.org", "boss@example.org")
    assert credentials.check_password(owner.password, PASSWORD)
    assert [type(message) for message in heard].count(SetupFinished) == 1
    assert setup.is_set_up()
    assert certificates.read_facts(fresh / "certificates" / "server.crt").covers("chat.example.org")
    assert not (fresh / "setup-state.json").exists()
    assert not (fresh / "setup-token").exists()
    finished = AuditEntry.objects.get(action="setup-finished")
    assert (finished.actor, finished.door, finished.address) == (
        "boss@chat.example.org",
        "console",
        "127.0.0.1",
    )

    welcome = text_of(wizard.get("/welcome/"))
    assert "Create the first users" in welcome
    assert "boss@chat.example.org" in welcome
    assert "Conversations" in welcome
    assert wizard.get("/").status_code == 200


@pytest.mark.parametrize("domain", ["localhost", "127.0.0.1", "[2001:db8::1]", "münchen.example"])
def test_domains_of_every_kind(wizard: Client, domain: str) -> None:
    answer(wizard, domain=domain, hostname="")
    assert wizard.post(url("review")).status_code == 302
    assert Domain.objects.get().name == domain


def test_choices_reach_the_settings(wizard: Client) -> None:
    answer(wizard, localhost_only="on", registration="open", language="zh-hans")
    wizard.post(url("review"))
    registry.reload()
    assert setup.LOCALHOST_ONLY.value
    assert registry.get("registration.open")
    assert setup.LANGUAGE.value == "zh-hans"


def test_language_switches_at_once(wizard: Client) -> None:
    wizard.post(url("language"), {"language": "zh-hans"})
    assert '<html lang="zh-Hans"' in text_of(wizard.get(url("server")))
    assert '<html lang="zh-Hans"' in text_of(wizard.get(url("language")))
    wizard.post("/language/", {"language": "en", "next": url("server")})
    assert '<html lang="en"' in text_of(wizard.get(url("server")))


# --- remembering ---


def test_back_reload_and_restart_keep_the_answers(wizard: Client, fresh: Path) -> None:
    answer(wizard, "language", "server", "database")
    assert 'value="chat.example.org"' in text_of(wizard.get(url("server")))
    # What another process reads after a restart is on disk.
    assert state.load().values["server"]["domain"] == "chat.example.org"
    assert wizard.get("/setup/").headers["Location"] == url("accounts")
    answer(wizard, "server", domain="other.example.org")
    assert wizard.get("/setup/").headers["Location"] == url("accounts")
    assert state.load().values["server"]["domain"] == "other.example.org"


def test_steps_cannot_be_skipped(wizard: Client) -> None:
    for step in STEPS[1:]:
        for response in (wizard.get(url(step)), wizard.post(url(step), ANSWERS.get(step, {}))):
            assert response.headers["Location"] == url("language")
    assert not setup.is_set_up()


def test_secrets_on_disk(wizard: Client, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "test", lambda url: None)
    answer(wizard, "language", "server")
    wizard.post(
        url("database"),
        {
            "kind": "postgresql",
            "host": "db.example.org",
            "name": "hearth",
            "user": "hearth",
            "password": "p@ss:w/rd",
        },
    )
    answer(wizard, "accounts", "administrator")
    path = fresh / "setup-state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stored = json.loads(path.read_text())
    assert (
        stored["values"]["database"]["url"]
        == "postgresql://hearth:p%40ss%3Aw%2Frd@db.example.org:5432/hearth"
    )
    assert PASSWORD not in path.read_text()
    assert credentials.check_password(stored["values"]["administrator"]["credentials"], PASSWORD)
    for step in STEPS:
        page = text_of(wizard.get(url(step)))
        assert "p@ss:w/rd" not in page
        assert "p%40ss" not in page
        assert PASSWORD not in page


def test_passwords_need_not_be_typed_again(wizard: Client) -> None:
    answer(wizard)
    kept = state.load().values["administrator"]["credentials"]
    assert answer(wizard, "administrator", password="", password2="", email="").headers["Location"] == url(
        "review"
    )
    assert state.load().values["administrator"] == {"username": "boss", "email": "", "credentials": kept}
    assert answer(wizard, "administrator", username="chief", password="", password2="").status_code == 200


def test_a_database_password_goes_only_where_it_was_typed_for(
    wizard: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(probe, "test", tried.append)
    answer(wizard, "language", "server")
    form = {"kind": "postgresql", "host": "db.example.org", "name": "hearth", "user": "hearth"}
    wizard.post(url("database"), {**form, "password": "secret"})
    wizard.post(url("database"), form)
    wizard.post(url("database"), {**form, "host": "evil.example"})
    assert ["secret" in url for url in tried] == [True, True, False]


def test_a_broken_state_file_begins_anew(wizard: Client, fresh: Path) -> None:
    answer(wizard, "language", "server")
    (fresh / "setup-state.json").write_text("{broken")
    assert wizard.get("/setup/").headers["Location"] == url("language")


# --- bad values ---


@pytest.mark.parametrize(
    ("step", "changes", "told"),
    [
        ("language", {"language": "xx"}, "Select a valid choice"),
        ("server", {"domain": ""}, "This field is required"),
        ("server", {"domain": "exa mple"}, "is not a domain name"),
        ("server", {"domain": "user@example.org"}, "is not a domain name"),
        ("server", {"domain": "example.org/x"}, "is not a domain name"),
        ("server", {"domain": "x" * 1100}, "at most 1023"),
        ("server", {"domain": '"><svg/onload=alert(1)>'}, "is not a domain name"),
        ("server", {"hostname": "a b"}, "is not a domain name"),
        ("database", {"kind": "oracle"}, "Select a valid choice"),
        ("accounts", {"registration": "perhaps"}, "Select a valid choice"),
        ("administrator", {"username": "a@b"}, "A user name has no spaces"),
        ("administrator", {"username": ""}, "This field is required"),
        ("administrator", {"password2": "another"}, "The two passwords do not match"),
        ("administrator", {"password": "short", "password2": "short"}, "at least 8 characters"),
        ("administrator", {"password": "password1", "password2": "password1"}, "try it first"),
        ("administrator", {"password": "", "password2": ""}, "This field is required"),
        ("administrator", {"email": "no e-mail"}, "is not an e-mail address"),
    ],
)
def test_bad_values_are_told_and_not_kept(
    wizard: Client, step: str, changes: dict[str, str], told: str
) -> None:
    for earlier in STEPS[: STEPS.index(step)]:
        answer(wizard, earlier)
    response = wizard.post(url(step), {**ANSWERS[step], **changes})
    assert response.status_code == 200
    assert told in text_of(response)
    assert "<svg/onload" not in text_of(response)
    assert step not in state.load().values


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "db.example.org/x"},
        {"host": "user@db"},
        {"port": "0"},
        {"port": "99999"},
        {"name": ""},
        {"user": ""},
    ],
)
def test_bad_database_fields(
    wizard: Client, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_url: str) -> None:
        raise AssertionError("tested")

    monkeypatch.setattr(probe, "test", never)
    answer(wizard, "language", "server")
    form = {"kind": "postgresql", "host": "db.example.org", "name": "hearth", "user": "hearth"}
    assert wizard.post(url("database"), {**form, **changes}).status_code == 200


def test_database_test_stays_on_the_page(wizard: Client) -> None:
    answer(wizard, "language", "server")
    response = wizard.post(url("database"), {"kind": "sqlite", "test": "1"})
    assert "The database can be used." in text_of(response)
    assert "database" not in state.load().values


def test_database_test_does_not_map_the_network(wizard: Client, unused_tcp_port: int) -> None:
    answer(wizard, "language", "server")
    chatty = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        connection, _address = chatty.accept()
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        connection.close()

    threading.Thread(target=greet, daemon=True).start()
    told = set()
    for port in (unused_tcp_port, chatty.getsockname()[1]):
        form = {
            "kind": "postgresql",
            "host": "127.0.0.1",
            "port": str(port),
            "name": "a",
            "user": "b",
            "test": "1",
        }
        alert = re.search(
            r'<div class="alert bad".*?</div></div>', text_of(wizard.post(url("database"), form)), re.S
        )
        assert alert is not None
        told.add(alert[0])
    chatty.close()
    assert len(told) == 1
    assert "No database of this kind could be reached" in told.pop()


def test_database_reasons_are_readable(wizard: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_url: str) -> None:
        raise DatabaseProblem("The server refused the user “b” or the password.", "password", "FATAL: no")

    monkeypatch.setattr("xmppd.services.database_check.test_database", refuse)
    answer(wizard, "language", "server")
    form = {"kind": "postgresql", "host": "db.example.org", "name": "a", "user": "b"}
    page = text_of(wizard.post(url("database"), form))
    assert "The server refused the user “b” or the password." in page
    assert "FATAL: no" in page


@pytest.mark.postgresql
@pytest.mark.slow
def test_a_real_postgresql(wizard: Client) -> None:
    with postgresql.running() as address:
        folder_of_socket = dict(parse_qsl(urlsplit(address).query))["host"]
        form = {"kind": "postgresql", "host": folder_of_socket, "name": "postgres", "user": "postgres"}
        answer(wizard, "language", "server")
        missing = wizard.post(url("database"), {**form, "name": "nothing"})
        assert "The server has no database “nothing”." in text_of(missing)
        assert "The database can be used." in text_of(wizard.post(url("database"), {**form, "test": "1"}))
        assert wizard.post(url("database"), form).headers["Location"] == url("accounts")


def test_a_slow_database_server_is_given_up(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    release = threading.Event()
    monkeypatch.setattr("xmppd.services.database_check.test_database", lambda _url: release.wait(30))
    monkeypatch.setattr(probe, "SECONDS", -0.9)
    with pytest.raises(DatabaseProblem) as problem:
        probe.test("postgresql://b@db.example.org:5432/a")
    release.set()
    assert problem.value.code == "unreachable"


@pytest.fixture
def used_database(tmp_path: Path) -> Iterator[str]:
    """The address of a database that holds a Hearth for example.org, owned by admin, whose hearth.toml is lost."""
    used = Hearth(tmp_path / "used")
    used.set_up()
    before = settings.DATABASES, connections.settings["default"], db._url
    yield f"sqlite://{used.home}/hearth.sqlite3"
    # Back to the tests' database, which no address names: in this thread now, in others before their next use.
    settings.DATABASES, connections.settings["default"], db._url = before
    db._generation += 1
    db.use_current_database()


def choose_database(address: str) -> None:
    """What a server's address typed into the step would leave; the forms take no path of a file."""
    known = state.load()
    known.keep("database", {"kind": "postgresql", "url": address})
    state.save(known)


@pytest.mark.slow
def test_owner_connects_a_database_that_was_set_up_before(wizard: Client, used_database: str) -> None:
    answer(wizard, "language", "server", domain="example.org", hostname="")
    choose_database(used_database)
    answer(wizard, "accounts")
    answer(wizard, "administrator", username="admin", password=OWNERS, password2=OWNERS)
    assert OWNERS not in settings.CONFIG.setup_state_path.read_text()
    done = wizard.post(url("review"))
    assert (done.status_code, done.headers["Location"]) == (302, "/welcome/")
    assert User.objects.get().jid == "admin@example.org"


@pytest.mark.slow
def test_only_the_owner_connects_it(wizard: Client, used_database: str) -> None:
    answer(wizard, "language", "server", domain="example.org", hostname="")
    choose_database(used_database)
    answer(wizard, "accounts", "administrator", username="admin")
    refused = wizard.post(url("review"))
    assert refused.status_code == 409
    assert "belongs to a Hearth that is set up already" in text_of(refused)
    assert not setup.is_set_up()


@pytest.mark.slow
def test_a_database_chosen_later_asks_for_the_password_again(wizard: Client, used_database: str) -> None:
    answer(wizard, domain="example.org", hostname="", username="admin", password=OWNERS, password2=OWNERS)
    choose_database(used_database)
    assert wizard.get("/setup/").headers["Location"] == url("administrator")
    again = answer(wizard, "administrator", username="admin", password="", password2="")
    assert "This field is required" in text_of(again)
    answer(wizard, "administrator", username="admin", password=OWNERS, password2=OWNERS)
    assert wizard.post(url("review")).headers["Location"] == "/welcome/"


# --- what the environment decides ---


def test_values_of_the_environment_are_read_only(wizard: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "HEARTH_DOMAIN": "given.example.org",
        "HEARTH_ADMIN_USER": "root",
        "HEARTH_ADMIN_EMAIL": "root@example.org",
    }.items():
        monkeypatch.setenv(variable, value)
    answer(wizard, "language")
    page = text_of(wizard.get(url("server")))
    assert "Set by HEARTH_DOMAIN in the environment." in page
    assert re.search(r'name="domain"[^>]* disabled', page)
    answer(wizard, "server", "database", "accounts", "administrator")
    values = state.load().values
    assert values["server"]["domain"] == "given.example.org"
    assert (values["administrator"]["username"], values["administrator"]["email"]) == (
        "root",
        "root@example.org",
    )


def test_a_given_database_is_shown_without_its_password(
    wizard: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "postgresql://hearth:secret@db.example.org/hearth"
    tried: list[str] = []
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, database_url=given))
    monkeypatch.setattr(probe, "test", tried.append)
    answer(wizard, "language", "server")
    page = text_of(wizard.get(url("database")))
    assert "postgresql://hearth:***@db.example.org/hearth" in page
    assert "secret" not in page
    answer(wizard, "database", "accounts", "administrator")
    assert tried == [given]
    assert state.load().answers().database_url == given
    assert "secret" not in (settings.CONFIG.setup_state_path).read_text()


# --- who may ---


def test_a_stranger_needs_the_token(fresh: Path) -> None:
    client = browser("203.0.113.5")
    for step in STEPS:
        for response in (client.get(url(step)), client.post(url(step), ANSWERS.get(step, {}))):
            assert response.headers["Location"] == "/setup/token/"
    assert client.get("/setup/").headers["Location"] == "/setup/token/"
    assert client.post("/setup/take-over/").headers["Location"] == "/setup/token/"
    assert client.get("/setup/token/").status_code == 403
    assert client.post("/setup/token/", {"token": "guess"}).status_code == 403
    assert not settings.CONFIG.setup_state_path.exists()


@pytest.mark.parametrize("by", ["address", "form"])
def test_the_token_lets_in(fresh: Path, by: str) -> None:
    client, token = browser("203.0.113.5"), bootstrap.setup_token(settings.CONFIG)
    if by == "address":
        response = client.get("/setup/", {"token": token})
    else:
        response = client.post("/setup/token/", {"token": f" {token} "})
    assert response.headers["Location"] == "/setup/"
    cookie = response.cookies["hearth_setup"]
    assert cookie["httponly"]
    assert token not in cookie.value
    assert client.get(url("language")).status_code == 200
    answer(client)
    assert client.post(url("review")).status_code == 302
    assert client.get("/welcome/").status_code == 200


def test_guessing_the_token_is_throttled(fresh: Path) -> None:
    client, token = browser("203.0.113.5"), bootstrap.setup_token(settings.CONFIG)
    for _attempt in range(10):
        last = client.get("/setup/", {"token": "guess"})
    assert last.status_code == 429
    assert "Too many failed attempts" in text_of(last)
    assert client.get("/setup/", {"token": token}).status_code == 429
    assert browser("198.51.100.1").get("/setup/", {"token": token}).status_code == 302


def test_a_proxy_on_this_machine_makes_nobody_local(fresh: Path) -> None:
    client = browser("127.0.0.1")
    response = client.get(url("language"), headers={"Host": "127.0.0.1", "X-Forwarded-For": "127.0.0.1"})
    assert response.headers["Location"] == "/setup/token/"


def test_names_of_others_do_not_reach_the_wizard(fresh: Path) -> None:
    """DNS rebinding: a page elsewhere whose name leads to 127.0.0.1."""
    assert browser().get(url("language"), headers={"Host": "evil.example"}).status_code == 400


def test_who_comes_from_elsewhere_cannot_lock_himself_out(fresh: Path) -> None:
    client = browser("203.0.113.5")
    client.get("/setup/", {"token": bootstrap.setup_token(settings.CONFIG)})
    answer(client, "language")
    assert not re.search(r'name="localhost_only"[^>]* checked', text_of(client.get(url("server"))))
    assert "lock you out" in text_of(answer(client, "server", localhost_only="on"))


# --- two browsers ---


def test_one_browser_at_a_time(wizard: Client) -> None:
    answer(wizard)
    other = browser()
    for response in (
        other.get(url("review")),
        other.post(url("review")),
        other.post(url("server"), ANSWERS["server"]),
    ):
        assert response.status_code == 409
    assert not setup.is_set_up()
    assert other.post("/setup/take-over/").status_code == 302
    assert 'value="chat.example.org"' in text_of(other.get(url("server")))
    assert wizard.post(url("review")).status_code == 409
    assert not setup.is_set_up()
    assert other.post(url("review")).status_code == 302
    assert wizard.post(url("review")).status_code == 404
    assert User.objects.count() == 1


def test_the_second_to_finish_is_told(wizard: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(wizard)
    real = setup.finish

    def second(answers: Any, actor: Any) -> Any:
        real(replace(answers, admin_username="first"), actor)
        return real(answers, actor)

    monkeypatch.setattr(setup, "finish", second)
    response = wizard.post(url("review"))
    assert response.status_code == 409
    assert "Hearth is set up already" in text_of(response)
    assert list(User.objects.values_list("username", flat=True)) == ["first"]
    assert "_auth_user_id" not in wizard.session


def test_a_database_of_another_hearth_is_not_taken_over(
    wizard: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(wizard)
    Domain.objects.create(name="chat.example.org", is_primary=True)
    monkeypatch.setattr(setup, "is_set_up", lambda: False)
    response = wizard.post(url("review"))
    assert response.status_code == 409
    assert "belongs to a Hearth that is set up already" in text_of(response)
    assert not User.objects.exists()


def test_a_database_that_fails_at_the_end_leaves_the_wizard_open(
    wizard: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_url: str) -> None:
        raise DatabaseProblem("The database server is too old.", "version")

    answer(wizard)
    monkeypatch.setattr("xmppd.services.database_check.test_database", refuse)
    response = wizard.post(url("review"))
    assert "The database server is too old." in text_of(response)
    assert not setup.is_set_up()
    assert wizard.get(url("database")).status_code == 200


def test_forms_need_their_token(fresh: Path) -> None:
    client = browser(enforce_csrf_checks=True)
    page = text_of(client.get(url("language")))
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]  # type: ignore[index]
    good = {**ANSWERS["language"], "csrfmiddlewaretoken": token}
    for step in STEPS:
        assert client.post(url(step), ANSWERS.get(step, {})).status_code == 403
    assert client.post(url("language"), {**good, "csrfmiddlewaretoken": "x" * 64}).status_code == 403
    assert client.post(url("language"), good, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/setup/take-over/").status_code == 403
    assert not settings.CONFIG.setup_state_path.exists()
    assert client.post(url("language"), good).status_code == 302


def test_headers_in_the_wizard(wizard: Client) -> None:
    response = wizard.get(url("language"))
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["Cache-Control"] == "no-store"


# --- afterwards ---

EVERY_ROUTE = ["/setup/", "/setup/token/", "/setup/take-over/", *map(url, STEPS)]


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_no_way_back_into_the_wizard(
    stranger_client: Client, owner_client: Client, owner: User, route: str
) -> None:
    before = owner.password
    step = route.split("/")[2]
    for client in (stranger_client, owner_client):
        assert client.get(route).status_code == 404
        assert client.get(f"{route}?token=x").status_code == 404
        assert client.post(route, ANSWERS.get(step, {})).status_code == 404
    assert User.objects.get(pk=owner.pk).password == before
    assert Domain.objects.count() == 1


def test_either_mark_closes_the_wizard(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = browser()
    assert client.get(url("language")).status_code == 200
    domain = Domain.objects.create(name="example.org", is_primary=True)
    assert client.get(url("language")).status_code == 404
    domain.delete()
    monkeypatch.setattr(setup, "_is_set_up", False)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, is_set_up=True))
    assert client.get(url("language")).status_code == 404


def test_a_missing_database_is_503_and_never_the_wizard(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, is_set_up=True))

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("unable to open database file")

    monkeypatch.setattr("accounts.services.domains.Domain.objects.filter", fail)
    client = browser()
    assert client.get("/login/").status_code == 503
    assert client.get(url("language")).status_code == 404
    assert client.get("/").headers["Location"] == "/login/?next=/"


def test_the_command_closes_the_wizard_too(
    wizard: Client, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(wizard, "language", "server")
    monkeypatch.setenv("HEARTH_DOMAIN", "example.org")
    monkeypatch.setenv("HEARTH_ADMIN_PASSWORD", PASSWORD)
    call_command("setup", "--noinput")
    assert wizard.get(url("server")).status_code == 404
    assert not (fresh / "setup-state.json").exists()


# --- the review warns ---


@pytest.mark.parametrize(
    ("domain", "told"),
    [
        ("localhost", "Only this machine will reach localhost"),
        ("127.0.0.1", "Only this machine will reach 127.0.0.1"),
        ("192.0.2.8", "The domain is an IP address"),
        ("intranet", "intranet is only known in your own network"),
        ("nowhere.invalid", "DNS does not know nowhere.invalid yet"),
    ],
)
def test_warnings_of_the_review(
    wizard: Client, domain: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adminconsole.setup.advice._resolves", lambda name: False)
    answer(wizard, domain=domain, hostname="")
    assert told in text_of(wizard.get(url("review")))


def test_a_taken_port_is_told(wizard: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {**settings.CONFIG.ports, "c2s": port, "c2s_tls": None}
        monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, ports=ports))
        answer(wizard)
        assert f"Port {port} is in use" in text_of(wizard.get(url("review")))


def test_a_console_open_to_others_is_warned_of(wizard: Client) -> None:
    answer(wizard)
    warning = "open to other machines without encryption"
    assert warning in text_of(wizard.get(url("server")))  # hidden by the stylesheet while the box is ticked
    answer(wizard, "server", localhost_only="on")
    assert warning not in text_of(wizard.get(url("review")))
    answer(wizard, "server", localhost_only="")
    assert warning in text_of(wizard.get(url("review")))


def test_welcome_offers_the_address_where_dns_knows_no_name(
    wizard: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adminconsole.setup.advice._resolves", lambda name: False)
    answer(wizard, domain="nowhere.invalid", hostname="")
    assert wizard.post(url("review")).status_code == 302
    page = text_of(wizard.get("/welcome/", HTTP_HOST="192.0.2.44"))
    assert "host name 192.0.2.44" in page
    assert "DNS does not know this name yet" in page
