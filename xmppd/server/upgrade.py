"""XEP-0480: between a proved login and its completion, the client makes the keys of hashes that its account lacks.

Only the client has the password: it is told salt and iterations, and sends what PBKDF2 makes of them. One task follows
the other; then the login is completed as any.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from accounts.audit import Actor
from accounts.credentials import identity, scram_keys, upgrade_parameters
from accounts.services.login import add_scram_keys
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import SASLError
from xmppd.protocol.namespaces import SASL_UPGRADE, SCRAM_UPGRADE
from xmppd.protocol.sasl.base import decode_base64, encode_payload
from xmppd.protocol.sasl.scram import digest_size, keys_from_salted_password
from xmppd.services.db import db

if TYPE_CHECKING:
    from xmppd.protocol.stream.sasl2 import Request
    from xmppd.server.authentication import Login

log = logging.getLogger("hearth.auth")

TASKS = {"UPGR-SCRAM-SHA-256": "sha256", "UPGR-SCRAM-SHA-512": "sha512"}  # XEP-0480 2.1: no -PLUS


def wanted(request: Request, encoded: str, mechanism: str) -> list[str]:
    """The tasks that the client offers to do and that its account needs, in the client's order. `encoded`: the
    account's password column.

    What was not offered is passed over, for features may be cached (XEP-0388 2.1) while another device was faster.
    Who shows a token may not have the password at hand (XEP-0484 4.2); that of PLAIN was stored on the way.
    """
    if not mechanism.startswith("SCRAM-"):
        return []
    asked = [child.text.strip() for child in request.inline if child.tag == (SASL_UPGRADE, "upgrade")]
    return [
        task for task in dict.fromkeys(asked) if task in TASKS and scram_keys(encoded, TASKS[task]) is None
    ]


class Upgrade:
    """The tasks of one login; `login` has been proved by its mechanism."""

    __slots__ = ("_iterations", "_login", "_salt", "_tasks")

    def __init__(self, login: Login, tasks: list[str]) -> None:
        self._login = login
        self._tasks = tasks
        self._salt, self._iterations = upgrade_parameters(login.credential)

    def start(self, data: bytes | None) -> None:
        """2.2: one task in each <continue/>. `data` is the mechanism's, which the first one takes along."""
        self._login.connection.stream.auth_continue(data, self._tasks[0])
        self._login.connection.after_verb()

    def begin(self, task: str) -> None:
        """3: the client is told what it needs. Raises SASLError."""
        if task != self._tasks[0]:
            raise SASLError("malformed-request", "This task was not asked for")
        salt = E(SCRAM_UPGRADE, "salt", encode_payload(self._salt), iterations=self._iterations)
        self._login.connection.stream.task_data(salt)
        self._login.connection.after_verb()

    def finish(self, element: Element) -> None:
        """3: its SaltedPassword. Raises SASLError."""
        hash_name = TASKS[self._tasks[0]]
        text = element.text_of(SCRAM_UPGRADE, "hash").strip()
        salted = decode_base64(text, "incorrect-encoding")
        if len(salted) != digest_size(hash_name):
            raise SASLError("malformed-request", "This is no hash of that kind")
        self._login.server.spawn(self._store(hash_name, salted))

    async def _store(self, hash_name: str, salted: bytes) -> None:
        login, account = self._login, self._login.account
        assert account is not None
        keys = keys_from_salted_password(salted, self._salt, self._iterations, hash_name)
        actor = Actor(account.jid.bare_str, "adhoc", login.connection.address, account.id)
        known = identity(login.credential)
        try:
            is_same = await db(add_scram_keys, account.id, hash_name, keys, identity=known, actor=actor)
        except Exception:  # no reason to refuse who has proved the password
            log.exception("upgrade on %s", login.connection)
            is_same = True
        if login.connection.is_closed:
            return
        if not is_same:
            login.fail(SASLError("temporary-auth-failure"))
            return
        del self._tasks[0]
        if self._tasks:
            self.start(None)
        else:
            await login.complete(None)
