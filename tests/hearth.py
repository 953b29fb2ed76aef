"""A real `manage.py serve` in a process of its own, for tests over sockets and in a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmppd.bootstrap import ROOT

PASSWORD = "correct horse"
START_SECONDS = 60.0


class Hearth:
    """One HEARTH_HOME. `ports` is filled by start(): c2s, c2s_tls, console (0 = any free one was asked for)."""

    def __init__(
        self, home: Path, *, domain: str = "example.org", environ: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.domain = domain
        self.ports: dict[str, int] = {}
        self.process: subprocess.Popen[str] | None = None
        self.output = home.parent / f"{home.name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HEARTH_")}
        self.environ = {
            **clean,
            "HEARTH_HOME": str(home),
            "HEARTH_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_PORT": "0",
            "HEARTH_C2S_PORT": "0",
            "HEARTH_C2S_TLS_PORT": "0",
            "DATABASE_URL": "",
            "PYTHONUNBUFFERED": "1",
            **(environ or {}),
        }

    # -- commands

    def manage(self, *arguments: str, stdin: str = "", check: bool = True, **environ: str) -> str:
        """Run manage.py and return what it printed; raise with its errors."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env={**self.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def set_up(self, admin: str = "admin") -> None:
        self.manage(
            "setup",
            "--noinput",
            HEARTH_DOMAIN=self.domain,
            HEARTH_ADMIN_USER=admin,
            HEARTH_ADMIN_PASSWORD=PASSWORD,
        )

    def add_user(self, username: str, password: str = PASSWORD) -> None:
        self.manage("adduser", f"{username}@{self.domain}", "--password-stdin", stdin=password + "\n")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.manage("status", "--json"))
        return status

    # -- process

    def start(self, *arguments: str, is_set_up: bool = True) -> None:
        """Start `serve` and wait until it says that it is ready; remembers the ports for the next start."""
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        before = self.output.stat().st_size
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C" not in self.text()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"serve did not start: {self.text()}")
            self.process_wait(0.05)
        if is_set_up:
            self.read_ports()

    def read_ports(self) -> None:
        self.ports = {row["name"]: row["port"] for row in self.status()["listeners"]}

    def process_wait(self, seconds: float) -> int | None:
        """The exit code, or None when it still runs after this time."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process_wait(20)
        assert code is not None, "serve did not stop within 20 s of SIGTERM"
        self.process = None
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def text(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.ports['console']}"
