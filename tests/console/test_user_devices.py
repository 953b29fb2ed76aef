"""The devices of a user in the console: seen by those who see users, signed out by those who manage them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, User
from tests.console.service import Service
from xmppd.bus.messages import DeviceRevoked
from xmppd.protocol.stream.sasl2 import UserAgent
from xmppd.services import devices

pytestmark = pytest.mark.django_db
AGENT_ID = "d4565fa7-4d72-4749-b3d3-740edbf87770"


@pytest.fixture
def service(installed: Any) -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet")


@pytest.fixture
def phone(juliet: User) -> devices.Entry:
    """A device with a token, and another one without."""
    for name, agent in (("<b>Laptop</b>", "b"), ("Phone", "a")):
        row = devices.Seen(
            juliet.pk, agent * 64, "Conversations", name, f"C/{name}", "PLAIN", "192.0.2.7", timezone.now()
        )
        devices.record([row])
    devices.issue(row, "HT-SHA-256-NONE", juliet.password, timedelta(days=21))
    return devices.list_devices(juliet.pk)[0]


def test_list(auditor_client: Client, juliet: User, phone: devices.Entry) -> None:
    page = auditor_client.get(reverse("user-devices", args=[juliet.pk]))
    text = page.content.decode()
    assert [entry.device for entry, _ in page.context["rows"]] == ["Phone", "<b>Laptop</b>"]
    assert "&lt;b&gt;Laptop&lt;/b&gt;" in text
    assert "192.0.2.7" in text
    assert text.count("Conversations") == 2
    assert "sign-out" not in text  # an auditor looks
    tab = next(tab for tab in page.context["tabs"] if tab["current"])
    assert (tab["title"], tab["count"]) == ("Devices", 2)


@pytest.mark.django_db(transaction=True)
def test_who_is_connected_without_being_a_device(
    owner_client: Client, service: Service, juliet: User, phone: devices.Entry
) -> None:
    """A device is known by its id, and not by a resource that another client may have taken."""
    service.log_in("juliet@example.org/C/Phone", client="<i>Psi</i> 1.5", presence="<presence/>")
    laptop = service.log_in("juliet@example.org/somewhere", presence="<presence/>")
    laptop.connection.user_agent = UserAgent(id=AGENT_ID, software="Conversations", device="Laptop")
    devices.record(
        [
            devices.Seen(
                juliet.pk,
                devices.agent_key(AGENT_ID),
                "Conversations",
                "Laptop",
                "elsewhere",
                "PLAIN",
                "192.0.2.8",
                timezone.now(),
            )
        ]
    )
    page = owner_client.get(reverse("user-devices", args=[juliet.pk]))
    assert [entry.device for entry, is_online in page.context["rows"] if is_online] == ["Laptop"]
    text = page.content.decode()
    others = text.partition('id="others"')[2]
    assert "Connected without being a device" in others
    assert others.count("/sessions/details/") == 1
    assert "?jid=juliet%40example.org%2FC%2FPhone" in others
    assert "&lt;i&gt;Psi&lt;/i&gt; 1.5" in others
    assert laptop.connection.address in others
    assert "somewhere" not in others
    assert "(SASL2)" in text


def test_nothing_known(owner_client: Client, juliet: User) -> None:
    text = owner_client.get(reverse("user-devices", args=[juliet.pk])).content.decode()
    assert "No device is known" in text
    assert "sign-out" not in text


def test_sign_one_out(
    owner_client: Client,
    juliet: User,
    phone: devices.Entry,
    heard: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    address = reverse("user-device-sign-out", args=[juliet.pk]) + f"?device={phone.id}"
    assert "Phone of juliet@example.org is disconnected" in owner_client.get(address).content.decode()
    assert devices.count(juliet.pk) == 2
    with django_capture_on_commit_callbacks(execute=True):
        response = owner_client.post(address)
    assert response.headers["Location"] == reverse("user-devices", args=[juliet.pk])
    assert [entry.device for entry in devices.list_devices(juliet.pk)] == ["<b>Laptop</b>"]
    assert DeviceRevoked(juliet.pk, juliet.jid, "a" * 64) in heard
    row = AuditEntry.objects.get(action="device-signed-out")
    assert (row.actor, row.target, row.detail) == ("boss@example.org", juliet.jid, "Phone")


def test_sign_all_out(owner_client: Client, juliet: User, phone: devices.Entry) -> None:
    address = reverse("user-device-sign-out", args=[juliet.pk])
    assert "Sign out all devices?" in owner_client.get(address).content.decode()
    owner_client.post(address)
    assert devices.count(juliet.pk) == 0
    assert AuditEntry.objects.get(action="devices-signed-out").detail == "2"


def test_rename(owner_client: Client, juliet: User, phone: devices.Entry) -> None:
    address = reverse("user-device-rename", args=[juliet.pk]) + f"?device={phone.id}"
    assert owner_client.get(address).status_code == 200
    assert owner_client.post(address, {"label": "x" * 101}).status_code == 422
    owner_client.post(address, {"label": "Juliet's phone"})
    assert devices.find(juliet.pk, phone.id).name == "Juliet's phone"  # type: ignore[union-attr]


@pytest.mark.parametrize("device", ["", "x", "0", "9" * 30])
@pytest.mark.parametrize("route", ["user-device-rename", "user-device-sign-out"])
def test_no_such_device(owner_client: Client, juliet: User, route: str, device: str) -> None:
    address = reverse(route, args=[juliet.pk]) + f"?device={device}"
    assert owner_client.get(address).status_code == 404
    assert owner_client.post(address).status_code == 404


def test_device_of_somebody_else(
    owner_client: Client, make_user: Callable[..., Any], phone: devices.Entry
) -> None:
    other = make_user("romeo")
    address = reverse("user-device-sign-out", args=[other.pk]) + f"?device={phone.id}"
    assert owner_client.post(address).status_code == 404


def test_who_does_not_manage_the_account_signs_nobody_out(
    browse: Callable[..., Client], make_user: Callable[..., Any]
) -> None:
    manager = browse(make_user("manager", role="user_manager"))
    admin = make_user("chief", role="admin")
    row = devices.Seen(admin.pk, "c" * 64, "Gajim", "", "G", "PLAIN", "192.0.2.7", timezone.now())
    devices.record([row])
    for address in (reverse("user-device-sign-out", args=[admin.pk]),):
        assert manager.get(address).status_code == 403
        assert manager.post(address).status_code == 403
    assert devices.count(admin.pk) == 1
