"""The typed settings registry: one `Setting(...)` beside its use gives page, checks, command and docs.

Values live in the table of accounts.models.Property, only where they differ from the default. They are read
in one query at first use and kept in memory; a SettingChanged from the bus, from whichever process, has them
read again. While there is no database, before set-up or when it is down, the defaults or the last known
values hold.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured, ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from xmppd.bus import channel
from xmppd.bus.messages import SettingChanged

if TYPE_CHECKING:
    from accounts.audit import Actor

log = logging.getLogger("hearth.settings")

TYPES: tuple[Any, ...] = (bool, int, str, float, timedelta, "size", list)

# Titles of the sections of the settings page, by the first part or the first two parts of a setting's name.
SECTION_TITLES: dict[str, Any] = {
    "accounts": gettext_lazy("Accounts and passwords"),
    "archive": gettext_lazy("Message archive"),
    "blocking": gettext_lazy("Blocking"),
    "c2s": gettext_lazy("Client connections"),
    "console": gettext_lazy("Admin console"),
    "csi": gettext_lazy("Idle phones"),
    "devices": gettext_lazy("Devices and quick login"),
    "fast": gettext_lazy("Devices and quick login"),
    "offline": gettext_lazy("Offline messages"),
    "private": gettext_lazy("Private storage"),
    "registration": gettext_lazy("Registration from clients"),
    "reports": gettext_lazy("Reports of spam and abuse"),
    "roster": gettext_lazy("Contact lists"),
    "search": gettext_lazy("User search"),
    "security": gettext_lazy("Security"),
    "security.login": gettext_lazy("Failed logins"),
    "server": gettext_lazy("Server"),
    "server.contact": gettext_lazy("Contact addresses"),
    "sessions": gettext_lazy("Sessions"),
    "sm": gettext_lazy("Stream management"),
    "vcard": gettext_lazy("Profiles (vCard)"),
}

T = TypeVar("T")
_registry: dict[str, Setting[Any]] = {}


class Setting(Generic[T]):
    """One setting. `.value` at module level; as a class attribute, `instance.name` is the value.

    type: bool, int, str, float, timedelta, "size" (int, bytes) or list (of str). `minimum` and `maximum`
    bound the number, the duration, the bytes or the length of a list. `restart` says that a change holds only
    after a restart. A `secret` is never shown, logged or audited. `help` is translatable and states the unit;
    `label` is its title, a short noun phrase. `zero` is the word for a zero that is no amount, such as "never";
    with it, 0 is allowed whatever the minimum. `warn` says of (present value, new one) what a person has to know
    and agree to before the change, or None; only forms and commands ask it.
    """

    def __init__(
        self,
        name: str,
        type: Any,
        default: T,
        help: str | Promise,
        *,
        label: str | Promise = "",
        zero: str | Promise = "",
        minimum: Any = None,
        maximum: Any = None,
        choices: Sequence[str] | Sequence[tuple[str, Any]] | None = None,
        secret: bool = False,
        restart: bool = False,
        section: str | None = None,
        warn: Callable[[T, T], str | None] | None = None,
    ) -> None:
        if type not in TYPES:
            raise TypeError(f"{name}: no setting can be of type {type!r}")
        self.name = name
        self.type = type
        self.default = default
        self.help = help
        self._label = label
        self.zero = zero
        self.minimum = minimum
        self.maximum = maximum
        # (value, label) pairs; a plain value is its own label
        self.choices = [c if isinstance(c, tuple) else (c, c) for c in choices] if choices else None
        self.secret = secret
        self.restart = restart
        self.warn = warn
        self.section = section or ".".join(
            name.split(".")[:2] if name.count(".") > 1 else name.split(".")[:1]
        )
        _register(self)

    def __repr__(self) -> str:
        return f"Setting({self.name!r})"

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        return self if instance is None else self.value

    @property
    def value(self) -> T:
        """The value that holds now; no query but at first use."""
        try:
            return _store.values[self.name]
        except KeyError:
            return _store.resolve(self)

    @property
    def is_changed(self) -> bool:
        return self.value != self.default

    @property
    def label(self) -> str:
        """The title of the setting; without one of its own, the key in words."""
        return str(self._label) or self.name.rpartition(".")[2].replace("_", " ").capitalize()

    @property
    def section_title(self) -> str:
        for key in (self.section, self.section.split(".")[0]):
            if key in SECTION_TITLES:
                return str(SECTION_TITLES[key])
        return self.section.replace("_", " ").replace(".", ": ").capitalize()

    @property
    def kind(self) -> str:
        """The type's name, for forms and JSON: bool int str float timedelta size list."""
        return self.type if isinstance(self.type, str) else str(self.type.__name__)

    def warning(self, new: T) -> str:
        """What a person has to agree to before `new` takes the place of the present value; '' where nothing."""
        if self.warn is None or new == self.value:
            return ""
        return self.warn(self.value, new) or ""

    # Values: Python's in the program, JSON's in the table, text on the command line and in forms.

    def clean(self, value: Any) -> T:
        """Return the value as this setting's type; raise ValidationError where that or a bound fails."""
        value = _coerce(self, value)
        if self.choices is not None:
            wrong = [
                v for v in (value if isinstance(value, list) else [value]) if v not in dict(self.choices)
            ]
            if wrong:
                raise ValidationError(
                    _("“%(value)s” is not one of: %(choices)s."),
                    params={"value": wrong[0], "choices": ", ".join(v for v, label in self.choices)},
                )
        measure = len(value) if isinstance(value, list) else value
        if self.zero and not measure:
            return value
        if self.minimum is not None and measure < self.minimum:
            raise ValidationError(
                _("Must be at least %(limit)s."), params={"limit": self.format_limit(self.minimum)}
            )
        if self.maximum is not None and measure > self.maximum:
            raise ValidationError(
                _("Must be at most %(limit)s."), params={"limit": self.format_limit(self.maximum)}
            )
        return value

    def parse(self, text: str) -> T:
        """The value that a person typed: `6 minutes`, `256 KiB`, `on`, `a, b`. Raises ValidationError."""
        if self.zero and text.strip().casefold() == str(self.zero).casefold():
            text = "0"
        return self.clean(PARSERS[self.kind](text) if self.kind != "str" else text)

    def format(self, value: Any = None) -> str:
        """The value (by default the present one) as a person reads it and as `parse` takes it back."""
        value = self.value if value is None else value
        return str(self.zero) if self.zero and not value else FORMATTERS[self.kind](value)

    def words(self, value: Any) -> str:
        """`format`, with the labels of choices in place of their values."""
        if self.choices is None:
            return self.format(value)
        labels = dict(self.choices)
        chosen = value if isinstance(value, list) else [value]
        return ", ".join(str(labels.get(item, item)) for item in chosen)

    def display(self, value: Any = None) -> str:
        """`format`, but a secret only says whether it is set."""
        if self.secret:
            return _("(set)") if (self.value if value is None else value) else _("(not set)")
        return self.format(value)

    def to_json(self, value: Any) -> Any:
        return value.total_seconds() if isinstance(value, timedelta) else value

    def from_json(self, value: Any) -> T:
        if self.type is timedelta and not isinstance(value, bool) and isinstance(value, int | float):
            value = timedelta(seconds=value)
        return self.clean(value)

    def format_limit(self, limit: Any) -> str:
        return str(limit) if self.type is list else FORMATTERS[self.kind](limit)


