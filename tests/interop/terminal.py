"""A program in a terminal of its own (tmux): type into it, wait for what its screen says."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 20.0
LOOK_SECONDS = 0.1


class Terminal:
    """`home` is the program's HOME, and holds the socket of a tmux server for this terminal alone."""

    def __init__(self, tmux: str, home: Path) -> None:
        self.home = home
        self._tmux = [tmux, "-S", str(home / "tmux"), "-f", "/dev/null"]

    def run(self, *command: str, **environ: str) -> None:
        line = shlex.join(["env", *(f"{name}={value}" for name, value in environ.items()), *command])
        self._do("new-session", "-d", "-x", "160", "-y", "50", line, environ=self._environ())
        self._do("set-option", "-g", "remain-on-exit", "on")  # the last words of a program that ends

    def _environ(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
        }

    def _do(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=environ, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    def screen(self) -> str:
        return self._do("capture-pane", "-p")

    def types(self, line: str) -> None:
        self._do("send-keys", "-l", line)
        self.presses("Enter")

    def presses(self, *keys: str) -> None:
        self._do("send-keys", *keys)

    async def shows(self, *texts: str) -> str:
        """Wait until all texts stand on the screen; fails with what stood there instead."""
        deadline = time.monotonic() + PATIENCE
        while True:
            screen = await asyncio.to_thread(self.screen)
            if all(text in screen for text in texts):
                return screen
            assert time.monotonic() < deadline, f"{texts} never came:\n{screen}"
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=20, check=False)
