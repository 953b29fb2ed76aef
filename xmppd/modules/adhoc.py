"""XEP-0050: Ad-Hoc Commands. Modules declare commands; their stages ask by data forms; this runs them."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from accounts import services
from accounts.audit import Actor
from xmppd.protocol.dataforms import Form, Parsed
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import COMMANDS, DATA_FORMS
from xmppd.protocol.stanza import Stanza
from xmppd.server import hooks
from xmppd.server.module import SELF, SERVER, DiscoItem, DiscoNode, Identity, Module, Xep, iq_set, on
from xmppd.server.session import Session
from xmppd.services.db import db

LIFETIME = timedelta(minutes=10)
MAX_RUNS_PER_USER = 10  # a user who begins more loses the oldest
MAX_ENDED = 1000  # sessionids of which we remember that they were ours
ACTIONS = frozenset({"execute", "next", "prev", "complete", "cancel"})

Values = Mapping[str, Parsed]


@dataclass(frozen=True, slots=True)
class Done:
    """The command is over. With `is_failure` the note says why nothing was done (3.6)."""

    note: str = ""
    payload: Element | None = None
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A form to fill in; `then` gets the call and what was answered. `is_last`: nothing is asked after it."""

    form: Form
    then: Callable[[Call, Values], Awaitable[Ask | Done]]
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """Who runs the command; `user_id` and `actor` for the services."""

    session: Session
    actor: Actor
    user_id: int


@dataclass(frozen=True, slots=True)
class Command:
    """`permission` is one of accounts.roles; '' lets every user of this server run it. `name` may be lazy."""

    node: str
    name: Any
    start: Callable[[Call], Awaitable[Ask | Done]]
    permission: str = ""


@dataclass(slots=True)
class Run:
    """One execution. `stages` are those that were shown, with what was answered to all but the last."""

    id: str
    command: Command
    jid: JID
    expires: float
    stages: list[Ask] = field(default_factory=list)
    answers: list[Values] = field(default_factory=list)


