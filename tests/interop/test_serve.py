"""`manage.py serve` as its operator meets it: what it prints, how it ends, what it refuses, commands beside it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hearth import PASSWORD, Hearth
from tests.wire import plain
from xmppd.bootstrap import ROOT

pytestmark = pytest.mark.interop


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Hearth]]:
    """make(): a Hearth in a home of its own, neither set up nor started."""
    made: list[Hearth] = []

    def make(**environ: str) -> Hearth:
        made.append(Hearth(tmp_path / f"home{len(made)}", environ=environ))
        return made[-1]

    yield make
    for hearth in made:
        hearth.kill()


@pytest.fixture
def ready(make) -> Hearth:
    """Set up, with juliet, not started."""
    hearth = make()
    hearth.set_up()
    hearth.add_user("juliet")
    return hearth


def refused(hearth: Hearth, *arguments: str) -> tuple[int, str]:
    """The exit code of a `serve` that does not start, and the one line that it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "serve", *arguments],
        env=hearth.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, "\n".join(lines)
    return done.returncode, lines[0]


def get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(url, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **kwargs):
        return None


# -- starting


def test_first_start_prints_all_that_one_needs(make):
    hearth = make()
    hearth.start(is_set_up=False)
    text = hearth.text()
    url = re.search(r"http://127\.0\.0\.1:(\d+)/setup/\?token=(\S+)", text)
    assert url[2] == (hearth.home / "setup-token").read_text().strip()
    assert stat.S_IMODE((hearth.home / "setup-token").stat().st_mode) == 0o600
    assert "XMPP             starts when the set-up in the console is finished" in text
    assert f"Data             {hearth.home}" in text
    assert "Stop             Ctrl-C" in text
    assert get(f"http://127.0.0.1:{url[1]}/healthz")[0] == 200
    code, body = get(f"http://127.0.0.1:{url[1]}/readyz")
    assert (code, json.loads(body)["reasons"]) == (503, {"setup": "not finished"})
    assert hearth.stop() == 0


def test_start_twice_after_the_set_up(ready):
    for _ in range(2):
        ready.start()
        ports = rf"{ready.ports['c2s']} \(STARTTLS\), {ready.ports['c2s_tls']} \(TLS\)"
        assert re.search(f"XMPP             example.org on {ports}", ready.text())
        assert "token" not in ready.text()
        assert get(f"{ready.console}/healthz")[0] == 200
        assert get(f"{ready.console}/readyz")[0] == 200
        assert get(f"{ready.console}/setup/")[0] in (302, 404)
        assert ready.stop() == 0


async def test_unattended_first_start_from_the_environment(make, wire, tmp_path):
    (tmp_path / "password").write_text(PASSWORD + "\n")
    hearth = make(
        HEARTH_DOMAIN="example.org",
        HEARTH_ADMIN_USER="root",
        HEARTH_ADMIN_PASSWORD_FILE=str(tmp_path / "password"),
    )
    await asyncio.to_thread(hearth.start)
    client = await wire(hearth).connect()
    assert (await client.log_in("root")).startswith("root@example.org/")


def test_wrong_environment_is_one_line(make):
    code, line = refused(make(HEARTH_DOMAIN="not a domain", HEARTH_ADMIN_PASSWORD=PASSWORD))
    assert code == 1
    assert "The set-up from the environment failed" in line


async def test_demo(make, wire):
    hearth = make()
    await asyncio.to_thread(hearth.start, "--demo")
    assert "this machine only; users admin, jane, john, juan, password hearth-demo" in hearth.text()
    client = await wire(hearth).connect()
    await client.log_in("jane", password="hearth-demo")
    client.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
    roster = (await client.expect("<iq [^>]*id='r'.*</iq>"))[0]
    contacts = {f"{name}@example.org" for name in ("admin", "john", "juan")}
    assert set(re.findall(" jid='([^']*)'", roster)) == contacts


# -- what it refuses


