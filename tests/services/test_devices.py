"""Devices and their tokens in the database."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils import timezone

from accounts import registry, services
from accounts.audit import Actor
from accounts.credentials import hashes_of
from accounts.models import AuditEntry, User
from xmppd.bus.messages import DeviceRevoked
from xmppd.models import Device, DeviceToken
from xmppd.protocol.sasl.scram import derive_keys
from xmppd.services import devices

pytestmark = pytest.mark.django_db

PHONE = devices.agent_key("d4565fa7-4d72-4749-b3d3-740edbf87770")
LAPTOP = devices.agent_key("0ba7bb7a-8d0c-4a55-9d1f-29b5d3f22a11")
NONE, ENDP = "HT-SHA-256-NONE", "HT-SHA-256-ENDP"
LIFETIME = timedelta(days=21)


@pytest.fixture
def alice(make_user):
    return make_user("alice")


def seen(user, agent=PHONE, **changes):
    row = devices.Seen(
        user.pk, agent, "AwesomeXMPP", "Kiva's Phone", "Awesome/x", "PLAIN", "192.0.2.1", timezone.now()
    )
    return replace(row, **changes)


def issue(user, agent=PHONE, mechanism=NONE):
    return devices.issue(seen(user, agent), mechanism, user.password, LIFETIME)


def tokens(user, agent=PHONE, mechanism=NONE):
    return [token.text for token in devices.tokens(user.pk, agent, mechanism)]


# -- devices


def test_record_and_list(alice):
    early = timezone.now() - timedelta(hours=1)
    devices.record([seen(alice, at=early), seen(alice, LAPTOP, at=early, software="Desk", device="")])
    devices.record([seen(alice, software="AwesomeXMPP 2", address="2001:db8::1")])
    phone, laptop = devices.list_devices(alice.pk)
    assert (phone.name, phone.software, phone.address) == ("Kiva's Phone", "AwesomeXMPP 2", "2001:db8::1")
    assert phone.first_seen == early < phone.last_seen
    assert (laptop.name, laptop.token_expires) == ("Desk", None)
    assert devices.count(alice.pk) == 2


def test_end_of_a_session_moves_last_seen_only_and_makes_no_device(alice):
    now = timezone.now()
    devices.record([seen(alice, is_login=False)])
    assert devices.count(alice.pk) == 0
    devices.record(
        [seen(alice, at=now), seen(alice, at=now + timedelta(hours=1), is_login=False, resource="")]
    )
    (entry,) = devices.list_devices(alice.pk)
    assert (entry.last_seen, entry.resource) == (now + timedelta(hours=1), "Awesome/x")


def test_rows_of_accounts_that_are_gone(alice, make_user, actor):
    bob = make_user("bob")
    rows = [seen(bob), seen(alice)]
    services.delete_user(bob, actor=actor)
    devices.record(rows)
    assert Device.objects.count() == 1


def test_oldest_are_forgotten(alice, actor, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        registry.set_value("devices.max_per_user", 3, actor=actor)
    start = timezone.now()
    devices.record(
        [seen(alice, f"{n:064}", device=str(n), at=start + timedelta(minutes=n)) for n in range(5)]
    )
    assert [entry.device for entry in devices.list_devices(alice.pk)] == ["4", "3", "2"]


def test_rename(alice, actor):
    devices.record([seen(alice)])
    (entry,) = devices.list_devices(alice.pk)
    assert devices.rename(alice, entry.id, " My phone ", actor=actor)
    assert devices.find(alice.pk, entry.id).name == "My phone"
    row = AuditEntry.objects.get(action="device-renamed")
    assert (row.target, row.before, row.after) == ("alice@example.org", {"name": ""}, {"name": "My phone"})
    assert devices.rename(alice, entry.id, "", actor=actor)
    assert devices.find(alice.pk, entry.id).name == "Kiva's Phone"
    for bad in ("x" * 101, "a\x07b"):
        with pytest.raises(ValidationError):
            devices.rename(alice, entry.id, bad, actor=actor)


def test_revoke(alice, actor, heard, django_capture_on_commit_callbacks):
    issue(alice)
    (entry,) = devices.list_devices(alice.pk)
    with django_capture_on_commit_callbacks(execute=True):
        assert devices.revoke(alice, entry.id, actor=actor)
    assert not Device.objects.exists()
    assert not DeviceToken.objects.exists()
    assert DeviceRevoked(alice.pk, "alice@example.org", PHONE) in heard
    assert AuditEntry.objects.get(action="device-signed-out").detail == "Kiva's Phone"
    assert not devices.revoke(alice, entry.id, actor=actor)


def test_revoke_all(alice, make_user, actor):
    bob = make_user("bob")
    devices.record([seen(alice), seen(alice, LAPTOP), seen(bob)])
    assert devices.revoke_all(alice, actor=actor) == 2
    assert devices.revoke_all(alice, actor=actor) == 0
    assert devices.count(bob.pk) == 1


def test_whose_devices_one_may_touch(alice, make_user):
    bob = make_user("bob")
    boss = make_user("boss", role="owner")
    devices.record([seen(alice), seen(boss)])
    (entry,) = devices.list_devices(alice.pk)
    (of_boss,) = devices.list_devices(boss.pk)
    for call in (
        lambda actor: devices.rename(alice, entry.id, "x", actor=actor),
        lambda actor: devices.revoke(alice, entry.id, actor=actor),
        lambda actor: devices.revoke_all(alice, actor=actor),
    ):
        with pytest.raises(PermissionDenied):
            call(Actor.of(bob, "adhoc"))
    # a device of somebody else does not become one's own by its number
    assert not devices.revoke(alice, of_boss.id, actor=Actor.of(alice, "adhoc"))
    assert devices.revoke(alice, entry.id, actor=Actor.of(alice, "adhoc"))


# -- tokens


def test_a_token_is_for_one_device_and_one_mechanism(alice, make_user):
    token = issue(alice)
    assert tokens(alice) == [token.text]
    assert len(token.text) == 43
    assert tokens(alice, LAPTOP) == []
    assert tokens(alice, mechanism=ENDP) == []
    assert tokens(make_user("bob")) == []


def test_the_database_does_not_hold_what_a_client_needs(alice):
    """Nobody logs in with what he read there."""
    text = issue(alice).text
    with connection.cursor() as cursor:
        for table in ("xmppd_device", "xmppd_devicetoken"):
            cursor.execute(f"SELECT * FROM {table}")
            assert text not in repr(cursor.fetchall())


def test_another_secret_key_makes_other_tokens(alice, settings):
    before = issue(alice).text
    settings.SECRET_KEY = "another"
    assert tokens(alice) != [before]


def test_tokens_end_with_the_password(alice, actor):
    issue(alice)
    services.set_password(alice, "another battery staple", actor=actor)
    assert tokens(alice) == []
    assert devices.list_devices(alice.pk)[0].token_expires is None


def test_expiry(alice):
    token = issue(alice)
    assert devices.list_devices(alice.pk)[0].token_expires == token.expires
    DeviceToken.objects.update(expires=timezone.now())
    assert tokens(alice) == []
    assert devices.list_devices(alice.pk)[0].token_expires is None


def test_rotation_keeps_the_old_one_until_the_new_one_is_used(alice):
    first = issue(alice)
    assert devices.use(first)
    second = issue(alice)
    assert tokens(alice) == [second.text, first.text]
    assert devices.use(first)  # the new one has not arrived
    assert tokens(alice) == [second.text, first.text]
    assert devices.use(second)
    assert tokens(alice) == [second.text]


def test_a_newer_token_replaces_an_unused_one(alice):
    used = issue(alice)
    devices.use(used)
    unused = issue(alice)
    newest = issue(alice)
    assert unused.text not in tokens(alice)
    assert tokens(alice) == [newest.text, used.text]


def test_other_devices_keep_theirs(alice):
    mine, other = issue(alice), issue(alice, LAPTOP)
    devices.use(mine)
    assert tokens(alice, LAPTOP) == [other.text]


def test_counts_only_grow(alice):
    token = issue(alice)
    assert devices.use(token, count=0)
    assert devices.use(token, count=5)
    for count in (5, 4, 0, None):
        with pytest.raises(devices.ReplayedToken):
            devices.use(token, count=count)
    assert devices.use(token, count=6)


def test_invalidate(alice):
    token = issue(alice)
    assert devices.use(token, invalidate=True)
    assert tokens(alice) == []
    assert not devices.use(token)


def test_forget_tokens(alice, make_user):
    bob = make_user("bob")
    issue(alice)
    kept = issue(bob)
    assert devices.forget_tokens(alice.pk) == 1
    assert tokens(alice) == []
    assert tokens(bob) == [kept.text]


def test_tokens_end_with_the_password_whatever_process_sets_it(alice, actor):
    issue(alice)
    services.set_password(alice, "another horse", actor=actor)
    assert tokens(alice) == []
    assert not DeviceToken.objects.exists()


def test_tokens_outlive_another_form_of_the_same_password(alice, actor):
    keys = {"sha1": derive_keys("correct horse", b"salt of another", 7, "sha1")}
    services.set_scram_keys(alice, keys, actor=actor)
    token = issue(alice)
    assert services.authenticate(
        domain="example.org", username="alice", password="correct horse", address="192.0.2.1", service="c2s"
    )
    alice.refresh_from_db()
    assert len(hashes_of(alice.password)) == 3
    assert tokens(alice) == [token.text]


def test_lock_ends_tokens_for_good(alice, actor):
    issue(alice)
    services.lock_user(alice, actor=actor)
    assert not DeviceToken.objects.exists()
    services.unlock_user(alice, actor=actor)
    assert tokens(alice) == []
    token = issue(alice)
    assert tokens(alice) == [token.text]


@pytest.mark.parametrize("is_over", [False, True])
def test_lock_that_began_by_itself_ends_them_too(alice, actor, is_over):
    """Nobody is told of its beginning where no server runs: the token is looked at when it is used."""
    issue(alice)
    now = timezone.now()
    services.lock_user(
        alice, actor=actor, locked_from=now + timedelta(hours=1), locked_until=now + timedelta(hours=2)
    )
    assert len(tokens(alice)) == 1
    began = now - timedelta(hours=3 if is_over else 1)
    DeviceToken.objects.update(created=began - timedelta(hours=1))
    User.objects.update(locked_from=began, locked_until=began + timedelta(hours=2))
    assert tokens(alice) == []
    assert devices.list_devices(alice.pk)[0].token_expires is None
    if is_over:  # who logged in behind it keeps what it got
        new = issue(alice, LAPTOP)
        assert tokens(alice, LAPTOP) == [new.text]
    alice.refresh_from_db()
    services.unlock_user(alice, actor=actor)
    assert tokens(alice) == []
    assert len(tokens(alice, LAPTOP)) == is_over


def test_forget_seen(alice, make_user):
    now, later = timezone.now(), timezone.now() + timedelta(minutes=2)
    bob = make_user("bob")
    devices.record([seen(alice, at=now), seen(alice, LAPTOP, at=later), seen(bob, at=now)])
    assert devices.forget_seen(alice.pk, PHONE, now) == 1
    assert devices.forget_seen(alice.pk, "", now) == 0
    assert [entry.agent for entry in devices.list_devices(alice.pk)] == [LAPTOP]
    assert devices.forget_seen(alice.pk, "", later) == 1
    assert devices.count(bob.pk) == 1


def test_signing_out_is_logged(alice, actor, caplog, django_capture_on_commit_callbacks):
    """Once it is so; what a client calls itself is one word."""
    caplog.set_level("INFO", "hearth.devices")
    devices.record([seen(alice, device="My phone\nby=nobody"), seen(alice, LAPTOP)])
    entry = next(entry for entry in devices.list_devices(alice.pk) if entry.agent == PHONE)
    with django_capture_on_commit_callbacks(execute=True):
        devices.revoke(alice, entry.id, actor=actor)
        assert not caplog.messages
    with django_capture_on_commit_callbacks(execute=True):
        devices.revoke_all(alice, actor=actor)
    assert caplog.messages == [
        f"device-signed-out jid={alice.jid} device=My\\u0020phone\\u000aby=nobody by={actor.name}",
        f"device-signed-out jid={alice.jid} device=* by={actor.name}",
    ]