def _register(setting: Setting[Any]) -> None:
    known = _registry.get(setting.name)
    if known is not None:
        raise ImproperlyConfigured(f"setting {setting.name} is defined twice")
    _registry[setting.name] = setting


def _coerce(setting: Setting[Any], value: Any) -> Any:
    kind = setting.kind
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "size") and is_number and int(value) == value:
        return int(value)
    if kind == "float" and is_number:
        return float(value)
    if kind in ("str", "timedelta") and isinstance(value, setting.type):
        return value
    if kind == "list" and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    raise ValidationError(_("“%(value)s” is not a value of this setting."), params={"value": value})


# --- text forms ---

# What `format` writes must be read again, so the units of the console's languages stand here too.
TRUE = frozenset({"1", "true", "yes", "on", "y", "开", "是"})
FALSE = frozenset({"0", "false", "no", "off", "n", "关", "否"})

TIME_UNITS: dict[str, float] = {}
for _names, _seconds in (
    ("ms millisecond milliseconds 毫秒", 0.001),
    ("s sec secs second seconds 秒", 1),
    ("m min mins minute minutes 分 分钟", 60),
    ("h hour hours 小时", 3600),
    ("d day days 天", 86400),
    ("w week weeks 周", 604800),
):
    TIME_UNITS |= dict.fromkeys(_names.split(), _seconds)

