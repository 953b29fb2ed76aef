"""Settings as services, modules and console use them; accounts.registry has the registry."""

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
    "find",
    "forget",
    "get",
    "overridden",
    "reload",
    "reset",
    "set_value",
]
