"""The overview: figures, warnings, what each role sees, with and without a stream service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client as Browser

from accounts import registry, services
from adminconsole.samples import KEPT, Samples
from adminconsole.views import dashboard
from tests.console.service import Service
from xmppd.services import certificates

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def service(installed: Any) -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A self-signed certificate for example.org in a HEARTH_HOME of its own."""
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, home=tmp_path))
    return certificates.install_self_signed(settings.CONFIG, "example.org")


def html_of(browser: Browser, status: int = 200) -> str:
    response = browser.get("/")
    assert response.status_code == status, response.content.decode()[:500]
    return response.content.decode()


def tiles(html: str) -> list[str]:
    """label, value of each tile"""
    return [
        " ".join(
            part.partition(f'class="tile-{name}">')[2].partition("</span>")[0].rpartition(">")[2]
            for name in ("label", "value")
        )
        for part in html.split('class="card tile')[1:]
    ]


def test_figures(owner_client: Browser, service: Service, make_user: Callable[..., Any], actor: Any) -> None:
    for name in ("juliet", "romeo"):
        make_user(name)
    services.lock_user(make_user("tybalt"), actor=actor)
    for jid in ("juliet@example.org/a", "juliet@example.org/b", "romeo@example.org/a"):
        service.log_in(jid)
    service.server.metrics.count("failed_logins", 7)
    html = html_of(owner_client)
    assert tiles(html) == ["Users online 2", "Logins 0", "Failed logins 7", "Users 4"]
    assert "3 sessions" in html
    assert "1 locked" in html
    assert "Clients (STARTTLS)" in html
    assert "TLS required" in html
    assert ">5222<" in html


def test_without_the_service(owner_client: Browser) -> None:
    html = html_of(owner_client)
    assert "The XMPP service does not run" in html
    assert "Not running" in html


def test_certificate(owner_client: Browser, service: Service, certificate: Any) -> None:
    html = html_of(owner_client)
    assert certificate.sha256 in html
    assert "conference.example.org" in html
    assert "The certificate is self-signed" in html
    assert "for another name" not in html


def test_files_that_cannot_be_used_are_told(
    owner_client: Browser, service: Service, certificate: Any
) -> None:
    assert "picked up within 30 seconds" in html_of(owner_client)
    settings.CONFIG.key_path.write_text("not a key")
    html = html_of(owner_client)
    assert "The certificate files on disk cannot be used" in html
    assert "no PEM certificate or key" in html


@pytest.mark.parametrize(
    ("address", "only_here", "is_said"),
    [("::", False, True), ("192.0.2.1", False, True), ("127.0.0.1", False, False), ("::", True, False)],
)
def test_a_console_open_to_others_is_warned_of(
    owner_client: Browser, service: Service, certificate: Any, address: str, only_here: bool, is_said: bool
) -> None:
    service.live.listeners.append({"name": "console", "address": address, "port": 9090, "tls": "none"})
    with registry.overridden(console__localhost_only=only_here):
        assert ("open to other machines without encryption" in html_of(owner_client)) == is_said


def test_no_certificate(
    owner_client: Browser, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, home=tmp_path))
    assert "There is no readable certificate" in html_of(owner_client)


@pytest.mark.parametrize(
    ("days", "title", "tone"),
    [
        (-1, "The certificate has expired", "bad"),
        (3, "ends in 3 days", "bad"),
        (20, "ends in 20 days", "warn"),
    ],
)
def test_certificate_that_ends(certificate: Any, days: int, title: str, tone: str) -> None:
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    found = dashboard._certificate_warnings(replace(certificate, not_after=ends), "example.org")
    assert any(title in str(warning.title) and warning.tone == tone for warning in found)


def test_certificate_for_another_name(certificate: Any) -> None:
    found = dashboard._certificate_warnings(certificate, "example.net")
    assert any("do not include example.net" in str(warning.text) for warning in found)


def test_dangerous_settings_are_warned_of(owner_client: Browser, service: Service, certificate: Any) -> None:
    assert "Encryption is optional" not in html_of(owner_client)
    with registry.overridden(c2s__tls="optional", registration__open=True):
        html = html_of(owner_client)
    assert "Encryption is optional" in html
    assert "Registration is open" in html
    assert "TLS optional" in html
    assert 'href="/settings/c2s.tls/"' in html


@pytest.mark.parametrize(("free", "tone"), [(10 * 1024**3, None), (1024**3, "warn"), (100 * 1024**2, "bad")])
def test_little_disk_space(certificate: Any, free: int, tone: str | None, installed: Any) -> None:
    found = [w for w in dashboard._warnings(None, certificate, free, True) if "disk" in str(w.title)]
    assert [w.tone for w in found] == ([tone] if tone else [])


def test_recent_changes(owner_client: Browser, make_user: Callable[..., Any]) -> None:
    make_user("mercutio")
    html = html_of(owner_client)
    assert "Created a user" in html
    assert "mercutio@example.org" in html


def test_an_auditor_sees_and_cannot_act(auditor_client: Browser, service: Service) -> None:
    html = html_of(auditor_client)
    assert "Recent changes" in html
    assert "/sessions/message/" not in html


def test_a_room_moderator_sees_no_audit_log(
    browse: Callable[..., Browser], make_user: Callable[..., Any], service: Service
) -> None:
    html = html_of(browse(make_user("moderator", role="room_moderator")))
    assert "Recent changes" not in html
    assert "Users online" in html
    assert 'href="/users/"' not in html


def test_a_stranger_is_asked_to_sign_in(stranger_client: Browser) -> None:
    response = stranger_client.get("/")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


def test_samples_keep_an_hour_and_show_growth() -> None:
    samples = Samples()
    for n in range(KEPT + 10):
        samples.add({"users_online": n, "sessions": 2 * n, "counters": {"logins": n * n}})
    series = samples.series()
    assert len(series["sessions"]) == KEPT
    assert series["users_online"][-1] == KEPT + 9
    assert series["logins"][-1] == (KEPT + 9) ** 2 - (KEPT + 8) ** 2
    assert set(series["failed_logins"]) == {0}


def test_samples_survive_a_restart_of_the_service() -> None:
    samples = Samples()
    for logins in (5, 9, 0, 2):
        samples.add({"counters": {"logins": logins}})
    assert samples.series()["logins"] == [4, 0, 2]
