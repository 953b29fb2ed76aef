"""Accounts: create, change, lock, delete; who may do it; what is told and what is audited."""

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils import timezone

from accounts import credentials, services
from accounts.audit import Actor
from accounts.models import AuditEntry, Domain, User
from accounts.registry import overridden
from accounts.services.users import Seen, locks_beginning
from xmppd.bus.messages import (
    PasswordChanged,
    SharedRostersChanged,
    UserChanged,
    UserCreated,
    UserDeleted,
    UserLocked,
    UserUnlocked,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


def as_(user):
    return Actor.of(user, "console", "192.0.2.1")


def messages_of(error):
    return {name: [each.code for each in errors] for name, errors in error.value.error_dict.items()}


def test_created_account_can_log_in_and_is_told_and_audited(domain, actor, heard, on_commit):
    with on_commit():
        user = services.create_user(
            username="Alice", password="correct horse", name="Alice A.", email="a@example.org", actor=actor
        )
    assert user.jid == "alice@example.org"
    assert credentials.check_password(user.password, "correct horse")
    assert heard == [UserCreated(user_id=user.pk, jid="alice@example.org")]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.door, entry.action, entry.target) == ("tests", "cli", "user-created", user.jid)
    assert entry.after == {"name": "Alice A.", "email": "a@example.org", "role": ""}


def test_account_without_password_admits_nobody(make_user):
    user = make_user("alice", password=None)
    assert not user.has_usable_password()
    assert not credentials.check_password(user.password, "")


def test_audit_never_holds_password_or_keys(make_user, actor):
    user = make_user("alice")
    services.set_password(user, "another horse", actor=actor)
    services.delete_user(user, actor=actor)
    for entry in AuditEntry.objects.all():
        text = f"{entry.before} {entry.after} {entry.detail}"
        assert "horse" not in text
        assert "scram" not in text


@pytest.mark.parametrize("username", ["", "a b", "a@b", "a/b", "<b>", "a" * 256, "\u0000", "'x"])
def test_name_that_is_no_localpart_is_refused(domain, actor, username):
    with pytest.raises(ValidationError) as error:
        services.create_user(username=username, password="correct horse", actor=actor)
    assert list(error.value.error_dict) == ["username"]


def test_name_can_be_taken_once_in_each_domain(make_user, actor):
    make_user("alice")
    with pytest.raises(ValidationError) as error:
        make_user("ALICE")
    assert messages_of(error) == {"username": ["taken"]}
    other = services.create_domain(name="example.net", actor=actor)
    assert make_user("alice", domain=other).jid == "alice@example.net"


@pytest.mark.parametrize("name", ["bell\u0007", "line\nbreak", "\ufffe", "x" * 256])
def test_name_that_xml_cannot_carry_is_refused(make_user, name):
    with pytest.raises(ValidationError) as error:
        make_user("alice", name=name)
    assert list(error.value.error_dict) == ["name"]


def test_email_must_be_one(make_user):
    with pytest.raises(ValidationError) as error:
        make_user("alice", email="not an address")
    assert list(error.value.error_dict) == ["email"]


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "invalid"),
        ("short12", "too-short"),
        ("AliceSmith", "is-username"),
        ("xx-alicesmith-99", "is-username"),
        ("password1", "common"),
    ],
)
def test_password_policy(make_user, password, code):
    with pytest.raises(ValidationError) as error:
        make_user("alicesmith", password=password)
    assert messages_of(error) == {"password": [code]}


def test_short_names_occur_in_passwords_by_chance(make_user):
    make_user("ann", password="my cannon roars")
    with pytest.raises(ValidationError):
        make_user("joe", password="Joe@example.org")


def test_password_policy_is_a_setting(make_user):
    with overridden(accounts__password__min_length=3, accounts__password__reject_common=False):
        make_user("alice", password="qwe")