SIZE_UNITS = dict.fromkeys(("", "b", "byte", "bytes", "字节"), 1)
for _power, _prefix in enumerate("kmgt", 1):
    SIZE_UNITS |= dict.fromkeys((_prefix, f"{_prefix}b", f"{_prefix}ib"), 1024**_power)


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise ValidationError(_("“%(value)s” is neither on nor off."), params={"value": text})
    return word in TRUE


def _parse_int(text: str) -> int:
    try:
        return int(text.strip())
    except ValueError:
        raise ValidationError(_("“%(value)s” is not a whole number."), params={"value": text}) from None


def _parse_float(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        raise ValidationError(_("“%(value)s” is not a number."), params={"value": text}) from None


def _split_unit(text: str) -> tuple[float, str]:
    """'1.5 h' -> (1.5, 'h'); raises ValueError."""
    text = text.strip().lower()
    digits = len(text) - len(text.lstrip("0123456789."))
    return float(text[:digits]), text[digits:].strip()


def _parse_timedelta(text: str) -> timedelta:
    """`90`, `90 s`, `1.5 hours`, `1 day 2 hours`: a bare number is seconds."""
    # Every number opens a new part; its unit follows, with or without a space.
    parts = re.findall(r"[\d.]+\D*|\D+", text.replace(",", " ").strip(), re.ASCII)
    try:
        pairs = [_split_unit(part) for part in parts]
        if not pairs:
            raise ValueError
        return timedelta(seconds=sum(number * TIME_UNITS[unit or "s"] for number, unit in pairs))
    except (ValueError, KeyError, OverflowError):
        raise ValidationError(
            _("“%(value)s” is not a duration. Write for example: 30 seconds, 5 minutes, 1 day."),
            params={"value": text},
        ) from None


def _parse_size(text: str) -> int:
    try:
        number, unit = _split_unit(text)
        return int(number * SIZE_UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValidationError(
            _("“%(value)s” is not a size. Write for example: 512 KiB, 10 MiB, 1 GiB."), params={"value": text}
        ) from None


def _parse_list(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.replace("\n", ",").split(",")) if item]


def _format_timedelta(value: timedelta) -> str:
    """'1 day 2 hours', '1 minute 30 seconds', '250 ms'."""
    seconds = value.total_seconds()
    if seconds != int(seconds):
        return f"{seconds:g} s" if seconds >= 1 else f"{round(seconds * 1000)} ms"
    left = int(seconds)
    words = []
    for size, phrase in (
        (86400, lambda n: ngettext("%(n)d day", "%(n)d days", n) % {"n": n}),
        (3600, lambda n: ngettext("%(n)d hour", "%(n)d hours", n) % {"n": n}),
        (60, lambda n: ngettext("%(n)d minute", "%(n)d minutes", n) % {"n": n}),
        (1, lambda n: ngettext("%(n)d second", "%(n)d seconds", n) % {"n": n}),
    ):
        count, left = divmod(left, size)
        if count:
            words.append(phrase(count))
    return " ".join(words) or ngettext("%(n)d second", "%(n)d seconds", 0) % {"n": 0}


def _format_size(value: int) -> str:
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return ngettext("%(n)d byte", "%(n)d bytes", value) % {"n": value}


def _format_bool(value: bool) -> str:
    return _("on") if value else _("off")


PARSERS: dict[str, Callable[[str], Any]] = {
    "bool": _parse_bool,
    "int": _parse_int,
    "float": _parse_float,
    "timedelta": _parse_timedelta,
    "size": _parse_size,
    "list": _parse_list,
}
FORMATTERS: dict[str, Callable[[Any], str]] = {
    "bool": _format_bool,
    "int": str,
    "str": str,
    "float": lambda value: f"{value:g}",
    "timedelta": _format_timedelta,
    "size": _format_size,
    "list": ", ".join,
}


# --- what holds now ---


class _Store:
    """Rows of the table as read last, and the Python values made of them at first use."""

    RETRY_SECONDS = 2.0  # after a failed read: a database that is down is not asked at every use

    def __init__(self) -> None:
        self.rows: Mapping[str, Any] | None = None
        self.values: dict[str, Any] = {}
        self._retry_at = 0.0
        self._lock = threading.Lock()

    def resolve(self, setting: Setting[Any]) -> Any:
        if self.rows is None and time.monotonic() >= self._retry_at:
            self.load()
        rows, values = self.rows, self.values
        value = setting.default
        if rows is not None and setting.name in rows:
            try:
                value = setting.from_json(rows[setting.name])
            except ValidationError as error:
                log.error(
                    "setting %s: stored value ignored, default used: %s",
                    setting.name,
                    "; ".join(error.messages),
                )
        if rows is not None:
            values[setting.name] = value
        return value

    def load(self) -> None:
        """Read the table; keep what is known when that fails."""
        with self._lock:
            try:
                rows = _off_the_loop(_read_rows)
            except (DatabaseError, ImproperlyConfigured, AppRegistryNotReady) as error:
                self._retry_at = time.monotonic() + self.RETRY_SECONDS
                log.debug("settings cannot be read: %s", error)
                return
            self.put(rows)

    def put(self, rows: Mapping[str, Any] | None) -> None:
        # A reader between the two lines resolves an old row into a dict that is thrown away.
        self.values = {}
        self.rows = rows
        self.values = {}
        self._retry_at = 0.0


_store = _Store()


def _read_rows() -> dict[str, Any]:
    from accounts.models import Property

    if not database_exists():
        raise DatabaseError("it has not been made yet")
    return dict(Property.objects.values_list("name", "value"))


def database_exists() -> bool:
    """False while the SQLite file has not been made: a mere question would make it, empty."""
    return connection.vendor != "sqlite" or Path(str(connection.settings_dict["NAME"])).exists()


def _off_the_loop(function: Callable[[], T]) -> T:
    """Call it; on a thread of its own where an event loop runs, since Django refuses queries there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="hearth-settings")
    thread.start()
    thread.join()
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def reload() -> None:
    """Read all values again, for example after the database was switched."""
    _store.load()


def forget() -> None:
    """Drop what is known; the next use reads the table."""
    _store.put(None)


def _on_change(message: SettingChanged) -> None:
    _store.load()


channel.subscribe(SettingChanged, _on_change)


@contextmanager
def overridden(**values: Any) -> Iterator[None]:
    """Let settings have these values for a while, in this process and in memory; `a.b` is written `a__b`."""
    rows = dict(_store.rows or {})
    before = _store.rows
    for name, value in values.items():
        setting = find(name.replace("__", "."))
        rows[setting.name] = setting.to_json(setting.clean(value))
    _store.put(rows)
    try:
        yield
    finally:
        _store.put(before)


# --- the public functions ---


def all_settings() -> list[Setting[Any]]:
    """Every setting of the modules imported so far, by name."""
    return [_registry[name] for name in sorted(_registry)]


def find(name: str) -> Setting[Any]:
    """The setting; raises KeyError."""
    return _registry[name]


def get(name: str) -> Any:
    """The value that holds now; raises KeyError for a name that is no setting."""
    return find(name).value


def set_value(name: str, value: Any, *, actor: Actor) -> None:
    """Store a value (text is parsed); for the default the row is removed. KeyError, ValidationError."""
    setting = find(name)
    _write(setting, setting.parse(value) if isinstance(value, str) else setting.clean(value), actor)


def reset(name: str, *, actor: Actor) -> None:
    """Let the default hold again."""
    setting = find(name)
    _write(setting, setting.default, actor)


@transaction.atomic
def _write(setting: Setting[Any], new: Any, actor: Actor) -> None:
    from accounts import audit
    from accounts.models import Property

    row = Property.objects.select_for_update().filter(name=setting.name).first()
    old = _stored(setting, row.value) if row else setting.default
    if new == setting.default:
        Property.objects.filter(name=setting.name).delete()
    else:
        Property.objects.update_or_create(
            name=setting.name, defaults={"value": setting.to_json(new), "changed_by": actor.name}
        )
    if new != old:
        before, after = ({"value": "***" if setting.secret else setting.to_json(v)} for v in (old, new))
        audit.record(actor, "setting-changed", setting.name, before=before, after=after)
    channel.publish(SettingChanged(name=setting.name))


def _stored(setting: Setting[Any], value: Any) -> Any:
    try:
        return setting.from_json(value)
    except ValidationError:
        return setting.default
