"""XEP-0077: In-Band Registration: accounts made, given a new password and deleted by clients."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import services, throttle
from accounts.audit import Actor
from xmppd.protocol.addresses import is_loopback
from xmppd.protocol.dataforms import Field, Form, form_type_of
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JIDError, prepare_local
from xmppd.protocol.namespaces import DATA_FORMS, REGISTER, REGISTER_FEATURE
from xmppd.protocol.stanza import Stanza, result
from xmppd.protocol.stream.features import Has
from xmppd.server.connection import ClientConnection
from xmppd.server.module import SELF, SERVER, Module, Xep, iq_get, iq_set
from xmppd.server.session import Session
from xmppd.services.db import db
from xmppd.services.properties import Setting
from xmppd.services.setup import REGISTRATION_OPEN

log = logging.getLogger("hearth.register")

DOOR = "adhoc"  # what the audit log calls "XMPP client"
CHANGE_PASSWORD = "jabber:iq:register:changepassword"  # noqa: S105
CANCEL = "jabber:iq:register:cancel"
OFFER = f"<register xmlns='{REGISTER_FEATURE}'/>".encode()
RESERVED_NAMES = [
    "abuse",
    "admin",
    "administrator",
    "hostmaster",
    "info",
    "noc",
    "noreply",
    "postmaster",
    "root",
    "security",
    "server",
    "support",
    "webmaster",
]
HOUR_SECONDS = 3600.0
MAX_ADDRESSES = 10_000  # counted at the same time; the oldest is forgotten first
MAX_REGISTRATION_FIELD_CHARS = 2000


class Register(Module):
    """Registration before login by `early_routes`; all else is for accounts that are logged in."""

    xep = Xep(77, "2.4", name="In-Band Registration")
    features = [REGISTER]

    is_open = REGISTRATION_OPEN
    max_per_hour = Setting(
        "registration.max_per_address_and_hour",
        int,
        5,
        gettext_lazy("Accounts that one address (IPv6: one /64 network) may register within an hour."),
        label=gettext_lazy("New accounts per address and hour"),
        minimum=1,
        maximum=100_000,
    )
    max_failures = Setting(
        "registration.max_failures_per_address_and_hour",
        int,
        20,
        gettext_lazy(
            "Refused registrations of one address within an hour before it has to wait, so that nobody tries "
            "out at length which names are taken."
        ),
        label=gettext_lazy("Refused registrations per address and hour"),
        minimum=1,
        maximum=100_000,
    )
    reserved_names = Setting(
        "registration.reserved_names",
        list,
        RESERVED_NAMES,
        gettext_lazy(
            "User names that cannot be registered with a client; administrators can still give them."
        ),
        label=gettext_lazy("Reserved user names"),
    )
    allow_password_change = Setting(
        "registration.allow_password_change",
        bool,
        True,
        gettext_lazy("Let users change their password with their XMPP client."),
        label=gettext_lazy("Password change with a client"),
    )
    allow_removal = Setting(
        "registration.allow_removal",
        bool,
        True,
        gettext_lazy("Let users delete their own account with their XMPP client."),
        label=gettext_lazy("Account removal with a client"),
    )

    async def start(self) -> None:
        now = self.server.clock.monotonic
        self._made = HourlyCount(now)
        self._failed = HourlyCount(now)
        tag = f"{REGISTER}\nquery"
        self.server.early_routes["get", tag] = self.offer_form
        self.server.early_routes["set", tag] = self.register

    def stream_offers(self, has: int) -> bytes:
        if has & Has.AUTH or not self.is_open or not self._is_safe(has):
            return b""
        return OFFER

    def _is_safe(self, has: int) -> bool:
        """A new password crosses the network: in the clear only where there is no TLS to be had."""
        return bool(has & Has.TLS) or not (self.server.is_tls_required or self.server.has_tls)

    # -- before login (3.1.1)

    async def offer_form(self, request: Stanza, connection: ClientConnection) -> Element:
        if connection.account is not None:
            return self._registered(connection.account.jid.local)
        self._check_open(connection)
        instructions = _("Choose a user name and a password.")
        return E(
            REGISTER,
            "query",
            E(REGISTER, "instructions", instructions),
            E(REGISTER, "username"),
            E(REGISTER, "password"),
            registration_form(instructions).to_element(),
        )

    def _check_open(self, connection: ClientConnection) -> None:
        if not self.is_open:
            raise StanzaError("service-unavailable")
        if not self._is_safe(connection.stream.has):
            raise StanzaError("not-authorized", "encrypt the connection first")

    async def register(self, request: Stanza, connection: ClientConnection) -> None:
        if connection.account is not None:
            raise StanzaError("not-allowed", "this connection has an account")
        self._check_open(connection)
        if request.payload.find(REGISTER, "remove") is not None:
            raise StanzaError("unexpected-request")  # 3.2: log in first
        # On this machine stands a proxy or an administrator's own script: all the world may come from there.
        key = "" if is_loopback(connection.address) else throttle.network(connection.address)
        if key and (self._made.of(key) >= self.max_per_hour or self._failed.of(key) >= self.max_failures):
            raise StanzaError("resource-constraint", "too many registrations, try again later")
        self._made.add(key)  # before the database is asked: attempts at the same moment count too
        try:
            await self._create(request, connection)
        except StanzaError:
            self._made.take_back(key)
            self._failed.add(key)
            raise

    async def _create(self, request: Stanza, connection: ClientConnection) -> None:
        values = submitted(request.payload, registration_form(""))
        username, password = values.get("username", "").strip(), values.get("password", "")
        if not username or not password:
            raise StanzaError("not-acceptable", "a user name and a password are needed")
        try:
            username = prepare_local(username)
        except JIDError as problem:
            raise StanzaError("not-acceptable", str(problem)) from None
        if username in {name.strip().casefold() for name in self.reserved_names}:
            raise StanzaError("not-acceptable", "this user name is reserved")
        jid = await db(
            _create_account,
            connection.stream.domain,
            username,
            password,
            values.get("name", ""),
            values.get("email", ""),
            connection.address,
        )
        self.server.metrics.count("registrations")
        log.info("registered jid=%s ip=%s", jid, connection.address)

    # -- logged in

    @iq_get(REGISTER, "query", to=[SERVER, SELF])
    def registration(self, iq: Stanza, origin: Session | None) -> Element:
        """3.1: what is on file; the password stays where it is."""
        if origin is None:
            raise StanzaError("service-unavailable")
        return self._registered(origin.account.jid.local)

    def _registered(self, username: str) -> Element:
        return E(
            REGISTER,
            "query",
            E(REGISTER, "registered"),
            E(REGISTER, "username", username),
            E(REGISTER, "password"),
        )

    @iq_set(REGISTER, "query", to=[SERVER, SELF])
    async def change(self, iq: Stanza, origin: Session | None) -> None:
        if origin is None:
            raise StanzaError("service-unavailable")
        query = iq.payload
        x = query.find(DATA_FORMS, "x")
        if query.find(REGISTER, "remove") is not None:
            if len(list(query.elements())) != 1:
                raise StanzaError("bad-request", "remove stands alone")
            await self._remove(iq, origin)
        elif x is not None and form_type_of(x) == CANCEL:
            raise StanzaError("feature-not-implemented")
        else:
            await self._change_password(query, origin)

    async def _change_password(self, query: Element, session: Session) -> None:
        """3.3. The other sessions of the account end, this one stays."""
        if not self.allow_password_change:
            raise StanzaError("not-allowed")
        if not self._is_safe(session.connection.stream.has):
            raise StanzaError("not-authorized", "encrypt the connection first")
        values = submitted(query, registration_form(""), CHANGE_PASSWORD)
        username = values.get("username", "").partition("@")[0]
        if username and not _same_name(username, session.account.jid.local):
            raise StanzaError("not-allowed", "this is another's account")
        if not values.get("password"):
            raise StanzaError("bad-request", "the password is empty")
        await db(_set_password, session.account.id, values["password"], _actor(session), session.jid.full_str)

    async def _remove(self, iq: Stanza, session: Session) -> None:
        """3.2: the client learns that it is done, then all of the account's sessions end."""
        if not self.allow_removal:
            raise StanzaError("not-allowed")
        loop = asyncio.get_running_loop()
        answer = result(iq)

        def send_answer() -> None:
            if not session.is_closed:
                session.send(answer)

        await db(
            _delete_account,
            session.account.id,
            _actor(session),
            lambda: loop.call_soon_threadsafe(send_answer),
        )
        log.info("account-removed jid=%s ip=%s", session.account.jid, session.connection.address)


