"""The pages about users: found, made, changed, locked and deleted, by whom that is allowed to."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import services
from accounts.models import AuditEntry, Group, User
from accounts.sharing import is_public
from tests.conftest import PASSWORD
from xmppd.bus.messages import PasswordChanged, UserDeleted, UserLocked
from xmppd.services import live

pytestmark = pytest.mark.django_db

HOSTILE = '"><svg/onload=alert(1)>'
NEW = {
    "username": "romeo",
    "how": "typed",
    "password": "a long sentence",
    "password_repeat": "a long sentence",
}


@pytest.fixture
def juliet(make_user: Callable[..., Any]) -> User:
    return make_user("juliet", name="Juliet Capulet", email="juliet@example.com")


@pytest.fixture
def group(domain: Any, actor: Any) -> Group:
    return services.create_group(name="Design", domain=domain, actor=actor)


def session_row(jid: str, **changes: Any) -> dict[str, Any]:
    bare, _slash, resource = jid.partition("/")
    row = {"jid": jid, "user": bare, "resource": resource, "client": "Gajim 1.9", "status": "available"}
    row |= {"show": "", "status_text": "", "priority": 5, "tls": "TLSv1.3", "cipher": "AES", "lang": "en"}
    row |= {"mechanism": "PLAIN", "address": "192.0.2.7", "transport": "tcp", "idle_seconds": 3}
    row |= {"since": timezone.now().isoformat(), "stanzas_in": 1, "stanzas_out": 2, "bytes_in": 3}
    row |= {"is_managed": True, "is_resumable": True, "is_detached": False, "seconds_left": 0, "queue": 2}
    row |= {"carbons": True, "is_inactive": False, "held": 0}
    return row | {"bytes_out": 4, "interests": []} | changes


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """connected("juliet@example.org/phone"): a stream service with this session; without it none runs."""
    rows: list[dict[str, Any]] = []

    def call(operation: str, **arguments: Any) -> Any:
        if not rows:
            raise live.NotRunningError("the stream service does not run")
        if operation == "problems":
            return []
        if operation == "online":
            return sorted({row["user"] for row in rows})
        if operation == "sessions_of":
            return {jid: [row for row in rows if row["user"] == jid] for jid in arguments["jids"]}
        jid = arguments.get("jid", "")
        return [row for row in rows if jid in ("", row["user"])]

    monkeypatch.setattr(live, "call", call)
    return lambda jid, **changes: rows.append(session_row(jid, **changes))


def names(response: Any) -> list[str]:
    return [row.user.username for row in response.context["page"].object_list]


# --- the list


def test_search_finds_name_address_and_email(owner_client: Client, juliet: User, make_user: Any) -> None:
    make_user("tybalt")
    for query in ("juliet", "CAPULET", "juliet@example.com", "capulet jul"):
        assert names(owner_client.get(reverse("users"), {"q": query})) == ["juliet"]
    page = owner_client.get(reverse("users"), {"q": "nobody"}).content.decode()
    assert "Nobody matches" in page


def test_filters_by_role_group_lock_and_presence(
    owner_client: Client, juliet: User, make_user: Any, group: Group, actor: Any, connected: Any
) -> None:
    make_user("eve", role="auditor")
    tybalt = make_user("tybalt")
    services.add_member(group, juliet, actor=actor)
    services.lock_user(tybalt, actor=actor)
    connected("juliet@example.org/phone")

    def found(**query: Any) -> list[str]:
        return names(owner_client.get(reverse("users"), query))

    assert found(role="auditor") == ["eve"]
    assert found(role="any") == ["boss", "eve"]
    assert found(role="none") == ["juliet", "tybalt"]
    assert found(group=group.pk) == ["juliet"]
    assert found(status="locked") == ["tybalt"]
    assert found(status="unlocked") == ["boss", "eve", "juliet"]
    assert found(status="online") == ["juliet"]
    assert found(status="offline") == ["boss", "eve", "tybalt"]
    assert found(status="none of these", role="king", group="x") == ["boss", "eve", "juliet", "tybalt"]


@pytest.mark.parametrize("junk", ["\0", "a " * 2000, "²", "9" * 40, "%", "'; --", "\ud800"])
def test_junk_in_the_address_finds_nobody_or_everybody(owner_client: Client, junk: str) -> None:
    for url in (reverse("users"), reverse("groups")):
        query = {"q": junk, "group": junk, "page": junk, "size": junk, "sort": junk, "users": junk}
        encoded = urlencode(query, errors="surrogatepass")
        assert owner_client.get(f"{url}?{encoded}").status_code == 200


def test_sorting_and_paging(owner_client: Client, make_user: Any) -> None:
    for number in range(30):
        make_user(f"user{number:02}", name=f"Name {30 - number:02}")
    assert names(owner_client.get(reverse("users"), {"size": 25, "page": 2}))[-1] == "user29"
    assert names(owner_client.get(reverse("users"), {"sort": "-username"}))[0] == "user29"
    assert names(owner_client.get(reverse("users"), {"size": 25, "page": 99}))[-1] == "user29"
    assert len(names(owner_client.get(reverse("users"), {"size": "many", "page": "-1"}))) == 31


def test_the_service_is_asked_once_for_all_rows(
    owner_client: Client, make_user: Any, connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("romeo", "juliet", "tybalt"):
        make_user(name)
        connected(f"{name}@example.org/phone")
    asked: list[str] = []
    answer = live.call

    def call(operation: str, **arguments: Any) -> Any:
        asked.append(operation)
        return answer(operation, **arguments)

    monkeypatch.setattr(live, "call", call)
    page = owner_client.get(reverse("users"))
    assert [row.devices for row in page.context["page"].object_list] == [0, 1, 1, 1]
    assert asked == ["online", "sessions_of", "problems"]


def test_a_row_says_state_devices_and_groups(
    owner_client: Client, juliet: User, group: Group, actor: Any, connected: Any
) -> None:
    services.add_member(group, juliet, actor=actor)
    connected("juliet@example.org/phone", show="dnd")
    connected("juliet@example.org/laptop", show="away")
    row = next(r for r in owner_client.get(reverse("users")).context["page"].object_list if r.user == juliet)
    assert (row.devices, [g.name for g in row.groups]) == (2, ["Design"])
    assert row.state.text == "Away"  # the most reachable of both


def test_list_works_while_the_stream_service_does_not_run(
    owner_client: Client, juliet: User, connected: Any
) -> None:
    page = owner_client.get(reverse("users"))
    assert page.status_code == 200
    assert "does not run" in page.content.decode()


def test_no_queries_per_row(
    owner_client: Client, make_user: Any, group: Group, actor: Any, django_assert_max_num_queries: Any
) -> None:
    users = [make_user(f"user{number}") for number in range(20)]
    services.add_members(group, users, actor=actor)
    with django_assert_max_num_queries(14):
        owner_client.get(reverse("users"))


# --- create


def test_create_with_typed_password(owner_client: Client, group: Group) -> None:
    data = NEW | {"name": "Romeo", "email": "r@example.com", "groups": [group.pk]}
    response = owner_client.post(reverse("user-create"), data, follow=True)
    romeo = User.objects.get(username="romeo")
    assert response.redirect_chain[-1][0] == reverse("user-connect", args=[romeo.pk])
    html = response.content.decode()
    assert "Created" in html
    assert "together with the password" in html
    assert "XMPP address: romeo@example.org\nServer: " in html
    assert "Conversations" in html
    assert romeo.check_password("a long sentence")
    assert (romeo.name, romeo.email, romeo.role) == ("Romeo", "r@example.com", "")
    assert list(group.users.all()) == [romeo]
    assert AuditEntry.objects.get(action="user-created", target=romeo.jid).actor == "boss@example.org"


def test_generated_password_is_shown_once_and_not_kept(owner_client: Client) -> None:
    response = owner_client.post(reverse("user-create"), {"username": "Romeo", "how": "generated"})
    password = re.search(r'class="confirm-word">([a-z2-9-]{23})<', response.content.decode())
    assert password
    assert User.objects.get(username="romeo").check_password(password[1])
    assert response.headers["Cache-Control"] == "no-store"
    assert password[1] not in str(response.cookies)
    assert password[1] not in "".join(str(row.__dict__) for row in AuditEntry.objects.all())


def test_create_and_add_another(owner_client: Client) -> None:
    response = owner_client.post(reverse("user-create"), NEW | {"another": "1"})
    assert response.headers["Location"] == reverse("user-create")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": "juliet"}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": ""}, "username"),
        ({"email": "nonsense"}, "email"),
        ({"password_repeat": "another sentence"}, "password_repeat"),
        ({"password": ""}, "password"),
        ({"password": "short", "password_repeat": "short"}, "password"),
        ({"how": "sideways"}, "how"),
        ({"role": "king"}, "role"),
        ({"role": "owner"}, "current_password"),
        ({"role": "owner", "current_password": "wrong"}, "current_password"),
    ],
)
def test_what_create_refuses(owner_client: Client, juliet: User, changes: Any, field: str) -> None:
    count = User.objects.count()
    response = owner_client.post(reverse("user-create"), NEW | changes)
    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert User.objects.count() == count


def test_a_role_needs_the_own_password(owner_client: Client) -> None:
    owner_client.post(reverse("user-create"), NEW | {"role": "auditor", "current_password": PASSWORD})
    assert User.objects.get(username="romeo").role == "auditor"


def test_user_managers_cannot_give_roles(browse: Callable[..., Client], make_user: Any) -> None:
    client = browse(make_user("max", role="user_manager"))
    client.post(reverse("user-create"), NEW | {"role": "owner", "current_password": PASSWORD})
    assert User.objects.get(username="romeo").role == ""


# --- one user


def test_overview_shows_facts_and_recent_changes(
    owner_client: Client, juliet: User, group: Group, actor: Any, connected: Any
) -> None:
    services.add_member(group, juliet, actor=actor)
    connected("juliet@example.org/phone")
    page = owner_client.get(reverse("user", args=[juliet.pk])).content.decode()
    for text in ("Juliet Capulet", "juliet@example.com", "Design", "Gajim 1.9", "Created a user"):
        assert text in page


def test_unknown_user_is_not_found(owner_client: Client) -> None:
    assert owner_client.get(reverse("user", args=[987654])).status_code == 404


def test_edit_profile(owner_client: Client, juliet: User) -> None:
    response = owner_client.post(
        reverse("user-edit", args=[juliet.pk]), {"name": "Julia", "email": "", "role": ""}
    )
    assert response.headers["Location"] == reverse("user", args=[juliet.pk])
    juliet.refresh_from_db()
    assert (juliet.name, juliet.email) == ("Julia", "")


def test_role_change_asks_for_the_own_password(owner_client: Client, juliet: User) -> None:
    url, data = reverse("user-edit", args=[juliet.pk]), {"name": "Julia", "email": "", "role": "admin"}
    for password in ("", "wrong"):
        assert owner_client.post(url, data | {"current_password": password}).status_code == 422
        juliet.refresh_from_db()
        assert (juliet.name, juliet.role) == ("Juliet Capulet", "")
    owner_client.post(url, data | {"current_password": PASSWORD})
    juliet.refresh_from_db()
    assert (juliet.name, juliet.role) == ("Julia", "admin")


def test_the_last_owner_keeps_the_role(owner_client: Client, owner: User) -> None:
    response = owner_client.post(
        reverse("user-edit", args=[owner.pk]), {"name": "x", "role": "", "current_password": PASSWORD}
    )
    assert "last owner" in response.content.decode()
    owner.refresh_from_db()
    assert (owner.role, owner.name) == ("owner", "")


@pytest.mark.parametrize("page", ["user-edit", "user-password", "user-lock", "user-unlock", "user-delete"])
def test_administrators_do_not_touch_owners(
    browse: Callable[..., Client], make_user: Any, owner: User, page: str
) -> None:
    client, url = browse(make_user("adam", role="admin")), reverse(page, args=[owner.pk])
    assert client.get(url).status_code == 403
    assert client.post(url, {"how": "generated", "confirm": "boss", "role": ""}).status_code == 403
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)
    assert owner.role == "owner"


def test_set_password(
    owner_client: Client,
    juliet: User,
    heard: list[Any],
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = reverse("user-password", args=[juliet.pk])
    assert "signed out" not in owner_client.get(url).content.decode()  # nobody is connected
    monkeypatch.setattr(live, "sessions", lambda jid="": [{}, {}])
    assert "All 2 connected clients are signed out" in owner_client.get(url).content.decode()
    monkeypatch.undo()
    data = {"how": "typed", "password": "quite another one", "password_repeat": "quite another one"}
    with django_capture_on_commit_callbacks(execute=True):
        assert owner_client.post(url, data).status_code == 302
    juliet.refresh_from_db()
    assert juliet.check_password("quite another one")
    assert [m.jid for m in heard if isinstance(m, PasswordChanged)] == [juliet.jid]


def test_own_password_keeps_this_browser_and_ends_others(
    browse: Callable[..., Client], owner_client: Client, owner: User
) -> None:
    other = browse(owner)
    data = {"how": "typed", "password": "quite another one", "password_repeat": "quite another one"}
    owner_client.post(reverse("user-password", args=[owner.pk]), data)
    assert owner_client.get(reverse("users")).status_code == 200
    assert other.get(reverse("users")).status_code == 302


@pytest.mark.parametrize(
    ("data", "length"),
    [
        ({"duration": "forever"}, None),
        ({"duration": "1h"}, timedelta(hours=1)),
        ({"duration": "1d"}, timedelta(days=1)),
        ({"duration": "1w"}, timedelta(weeks=1)),
    ],
)
def test_lock_now(owner_client: Client, juliet: User, data: Any, length: timedelta | None) -> None:
    owner_client.post(reverse("user-lock", args=[juliet.pk]), {"start": "now", "reason": "Left", **data})
    juliet.refresh_from_db()
    assert juliet.is_locked()
    assert juliet.lock_reason == "Left"
    if length is None:
        assert juliet.locked_until is None
    else:
        assert abs(juliet.locked_until - juliet.locked_from - length) < timedelta(seconds=5)


def test_lock_from_one_time_until_another(owner_client: Client, juliet: User) -> None:
    start = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    shape = "%Y-%m-%dT%H:%M"
    data = {"start": "later", "locked_from": f"{start:{shape}}", "duration": "until"}
    url = reverse("user-lock", args=[juliet.pk])
    owner_client.post(url, data | {"locked_until": f"{start + timedelta(hours=2):{shape}}"})
    juliet.refresh_from_db()
    assert not juliet.is_locked()
    assert (juliet.locked_from, juliet.locked_until) == (start, start + timedelta(hours=2))
    assert "Lock is planned" in owner_client.get(reverse("user", args=[juliet.pk])).content.decode()
    for wrong in ({"locked_until": ""}, {"locked_until": "soon"}, {"locked_until": f"{start:{shape}}"}):
        assert owner_client.post(url, data | wrong).status_code == 422
    assert owner_client.post(url, {"start": "later", "duration": "1h"}).status_code == 422


def test_locking_ends_sessions_and_unlock_undoes_it(
    owner_client: Client, juliet: User, heard: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = owner_client.post(
            reverse("user-lock", args=[juliet.pk]), {"start": "now", "duration": "forever"}, follow=True
        )
    assert [m.jid for m in heard if isinstance(m, UserLocked)] == [juliet.jid]
    unlock = reverse("user-unlock", args=[juliet.pk])
    assert f'href="{unlock}"' in response.content.decode()
    assert owner_client.get(unlock).status_code == 200
    owner_client.post(unlock)
    juliet.refresh_from_db()
    assert not juliet.is_locked()


def test_nobody_locks_or_deletes_oneself(owner_client: Client, owner: User) -> None:
    assert "your own account" in owner_client.get(reverse("user-lock", args=[owner.pk])).content.decode()
    data = {"start": "now", "duration": "forever"}
    assert owner_client.post(reverse("user-lock", args=[owner.pk]), data).status_code == 403
    owner_client.post(reverse("user-delete", args=[owner.pk]), {"confirm": "boss"})
    owner.refresh_from_db()
    assert not owner.is_locked()


def test_delete_needs_the_typed_name(
    owner_client: Client, juliet: User, heard: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    url = reverse("user-delete", args=[juliet.pk])
    assert 'data-word="juliet"' in owner_client.get(url).content.decode()
    for word in ("", "Juliet", "juliet@example.org"):
        assert owner_client.post(url, {"confirm": word}).status_code == 422
    with django_capture_on_commit_callbacks(execute=True):
        response = owner_client.post(url, {"confirm": "juliet"})
    assert response.headers["Location"] == reverse("users")
    assert not User.objects.filter(username="juliet").exists()
    assert [m.jid for m in heard if isinstance(m, UserDeleted)] == ["juliet@example.org"]


def test_sessions_tab(owner_client: Client, juliet: User, connected: Any) -> None:
    url = reverse("user-sessions", args=[juliet.pk])
    assert "does not run" in owner_client.get(url).content.decode()
    connected("juliet@example.org/phone & co")
    connected("romeo@example.org/other")
    page = owner_client.get(url).content.decode()
    assert "phone &amp; co" in page
    assert "jid=juliet%40example.org%2Fphone+%26+co" in page
    assert "romeo" not in page.split("<tbody>")[1]


def test_groups_tab_adds_and_removes(owner_client: Client, juliet: User, group: Group, actor: Any) -> None:
    other = services.create_group(name="Sales", domain=juliet.domain, actor=actor)
    url = reverse("user-groups", args=[juliet.pk])
    assert "Sales" not in owner_client.get(url, {"q": "desi"}).content.decode()
    owner_client.post(url, {"groups": [group.pk, other.pk, "x"]})
    assert {g.name for g in juliet.user_groups.all()} == {"Design", "Sales"}
    membership = juliet.memberships.get(group=other)
    remove = reverse("user-group-remove", args=[juliet.pk, membership.pk])
    owner_client.get(remove)
    assert juliet.user_groups.count() == 2
    owner_client.post(remove)
    assert [g.name for g in juliet.user_groups.all()] == ["Design"]
    assert not is_public(juliet.pk)


# --- who may


SEEN = ["user", "user-sessions", "user-groups", "user-contacts"]
CHANGING = ["user-edit", "user-password", "user-lock", "user-unlock", "user-delete", "user-contact-add"]


@pytest.mark.parametrize("name", [*SEEN, *CHANGING])
def test_strangers_are_sent_to_the_sign_in_page(stranger_client: Client, juliet: User, name: str) -> None:
    for answer in (
        stranger_client.get(reverse(name, args=[juliet.pk])),
        stranger_client.post(reverse(name, args=[juliet.pk])),
    ):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(reverse("login"))


def test_auditors_see_and_cannot_change(
    auditor_client: Client, juliet: User, group: Group, actor: Any, connected: Any
) -> None:
    services.add_member(group, juliet, actor=actor)
    connected("juliet@example.org/phone")
    for url in [reverse("users"), *(reverse(name, args=[juliet.pk]) for name in SEEN)]:
        page = auditor_client.get(url)
        assert page.status_code == 200
        main = page.content.decode().split('id="main"')[1]
        assert 'method="post"' not in main.split("</main>")[0]
        assert not re.search(r"/(edit|password|lock|delete|create|close|remove)/", main)
    for url in [reverse("user-create"), *(reverse(name, args=[juliet.pk]) for name in CHANGING)]:
        assert auditor_client.get(url).status_code == 403
        assert auditor_client.post(url, {"confirm": "juliet", **NEW}).status_code == 403
    membership = juliet.memberships.get()
    for url in (
        reverse("user-groups", args=[juliet.pk]),
        reverse("user-group-remove", args=[juliet.pk, membership.pk]),
    ):
        assert auditor_client.post(url, {"groups": [group.pk]}).status_code == 403
    assert list(juliet.user_groups.all()) == [group]


@pytest.mark.parametrize("name", [*SEEN, *CHANGING])
def test_hostile_names_are_text(
    owner_client: Client, make_user: Any, domain: Any, actor: Any, connected: Any, name: str
) -> None:
    user = make_user("mallory", name=HOSTILE)
    group = services.create_group(name=HOSTILE, description=HOSTILE, domain=domain, actor=actor)
    services.update_group(group, sharing_mode="groups", display_name=HOSTILE, actor=actor)
    services.add_member(group, user, actor=actor)
    services.lock_user(user, reason=HOSTILE, actor=actor)
    connected(f"mallory@example.org/{HOSTILE}", client=HOSTILE, status_text=HOSTILE, show=HOSTILE)
    for url in (reverse(name, args=[user.pk]), reverse("users") + "?q=" + "%22%3E%3Csvg"):
        page = owner_client.get(url)
        assert page.status_code == 200
        assert "<svg/onload" not in page.content.decode()
        assert "&amp;lt;svg" not in page.content.decode()  # escaped once


def test_list_and_page_agree_when_somebody_was_seen(
    owner_client: Client, make_user: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user("juliet")
    services.record_seen([services.Seen(user.pk, timezone.now() - timedelta(hours=3))])
    for path in ("/users/?q=juliet", f"/users/{user.pk}/"):
        assert "3 h ago" in owner_client.get(path).content.decode()
    assert "Last sign-in" not in owner_client.get(f"/users/{user.pk}/").content.decode()


def test_a_locked_account_tells_the_reason_apart(
    owner_client: Client, make_user: Callable[..., Any], actor: Any
) -> None:
    user = make_user("juliet")
    services.lock_user(user, reason="Spam", actor=actor)
    html = owner_client.get(f"/users/{user.pk}/").content.decode()
    assert "Nobody can sign in to this account until unlocked.<br>Reason: Spam<br>" in html


def test_nobody_is_made_moderator_of_rooms_that_do_not_exist(
    owner_client: Client, make_user: Callable[..., Any]
) -> None:
    assert "Room moderator" not in owner_client.get(reverse("user-create")).content.decode()
    assert "Room moderator" not in owner_client.get(reverse("users")).content.decode()
    moderator = make_user("mod", role="room_moderator")
    html = owner_client.get(reverse("user-edit", args=[moderator.pk])).content.decode()
    assert re.search(r'value="room_moderator"[^>]* checked', html)
    assert "Room moderator" in owner_client.get(reverse("users")).content.decode()


def test_breadcrumbs_lead_to_the_page_and_do_not_repeat_it(owner_client: Client, juliet: User) -> None:
    def crumbs(route: str, *args: int) -> list[str]:
        html = owner_client.get(reverse(route, args=args)).content.decode()
        found = re.search(r'<nav class="crumbs".*?</nav>', html, re.S)
        assert found
        return re.findall(r"<li>(?:<a [^>]*>)?([^<]+)", found[0])

    assert crumbs("users") == ["People"]
    assert crumbs("user", juliet.pk) == ["People", "Users"]
    assert crumbs("user-edit", juliet.pk) == ["People", "Users", "juliet"]
    assert crumbs("user-delete", juliet.pk) == ["People", "Users", "juliet"]
    assert crumbs("sessions") == ["Live"]
    assert crumbs("audit") == ["Server"]
