"""A server under test: fresh data for every start, pinned to one core, listening on loopback only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

PEERS = Path(__file__).resolve().parent
BENCH = PEERS.parent
ROOT = BENCH.parent
# Data, logs and certificates; nothing of it is worth keeping.
WORK = Path(os.environ.get("HEARTH_BENCH_DIR") or ROOT / "var" / "bench")
SERVER_CPU = os.environ.get("HEARTH_BENCH_SERVER_CPU", "0")
GENERATOR_CPU = os.environ.get("HEARTH_BENCH_GENERATOR_CPU", "1")

XMPPLOAD = BENCH / "xmppload"
STREAM_HEADER = (
    b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client'"
    b" xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)


class ServerError(Exception):
    """A server could not be made ready; the text says why and where its log is."""


class Server(ABC):
    """One server in one configuration, such as prosody/modern; `with server:` starts and stops it."""

    name: ClassVar[str]
    port: ClassVar[int]
    tls_port: ClassVar[int]
    configs: ClassVar[list[str]] = ["lean"]
    program: ClassVar[str] = ""  # found on PATH where the server is installed

    def __init__(self, config: str = "lean") -> None:
        if config not in self.configs:
            raise ServerError(
                f"{self.name} has no configuration {config!r}; there is {', '.join(self.configs)}"
            )
        self.config = config
        self.folder = WORK / f"{self.name}-{config}"
        self.data = self.folder / "data"
        self.base = WORK / f"{self.name}-base"
        self.process: subprocess.Popen[bytes] | None = None
        self.startup_seconds = 0.0

    def __str__(self) -> str:
        return f"{self.name}/{self.config}"

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which(cls.program) is not None

    @property
    def has_modern_clients(self) -> bool:
        """Whether its clients use stream management and carbons, as they do in daily life."""
        return self.config.startswith("modern")

    # --- what a subclass says

    @abstractmethod
    def command(self, *, setup: bool) -> list[str]:
        """Write the configuration and return the command; with `setup`, clients may register accounts."""

    def environment(self) -> dict[str, str]:
        return {}

    def make_accounts(self, count: int) -> None:
        """Create user0 to userN with password pw in the base data; by in-band registration (XEP-0077)."""
        with self.setting_up():
            self.load("register", "--users", count, "--ramp", 16, "--timeout", 600)

    # --- start and stop

    @property
    def pids(self) -> str:
        return str(self.process.pid) if self.process else ""

    def start(self, *, setup: bool = False) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([PEERS / "mkcert.sh", WORK / "tls"], check=True, stderr=subprocess.DEVNULL)
        self.fresh_data()
        command = ["taskset", "-c", SERVER_CPU, *self.command(setup=setup)]
        log = self.folder / "out.log"
        begin = time.monotonic()
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                command,
                env=os.environ | self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.wait_for_features()
        except ServerError:
            self.stop()
            raise
        self.startup_seconds = time.monotonic() - begin

    def wait_for_features(self, timeout: float = 60) -> None:
        """Return when the port answers a stream header with features."""
        begin = time.monotonic()
        while time.monotonic() - begin < timeout:
            if self.process is not None and self.process.poll() is not None:
                raise ServerError(f"{self} ended at once; see {self.folder / 'out.log'}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(2)
                probe.sendall(STREAM_HEADER)
                answer = b""
                while b"features>" not in answer:
                    received = probe.recv(4096)
                    if not received:
                        break
                    answer += received
                else:
                    return
            time.sleep(0.002)
        raise ServerError(f"{self} never answered on port {self.port}; see {self.folder / 'out.log'}")

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- data

    def fresh_data(self) -> None:
        """Every start sees the same accounts and rosters, and nothing of an earlier run."""
        shutil.rmtree(self.data, ignore_errors=True)
        if self.base.exists():
            shutil.copytree(self.base, self.data)
        else:
            self.data.mkdir()

    @contextlib.contextmanager
    def setting_up(self):
        """Start with registration open; what the body changes becomes the base data."""
        self.start(setup=True)
        try:
            yield
        finally:
            self.stop()
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.copytree(self.data, self.base)

    def make_rosters(self, users: int, contacts: int) -> None:
        """Mutual subscriptions in groups of contacts + 1, made over XMPP."""
        with self.setting_up():
            self.load(
                "rosters", "--auth", "scram", "--users", users, "--contacts", contacts, "--timeout", 300
            )

    def prepare(self, accounts: int = 5000, users: int = 210, contacts: int = 20) -> None:
        """Make the base data unless it is there."""
        done = WORK / f"{self.name}-base.{accounts}"
        if done.exists() and self.base.exists():
            return
        shutil.rmtree(self.base, ignore_errors=True)
        self.make_accounts(accounts)
        self.make_rosters(users, contacts)
        done.touch()

    def load(self, mode: str, *options: object) -> str:
        """Run the load generator against this server; its JSON line. Raises ServerError."""
        command = [
            "taskset",
            "-c",
            GENERATOR_CPU,
            XMPPLOAD,
            mode,
            "--port",
            self.port,
            "--pids",
            self.pids,
            *options,
        ]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
        # A non-zero exit with a result means that some clients failed; the result counts them.
        if not result.stdout.rstrip().endswith("}"):
            raise ServerError(f"{self}: xmppload {mode}: {result.stderr.strip() or result.returncode}")
        if result.returncode and mode in ("register", "rosters"):
            raise ServerError(f"{self}: xmppload {mode}: {result.stdout}{result.stderr}")
        return result.stdout


def fill(text: str, values: dict[str, str]) -> str:
    """Put the values into @NAME@ places; an unknown name stays as it is."""
    return re.sub(r"@([A-Z]+)@", lambda match: values.get(match.group(1), match.group(0)), text)
