"""What must be known before the database: HEARTH_HOME, hearth.toml and the environment. Standard library only.

Everything else lives in the database (settings registry, domains, users). The environment wins over hearth.toml.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent

# Openfire's numbers, which administrators and firewalls know. None = off, 0 = any free port.
DEFAULT_PORTS: dict[str, int | None] = {
    "console": 9090,
    "c2s": 5222,
    "c2s_tls": 5223,
}
PORT_VARIABLES = {
    "console": "HEARTH_CONSOLE_PORT",
    "c2s": "HEARTH_C2S_PORT",
    "c2s_tls": "HEARTH_C2S_TLS_PORT",
}


class ConfigurationError(Exception):
    """A value of the environment or hearth.toml cannot be used; the text names it and says what is expected."""


@dataclass(frozen=True)
class Config:
    """What hearth.toml and the environment say."""

    home: Path
    is_set_up: bool = False
    database_url: str = ""
    hostname: str = ""
    redis_url: str = ""
    bind: str = ""  # listen address of the XMPP ports; "" = every interface
    console_bind: str | None = None  # None: decided by the setting console.localhost_only
    ports: Mapping[str, int | None] = field(default_factory=lambda: dict(DEFAULT_PORTS))

    @property
    def toml_path(self) -> Path:
        return self.home / "hearth.toml"

    @property
    def control_socket(self) -> Path:
        return self.home / "control.sock"

    @property
    def certificate_path(self) -> Path:
        return self.home / "certificates" / "server.crt"

    @property
    def key_path(self) -> Path:
        return self.home / "certificates" / "server.key"

    @property
    def setup_token_path(self) -> Path:
        return self.home / "setup-token"

    @property
    def setup_state_path(self) -> Path:
        return self.home / "setup-state.json"


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """Read HEARTH_HOME/hearth.toml and the environment; raises ConfigurationError."""
    home = Path(environ.get("HEARTH_HOME") or ROOT / "var").expanduser().resolve()
    config = Config(home=home)
    path = config.toml_path
    stored: dict[str, object] = {}
    if path.exists():
        try:
            stored = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return replace(
        config,
        is_set_up=bool(stored.get("set_up", False)),
        database_url=environ.get("DATABASE_URL") or str(stored.get("database_url", "")),
        hostname=environ.get("HEARTH_HOSTNAME") or str(stored.get("hostname", "")),
        redis_url=environ.get("REDIS_URL", ""),
        bind=environ.get("HEARTH_BIND", str(stored.get("bind", ""))),
        console_bind=environ.get("HEARTH_CONSOLE_BIND", stored.get("console_bind")),  # type: ignore[arg-type]
        ports=_ports(environ, stored.get("ports", {})),
    )


def _ports(environ: Mapping[str, str], stored: object) -> dict[str, int | None]:
    ports = dict(DEFAULT_PORTS)
    if not isinstance(stored, dict):
        raise ConfigurationError("hearth.toml: [ports] must be a table")
    for name, variable in PORT_VARIABLES.items():
        if variable in environ:
            ports[name] = _port(environ[variable], variable)
        elif name in stored:
            ports[name] = _port(str(stored[name]), f"hearth.toml: ports.{name}")
    return ports


def _port(text: str, source: str) -> int | None:
    if text.strip() == "":
        return None
    if not text.strip().isdecimal() or not 0 <= int(text) <= 65535:
        raise ConfigurationError(
            f"{source}={text!r} is not a port: expected 0 to 65535 (0 = any free port, empty = off)"
        )
    return int(text)


def write_toml(config: Config, values: Mapping[str, str | bool]) -> None:
    """Merge the values into hearth.toml, atomically, for the owner alone (the database URL may hold a password)."""
    stored: dict[str, object] = {}
    if config.toml_path.exists():
        stored = tomllib.loads(config.toml_path.read_text(encoding="utf-8"))
    stored.update(values)
    lines = [
        "# Written by Hearth. Only what must be known before the database; all else is in the console.\n"
    ]
    tables = {key: value for key, value in stored.items() if isinstance(value, dict)}
    lines += [f"{key} = {_toml(value)}\n" for key, value in stored.items() if key not in tables]
    for name, table in tables.items():
        lines.append(f"\n[{name}]\n")
        lines += [f"{key} = {_toml(value)}\n" for key, value in table.items()]
    write_private(config.toml_path, "".join(lines))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def write_private(path: Path, text: str) -> None:
    """Write a file that only the owner may read (mode 0600), by rename so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def secret_key(config: Config) -> str:
    """The installation's secret (sessions, fake SCRAM salts); made at the first call."""
    path = config.home / "secret.key"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(50) + "\n")
    return path.read_text(encoding="utf-8").strip()


def setup_token(config: Config) -> str:
    """The one-time token that the wizard asks of visitors who are not on loopback; made at the first call."""
    path = config.setup_token_path
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text(encoding="utf-8").strip()


ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgresql": "django.db.backends.postgresql",
    "postgres": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}

MYSQL_MODE = (
    "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"
)


# A server that vanished without a word is noticed after half a minute; the system's own patience is a quarter of an
# hour for what was sent, and two hours where nothing is.
PATIENCE_WITH_POSTGRESQL = {
    "tcp_user_timeout": "30000",  # milliseconds
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


def database_config(url: str, home: Path) -> dict[str, object]:
    """Django's DATABASES entry for a URL; an empty URL means the built-in SQLite file. Raises ConfigurationError."""
    parts = urlsplit(url or "sqlite:")
    engine = ENGINES.get(parts.scheme)
    if engine is None:
        raise ConfigurationError(
            f"DATABASE_URL: unknown database {parts.scheme!r}; use sqlite, postgresql or mysql"
        )
    if parts.scheme == "sqlite":
        return {
            "ENGINE": engine,
            "NAME": unquote(parts.path) or str(home / "hearth.sqlite3"),
            "CONN_MAX_AGE": None,  # opening the file and setting the pragmas costs more than most queries
            "OPTIONS": {
                "timeout": 20,
                # Writers queue for the lock at BEGIN instead of failing in the middle of a transaction.
                "transaction_mode": "IMMEDIATE",
                # A page that many commits touch is copied back once per 64 MiB of log, not once per 4; what a
                # statement may have to undo is noted in memory, not in a file that is made for it.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728; "
                "PRAGMA wal_autocheckpoint=16384; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;",
            },
        }
    options: dict[str, object] = dict(parse_qsl(parts.query))
    try:
        options["connect_timeout"] = int(
            str(options.get("connect_timeout", 5))
        )  # MySQL's driver wants a number
    except ValueError as error:
        raise ConfigurationError("DATABASE_URL: connect_timeout is not a number") from error
    if engine.endswith("mysql"):
        options.setdefault("charset", "utf8mb4")
        # Text that does not fit is an error, and every table knows transactions, whatever the server's defaults.
        options.setdefault("init_command", f"SET sql_mode='{MYSQL_MODE}', default_storage_engine=INNODB")
        _provide_mysql_driver()
    else:
        options = {**PATIENCE_WITH_POSTGRESQL, **options}
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigurationError("DATABASE_URL: the port is not a number") from error
    host = options.pop("host", None) or unquote(parts.hostname or "")
    return {
        "ENGINE": engine,
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or ""),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def _provide_mysql_driver() -> None:
    """Django asks for mysqlclient, a C extension that every machine has to compile. PyMySQL, which is installed
    along with Hearth, takes its name where it is absent.
    """
    if importlib.util.find_spec("MySQLdb") is None and importlib.util.find_spec("pymysql") is not None:
        importlib.import_module("pymysql").install_as_MySQLdb()
