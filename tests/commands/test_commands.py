"""The operator's commands: what they do, print and refuse."""

import io
import json
import sys
from dataclasses import replace
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from accounts import credentials, registry, services
from accounts.models import AuditEntry, Domain, Group, User
from tests.archived import keep
from xmppd.bus.messages import UserCreated, UserDeleted
from xmppd.services import live, properties, setup

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _is_set_up(domain, monkeypatch):
    monkeypatch.setattr(setup, "_is_set_up", True)


def run(*args):
    out = StringIO()
    call_command(*args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def types(monkeypatch):
    """types("text"): what the command finds on its standard input."""

    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


def password_of(username):
    return lambda password: credentials.check_password(User.objects.get(username=username).password, password)


def test_adduser_makes_an_account_that_can_log_in(types, heard):
    types("correct horse\n")
    assert "Created alice@example.org." in run(
        "adduser", "Alice@example.org", "--password-stdin", "--name", "Alice A."
    )
    user = User.objects.get()
    assert password_of("alice")("correct horse")
    assert (user.name, user.role) == ("Alice A.", "")
    assert heard == [UserCreated(user_id=user.pk, jid="alice@example.org")]
    assert AuditEntry.objects.get().door == "cli"


def test_adduser_takes_a_name_without_domain_and_a_password_file(tmp_path):
    (tmp_path / "password").write_text("correct horse\nsecond line\n")
    run("adduser", "bob", "--password-file", str(tmp_path / "password"), "--admin")
    assert password_of("bob")("correct horse")
    assert User.objects.get().role == "admin"


def test_generated_password_is_printed_and_right():
    printed = run("adduser", "bob", "--generate").split()[-1]
    assert password_of("bob")(printed)


def test_operator_may_give_a_weak_password_and_is_warned(types):
    types("abc\n")
    assert "at least 8" in run("adduser", "bot", "--password-stdin")
    assert password_of("bot")("abc")


@pytest.mark.parametrize(
    ("jid", "message"),
    [
        ("alice@example.net", "not served here"),
        ("a b@example.org", "not an XMPP address"),
        ("taken", "taken"),
        ("a b", "no spaces"),
    ],
)
def test_adduser_refuses_in_one_line(make_user, jid, message):
    make_user("taken")
    with pytest.raises(CommandError, match=message):
        run("adduser", jid, "--generate")


def test_without_a_terminal_a_password_must_be_given(types):
    types("")
    with pytest.raises(CommandError, match="--password-stdin"):
        run("adduser", "alice")
    with pytest.raises(CommandError, match="empty"):
        run("adduser", "alice", "--password-stdin")
    with pytest.raises(CommandError, match="cannot be read"):
        run("adduser", "alice", "--password-file", "/no/such/file")


def test_commands_say_that_hearth_is_not_set_up(monkeypatch):
    Domain.objects.all().delete()
    monkeypatch.setattr(setup, "_is_set_up", False)
    for command in (
        ["adduser", "a"],
        ["passwd", "a"],
        ["deluser", "a"],
        ["settings", "list"],
        ["console-link"],
    ):
        with pytest.raises(CommandError, match="not set up"):
            run(*command)


def test_passwd_changes_the_password(make_user, types):
    make_user("alice")
    types("another horse\n")
    assert "Changed the password of alice@example.org." in run("passwd", "alice", "--password-stdin")
    assert password_of("alice")("another horse")
    with pytest.raises(CommandError, match="no user"):
        run("passwd", "nobody", "--generate")


def test_deluser_deletes(make_user, types, heard):
    user_id = make_user("alice").pk
    heard.clear()
    types("")
    assert "Deleted alice@example.org." in run("deluser", "alice@example.org")
    assert heard == [UserDeleted(user_id=user_id, jid="alice@example.org")]
    with pytest.raises(CommandError, match="no user"):
        run("deluser", "alice")


def test_deluser_keeps_the_last_owner(make_user, types):
    make_user("root", role="owner")
    types("")
    with pytest.raises(CommandError, match="last owner"):
        run("deluser", "root")


# --- importusers ---


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "users.csv"
    path.write_bytes(
        "\ufeffusername;password;name;email;groups\r\nalice;correct horse;Älice;;team|staff\r\n".encode()
    )
    return str(path)


def test_importusers_reports_first_and_applies_then(csv_file):
    report = run("importusers", csv_file)
    assert "alice@example.org [team, staff]: would be created" in report
    assert "--apply" in report
    assert not User.objects.exists()
    assert "created: 1" in run("importusers", csv_file, "--apply")
    assert User.objects.get().name == "Älice"
    assert set(Group.objects.values_list("name", flat=True)) == {"team", "staff"}
    assert "exists: 1" in run("importusers", csv_file, "--apply")


def test_importusers_reports_as_json(csv_file):
    report = json.loads(run("importusers", csv_file, "--json"))
    assert report["applied"] is False
    assert report["counts"] == {"new": 1}
    assert report["rows"][0]["jid"] == "alice@example.org"
    assert "correct horse" not in json.dumps(report)


def test_importusers_fails_when_a_row_cannot_be_used(types):
    types("a b,correct horse\nbob,battery staple\n")
    with pytest.raises(CommandError, match="1 rows"):
        run("importusers", "-", "--apply")
    assert User.objects.get().username == "bob"


def test_importusers_says_when_the_file_is_missing():
    with pytest.raises(CommandError, match="cannot be read"):
        run("importusers", "/no/such/file.csv")


# --- settings ---


def test_settings_are_shown_changed_and_reset():
    name = "security.login.window"
    assert run("settings", "get", name) == "15 minutes\n"
    assert f"{name} = 20 minutes" in run("settings", "set", name, "20 min")
    assert run("settings", "get", name) == "20 minutes\n"
    assert run("settings", "list", "--changed") == f"* {name}  Memory of failed logins  20 minutes\n"
    assert f"{name} = 15 minutes" in run("settings", "reset", name)
    assert run("settings", "list", "--changed") == ""
    assert AuditEntry.objects.filter(action="setting-changed", door="cli").count() == 2


def test_settings_as_json():
    facts = {each["name"]: each for each in json.loads(run("settings", "list", "security.", "--json"))}
    assert facts["security.login.window"]["value"] == 900
    assert facts["security.login.window"]["type"] == "timedelta"
    assert (
        json.loads(run("settings", "get", "security.login.window", "--json"))
        == facts["security.login.window"]
    )


def test_settings_of_every_module_are_listed():
    listed = run("settings", "list")
    for setting in properties.all_settings():
        assert setting.name in listed
        assert setting.label in listed


def test_settings_refuse_in_one_line():
    with pytest.raises(CommandError, match=r"Did you mean: security\.login\.window"):
        run("settings", "get", "login.window")
    with pytest.raises(CommandError, match="not a duration"):
        run("settings", "set", "security.login.window", "soon")
    with pytest.raises(CommandError, match="at most 1 day"):
        run("settings", "set", "security.login.window", "2 days")


def test_setting_that_deletes_messages_is_changed_only_when_meant(make_user, types):
    keep(make_user("alice"), "old", days_ago=40)
    types("")
    with pytest.raises(CommandError, match="--yes"):
        run("settings", "set", "archive.keep_days", "30")
    assert properties.get("archive.keep_days") == 0
    said = run("settings", "set", "archive.keep_days", "30", "--yes")
    assert "warning: Within a day, 1 message of 1 user will be deleted for good." in said
    assert properties.get("archive.keep_days") == 30
    assert "warning" not in run("settings", "set", "archive.keep_days", "50")
    assert "warning" not in run("settings", "reset", "archive.keep_days")


@pytest.mark.parametrize(("answer", "value"), [("yes", 30), ("", 0), ("y", 0)])
def test_setting_that_deletes_messages_asks_on_a_terminal(make_user, monkeypatch, answer, value):
    keep(make_user("alice"), "old", days_ago=40)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    if value:
        run("settings", "set", "archive.keep_days", "30")
    else:
        with pytest.raises(CommandError, match="Nothing was changed"):
            run("settings", "set", "archive.keep_days", "30")
    assert properties.get("archive.keep_days") == value


@pytest.mark.parametrize("text", ["1", "1023 KiB", "2 TiB", "-1"])
def test_setting_of_an_absurd_size_is_refused(text):
    with pytest.raises(CommandError, match=r"Must be at|not a size"):
        run("settings", "set", "archive.keep_size", text)


def test_setting_that_waits_for_a_start_says_so(monkeypatch):
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))  # the new one leaves it again
    properties.Setting("test.slow", bool, False, "Slow.", restart=True)
    assert "next start" in run("settings", "set", "test.slow", "on")
    assert "next start" not in run("settings", "set", "console.localhost_only", "on")


