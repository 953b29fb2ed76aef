"""The commands as processes of their own, beside a server that listens on its control socket."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from xmppd.bootstrap import ROOT


class Home:
    """A HEARTH_HOME, and manage.py in it."""

    def __init__(self, path):
        self.path = path

    def manage(self, *args, stdin="", **environ):
        finished = subprocess.run(
            [sys.executable, ROOT / "manage.py", *args],
            env={**os.environ, "HEARTH_HOME": str(self.path), "DATABASE_URL": "", **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return finished.returncode, finished.stdout.strip(), finished.stderr.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("home"))
    code, out, err = home.manage(
        "setup", "--noinput", HEARTH_DOMAIN="127.0.0.1", HEARTH_ADMIN_PASSWORD="correct horse"
    )
    assert (code, err) == (0, ""), err
    assert out.splitlines()[0] == "Hearth is set up for 127.0.0.1."
    return home


@pytest.fixture
def control_socket(home):
    """What the server hears: the lines written to its control socket."""
    heard = []
    path = home.path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as lines:
                    if line := lines.readline():
                        heard.append(json.loads(line))
                        connection.sendall(b"{}\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    path.unlink()


def test_set_up_from_the_environment_is_private_and_repeatable(home):
    for name in ("hearth.toml", "hearth.sqlite3", "secret.key", "certificates/server.key"):
        assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o600, name
    code, out, _err = home.manage("setup", "--noinput")
    assert (code, out) == (0, "Hearth is set up already for 127.0.0.1.")


WAITING = """
import sys
import django
django.setup()
from django.conf import settings
from accounts import services
from xmppd.services import setup
assert not setup.is_set_up()
print("waiting", flush=True)
sys.stdin.readline()
print(setup.is_set_up(), services.primary_domain(), settings.CONFIG.hostname)
"""


def test_waiting_server_uses_the_database_that_the_command_set_up(tmp_path):
    home = Home(tmp_path)
    environ = {**os.environ, "HEARTH_HOME": str(tmp_path), "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, env=environ, stdin=-1, stdout=-1, text=True) as waiting:
        assert waiting.stdout.readline() == "waiting\n"
        code, _out, err = home.manage(
            "setup",
            "--noinput",
            HEARTH_DOMAIN="example.net",
            HEARTH_ADMIN_PASSWORD="correct horse",
            DATABASE_URL=f"sqlite://{tmp_path}/elsewhere.sqlite3",
        )
        assert code == 0, err
        out, _err = waiting.communicate("\n", timeout=60)
    assert out == "True example.net example.net\n"
    assert not (tmp_path / "hearth.sqlite3").exists()


def test_set_up_without_answers_says_what_is_missing(tmp_path):
    code, _out, err = Home(tmp_path).manage("setup", "--noinput")
    assert code == 1
    assert err == "CommandError: Set HEARTH_DOMAIN and HEARTH_ADMIN_PASSWORD (or HEARTH_ADMIN_PASSWORD_FILE)."


def test_set_up_with_a_database_that_does_not_answer_says_why(tmp_path):
    url = "postgresql://hearth:secret@127.0.0.1:1/hearth"
    code, _out, err = Home(tmp_path).manage(
        "setup", "--noinput", HEARTH_DOMAIN="x", HEARTH_ADMIN_PASSWORD="correct horse", DATABASE_URL=url
    )
    assert code == 1
    assert err.startswith("CommandError: No database server answers at “127.0.0.1”.")
    assert "secret" not in err
    assert not (tmp_path / "hearth.toml").exists()


def test_running_server_hears_what_commands_do(home, control_socket):
    assert home.manage("adduser", "bjsujb@127.0.0.1", "--password-stdin", stdin="abc\n")[0] == 0
    assert home.manage("settings", "set", "c2s.max_login_failures", "5")[0] == 0
    assert home.manage("deluser", "bjsujb")[0] == 0
    kinds = [message["bus"] for message in control_socket]
    assert kinds == ["UserCreated", "SettingChanged", "UserDeleted"]
    assert control_socket[0]["data"]["jid"] == "bjsujb@127.0.0.1"


def test_refusal_is_one_line_and_a_status(home):
    code, out, err = home.manage("deluser", "admin")
    assert (code, out) == (1, "")
    assert err == "CommandError: This is the last owner: make somebody else an owner first."
