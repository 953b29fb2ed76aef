"""Settings as services, modules and console use them; accounts.registry has the registry."""

from __future__ import annotations

import logging
import pkgutil
from importlib import import_module

from accounts.registry import (
    SECTION_TITLES,
    Setting,
    all_settings,
    find,
    forget,
    get,
    overridden,
    reload,
    reset,
    set_value,
)

__all__ = [
    "SECTION_TITLES",
    "Setting",
    "all_settings",
    "discover",
    "find",
    "forget",
    "get",
    "overridden",
    "reload",
    "reset",
    "set_value",
]

log = logging.getLogger("hearth.settings")

# Where settings are defined. By name: what stands above the services may not be imported by them.
PACKAGES = ("accounts", "xmppd.services", "xmppd.server", "xmppd.modules", "xmppd.transports", "adminconsole")


def discover() -> None:
    """Import everything that may define settings, for a process that shows them all without running the
    server.
    """
    for package in PACKAGES:
        root = import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=_log_broken):
            if ".migrations" not in module.name:
                try:
                    import_module(module.name)
                except ImportError:
                    _log_broken(module.name)


def _log_broken(name: str) -> None:
    log.exception("the settings of %s are missing", name)