# --- console-link and setup ---


def test_console_link_opens_the_console_for_the_owner(make_user):
    owner = make_user("root", role="owner")
    link, note = run("console-link").splitlines()
    assert link.startswith(f"http://127.0.0.1:{settings.CONFIG.ports['console']}/")
    assert "root@example.org" in note
    assert services.consume_login_link(link.rstrip("/").rpartition("/")[2]) == owner


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"console_bind": "192.0.2.5"}, "http://192.0.2.5:9090/"),
        ({"console_bind": "2001:db8::5"}, "http://[2001:db8::5]:9090/"),
        ({"console_bind": "0.0.0.0", "hostname": "chat.example.org"}, "http://chat.example.org:9090/"),
        ({"hostname": "chat.example.org", "ports": {"console": 9191}}, "http://chat.example.org:9191/"),
        ({"hostname": "chat.example.org", "ports": {"console": None}}, "http://chat.example.org:9090/"),
    ],
)
def test_console_link_leads_to_where_the_console_listens(make_user, monkeypatch, changes, base):
    make_user("root", role="owner")
    changes = {"console_bind": None, "hostname": "", "ports": {"console": 9090}, **changes}
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, **changes))
    assert run("console-link").startswith(base)


def test_console_link_knows_the_port_of_the_running_server(make_user, monkeypatch):
    make_user("root", role="owner")
    listeners = [{"name": "c2s", "address": "*", "port": 5222}]
    monkeypatch.setattr(live, "call", lambda operation: {"listeners": listeners})
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, hostname="chat.example.org"))
    assert run("console-link").startswith(f"http://chat.example.org:{settings.CONFIG.ports['console']}/")
    listeners.append({"name": "console", "address": "127.0.0.1", "port": 41234})
    assert run("console-link").startswith("http://127.0.0.1:41234/")
    listeners[1]["address"] = "::"
    assert run("console-link").startswith("http://chat.example.org:41234/")


def test_console_link_needs_a_role(make_user):
    with pytest.raises(CommandError, match="no owner"):
        run("console-link")
    make_user("alice")
    with pytest.raises(CommandError, match="no role"):
        run("console-link", "alice")


def test_setup_again_says_so_and_succeeds():
    assert run("setup", "--noinput") == "Hearth is set up already for example.org.\n"
