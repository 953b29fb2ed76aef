"""Every message between services and processes. Each is a hint to read again: losing one costs freshness only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages; only JSON types as fields, so that they cross processes."""


@dataclass(frozen=True, slots=True)
class UserCreated(Message):
    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class UserChanged(Message):
    """Name, e-mail or role changed."""

    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class UserDeleted(Message):
    """The account is gone: its sessions end, its contacts' rosters have changed."""

    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class UserLocked(Message):
    """The lock holds from now on: sessions end. A lock that begins later is published when it begins."""

    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class UserUnlocked(Message):
    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class PasswordChanged(Message):
    """Every session of the account ends but `keep` (a full JID; "" = none is kept)."""

    user_id: int
    jid: str
    keep: str = ""


@dataclass(frozen=True, slots=True)
class CredentialsUpgraded(Message):
    """The same password is kept in more or stronger forms: nobody has to log in again."""

    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class DeviceRevoked(Message):
    """A client is signed out: its sessions end. `agent` is the hash of its id; "" stands for all that have one."""

    user_id: int
    jid: str
    agent: str


@dataclass(frozen=True, slots=True)
class RosterChanged(Message):
    """One item of a personal roster was written or removed."""

    user_id: int
    jid: str
    contact: str
    version: int


@dataclass(frozen=True, slots=True)
class SharedRostersChanged(Message):
    """Group membership or sharing changed: these users' shared contacts are to be computed again."""

    user_ids: list[int]


@dataclass(frozen=True, slots=True)
class BlocklistChanged(Message):
    """Somebody was put on an account's block list, or taken from it."""

    user_id: int
    jid: str


@dataclass(frozen=True, slots=True)
class ReportsChanged(Message):
    """A user reported somebody, or an administrator dealt with a report."""


@dataclass(frozen=True, slots=True)
class SettingChanged(Message):
    name: str


@dataclass(frozen=True, slots=True)
class SetupFinished(Message):
    """The wizard or `setup` is done: listeners may start."""


KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__subclasses__()}
