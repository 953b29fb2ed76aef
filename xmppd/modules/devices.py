"""The devices of each account: a list that their user and administrators see, and from which they sign one out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import services
from xmppd.bus import channel
from xmppd.bus.messages import DeviceRevoked, Message
from xmppd.modules.adhoc import AdHoc, Ask, Call, Command, Done, Values
from xmppd.protocol.dataforms import Field, Form, Option
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.stream.sasl2 import UserAgent
from xmppd.server import hooks
from xmppd.server.account import Account
from xmppd.server.connection import ClientConnection
from xmppd.server.module import Module, on
from xmppd.server.session import Session
from xmppd.services import devices
from xmppd.services.db import db
from xmppd.services.writebehind import WriteBehind

NS = "urn:hearth:devices"


class Devices(Module):
    """A device is an installation of a client that says its id when it logs in (XEP-0388); others have no row."""

    async def start(self) -> None:
        self._rows: WriteBehind[devices.Seen] = WriteBehind("devices", devices.record)
        self._loop = asyncio.get_running_loop()
        self._ends: list[Callable[[], None]] = [
            channel.subscribe(DeviceRevoked, lambda message: self._call(self._revoked, message)),
        ]
        self.server.module(AdHoc).add(
            Command(f"{NS}#list", gettext_lazy("My devices"), self._list),
            Command(f"{NS}#rename", gettext_lazy("Name one of my devices"), self._ask_rename),
            Command(f"{NS}#sign-out", gettext_lazy("Sign out one of my devices"), self._ask_sign_out),
        )

    async def stop(self) -> None:
        while self._ends:
            self._ends.pop()()
        await self._rows.close()

    def _call(self, handler: Callable[[Any], None], message: Message) -> None:
        """Bus messages come on any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(handler, message)

    # -- who is here

    @on(hooks.session_bound)
    @on(hooks.session_resumed)
    def came(self, session: Session) -> None:
        self._note(session, is_login=True)

    @on(hooks.session_closed)
    def went(self, session: Session) -> None:
        self._note(session, is_login=False)

    def _note(self, session: Session, *, is_login: bool) -> None:
        connection = session.connection
        if connection.user_agent.id:
            row = seen(
                connection,
                session.account,
                connection.user_agent,
                connection.mechanism,
                resource=session.jid.resource,
                is_login=is_login,
            )
            self._rows.add((is_login, row.user_id, row.agent), row)

    # -- who shall not be here any more

    def _revoked(self, message: DeviceRevoked) -> None:
        gone = StreamError("not-authorized", "this device was signed out")
        account = self.server.directory.online.get(message.jid)
        for session in list(account.sessions.values()) if account else []:
            if _is_of(session.connection, message.agent):
                session.close(gone)
        for connection in list(self.server.unauthenticated):  # nothing bound yet, or about to log in
            who = connection.candidate
            if who is not None and who.jid.bare_str == message.jid and _is_of(connection, message.agent):
                connection.close(gone)
        self.server.spawn(self._forget(message, self.server.clock.now()))

    async def _forget(self, message: DeviceRevoked, until: datetime) -> None:
        """What was seen of the device just before waits to be written, or is being written: it is not to come back."""
        await self._rows.flush()
        await db(devices.forget_seen, message.user_id, message.agent, until)

    # -- what a user can do

    async def _entries(self, call: Call) -> list[devices.Entry]:
        await self._rows.flush()
        return await db(devices.list_devices, call.user_id)

    async def _list(self, call: Call) -> Done:
        entries = await self._entries(call)
        known = {entry.agent for entry in entries}
        sessions = {session: _agent_of(session) for session in call.session.account.sessions.values()}
        online = set(sessions.values())
        fields = []
        if entries:
            lines = [_in_full(entry, is_online=entry.agent in online) for entry in entries]
            fields.append(Field("devices", "text-multi", _("Devices"), value=lines))
        others = [_describe_session(session) for session, agent in sessions.items() if agent not in known]
        if others:
            label = _("Connected without being a device")
            fields.append(Field("sessions", "text-multi", label, value=others))
        instructions = _(
            "A device is a client that says at the login which installation it is. Times are in the zone %(zone)s."
        )
        form = Form(
            NS,
            fields,
            title=_("My devices"),
            instructions=instructions % {"zone": timezone.get_current_timezone_name()},
        )
        return Done(payload=form.to_element("result"))

    async def _ask_rename(self, call: Call) -> Ask | Done:
        label = Field(
            "label", label=_("Name"), description=_("Empty: the name that the device has by itself.")
        )
        return await self._choose(call, self._rename, label)

    async def _ask_sign_out(self, call: Call) -> Ask | Done:
        return await self._choose(call, self._sign_out)

    async def _choose(self, call: Call, then: Any, *more: Field) -> Ask | Done:
        entries = await self._entries(call)
        if not entries:
            return Done(_("No device is known."))
        options = [Option(str(entry.id), _describe(entry)) for entry in entries]
        choice = Field("device", "list-single", _("Device"), options=options, is_required=True)
        return Ask(Form(NS, [choice, *more]), then)

    async def _rename(self, call: Call, values: Values) -> Done:
        user = await db(_user, call.user_id)
        label = str(values.get("label") or "")[: devices.MAX_LABEL_CHARS]
        if not await db(devices.rename, user, int(str(values["device"])), label, actor=call.actor):
            raise StanzaError("item-not-found")
        return Done(_("The device has its name."))

    async def _sign_out(self, call: Call, values: Values) -> Done:
        user = await db(_user, call.user_id)
        if not await db(devices.revoke, user, int(str(values["device"])), actor=call.actor):
            raise StanzaError("item-not-found")
        return Done(_("The device is signed out. It comes in again with the password only."))


def seen(
    connection: ClientConnection,
    account: Account,
    agent: UserAgent,
    mechanism: str,
    *,
    resource: str = "",
    is_login: bool = True,
) -> devices.Seen:
    """The row for a client that is here now."""
    return devices.Seen(
        account.id,
        devices.agent_key(agent.id),
        agent.software,
        agent.device,
        resource,
        mechanism,
        connection.address,
        connection.server.clock.now(),
        is_login,
    )


def _is_of(connection: ClientConnection, agent: str) -> bool:
    """`agent` '' stands for all that have an id."""
    own = connection.user_agent.id
    return bool(own) and agent in ("", devices.agent_key(own))


def _agent_of(session: Session) -> str:
    own = session.connection.user_agent.id
    return devices.agent_key(own) if own else ""


def _describe_session(session: Session) -> str:
    return _joined(session.jid.resource, session.software, session.connection.address)


def _in_full(entry: devices.Entry, *, is_online: bool) -> str:
    """With how it logs in: a list is read, a choice only tells the devices apart."""
    if entry.token_expires is None:
        login = _("logs in with the password")
    else:
        day = date_format(timezone.localtime(entry.token_expires), "SHORT_DATE_FORMAT")
        login = _("logs in by a token, until %(day)s") % {"day": day}
    return _joined(_describe(entry, is_online=is_online), login)


def _describe(entry: devices.Entry, *, is_online: bool = False) -> str:
    when = (
        _("online")
        if is_online
        else date_format(timezone.localtime(entry.last_seen), "SHORT_DATETIME_FORMAT")
    )
    software = entry.software if entry.software != entry.name else ""
    return _joined(entry.name, software, entry.address, str(when))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _user(user_id: int) -> services.User:
    user = services.user_by_id(user_id)
    if user is None:  # deleted this moment
        raise StanzaError("not-authorized")
    return user
