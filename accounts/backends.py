"""Logs people in to the console: accounts with a role, by user name or JID."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.models import User
from accounts.services.domains import primary_domain
from accounts.services.login import LoginRefused, authenticate
from xmppd.protocol.jid import JID, JIDError


class AccountBackend(BaseBackend):
    """Django's backend interface. What went wrong is left in `request.login_refused` (a LoginRefused) for the
    form.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if not username or password is None:
            return None
        local, domain = split_login(username)
        address = request.META.get("REMOTE_ADDR", "") if request else ""
        try:
            return authenticate(
                domain=domain,
                username=local,
                password=password,
                address=address,
                service="console",
                mechanism="form",
                require_role=True,
            )
        except LoginRefused as refused:
            if request is not None:
                request.login_refused = refused  # type: ignore[attr-defined]
            return None

    def get_user(self, user_id: int) -> User | None:
        """The user of a session; None ends it, so that a lock or a lost role holds at the next click."""
        user = User.objects.filter(pk=user_id).first()
        if user is None or user.is_locked() or not user.role:
            return None
        return user


def split_login(text: str) -> tuple[str, str]:
    """(localpart, domain), prepared; what is no address stays as typed, so that it fails as a wrong name
    does.
    """
    text = text.strip()
    primary = primary_domain()
    try:
        jid = JID.parse(text if "@" in text else f"{text}@{primary.name if primary else 'localhost'}")
    except JIDError:
        return text[:255], ""
    return jid.local, jid.domain
