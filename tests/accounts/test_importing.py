"""Users from CSV files: what is read, what is refused, what is made."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from accounts import credentials, services
from accounts.audit import Actor
from accounts.models import AuditEntry, Group, User
from accounts.services.importing import CHUNK
from xmppd.bus.messages import SharedRostersChanged, UserCreated

pytestmark = pytest.mark.django_db


def read(text, encoding="utf-8"):
    return services.read_users(text.encode(encoding))


def test_report_changes_nothing(domain):
    rows = read(
        "username,password,name,email,groups\nalice,correct horse,Alice A.,a@mail.example,team|staff\n"
    )
    assert [(row.jid, row.name, row.email, row.groups, row.status) for row in rows] == [
        ("alice@example.org", "Alice A.", "a@mail.example", ("team", "staff"), "new")
    ]
    assert not User.objects.exists()
    assert not Group.objects.exists()


def test_rows_become_accounts_with_groups(domain, actor, heard, django_capture_on_commit_callbacks):
    shared = services.create_group(name="team", sharing_mode="groups", display_name="Team", actor=actor)
    rows = read("alice,correct horse,Alice,,team|staff\nbob,battery staple,Bob,,team\n")
    with django_capture_on_commit_callbacks(execute=True):
        assert services.import_users(rows, actor=actor) == 2
    alice, bob = User.objects.order_by("username")
    assert credentials.check_password(alice.password, "correct horse")
    assert services.search_users("alice").total == 1
    assert [m.user for m in shared.memberships.order_by("user__username")] == [alice, bob]
    assert [m.user for m in Group.objects.get(name="staff").memberships.all()] == [alice]
    assert [m for m in heard if isinstance(m, UserCreated)] == [
        UserCreated(user_id=alice.pk, jid=alice.jid),
        UserCreated(user_id=bob.pk, jid=bob.jid),
    ]
    assert SharedRostersChanged(user_ids=[alice.pk, bob.pk]) in heard
    assert AuditEntry.objects.filter(action="user-created", detail="import").count() == 2
    assert [row.status for row in rows] == ["created", "created"]


@pytest.mark.parametrize(
    "text",
    [
        "alice,correct horse,Alice\n",
        "alice;correct horse;Alice\r\n",
        "\ufeffusername;password;name\nalice;correct horse;Alice",
        'User Name,Password,Full Name\n"alice","correct horse","Alice"\n\n',
        "name,username,password\nAlice,alice@example.org,correct horse\n",
        "\n\nalice,correct horse,Alice\n",
    ],
)
def test_forms_of_the_file(domain, text):
    (row,) = read(text)
    assert (row.jid, row.password, row.name, row.status) == (
        "alice@example.org",
        "correct horse",
        "Alice",
        "new",
    )


def test_password_is_taken_as_it_is(domain, actor):
    services.import_users(read('alice," spaces, and ""quotes"" "\n'), actor=actor)
    assert credentials.check_password(User.objects.get().password, ' spaces, and "quotes" ')


@pytest.mark.parametrize(
    "line",
    [
        "al\x00ice,correct horse",
        "a b,correct horse",
        ",correct horse",
        "alice@example.net,correct horse",
        "alice@@,correct horse",
        "alice,correct horse,Alice,not an address",
        "alice,correct horse,bell\u0007",
        "alice,correct horse,Alice,,team,too much",
    ],
)
def test_wrong_rows_are_reported_and_the_others_made(domain, actor, line):
    rows = read(f"{line}\nbob,battery staple\n")
    assert [row.status for row in rows] == ["error", "new"]
    assert rows[0].messages
    assert services.import_users(rows, actor=actor) == 1
    assert User.objects.get().username == "bob"


def test_second_row_of_a_user_is_an_error(domain):
    rows = read("alice,correct horse\nALICE@example.org,battery staple\n")
    assert [(row.line, row.status) for row in rows] == [(1, "new"), (2, "error")]


def test_existing_account_is_left_as_it_is(make_user, actor):
    make_user("alice", name="Old")
    rows = read("alice,battery staple,New\n")
    assert rows[0].status == "exists"
    services.import_users(rows, actor=actor)
    assert User.objects.get().name == "Old"


def test_name_taken_after_the_report_is_left_out(make_user, actor):
    rows = read("alice,battery staple\nbob,battery staple\n")
    make_user("alice")
    assert services.import_users(rows, actor=actor) == 1
    assert [row.status for row in rows] == ["exists", "created"]


def test_weak_password_is_warned_of_but_taken(domain, actor):
    (row,) = read("alice,abc\n")
    assert row.status == "new"
    assert row.messages
    services.import_users([row], actor=actor)
    assert credentials.check_password(User.objects.get().password, "abc")


def test_account_without_password_admits_nobody(domain, actor):
    rows = read("alice,\n")
    services.import_users(rows, actor=actor)
    assert not User.objects.get().has_usable_password()


@pytest.mark.parametrize("data", [b"\xff\xfea\x00", b'alice,"open\n'])
def test_what_is_no_table_of_text_is_refused(domain, data):
    with pytest.raises(ValidationError) as error:
        services.read_users(data)
    assert list(error.value.error_dict) == ["file"]


def test_many_rows_are_made_in_chunks(domain, actor):
    count = 2 * CHUNK + 1
    rows = read("".join(f"user{number},password-{number},,,team\n" for number in range(count)))
    steps = []
    assert services.import_users(rows, actor=actor, progress=lambda *step: steps.append(step)) == count
    assert steps == [(CHUNK, count), (2 * CHUNK, count), (count, count)]
    assert Group.objects.get().memberships.count() == count


def test_a_group_name_that_cannot_be_is_a_problem_of_its_row(domain):
    rows = services.read_users(f"username,groups\nanna,{'x' * 300}\nberta,Friends\n".encode())
    assert [row.status for row in rows] == ["error", "new"]


@pytest.mark.parametrize("role", ["", "auditor", "room_moderator"])
def test_the_actor_needs_a_role_that_changes_users(make_user, role):
    actor = Actor.of(make_user("eve", role=role), "console")
    with pytest.raises(PermissionDenied):
        services.import_users(read("alice,a good long one\n"), actor=actor)
    assert not User.objects.filter(username="alice").exists()
