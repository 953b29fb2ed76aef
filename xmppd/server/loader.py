"""Finds the modules: every file in xmppd/modules, and installed packages with an entry point in hearth.modules."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from xmppd.server.module import Module

PACKAGE = "xmppd.modules"
ENTRY_POINTS = "hearth.modules"


def module_classes() -> list[type[Module]]:
    """Every Module class, by file name; the order in which they are told to start."""
    package = importlib.import_module(PACKAGE)
    files = [
        importlib.import_module(f"{PACKAGE}.{info.name}")
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name)
    ]
    found = [cls for file in files for cls in _classes_of(file)]
    return found + [
        entry.load() for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    ]


def _classes_of(file: ModuleType) -> list[type[Module]]:
    return [
        value
        for value in vars(file).values()
        if isinstance(value, type)
        and issubclass(value, Module)
        and value.__module__.startswith(file.__name__)
    ]