@pytest.mark.parametrize("variable", ["HEARTH_C2S_PORT", "HEARTH_C2S_TLS_PORT", "HEARTH_CONSOLE_PORT"])
def test_taken_port_is_one_line_that_names_the_setting(ready, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ready.environ[variable] = str(port)
        code, line = refused(ready)
    assert code == 2
    assert f"Port 127.0.0.1:{port} cannot be opened (Address already in use)" in line
    assert f"Set {variable} to another port" in line


def test_second_server_in_one_home_is_refused(ready):
    ready.start()
    code, line = refused(ready)
    assert code == 1
    assert f"Hearth already runs with {ready.home} (process {ready.process.pid})" in line
    assert get(f"{ready.console}/readyz")[0] == 200


@pytest.mark.parametrize("damage", ["missing", "empty", "cut in half", "a page of zeros", "zeros"])
def test_broken_database_is_one_line_and_never_the_wizard(ready, damage):
    path = ready.home / "hearth.sqlite3"
    whole = path.read_bytes()
    for beside in ready.home.glob("hearth.sqlite3-*"):
        beside.unlink()
    damaged = {
        "empty": b"",
        "cut in half": whole[: len(whole) // 2],
        "a page of zeros": whole[:8192] + bytes(4096) + whole[12288:],
        "zeros": bytes(len(whole)),
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    code, line = refused(ready)
    assert code == 3, line
    assert "The database cannot be used" in line
    assert str(ready.home) in line
    assert (path.read_bytes() if path.exists() else None) == damaged.get(damage)


# -- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_in_good_order(ready, wire, number):
    await asyncio.to_thread(ready.start)
    client, stranger = await wire(ready).connect(), await wire(ready).connect("c2s_tls")
    await client.log_in("juliet")
    await stranger.start_tls()
    stranger.send(stranger.header)
    await stranger.expect("</stream:features>")
    ready.process.send_signal(number)
    assert await client.is_closed_with("system-shutdown")
    assert await stranger.is_closed_with("system-shutdown")
    assert await asyncio.to_thread(ready.process_wait, 20) == 0
    assert not (ready.home / "control.sock").exists()
    assert "Traceback" not in ready.text()
    log = (ready.home / "logs" / "hearth.log").read_text()
    started = re.search(r"server-started version=\S+ domain=(\S+) listeners=(\S+) database=(\S+)$", log, re.M)
    assert started is not None
    names = {listener.partition(":")[0] for listener in started[2].split(",")}
    assert {"c2s", "c2s_tls", "console"} <= names
    lines = [line.split(" ", 3)[3] for line in log.splitlines() if " hearth.serve " in line]
    assert lines[-2:] == ["server-stopping sessions=1", "server-stopped"]
    assert re.search(
        r"session-closed jid=juliet@\S+ ip=\S+ reason=closed-by-server condition=system-shutdown$", log, re.M
    )


# -- web and XMPP apart


async def test_console_in_a_process_of_its_own_sees_the_sessions(ready, wire):
    console = Hearth(ready.home)
    console.output = ready.home.parent / "console.log"
    await asyncio.to_thread(ready.start, "--no-web")
    assert set(ready.ports) == {"c2s", "c2s_tls"}
    try:
        await asyncio.to_thread(console.start, "--no-xmpp", is_set_up=False)
        address = re.search(r"http://127\.0\.0\.1:\d+", console.text())[0]
        client = await wire(ready).connect()
        jid = await client.log_in("juliet", "balcony")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        page = await asyncio.to_thread(sign_in, browser, address)
        assert page.status == 200
        sessions = await asyncio.to_thread(lambda: browser.open(f"{address}/sessions/").read().decode())
        assert jid in sessions
        assert await asyncio.to_thread(console.stop) == 0
        assert ready.process_wait(0) is None
    finally:
        console.kill()


def sign_in(browser: urllib.request.OpenerDirector, address: str):
    form = browser.open(f"{address}/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    data = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token}
    request = urllib.request.Request(f"{address}/login/", urllib.parse.urlencode(data).encode())
    request.add_header("Referer", f"{address}/login/")
    return browser.open(request)


# -- commands beside it


async def test_commands_take_effect_at_once(ready, wire):
    await asyncio.to_thread(ready.start)

    async def manage(*arguments: str, stdin: str = "") -> str:
        return await asyncio.to_thread(ready.manage, *arguments, stdin=stdin)

    await manage("adduser", "romeo", "--password-stdin", stdin=PASSWORD + "\n")
    romeo, juliet = await wire(ready).connect(), await wire(ready).connect()
    await romeo.log_in("romeo")
    await juliet.log_in("juliet")
    assert json.loads(await manage("status", "--json"))["sessions"] == 2

    await manage("passwd", "romeo", "--password-stdin", stdin="another horse\n")
    assert await romeo.is_closed_with("reset")
    romeo = await wire(ready).connect()
    await romeo.secure()
    romeo.send(plain("romeo"))
    await romeo.expect("<failure[^>]*><not-authorized")
    romeo = await wire(ready).connect()
    await romeo.log_in("romeo", password="another horse")

    await manage("settings", "set", "c2s.allow_plain", "false")
    client = await wire(ready).connect()
    await client.secure()
    assert "<mechanism>SCRAM-SHA-256</mechanism>" in client.read
    assert "<mechanism>PLAIN</mechanism>" not in client.read
    await manage("settings", "reset", "c2s.allow_plain")

    await manage("deluser", "romeo")
    assert await romeo.is_closed_with("not-authorized")
    romeo = await wire(ready).connect()
    await romeo.secure()
    romeo.send(plain("romeo", "another horse"))
    await romeo.expect("<failure[^>]*><not-authorized")
    await juliet.ping()


def test_status_of_a_server_that_does_not_run(ready):
    with pytest.raises(AssertionError, match=r'\{"running": false\}'):
        ready.manage("status", "--json")
