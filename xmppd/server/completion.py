"""Between a proved login and its <success/> (XEP-0388): what the client asked for inside <authenticate/>.

First come handlers that may wait for the database (`inline_login`). Then, in one turn of the loop with <success/>, the
first that can gives the stream a session (`inline_session`): resumption, else binding. So nothing is written to the
client of a session that it has not been told of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from xmppd.protocol.element import Element
from xmppd.protocol.errors import SASLError, StreamError
from xmppd.protocol.namespaces import SASL2
from xmppd.protocol.stream.sasl2 import Request
from xmppd.protocol.writer import write
from xmppd.server import hooks
from xmppd.services.db import OUT_OF_REACH

if TYPE_CHECKING:
    from xmppd.server.account import Account
    from xmppd.server.authentication import Login
    from xmppd.server.connection import ClientConnection
    from xmppd.server.session import Session

log = logging.getLogger("hearth.auth")


class Completion:
    """What handlers of inline elements get. `then` is called behind <success/>, with the features already sent.

    `session` is set by who resumes (`resume`) or binds (`bind`) one. `archived` are the ids of the first and the last
    message in the account's archive (XEP-0313), where a client that binds wants to know.
    """

    __slots__ = (
        "account",
        "archived",
        "connection",
        "data",
        "is_resumed",
        "login",
        "mechanism",
        "request",
        "server",
        "session",
        "then",
    )

    def __init__(
        self,
        connection: ClientConnection,
        account: Account,
        login: Login,
        data: bytes | None,
        request: Request,
    ) -> None:
        self.connection = connection
        self.server = connection.server
        self.account = account
        self.login = login
        self.mechanism = login.mechanism
        self.data = data
        self.request = request
        self.session: Session | None = None
        self.is_resumed = False
        self.archived: tuple[int, int] | None = None
        self.then: list[Callable[[], object]] = []

    def bind(self, resource: str, *, replaces: bool = False) -> Session:
        """Bind a resource (7.7 of RFC 6120; `replaces`: whatever the setting says). Raises StanzaError."""
        connection = self.connection
        session = connection.open_session(connection.choose_resource(resource, replaces=replaces))
        self.session = session
        self.then.append(lambda: self.server.ask(hooks.session_bound, session))
        return session

    def resume(self, session: Session) -> None:
        """Go on with a session of this account; the former connection ends (XEP-0198 5)."""
        self.connection.adopt(session)
        self.session = session
        self.is_resumed = True

    async def run(self) -> None:
        connection = self.connection
        try:
            asked = {
                element.tag: element for element in reversed(self.request.inline)
            }  # one of a kind, the first
            answers = [await self._ask(element) for element in reversed(asked.values())]
            problem = await self._refresh()
        except OUT_OF_REACH:  # the log says so once for all
            problem = SASLError("temporary-auth-failure")
        except Exception as broken:
            log.exception("login on %s fingerprint=%s", connection, self.server.metrics.failed(broken))
            problem = SASLError("temporary-auth-failure")
        if connection.is_closed:
            return
        if problem is not None:
            self.login.fail(problem)
            return
        try:
            self._succeed(answers)
        except Exception:  # the client must not wait for ever
            log.exception("login on %s", connection)
            connection.close(StreamError("internal-server-error"))

    def _succeed(self, answers: list[Element | None]) -> None:
        """<success/> and the session that it tells of, in one turn of the loop."""
        connection = self.connection
        connection.authenticated(self)
        answers += self._take_session()
        if connection.is_closed:
            return
        inline = "".join(write(answer, SASL2) for answer in answers if answer is not None)
        connection.login_completed(self, inline)

    async def _ask(self, element: Element) -> Element | None:
        """One that fails keeps nobody from logging in."""
        handler = self.server.inline_login.get(element.tag)
        if handler is None:
            return None
        try:
            answer = handler(element, self)
            return answer if answer is None or isinstance(answer, Element) else await answer
        except OUT_OF_REACH:
            return None
        except Exception as broken:
            self._log(element.tag, broken)
            return None

    async def _refresh(self) -> SASLError | None:
        """The account as it is now; nothing may be awaited behind this."""
        directory = self.server.directory
        while directory.get(self.account.jid) is not self.account:
            account = await directory.load(self.account.jid)
            if account is None or account.id != self.account.id:
                return SASLError("not-authorized")
            self.account = account
        if not self.login.is_still_proved(self.account):
            return SASLError("not-authorized")
        return SASLError("account-disabled") if self.account.is_locked(self.server.clock.now()) else None

    def _take_session(self) -> list[Element | None]:
        answers: list[Element | None] = []
        for tag, handler in self.server.inline_session:
            element = self.request.find(*tag)
            if element is None or self.session is not None:
                continue
            try:
                answers.append(handler(element, self))
            except StreamError as problem:
                self.connection.close(problem)
                break
            except Exception as broken:
                self._log(tag, broken)
        return answers

    def _log(self, tag: tuple[str, str], broken: Exception) -> None:
        fingerprint = self.server.metrics.failed(broken)
        log.error("%s on %s fingerprint=%s", tag, self.connection, fingerprint, exc_info=broken)