class AdHoc(Module):
    """Commands of the domain; a user may also send them to its own account."""

    xep = Xep(50, "1.3.0", name="Ad-Hoc Commands")
    features = [COMMANDS]
    account_features = [COMMANDS]

    async def start(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()  # the oldest first
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.server.sweeps.append(self._expire)

    @property
    def commands(self) -> dict[str, Command]:
        """By node. Other modules call `add` when they start, which may be before this one does."""
        if not hasattr(self, "_commands"):
            self._commands: dict[str, Command] = {}
        return self._commands

    def add(self, *commands: Command) -> None:
        for command in commands:
            if command.node in self.commands:
                raise RuntimeError(f"two commands at {command.node}")
            self.commands[command.node] = command

    # -- what there is, 2.2

    def disco_node(self, node: str, target: JID, requester: JID) -> Awaitable[DiscoNode | None] | None:
        if node == COMMANDS:
            return self._list(target, requester)
        command = self.commands.get(node)
        return None if command is None else self._describe(command, requester)

    async def _list(self, target: JID, requester: JID) -> DiscoNode:
        permissions = await self._permissions(requester)
        with speaking(self._language(requester)):
            items = [
                DiscoItem(target, command.node, str(command.name))
                for command in self.commands.values()
                if _may_use(command, permissions)
            ]
            identity = Identity("automation", "command-list", _("Commands"))
        return DiscoNode(identities=[identity], features=[COMMANDS], items=items)

    async def _describe(self, command: Command, requester: JID) -> DiscoNode:
        if not _may_use(command, await self._permissions(requester)):
            raise StanzaError("forbidden")
        with speaking(self._language(requester)):
            identity = Identity("automation", "command-node", str(command.name))
        return DiscoNode(identities=[identity], features=[COMMANDS, DATA_FORMS])

    async def _permissions(self, requester: JID) -> Callable[[str], bool] | None:
        """What the requester's role allows, read anew each time; None for somebody who is no user here."""
        session = self.server.router.origin(requester)
        if session is None:
            return None
        user = await db(services.user_by_id, session.account.id)
        return None if user is None else user.can

    def _language(self, requester: JID) -> str:
        session = self.server.router.origin(requester)
        return session.lang if session is not None else ""

    # -- running them, 2.4

    @iq_set(COMMANDS, "command", to=[SERVER, SELF])
    async def execute(self, iq: Stanza, origin: Session | None) -> Element:
        request = iq.payload
        if origin is None:
            raise StanzaError("forbidden")
        action = request.get("action") or "execute"
        if action not in ACTIONS:
            raise _error("malformed-action")
        with speaking(request.get("xml:lang") or iq.attrs.get("xml:lang", "")):
            command = self.commands.get(request.get("node"))
            if command is None:
                raise StanzaError("item-not-found")
            if not _may_use(command, await self._permissions(origin.jid)):
                raise StanzaError("forbidden", type="cancel")  # 4.5
            actor = Actor(origin.account.jid.bare_str, "adhoc", origin.connection.address, origin.account.id)
            call = Call(origin, actor, origin.account.id)
            if not request.get("sessionid"):
                return await self._begin(command, call, action)
            run = self._find(request.get("sessionid"), command, origin)
            return await self._go_on(run, call, action, request)

    async def _begin(self, command: Command, call: Call, action: str) -> Element:
        if action != "execute":
            raise _error("bad-action", "this command has not been started")
        run = Run(secrets.token_urlsafe(12), command, call.session.jid, 0.0)
        return self._show(run, await command.start(call))

    async def _go_on(self, run: Run, call: Call, action: str, request: Element) -> Element:
        if action == "cancel":
            self._end(run)
            return _reply(run, "canceled")
        if action == "prev":
            return self._back(run)
        stage = run.stages[-1]
        if action == ("next" if stage.is_last else "complete"):
            raise _error("bad-action")
        try:
            values = _answers(stage, request)
        except StanzaError as problem:
            if problem.condition != "jid-malformed":
                raise
            return self._show(run, Done(_("Please provide a valid JID."), is_failure=True))
        outcome = await stage.then(call, values)
        run.answers.append(values)
        return self._show(run, outcome)

    def _back(self, run: Run) -> Element:
        """The stage before, with what was answered then."""
        if len(run.stages) < 2:
            raise _error("bad-action")
        run.stages.pop()
        stage = run.stages.pop()
        answers = run.answers.pop()
        return self._show(run, Ask(stage.form.filled(answers), stage.then, stage.is_last))

    def _show(self, run: Run, outcome: Ask | Done) -> Element:
        if isinstance(outcome, Done):
            self._end(run)
            note = None
            if outcome.note:
                kind = "error" if outcome.is_failure else "info"
                note = E(COMMANDS, "note", outcome.note, type=kind)
            return _reply(run, "completed", note, outcome.payload)
        run.stages.append(outcome)
        self._keep(run)
        step = "complete" if outcome.is_last else "next"
        actions = E(
            COMMANDS,
            "actions",
            E(COMMANDS, "prev") if len(run.stages) > 1 else None,
            E(COMMANDS, step),
            execute=step,
        )
        return _reply(run, "executing", actions, outcome.form.to_element())

    # -- sessions, 3.3

    def _find(self, sessionid: str, command: Command, origin: Session) -> Run:
        """Valid for the very resource that began it, and for its command only."""
        run = self._runs.get(sessionid)
        if run is None or run.expires <= self.server.clock.monotonic():
            if run is not None or sessionid in self._ended:
                raise _error("session-expired")
            raise _error("bad-sessionid")
        if run.jid != origin.jid or run.command is not command:
            raise _error("bad-sessionid")
        return run

    def _keep(self, run: Run) -> None:
        run.expires = self.server.clock.monotonic() + LIFETIME.total_seconds()
        self._runs[run.id] = run
        self._runs.move_to_end(run.id)
        of_user = [other for other in self._runs.values() if other.jid.bare_str == run.jid.bare_str]
        if len(of_user) > MAX_RUNS_PER_USER:
            self._end(of_user[0])

    def _end(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        self._ended[run.id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _expire(self) -> None:
        now = self.server.clock.monotonic()
        while self._runs and (oldest := next(iter(self._runs.values()))).expires <= now:
            self._end(oldest)

    @on(hooks.session_closed)
    def session_closed(self, session: Session) -> None:
        for run in [run for run in self._runs.values() if run.jid == session.jid]:
            self._end(run)


def speaking(language: str) -> Any:
    """A context in which texts are in this language, or in English when there are none in it (3.7)."""
    try:
        return translation.override(translation.get_supported_language_variant(language or "en"))
    except LookupError:
        return translation.override("en")


def _may_use(command: Command, can: Callable[[str], bool] | None) -> bool:
    return can is not None and (not command.permission or can(command.permission))


def _answers(stage: Ask, request: Element) -> Values:
    x = request.find(DATA_FORMS, "x")
    if x is None:
        raise _error("bad-payload", "the form is missing")
    try:
        return stage.form.parse(x)
    except StanzaError as problem:
        if problem.condition == "jid-malformed":
            raise
        raise _error("bad-payload", problem.text) from problem


def _reply(run: Run, status: str, *children: Element | None) -> Element:
    return E(COMMANDS, "command", *children, node=run.command.node, sessionid=run.id, status=status)


def _error(name: str, text: str = "") -> StanzaError:
    """4.5, table 5."""
    condition = "not-allowed" if name == "session-expired" else "bad-request"
    return StanzaError(condition, text, E(COMMANDS, name))
