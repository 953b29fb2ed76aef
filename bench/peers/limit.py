"""The least that a router can do: in C (limit.c) and in Python (limit_py.py). Neither is a server."""

from __future__ import annotations

import sys

from .server import BENCH, WORK, Server


class Limit(Server):
    name = "limit"
    port, tls_port = 26031, 26032

    @classmethod
    def is_installed(cls) -> bool:
        return (BENCH / "limit").exists()

    def command(self, *, setup: bool) -> list[str]:
        ports = ["--port", str(self.port), "--tls-port", str(self.tls_port)]
        certificate = ["--cert", str(WORK / "tls" / "ec.crt"), "--key", str(WORK / "tls" / "ec.key")]
        return [str(BENCH / "limit"), *ports, *certificate, "--contacts", "20"]

    def prepare(self, accounts: int = 0, users: int = 0, contacts: int = 0) -> None:
        """Knows every user and a canned roster."""


class LimitPy(Limit):
    name = "limitpy"
    port, tls_port = 26041, 26042
    configs = ["uvloop-expat", "uvloop-find", "asyncio-expat", "asyncio-find", "epoll-expat", "epoll-find"]

    @classmethod
    def is_installed(cls) -> bool:
        return True

    def command(self, *, setup: bool) -> list[str]:
        loop, _, parse = self.config.partition("-")
        script = str(BENCH / "limit_py.py")
        return [sys.executable, script, "--port", str(self.port), "--loop", loop, "--parse", parse]
