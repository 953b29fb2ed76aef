"""XEP-0133: Service Administration: the console's most needed functions as commands of an XMPP client.

The services do the work, decide by the actor's role and write the audit log. A command of which a part cannot
be done does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import services
from accounts.audit import Actor
from accounts.services import UserFilters
from xmppd.modules.adhoc import AdHoc, Ask, Call, Command, Done, Values
from xmppd.modules.register import refusal
from xmppd.protocol.dataforms import Field, Form, Option
from xmppd.protocol.delay import format_datetime
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, ROSTER
from xmppd.server.module import Module, Xep
from xmppd.server.session import Session
from xmppd.services import live, roster
from xmppd.services.db import db

ADMIN = "http://jabber.org/protocol/admin"
MAX_ACCOUNTS = 100  # in one command
MAX_LISTED = 1000  # JIDs in one list
LIST_SIZES = ("25", "50", "75", "100", "150", "200")
AWAY = frozenset({"away", "xa"})

Submit = Callable[[Call, Values], Awaitable[Done]]


class Refused(Exception):
    """What was asked cannot be done; the text is for the person who asked."""


class AdminCommands(Module):
    """Declares the commands; each stage is a method or a function on a database thread below."""

    xep = Xep(133, "1.3.1", name="Service Administration")

    async def start(self) -> None:
        self.server.module(AdHoc).add(*self._writing(), *self._reading(), *self._counting())

    # -- accounts and sessions

    def _writing(self) -> Iterable[Command]:
        users = "users.change"
        yield asking("add-user", gettext_lazy("Add a user"), users, add_user_form, self._add_user)
        for node, name, work in (
            ("delete-user", gettext_lazy("Delete users"), services.delete_user),
            ("disable-user", gettext_lazy("Disable users"), services.lock_user),
            ("reenable-user", gettext_lazy("Re-enable users"), services.unlock_user),
        ):
            yield asking(node, name, users, accounts_form, self._for_each(work))
        yield asking(
            "change-user-password", gettext_lazy("Change a password"), users, password_form, self._password
        )
        yield asking(
            "end-user-session",
            gettext_lazy("End sessions"),
            "sessions.change",
            accounts_form,
            self._end_sessions,
        )
        yield asking(
            "announce",
            gettext_lazy("Send an announcement to all who are online"),
            "sessions.change",
            announcement_form,
            self._announce,
        )

    async def _add_user(self, call: Call, values: Values) -> Done:
        jid = values["accountjid"]
        assert isinstance(jid, JID)
        if jid.domain not in self.server.domains or not jid.local:
            return failed(_("Cannot create remote user: %(jid)s") % {"jid": jid})
        password = values.get("password")
        if (values.get("password-verify") or None) != (password or None):
            return failed(_("Passwords do not match."))
        name = f"{values.get('given_name', '')} {values.get('surname', '')}".strip()
        await db(_create, jid, str(password or ""), name, str(values.get("email", "")), call.actor)
        return finished()

    def _for_each(self, work: Callable[..., object]) -> Submit:
        async def submit(call: Call, values: Values) -> Done:
            jids = self._local_accounts(values)
            await db(_do_for_each, jids, work, call.actor)
            return finished()

        return submit

    async def _password(self, call: Call, values: Values) -> Done:
        jid = self._local(values["accountjid"])
        await db(_set_password, jid, str(values["password"]), call.actor)
        return finished()

    async def _end_sessions(self, call: Call, values: Values) -> Done:
        """4.5: of a bare JID all sessions, of a full JID this one."""
        jids = values["accountjids"]
        assert isinstance(jids, list)
        jids = [self._local(jid) for jid in jids]
        await db(_check_may_end, jids, call.actor)
        for jid in sorted(jids, key=lambda jid: jid.bare == call.session.account.jid):  # oneself last
            end = live.close_session if jid.resource else live.close_sessions_of
            await db(end, jid=str(jid), actor=call.actor, reason=_("ended by an administrator"))
        return finished()

    async def _announce(self, call: Call, values: Values) -> Done:
        lines = values["announcement"]
        assert isinstance(lines, list)
        body = "\n".join(map(str, lines)).strip()
        if not body:
            return failed(_("The announcement is empty."))
        await db(live.send_message, to="", body=body, actor=call.actor)
        return finished()

    def _local(self, jid: object) -> JID:
        if not isinstance(jid, JID) or not jid.local or jid.domain not in self.server.domains:
            raise Refused(_("This is no user of this server: %(jid)s") % {"jid": jid})
        return jid

    def _local_accounts(self, values: Values) -> list[JID]:
        """Bare, each once: for an account a client may well send the address of a resource (4.2)."""
        jids = values["accountjids"]
        assert isinstance(jids, list)
        return list(dict.fromkeys(self._local(jid).bare for jid in jids))

    # -- what is known about one account

    def _reading(self) -> Iterable[Command]:
        users = "users.view"
        yield asking(
            "get-user-roster", gettext_lazy("Show a contact list"), users, one_account_form, self._roster
        )
        yield asking(
            "get-user-lastlogin", gettext_lazy("Show the last login"), users, accounts_form, self._last_login
        )
        yield asking("user-stats", gettext_lazy("Show statistics of a user"), users, stats_form, self._stats)

    async def _roster(self, call: Call, values: Values) -> Done:
        """4.8: the list in the words of jabber:iq:roster, inside the form."""
        (jid,) = self._local_accounts(values)
        entries = await db(_roster_of, jid)
        x = Form(ADMIN, [Field("accountjids", "jid-multi", value=[str(jid)])]).to_element("result")
        x.append(E(ROSTER, "query", *map(_roster_item, entries)))
        return Done(payload=x)

    async def _last_login(self, call: Call, values: Values) -> Done:
        """4.9: in the order of the accounts; empty for who never logged in."""
        jids = self._local_accounts(values)
        times = []
        for jid, stored in zip(jids, await db(_last_logins, jids), strict=True):
            since = [session.since for session in self._sessions_of(jid)]
            known = max([*since, *([stored] if stored else [])], default=None)
            times.append(format_datetime(known.replace(microsecond=0)) if known else "")
        return result(
            Field("accountjids", "jid-multi", value=list(map(str, jids))),
            Field("lastlogin", "text-multi" if len(times) > 1 else "text-single", value=times),
        )

    async def _stats(self, call: Call, values: Values) -> Done:
        jid = self._local(values["accountjid"]).bare
        contacts = len(await db(_roster_of, jid))
        sessions = self._sessions_of(jid)
        now = self.server.clock.now()
        rate = sum(
            session.stanzas_in / max(1.0, (now - session.since).total_seconds()) for session in sessions
        )
        return result(
            Field("ipaddresses", "list-multi", value=sorted({s.connection.address for s in sessions})),
            Field("rostersize", value=contacts),
            Field("onlineresources", "text-multi", value=[s.jid.resource for s in sessions]),
            Field("stanzaspersecond", value=f"{rate:.2f}"),
        )

    def _sessions_of(self, jid: JID) -> list[Session]:
        account = self.server.directory.online.get(jid.bare_str)
        return list(account.sessions.values()) if account is not None else []

    # -- all accounts

    def _counting(self) -> Iterable[Command]:
        for kind, number, users, permission, find in (
            (
                "registered",
                gettext_lazy("Number of users"),
                gettext_lazy("List of users"),
                "users.view",
                None,
            ),
            (
                "disabled",
                gettext_lazy("Number of disabled users"),
                gettext_lazy("List of disabled users"),
                "users.view",
                None,
            ),
            (
                "online",
                gettext_lazy("Number of users online"),
                gettext_lazy("List of users online"),
                "sessions.view",
                self._online,
            ),
            (
                "active",
                gettext_lazy("Number of active users"),
                gettext_lazy("List of active users"),
                "sessions.view",
                self._active,
            ),
            (
                "idle",
                gettext_lazy("Number of idle users"),
                gettext_lazy("List of idle users"),
                "sessions.view",
                self._idle,
            ),
        ):
            # 4.21, 4.22: the nodes of these two lists have no "-list".
            suffix = "" if kind in ("active", "idle") else "-list"
            yield Command(
                f"{ADMIN}#get-{kind}-users-num", number, self._number(kind, number, find), permission
            )
            yield asking(
                f"get-{kind}-users{suffix}", users, permission, list_form, self._list(kind, users, find)
            )

    def _number(
        self, kind: str, label: Any, find: Callable[[], list[str]] | None
    ) -> Callable[[Call], Awaitable[Done]]:
        async def start(call: Call) -> Done:
            count = len(find()) if find else (await db(_stored_users, kind, 1))[1]
            return result(Field(f"{kind}usersnum", label=label, value=count))

        return start

    def _list(self, kind: str, label: Any, find: Callable[[], list[str]] | None) -> Submit:
        # 4.22 calls the idle ones by the name of the active ones.
        var = "activeuserjids" if kind == "idle" else f"{kind}userjids"

        async def submit(call: Call, values: Values) -> Done:
            chosen = str(values.get("max_items", "none"))
            limit = int(chosen) if chosen in LIST_SIZES else MAX_LISTED
            if find:
                found = find()
                jids, total = found[:limit], len(found)
            else:
                jids, total = await db(_stored_users, kind, limit)
            note = ""
            if total > len(jids):
                note = _("The first %(shown)d of %(total)d.") % {"shown": len(jids), "total": total}
            return result(Field(var, "jid-multi", label=label, value=jids), note=note)

        return submit

    def _online(self) -> list[str]:
        return sorted(self.server.directory.online)

    def _active(self) -> list[str]:
        """Online with a resource that does not say it is away."""
        return [jid for jid in self._online() if any(map(_is_active, self._sessions_of(JID.parse(jid))))]

    def _idle(self) -> list[str]:
        active = set(self._active())
        return [jid for jid in self._online() if jid not in active]


def _is_active(session: Session) -> bool:
    return session.presence is not None and (
        session.presence.element.text_of(CLIENT, "show").strip() not in AWAY
    )


def _roster_item(entry: roster.Entry) -> Element:
    item = entry.item
    return E(
        ROSTER,
        "item",
        *(E(ROSTER, "group", group) for group in item.groups),
        jid=item.jid,
        name=item.name or None,
        subscription=item.subscription,
        ask="subscribe" if item.ask else None,
    )


# --- forms, 4 ---


def asking(node: str, name: Any, permission: str, form: Callable[[], Form], submit: Submit) -> Command:
    """A command of one form, whose refusals become notes."""

    async def answer(call: Call, values: Values) -> Ask | Done:
        try:
            return await submit(call, values)
        except Refused as problem:
            return failed(str(problem))

    async def start(call: Call) -> Ask | Done:
        questions = form()
        return Ask(Form(questions.form_type, questions.fields, str(name)), answer)

    return Command(f"{ADMIN}#{node}", name, start, permission)


def finished() -> Done:
    return Done(_("Operation finished successfully."))


def failed(note: str) -> Done:
    return Done(note, is_failure=True)


def result(*fields: Field, note: str = "") -> Done:
    return Done(note, Form(ADMIN, fields).to_element("result"))


def add_user_form() -> Form:
    return Form(
        ADMIN,
        [
            Field("accountjid", "jid-single", _("Address of the new account"), is_required=True),
            Field("password", "text-private", _("Password")),
            Field("password-verify", "text-private", _("Password again")),
            Field("email", label=_("E-mail")),
            Field("given_name", label=_("Given name")),
            Field("surname", label=_("Family name")),
        ],
    )


def accounts_form(maximum: int = MAX_ACCOUNTS) -> Form:
    label = _("Addresses of the accounts")
    return Form(ADMIN, [Field("accountjids", "jid-multi", label, is_required=True, maximum=maximum)])


def one_account_form() -> Form:
    return accounts_form(1)


def stats_form() -> Form:
    return Form(ADMIN, [Field("accountjid", "jid-single", _("Address of the account"), is_required=True)])


def password_form() -> Form:
    fields = [*stats_form().fields, Field("password", "text-private", _("New password"), is_required=True)]
    return Form(ADMIN, fields)


def announcement_form() -> Form:
    return Form(ADMIN, [Field("announcement", "text-multi", _("Announcement"), is_required=True)])


def list_form() -> Form:
    options = [*(Option(size, size) for size in LIST_SIZES), Option("none", _("no limit"))]
    return Form(ADMIN, [Field("max_items", "list-single", _("Show at most"), options=options)])


# --- on a database thread ---


def _create(jid: JID, password: str, name: str, email: str, actor: Actor) -> None:
    domain = services.domain_named(jid.domain)
    if domain is None:
        raise StanzaError("item-not-found")
    try:
        services.create_user(
            username=jid.local, password=password or None, domain=domain, name=name, email=email, actor=actor
        )
    except (ValidationError, PermissionDenied) as error:
        raise _told(error) from error


def _told(error: ValidationError | PermissionDenied) -> Exception:
    """Conditions that the XEP defines (5) as errors, the rest in words."""
    problem = refusal(error)
    if problem.condition in ("conflict", "forbidden", "not-allowed"):
        return problem
    return Refused(problem.text)


@transaction.atomic
def _do_for_each(jids: Sequence[JID], work: Callable[..., object], actor: Actor) -> None:
    users = [_user(jid) for jid in jids]
    try:
        for user in users:
            work(user, actor=actor)
    except (ValidationError, PermissionDenied) as error:
        raise _told(error) from error


def _set_password(jid: JID, password: str, actor: Actor) -> None:
    try:
        services.set_password(_user(jid), password, actor=actor)
    except (ValidationError, PermissionDenied) as error:
        raise _told(error) from error


def _check_may_end(jids: Iterable[JID], actor: Actor) -> None:
    for jid in jids:
        _user(jid)
    try:
        live.require_may_end(map(str, jids), actor=actor)
    except PermissionDenied as error:
        raise _told(error) from error


def _user(jid: JID) -> services.User:
    user = services.user_by_jid(jid.bare_str)
    if user is None:
        raise Refused(_("User does not exist: %(jid)s") % {"jid": jid.bare_str})
    return user


def _roster_of(jid: JID) -> list[roster.Entry]:
    return roster.list_entries(_user(jid).pk)


def _last_logins(jids: Sequence[JID]) -> list[datetime | None]:
    return [_user(jid).last_login for jid in jids]


def _stored_users(kind: str, limit: int) -> tuple[list[str], int]:
    filters = UserFilters(is_locked=True if kind == "disabled" else None)
    page = services.search_users(filters=filters, per_page=limit)
    return [user.jid for user in page.users], page.total
