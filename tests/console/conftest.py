"""Browsers of the console: a stranger's, an owner's, an auditor's; and a Hearth that is not set up yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts import services
from accounts.models import AuditEntry, User
from adminconsole import hosts
from xmppd.services import roster, setup


@pytest.fixture
def installed(domain: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hearth that is set up for example.org; the value is its Domain."""
    monkeypatch.setattr(setup, "_is_set_up", True)
    hosts.forget_domains()
    yield domain
    hosts.forget_domains()


@pytest.fixture
def browse(installed: Any) -> Callable[..., Client]:
    """browse(user): a browser in which this account is signed in; browse(): a stranger's."""

    def open_browser(user: Any = None, **extra: Any) -> Client:
        client = Client(headers={"Host": "localhost"}, **extra)
        if user is not None:
            client.force_login(user)
        return client

    return open_browser


@pytest.fixture
def owner(installed: Any, make_user: Callable[..., Any]) -> Any:
    """The account boss@example.org with the role of an owner."""
    return make_user("boss", role="owner")


@pytest.fixture
def auditor(installed: Any, make_user: Callable[..., Any]) -> Any:
    """The account eye@example.org, which may look at everything and change nothing."""
    return make_user("eye", role="auditor")


@pytest.fixture
def owner_client(browse: Callable[..., Client], owner: Any) -> Client:
    return browse(owner)


@pytest.fixture
def auditor_client(browse: Callable[..., Client], auditor: Any) -> Client:
    return browse(auditor)


@pytest.fixture
def stranger_client(browse: Callable[..., Client]) -> Client:
    return browse()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Hearth before set-up, with a HEARTH_HOME of its own (the value)."""
    home = tmp_path / "home"
    monkeypatch.setitem(os.environ, "HEARTH_HOME", str(home))
    monkeypatch.setattr(
        settings, "CONFIG", replace(settings.CONFIG, home=home, is_set_up=False, database_url="")
    )
    monkeypatch.setattr(setup, "_is_set_up", False)
    hosts.forget_domains()
    yield home
    hosts.forget_domains()


@pytest.fixture
def filled(owner: User, auditor: User, make_user: Callable[..., Any], actor: Any) -> Callable[[str], str]:
    """A Hearth with a user, a group, a contact, an audit entry; the value turns a route into an address."""
    alice = make_user("alice")
    group = services.create_group(name="friends", actor=actor, domain=alice.domain)
    services.add_member(group, alice, actor=actor)
    roster.admin_add(alice, "carol@example.net", name="Carol", actor=actor)
    entry = AuditEntry.objects.latest("id")

    def address(route: str) -> str:
        number = (
            entry.pk if route.startswith("audit") else group.pk if route.startswith("groups") else alice.pk
        )
        values = {"token": "x", "name": "console.language", "jid": "alice@example.org", "member_id": "1"}
        parts = []
        for part in route.split("/"):
            if part.startswith("<"):
                kind, _colon, name = part.strip("<>").partition(":")
                part = values.get(name, str(number) if kind == "int" else "x")
            parts.append(part)
        return "/" + "/".join(parts)

    return address
