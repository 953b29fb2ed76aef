"""The servers that can be measured."""

from __future__ import annotations

from .ejabberd import Ejabberd
from .hearth import Hearth
from .limit import Limit, LimitPy
from .prosody import Prosody
from .server import Server, ServerError

SERVERS: dict[str, type[Server]] = {cls.name: cls for cls in (Hearth, Prosody, Ejabberd, Limit, LimitPy)}


def find(text: str) -> Server:
    """A server by name or name/config, such as prosody/modern. Raises ServerError."""
    name, _, config = text.partition("/")
    if name not in SERVERS:
        raise ServerError(f"unknown server {name!r}; there is {', '.join(SERVERS)}")
    cls = SERVERS[name]
    return cls(config or cls.configs[0])
