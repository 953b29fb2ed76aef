"""XEP-0484: Fast Authentication Streamlining Tokens. A client that came in by password comes again by a token."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from xmppd.modules.devices import seen
from xmppd.protocol import delay
from xmppd.protocol.element import E, Element
from xmppd.protocol.namespaces import FAST
from xmppd.protocol.sasl import ht
from xmppd.server.completion import Completion
from xmppd.server.module import Module, Xep, inline_login
from xmppd.server.token_login import TokenLogin
from xmppd.services import devices
from xmppd.services.db import db
from xmppd.services.properties import Setting

NS = FAST


class Fast(Module):
    """Gives tokens out; server/token_login.py takes them, services/devices.py says what they are made of."""

    xep = Xep(484, "0.2.0", "without TLS 0-RTT", "Fast Authentication Streamlining Tokens")

    is_on = Setting(
        "fast.enabled",
        bool,
        True,
        _(
            "Give tokens to clients that ask for one, so that they log in again quickly and need not keep the password."
        ),
        label=_("Quick login with tokens"),
    )
    lifetime = Setting(
        "fast.token_lifetime",
        timedelta,
        timedelta(days=21),
        _("How long a token is good for. A device that stays away longer must log in with the password."),
        label=_("Lifetime of a token"),
        minimum=timedelta(hours=1),
        maximum=timedelta(days=365),
    )
    rotation = Setting(
        "fast.rotate_after",
        timedelta,
        timedelta(days=1),
        _("A device that logs in with a token older than this gets a new one."),
        label=_("Age at which a token is renewed"),
        zero=_("at every login"),
        minimum=timedelta(0),
        maximum=timedelta(days=365),
    )

    async def start(self) -> None:
        self.server.authentication.tokens = self

    def mechanisms(self, binding_types: tuple[str, ...]) -> list[str]:
        return ht.offered(binding_types) if self.is_on else []

    def login_offers(self, binding_types: tuple[str, ...]) -> str:
        names = "".join(f"<mechanism>{name}</mechanism>" for name in self.mechanisms(binding_types))
        return f"<fast xmlns='{NS}'>{names}</fast>" if names else ""

    @inline_login(NS, "request-token")
    async def requested(self, element: Element, completion: Completion) -> Element | None:
        """3.2, 3.3. Only for a client that can be told from others, and a mechanism that we offer."""
        mechanism = element.get("mechanism")
        types = completion.connection.stream.binding_types
        if not completion.request.user_agent.id or mechanism not in self.mechanisms(types):
            return None
        return await self._issue(completion, mechanism)

    @inline_login(NS, "fast")
    async def rotated(self, element: Element, completion: Completion) -> Element | None:
        """3.5; who gives its token up gets no other (3.6)."""
        login = completion.login
        if not isinstance(login, TokenLogin) or completion.request.find(NS, "request-token") is not None:
            return None
        is_due = timezone.now() - login.token.created >= self.rotation
        if login.is_last or not is_due or not self.is_on:
            return None
        return await self._issue(completion, login.mechanism.name)

    async def _issue(self, completion: Completion, mechanism: str) -> Element:
        row = seen(
            completion.connection,
            completion.account,
            completion.request.user_agent,
            completion.mechanism.name,
        )
        token = await db(devices.issue, row, mechanism, completion.account.password, self.lifetime)
        return E(NS, "token", token=token.text, expiry=delay.format_datetime(token.expires))