def test_changed_name_is_told_to_those_who_see_it(make_user, actor, heard, on_commit):
    alice, bob, _carol = make_user("alice"), make_user("bob"), make_user("carol")
    group = services.create_group(name="team", sharing_mode="groups", display_name="Team", actor=actor)
    services.set_members(group, [alice, bob], actor=actor)
    with on_commit():
        services.update_user(alice, name="Alice A.", actor=actor)
    assert heard == [
        UserChanged(user_id=alice.pk, jid=alice.jid),
        SharedRostersChanged(user_ids=[bob.pk]),
    ]


def test_change_that_changes_nothing_leaves_no_trace(make_user, actor, heard, on_commit):
    user = make_user("alice", name="Alice")
    rows = AuditEntry.objects.count()
    with on_commit():
        services.update_user(user, name=" Alice ", email="", actor=actor)
    assert heard == []
    assert AuditEntry.objects.count() == rows


def test_new_password_ends_the_sessions_but_one(make_user, actor, heard, on_commit):
    user = make_user("alice")
    before = user.get_session_auth_hash()
    with on_commit():
        services.set_password(user, "another horse", keep="alice@example.org/phone", actor=actor)
    assert heard == [PasswordChanged(user_id=user.pk, jid=user.jid, keep="alice@example.org/phone")]
    assert credentials.check_password(User.objects.get().password, "another horse")
    assert user.get_session_auth_hash() != before  # which ends the console's sessions too


def test_lock_holds_at_once_and_is_lifted(make_user, actor, heard, on_commit):
    user = make_user("alice")
    with on_commit():
        services.lock_user(user, reason="holiday", actor=actor)
    assert User.objects.get().is_locked()
    with on_commit():
        services.unlock_user(user, actor=actor)
    assert not User.objects.get().is_locked()
    assert heard == [UserLocked(user_id=user.pk, jid=user.jid), UserUnlocked(user_id=user.pk, jid=user.jid)]


def test_lock_for_a_time_begins_and_ends(make_user, actor, heard, on_commit):
    user = make_user("alice")
    now = timezone.now()
    start, end = now + timedelta(hours=1), now + timedelta(hours=2)
    with on_commit():
        services.lock_user(user, locked_from=start, locked_until=end, actor=actor)
    assert heard == []  # told when it begins
    assert [user.is_locked(now + timedelta(minutes=m)) for m in (0, 60, 119, 120)] == [
        False,
        True,
        True,
        False,
    ]
    assert locks_beginning(now, start) == [user]
    assert locks_beginning(start, end) == []


def test_lock_must_end_after_it_begins(make_user, actor):
    user = make_user("alice")
    with pytest.raises(ValidationError) as error:
        services.lock_user(user, locked_until=timezone.now() - timedelta(hours=1), actor=actor)
    assert list(error.value.error_dict) == ["locked_until"]


def test_deleted_account_takes_its_memberships_along_and_frees_its_name(make_user, actor, heard, on_commit):
    alice, bob = make_user("alice"), make_user("bob")
    group = services.create_group(name="team", sharing_mode="groups", display_name="Team", actor=actor)
    services.set_members(group, [alice, bob], actor=actor)
    old_id = alice.pk
    with on_commit():
        services.delete_user(alice, actor=actor)
    assert heard == [
        UserDeleted(user_id=old_id, jid="alice@example.org"),
        SharedRostersChanged(user_ids=[bob.pk]),
    ]
    assert [member.user for member in group.memberships.all()] == [bob]
    assert not make_user("alice").memberships.exists()


# --- roles ---


@pytest.mark.parametrize(
    ("role", "other", "may"),
    [
        ("owner", "owner", True),
        ("owner", "admin", True),
        ("admin", "owner", False),
        ("admin", "admin", False),
        ("admin", "user_manager", True),
        ("admin", "", True),
        ("user_manager", "admin", False),
        ("user_manager", "user_manager", False),
        ("user_manager", "", True),
        ("auditor", "", False),
        ("room_moderator", "", False),
        ("", "", False),
    ],
)
def test_who_may_manage_whom(make_user, role, other, may):
    make_user("first-owner", role="owner")
    acting, target = make_user("acting", role=role), make_user("target", role=other)
    changes = [
        lambda: services.update_user(target, name="New", actor=as_(acting)),
        lambda: services.set_password(target, "another horse", actor=as_(acting)),
        lambda: services.lock_user(target, actor=as_(acting)),
        lambda: services.unlock_user(target, actor=as_(acting)),
        lambda: services.delete_user(target, actor=as_(acting)),
    ]
    for change in changes:
        if may:
            change()
        else:
            with pytest.raises(PermissionDenied):
                change()


