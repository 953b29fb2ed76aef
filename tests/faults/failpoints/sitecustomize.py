"""Loaded by Python at the start of a server under test: it ends itself at a named moment.

The moment is the text of the file that HEARTH_TEST_FAILPOINT names; without the file nothing is different.
"""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def is_set(moment: str) -> bool:
    try:
        with open(os.environ["HEARTH_TEST_FAILPOINT"]) as file:
            return file.read() == moment
    except (KeyError, FileNotFoundError):
        return False


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def patch_archive(module: ModuleType) -> None:
    """The writer's transaction, of a message: before its commit, or after it and before anybody hears of it."""
    write, store_offline = module.write, module._store_offline

    def failing_store(batch: Sequence[Any]) -> None:
        store_offline(batch)
        if is_set("before commit"):
            die()

    def failing_write(batch: Sequence[Any]) -> int:
        outcome = write(batch)
        if is_set("after commit"):
            die()
        return outcome

    module._store_offline, module.write = failing_store, failing_write


def patch_tcp(module: ModuleType) -> None:
    """The sender has its acknowledgement, and nothing else of this turn of the loop is written."""

    def flush(flusher: Any) -> None:
        dirty, flusher._dirty = flusher._dirty, []
        if is_set("after acknowledgement"):
            acknowledged = [
                each for each in dirty if any(b"<a xmlns='urn:xmpp:sm:3'" in out for out in each._out)
            ]
            if acknowledged:
                for each in acknowledged:
                    each.flush()
                # The loop writes at the end of its turn. What the others should get is never written.
                asyncio.get_running_loop().call_later(0.05, die)
                return
        for each in dirty:
            each.flush()

    module.Flusher.flush = flush


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "xmppd.services.archive": patch_archive,
    "xmppd.transports.tcp": patch_tcp,
}


class Finder(importlib.abc.MetaPathFinder):
    """Patches these modules when they have been imported."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        patch = PATCHES.get(name)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