class HourlyCount:
    """How often something happened for a key within the last hour; '' is not counted."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def of(self, key: str) -> int:
        times = self._times.get(key)
        if times is None:
            return 0
        while times and times[0] <= self._now() - HOUR_SECONDS:
            times.popleft()
        if not times:
            del self._times[key]
        return len(times)

    def add(self, key: str) -> None:
        if not key:
            return
        self._times.setdefault(key, deque()).append(self._now())
        self._times.move_to_end(key)
        if len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)

    def take_back(self, key: str) -> None:
        """What was added last did not happen."""
        if times := self._times.get(key):
            times.pop()


def registration_form(instructions: str) -> Form:
    """4, 12.4.1: the same questions for clients that show forms."""
    return Form(
        REGISTER,
        [
            Field("username", label=_("User name"), is_required=True),
            Field("password", "text-private", label=_("Password"), is_required=True),
            Field("name", label=_("Name")),
            Field("email", label=_("E-mail")),
        ],
        title=_("Register an account"),
        instructions=instructions,
    )


def submitted(query: Element, form: Form, other_form_type: str = "") -> dict[str, str]:
    """{field: text} of the form if there is one, which goes before other fields (6), else of these."""
    x = query.find(DATA_FORMS, "x")
    if x is None:
        values = {child.name: child.text for child in query.elements() if child.ns == REGISTER}
    else:
        form_type = form_type_of(x)
        if other_form_type and form_type == other_form_type:
            form = Form(other_form_type, form.fields)
        values = {var: str(value) for var, value in form.parse(x).items()}
    if any(len(value) > MAX_REGISTRATION_FIELD_CHARS for value in values.values()):
        raise StanzaError("not-acceptable", "a field is too long")
    return values


def refusal(error: ValidationError | PermissionDenied) -> StanzaError:
    """What a service of the accounts refused, as the sender of a stanza is told."""
    if isinstance(error, PermissionDenied):
        return StanzaError("forbidden", str(error))
    parts = error.error_dict.values() if hasattr(error, "error_dict") else [error.error_list]
    codes = {detail.code for part in parts for detail in part}
    text = " ".join(error.messages)
    if "taken" in codes:
        return StanzaError("conflict", text)
    if "last-owner" in codes:
        return StanzaError("not-allowed", text)
    return StanzaError("not-acceptable", text)


# --- on a database thread ---


def _create_account(
    domain_name: str, username: str, password: str, name: str, email: str, address: str
) -> str:
    domain = services.domain_named(domain_name)
    if domain is None:
        raise StanzaError("service-unavailable")
    actor = Actor(f"{username}@{domain_name}", DOOR, address)
    try:
        return services.create_user(
            username=username, password=password, domain=domain, name=name, email=email, actor=actor
        ).jid
    except (ValidationError, PermissionDenied) as error:
        raise refusal(error) from error


def _set_password(user_id: int, password: str, actor: Actor, keep: str) -> None:
    try:
        services.set_password(_user(user_id), password, actor=actor, keep=keep)
    except (ValidationError, PermissionDenied) as error:
        raise refusal(error) from error


def _delete_account(user_id: int, actor: Actor, when_done: Callable[[], object]) -> None:
    """`when_done` is called on commit, before the bus ends the account's sessions."""
    try:
        with transaction.atomic():
            transaction.on_commit(when_done)
            services.delete_user(_user(user_id), actor=actor)
    except (ValidationError, PermissionDenied) as error:
        raise refusal(error) from error


def _user(user_id: int) -> services.User:
    user = services.user_by_id(user_id)
    if user is None:
        raise StanzaError("registration-required")
    return user


# --- helpers ---


def _actor(session: Session) -> Actor:
    return Actor(session.account.jid.bare_str, DOOR, session.connection.address, session.account.id)


def _same_name(text: str, local: str) -> bool:
    try:
        return prepare_local(text.strip()) == local
    except JIDError:
        return False