@pytest.mark.parametrize(
    ("role", "given", "may"),
    [
        ("owner", "owner", True),
        ("admin", "owner", False),
        ("admin", "admin", False),
        ("admin", "auditor", True),
        ("user_manager", "auditor", False),
    ],
)
def test_who_may_give_which_role(make_user, role, given, may):
    acting, target = make_user("acting", role=role), make_user("target")
    if may:
        assert services.set_role(target, given, actor=as_(acting)).role == given
        make_user("new", role=given, actor=as_(acting))
    else:
        with pytest.raises(PermissionDenied):
            services.set_role(target, given, actor=as_(acting))
        with pytest.raises(PermissionDenied):
            make_user("new", role=given, actor=as_(acting))


def test_everybody_may_change_his_own_name_and_password(make_user):
    alice = make_user("alice")
    services.update_user(alice, name="Alice", actor=as_(alice))
    services.set_password(alice, "another horse", actor=as_(alice))


def test_role_that_was_taken_away_allows_nothing_any_more(make_user, actor):
    admin, target = make_user("admin", role="admin"), make_user("target")
    acting = as_(admin)
    services.set_role(admin, "", actor=actor)
    with pytest.raises(PermissionDenied):
        services.lock_user(target, actor=acting)


def test_last_owner_who_can_log_in_stays(make_user, actor):
    owner = make_user("owner", role="owner")
    locked = make_user("locked", role="owner")
    services.lock_user(locked, actor=actor)
    for change in (
        lambda: services.delete_user(owner, actor=actor),
        lambda: services.set_role(owner, "admin", actor=actor),
        lambda: services.lock_user(owner, actor=actor),
    ):
        with pytest.raises(ValidationError) as error:
            change()
        assert error.value.code == "last-owner"
    make_user("second", role="owner")
    services.delete_user(owner, actor=actor)


def test_nobody_locks_himself_out(make_user):
    make_user("other", role="owner")
    owner = make_user("owner", role="owner")
    with pytest.raises(PermissionDenied):
        services.lock_user(owner, actor=as_(owner))


def test_permissions_of_roles():
    auditor, manager, nobody = User(role="auditor"), User(role="user_manager"), User(role="")
    assert auditor.can("settings.view")
    assert not auditor.can("settings.change")
    assert manager.can("users.change")
    assert not manager.can("settings.view")
    assert not nobody.can("dashboard.view")
    with pytest.raises(ValueError, match="no permission"):
        auditor.can("users.veiw")


# --- written behind ---


def test_ends_of_sessions_and_logins_are_written_in_one_go(make_user, django_assert_num_queries):
    users = [make_user(f"user{number}") for number in range(3)]
    now = timezone.now()
    services.record_seen([Seen(user.pk, now, "off & away") for user in users])
    services.record_logins({user.pk: now for user in users})
    for user in User.objects.all():
        assert (user.last_seen, user.last_status, user.last_login) == (now, "off & away", now)


def test_primary_domain_is_one(domain, actor):
    with pytest.raises(ValidationError):
        services.create_domain(name="EXAMPLE.org.", actor=actor)
    if connection.vendor != "mysql":
        from django.db import IntegrityError, transaction

        with pytest.raises(IntegrityError), transaction.atomic():
            Domain.objects.create(name="example.net", is_primary=True)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "bücher.example", "chat.example.org"])
def test_host_names_and_addresses_are_domains(db, actor, name):
    assert services.create_domain(name=name, is_primary=True, actor=actor).name == name


@pytest.mark.parametrize("name", ["", "a b", "user@example.org", "example.org/x", "-x-", "1.2.3.400"])
def test_what_is_no_domain_is_refused(db, actor, name):
    with pytest.raises(ValidationError):
        services.create_domain(name=name, is_primary=True, actor=actor)
