"""Settings that would shut out who saves them: told first, done when confirmed; entries that cannot match refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from adminconsole import hosts
from xmppd.services import properties
from xmppd.services.setup import LOCALHOST_ONLY

pytestmark = pytest.mark.django_db(transaction=True)  # a setting holds when it is committed

AWAY = {"REMOTE_ADDR": "192.0.2.7"}


def save(client: Client, name: str, value: str, *, understood: str = "", **extra: Any) -> str:
    data = {"value": value} | ({"understood": understood} if understood else {})
    response = client.post(f"/settings/{name}/", data, **extra)
    return "saved" if response.status_code == 302 else response.content.decode()


def test_localhost_only_from_elsewhere_asks_first(owner_client: Client) -> None:
    html = save(owner_client, "console.localhost_only", "on", **AWAY)
    assert "You would lock yourself out" in html
    assert "192.0.2.7" in html
    assert "Save anyway" in html
    assert not LOCALHOST_ONLY.value
    assert save(owner_client, "console.localhost_only", "on", understood="true", **AWAY) == "saved"
    assert LOCALHOST_ONLY.value


def test_localhost_only_from_here_does_not_ask(owner_client: Client) -> None:
    assert save(owner_client, "console.localhost_only", "on") == "saved"


def test_localhost_only_through_a_proxy_on_this_machine_asks(owner_client: Client, actor: Any) -> None:
    properties.set_value(hosts.TRUSTED_PROXIES.name, ["127.0.0.1"], actor=actor)
    html = save(owner_client, "console.localhost_only", "on", HTTP_X_FORWARDED_FOR="192.0.2.9")
    assert "You come from 192.0.2.9" in html


def test_a_host_name_in_use_is_not_dropped_unasked(owner_client: Client, actor: Any) -> None:
    properties.set_value(hosts.ALLOWED_HOSTS.name, ["admin.example.net"], actor=actor)
    name = {"HTTP_HOST": "admin.example.net", "headers": {"Host": "admin.example.net"}}
    html = save(owner_client, hosts.ALLOWED_HOSTS.name, "other.example.net", **name)
    assert "You have opened the console as admin.example.net" in html
    assert hosts.ALLOWED_HOSTS.value == ["admin.example.net"]
    meant = '["other.example.net"]'
    assert (
        save(owner_client, hosts.ALLOWED_HOSTS.name, "other.example.net", understood=meant, **name) == "saved"
    )
    # Who came by an address or by localhost is not concerned.
    assert save(owner_client, hosts.ALLOWED_HOSTS.name, "third.example.net") == "saved"


def test_a_reset_says_it_too(owner_client: Client, actor: Any) -> None:
    properties.set_value(hosts.ALLOWED_HOSTS.name, ["admin.example.net"], actor=actor)
    address = f"/settings/{hosts.ALLOWED_HOSTS.name}/reset/"
    html = owner_client.get(address, headers={"Host": "admin.example.net"}).content.decode()
    assert "You would lock yourself out." in html
    assert "lock yourself out" not in owner_client.get(address).content.decode()


def test_the_own_proxy_is_not_dropped_unasked(owner_client: Client, actor: Any) -> None:
    properties.set_value(hosts.TRUSTED_PROXIES.name, ["10.0.0.1"], actor=actor)
    through = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}
    html = save(owner_client, hosts.TRUSTED_PROXIES.name, "10.0.0.2", **through)
    assert "You came through the proxy 10.0.0.1" in html
    assert hosts.TRUSTED_PROXIES.value == ["10.0.0.1"]
    assert save(owner_client, hosts.TRUSTED_PROXIES.name, "10.0.0.0/24", **through) == "saved"


@pytest.mark.parametrize("value", ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7"])
def test_the_own_address_as_a_proxy_asks(owner_client: Client, value: str) -> None:
    html = save(owner_client, hosts.TRUSTED_PROXIES.name, value, **AWAY)
    assert "Your own address 192.0.2.7 would count as a proxy" in html
    assert hosts.TRUSTED_PROXIES.value == []


def test_a_proxy_on_this_machine_is_the_usual_case(owner_client: Client) -> None:
    assert save(owner_client, hosts.TRUSTED_PROXIES.name, "127.0.0.1\n::1") == "saved"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (hosts.TRUSTED_PROXIES.name, "10.0.0.0/33", "neither an address nor a network"),
        (hosts.TRUSTED_PROXIES.name, "proxy.example.net", "neither an address nor a network"),
        (hosts.ALLOWED_HOSTS.name, "https://admin.example.net", "not a host name"),
        (hosts.ALLOWED_HOSTS.name, "admin.example.net:9090", "not a host name"),
    ],
)
def test_entries_that_never_match_are_refused(owner_client: Client, name: str, value: str, said: str) -> None:
    assert said in save(owner_client, name, value)
    assert properties.get(name) == []


@pytest.mark.parametrize("value", ["admin.example.net", "bücher.example", "192.0.2.1", "[2001:db8::1]"])
def test_names_and_addresses_are_fine(owner_client: Client, value: str) -> None:
    assert save(owner_client, hosts.ALLOWED_HOSTS.name, value) == "saved"
