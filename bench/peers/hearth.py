"""Hearth in one process on SQLite: lean (no archive, like the lean peers), modern (with it), without the console.

TLS is left to the client.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from typing import ClassVar

from .server import ROOT, Server, ServerError

ADMIN_PASSWORD = "only-on-loopback-while-measuring"

# All clients come from one address, and some of them without TLS.
SETTINGS = {"c2s.tls": "optional", "c2s.max_connections_per_address": "20000"}


class Hearth(Server):
    name = "hearth"
    port, tls_port = 26351, 26352
    configs: ClassVar = ["lean", "modern", "no-web"]

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def command(self, *, setup: bool) -> list[str]:
        self.manage("settings", "set", "archive.enabled", "on" if self.config == "modern" else "off")
        return [
            sys.executable,
            str(ROOT / "manage.py"),
            "serve",
            *(["--no-web"] if self.config == "no-web" else []),
        ]

    def environment(self) -> dict[str, str]:
        return {
            "HEARTH_HOME": str(self.data),
            "HEARTH_DOMAIN": "localhost",
            "HEARTH_HOSTNAME": "localhost",
            "HEARTH_ADMIN_USER": "admin",
            "HEARTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "HEARTH_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_BIND": "127.0.0.1",
            "HEARTH_CONSOLE_PORT": "0",
            "HEARTH_C2S_PORT": str(self.port),
            "HEARTH_C2S_TLS_PORT": str(self.tls_port),
        }

    def manage(self, *arguments: str) -> None:
        """Run a command of the operator's contract on the data; raises ServerError with its output."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        result = subprocess.run(command, env=os.environ | self.environment(), capture_output=True, text=True)
        if result.returncode:
            raise ServerError(f"manage.py {' '.join(arguments)}: {result.stdout}{result.stderr}")

    def make_accounts(self, count: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fresh_data()
        path = self.folder / "users.csv"
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["username", "password", "name", "email", "groups"])
            rows.writerows([f"user{number}", "pw", "", "", ""] for number in range(count))
        self.manage("setup", "--noinput")
        for key, value in SETTINGS.items():
            self.manage("settings", "set", key, value)
        self.manage("importusers", str(path), "--apply")
        self.data.rename(self.base)
