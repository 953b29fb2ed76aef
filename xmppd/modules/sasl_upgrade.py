"""XEP-0480: SASL Upgrade Tasks. Accounts of another server, kept with fewer hashes than ours, become complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from accounts.services.login import incomplete_credentials
from xmppd.bus import channel
from xmppd.bus.messages import CredentialsUpgraded, PasswordChanged, UserCreated, UserDeleted
from xmppd.protocol.namespaces import SASL_UPGRADE
from xmppd.protocol.sasl import ALL_HASHES
from xmppd.server.module import Module, Xep
from xmppd.server.upgrade import TASKS
from xmppd.services.db import db

NS = SASL_UPGRADE


class SASLUpgrade(Module):
    """Knows who lacks what; server/upgrade.py talks to the client. Where nobody lacks anything, nothing is offered."""

    xep = Xep(480, "0.2.0", name="SASL Upgrade Tasks")

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed: dict[int, str] = {}  # user id: bare JID, to be looked at again
        self._know(await db(incomplete_credentials))
        kinds = (CredentialsUpgraded, PasswordChanged, UserCreated, UserDeleted)
        self._ends: list[Callable[[], None]] = [channel.subscribe(kind, self._hear) for kind in kinds]
        self.server.sweeps.append(self.look)

    async def stop(self) -> None:
        while self._ends:
            self._ends.pop()()

    def authentication_offers(self) -> str:
        """2.1: not for a single account, lest it can be told whether it exists."""
        common = self.server.authentication.common_hashes
        lacking = [task for task, hash_name in TASKS.items() if hash_name not in common]
        return "".join(f"<upgrade xmlns='{NS}'>{task}</upgrade>" for task in lacking)

    def _know(self, found: dict[str, tuple[str, ...]]) -> None:
        authentication = self.server.authentication
        authentication.incomplete.update(found)
        kinds = set(authentication.incomplete.values())
        authentication.common_hashes = [
            name for name in ALL_HASHES if all(name in hashes for hashes in kinds)
        ]

    def _hear(self, message: Any) -> None:
        """Bus messages come on any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.__setitem__, message.user_id, message.jid)

    def look(self) -> None:
        """Once a second, those whose password was written."""
        if self._changed:
            changed, self._changed = self._changed, {}
            self.server.spawn(self._look_at(changed))

    async def _look_at(self, changed: dict[int, str]) -> None:
        found = await db(incomplete_credentials, list(changed))
        for jid in changed.values():
            self.server.authentication.incomplete.pop(jid, None)
        self._know(found)
