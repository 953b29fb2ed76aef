"""The pages about groups: list, members, sharing into contact lists with its preview, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services, sharing
from accounts.models import AuditEntry, Group, User
from adminconsole.forms.audit import Entry
from adminconsole.views.group_sharing import preview, reach
from xmppd.bus.messages import SharedRostersChanged

pytestmark = pytest.mark.django_db

HOSTILE = '"><svg/onload=alert(1)>'


@pytest.fixture
def design(domain: Any, actor: Any) -> Group:
    return services.create_group(name="Design", description="Print", domain=domain, actor=actor)


@pytest.fixture
def sales(domain: Any, actor: Any) -> Group:
    return services.create_group(name="Sales", domain=domain, actor=actor)


@pytest.fixture
def people(make_user: Callable[..., Any]) -> list[User]:
    return [make_user(name) for name in ("ann", "ben", "cem", "dan")]


def names(response: Any) -> list[str]:
    return [group.name for group in response.context["page"].object_list]


def members(group: Group) -> list[str]:
    return sorted(membership.jid for membership in group.memberships.select_related("user__domain"))


# --- list, create, details, delete


def test_list_searches_sorts_and_filters(
    owner_client: Client, design: Group, sales: Group, people: list[User], actor: Any
) -> None:
    services.add_members(sales, people, actor=actor)
    services.update_group(sales, sharing_mode="everybody", display_name="Sales", actor=actor)
    url = reverse("groups")
    assert names(owner_client.get(url)) == ["Design", "Sales"]
    assert names(owner_client.get(url, {"sort": "-members"})) == ["Sales", "Design"]
    assert names(owner_client.get(url, {"q": "PRINT"})) == ["Design"]
    assert names(owner_client.get(url, {"sharing": "everybody"})) == ["Sales"]
    assert [g.member_count for g in owner_client.get(url).context["page"].object_list] == [0, 4]
    assert "No group matches" in owner_client.get(url, {"q": "x"}).content.decode()


def test_empty_list_offers_the_first_group(owner_client: Client, auditor_client: Client) -> None:
    assert reverse("group-create") in owner_client.get(reverse("groups")).content.decode()
    assert reverse("group-create") not in auditor_client.get(reverse("groups")).content.decode()


def test_create_leads_to_its_members(owner_client: Client) -> None:
    response = owner_client.post(reverse("group-create"), {"name": "Board", "description": "All\nof them"})
    group = Group.objects.get(name="Board")
    assert response.headers["Location"] == reverse("group-members-add", args=[group.pk])
    assert group.sharing == "nobody"
    assert AuditEntry.objects.get(action="group-created").target == "Board"
    again = owner_client.post(reverse("group-create"), {"name": "Board"})
    assert again.status_code == 422
    assert "name" in again.context["form"].errors


def test_rename(owner_client: Client, design: Group, sales: Group) -> None:
    url = reverse("group-edit", args=[design.pk])
    assert owner_client.post(url, {"name": "Sales"}).status_code == 422
    owner_client.post(url, {"name": "Studio", "description": ""})
    design.refresh_from_db()
    assert (design.name, design.description) == ("Studio", "")


def test_delete_lists_consequences_and_needs_the_name(
    owner_client: Client, design: Group, sales: Group, people: list[User], actor: Any
) -> None:
    services.add_members(design, people, actor=actor)
    services.update_group(design, sharing_mode="groups", display_name="Design", actor=actor)
    services.update_group(
        sales, sharing_mode="groups", display_name="Sales", shared_with=[design], actor=actor
    )
    url = reverse("group-delete", args=[design.pk])
    page = owner_client.get(url).content.decode()
    assert "4 members leave it" in page
    assert "contact lists of 4 users" in page
    assert "Sales is no longer shared with it" in page
    assert owner_client.post(url, {"confirm": "design"}).status_code == 422
    owner_client.post(url, {"confirm": "Design"})
    assert names(owner_client.get(reverse("groups"))) == ["Sales"]
    assert User.objects.filter(username="ann").exists()


# --- members


def test_add_many_at_once(
    owner_client: Client,
    design: Group,
    people: list[User],
    heard: list[Any],
    actor: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    services.update_group(design, sharing_mode="groups", display_name="Design", actor=actor)
    data = {"users": [people[0].pk], "addresses": "ben, cem@example.org\nxenia@far.example"}
    with django_capture_on_commit_callbacks(execute=True):
        response = owner_client.post(reverse("group-members-add", args=[design.pk]), data, follow=True)
    assert "Added 4 members" in response.content.decode()
    assert members(design) == ["ann@example.org", "ben@example.org", "cem@example.org", "xenia@far.example"]
    affected = {id_ for m in heard if isinstance(m, SharedRostersChanged) for id_ in m.user_ids}
    assert affected == {user.pk for user in people[:3]}


def test_people_ticked_and_typed_become_admins_together(
    owner_client: Client, design: Group, people: list[User]
) -> None:
    data = {"users": [people[0].pk], "addresses": "ben xenia@far.example", "is_admin": "on"}
    owner_client.post(reverse("group-members-add", args=[design.pk]), data)
    admins = design.memberships.filter(is_admin=True)
    assert sorted(member.jid for member in admins) == [
        "ann@example.org",
        "ben@example.org",
        "xenia@far.example",
    ]


def test_one_wrong_address_adds_nobody(owner_client: Client, design: Group, people: list[User]) -> None:
    data = {"users": [people[0].pk], "addresses": "ben nobody@example.org a@@b"}
    response = owner_client.post(reverse("group-members-add", args=[design.pk]), data)
    assert response.status_code == 422
    html = response.content.decode()
    assert "nobody@example.org" in html
    assert "a@@b" in html
    assert f'value="{people[0].pk}" id="u{people[0].pk}" checked' in html
    assert members(design) == []


def test_search_offers_who_is_no_member_and_keeps_ticks(
    owner_client: Client, design: Group, people: list[User], actor: Any
) -> None:
    services.add_member(design, people[0], actor=actor)
    url = reverse("group-members-add", args=[design.pk])
    assert "ann@example.org" not in owner_client.get(url).content.decode()
    page = owner_client.get(url, {"q": "ben", "users": [people[3].pk, "x"]})
    assert [user.username for user in page.context["offered"]] == ["ben"]
    assert [user.username for user in page.context["ticked"]] == ["dan"]


def test_admins_are_made_and_unmade(owner_client: Client, design: Group, people: list[User]) -> None:
    url = reverse("group-members-add", args=[design.pk])
    owner_client.post(url, {"users": [people[0].pk], "addresses": "far@far.example", "is_admin": "on"})
    assert design.memberships.filter(is_admin=True).count() == 2
    membership = design.memberships.get(user=people[0])
    url = reverse("group-member-admin", args=[design.pk, membership.pk])
    owner_client.get(url)
    response = owner_client.post(url + "?q=ann", {"admin": "0"})
    assert response.headers["Location"] == reverse("group", args=[design.pk]) + "?q=ann"
    membership.refresh_from_db()
    assert not membership.is_admin


def test_member_list_searches_pages_and_removes(
    owner_client: Client, design: Group, people: list[User], actor: Any, make_user: Any
) -> None:
    services.add_members(design, [*people, *(make_user(f"user{n:02}") for n in range(30))], actor=actor)
    services.add_member(design, "far@far.example", is_admin=True, actor=actor)
    url = reverse("group", args=[design.pk])

    def shown(**query: Any) -> list[str]:
        return [m.jid.partition("@")[0] for m in owner_client.get(url, query).context["page"].object_list]

    assert shown(size=25)[:4] == ["ann", "ben", "cem", "dan"]
    assert shown(size=25, page=2)[-1] == "far"
    assert shown(q="ANN") == ["ann"]
    assert shown(q="far.example") == ["far"]
    assert shown(kind="admins") == shown(kind="remote") == ["far"]
    membership = design.memberships.get(user=people[0])
    owner_client.post(reverse("group-member-remove", args=[design.pk, membership.pk]))
    assert "ann" not in shown()


def test_removing_a_member_asks_first_and_leads_back(
    owner_client: Client, design: Group, people: list[User], actor: Any
) -> None:
    membership = services.add_member(design, people[0], actor=actor)
    url = reverse("group-member-remove", args=[design.pk, membership.pk]) + "?q=ann"
    html = owner_client.get(url).content.decode()
    assert "Remove ann from" in html
    assert f'href="{reverse("group", args=[design.pk])}?q=ann"' in html
    assert members(design) == ["ann@example.org"]
    assert owner_client.post(url).headers["Location"] == reverse("group", args=[design.pk]) + "?q=ann"
    assert members(design) == []


def test_a_membership_of_another_group_is_not_found(
    owner_client: Client, design: Group, sales: Group, people: list[User], actor: Any
) -> None:
    membership = services.add_member(sales, people[0], actor=actor)
    for name in ("group-member-remove", "group-member-admin"):
        url = reverse(name, args=[design.pk, membership.pk])
        assert owner_client.post(url, {"admin": "1"}).status_code == 404
    assert members(sales) == ["ann@example.org"]


# --- sharing


@pytest.mark.parametrize(
    ("mode", "stored"), [("disabled", "nobody"), ("members", "groups"), ("everybody", "everybody")]
)
def test_simple_ways_of_sharing(owner_client: Client, design: Group, mode: str, stored: str) -> None:
    url = reverse("group-sharing", args=[design.pk])
    owner_client.post(url, {"mode": mode, "display_name": "Designers"})
    design.refresh_from_db()
    assert (design.sharing, design.display_name) == (stored, "Designers")
    assert not design.shared_with.exists()
    page = owner_client.get(url).content.decode()
    assert f'value="{mode}" id="id_mode_' in page
    assert owner_client.get(url).context["form"]["mode"].value() == mode


def test_sharing_with_chosen_groups(owner_client: Client, design: Group, sales: Group) -> None:
    url = reverse("group-sharing", args=[design.pk])
    data = {"mode": "chosen", "display_name": "Designers", "groups": [sales.pk]}
    assert owner_client.post(url, data | {"groups": []}).status_code == 422
    assert owner_client.post(url, data | {"display_name": " "}).status_code == 422
    assert owner_client.post(url, data | {"groups": [design.pk]}).status_code == 422
    assert owner_client.post(url, data).status_code == 302
    assert list(design.shared_with.all()) == [sales]
    owner_client.post(url, data | {"mode": "members"})
    assert not design.shared_with.exists()


def test_preview_changes_nothing(owner_client: Client, design: Group, people: list[User], actor: Any) -> None:
    services.add_members(design, people[:2], actor=actor)
    url = reverse("group-sharing", args=[design.pk])
    page = owner_client.post(url, {"mode": "everybody", "display_name": "D", "preview": "1"})
    assert page.status_code == 200
    assert "All 3 other users" in page.content.decode()
    design.refresh_from_db()
    assert design.sharing == "nobody"
    broken = owner_client.post(url, {"mode": "members", "display_name": "", "preview": "1"})
    assert broken.status_code == 200
    assert "needs a name" in broken.content.decode().split('id="preview"')[1]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("disabled", "Not shared"),
        ("members", "Shared among its members"),
        ("chosen", "Shared with chosen groups"),
        ("everybody", "Shared with everybody"),
    ],
)
def test_each_way_of_sharing_has_one_name(
    owner_client: Client, design: Group, sales: Group, mode: str, words: str
) -> None:
    data = {"mode": mode, "display_name": "Designers", "groups": [sales.pk]}
    owner_client.post(reverse("group-sharing", args=[design.pk]), data)
    page = owner_client.get(reverse("groups"), {"sharing": mode, "q": "design"})
    assert names(page) == ["Design"]
    html = page.content.decode()
    assert html.count(words) == 2  # in the filter and the row
    if mode != "disabled":
        assert words in Entry(AuditEntry.objects.filter(action="group-changed").latest("id")).summary


def test_preview_tells_what_sharing_will_do(
    design: Group, sales: Group, people: list[User], actor: Any
) -> None:
    """The numbers and directions of the preview are those of accounts.sharing once it is saved."""
    ann, ben, cem, dan = people
    services.add_members(design, [ann, ben], actor=actor)
    services.add_members(sales, [ben, cem], actor=actor)
    counts = reach(design, "groups", [sales])
    assert (counts.members, counts.watchers, counts.affected) == (2, 1, 3)
    text = " ".join(preview(design, "groups", [sales], "Designers"))
    assert "They do not see the members of Sales" in text
    services.update_group(
        design, sharing_mode="groups", display_name="Designers", shared_with=[sales], actor=actor
    )
    assert sharing.affected_users(design) == {ann.pk, ben.pk, cem.pk}
    assert sharing.shared_contacts(cem.pk)[ann.jid].subscription == "to"
    assert sharing.shared_contacts(ann.pk)[cem.jid].implicit
    assert dan.jid not in sharing.shared_contacts(ann.pk)

    services.update_group(
        sales, sharing_mode="groups", display_name="Sales", shared_with=[design], actor=actor
    )
    text = " ".join(preview(design, "groups", [sales], "Designers"))
    assert "In turn they see the members of Sales" in text
    assert sharing.shared_contacts(ann.pk)[cem.jid].subscription == "both"

    counts = reach(design, "everybody", [])
    services.update_group(design, sharing_mode="everybody", shared_with=[], actor=actor)
    assert counts.affected == len(sharing.affected_users(design)) == User.objects.count()


# --- who may


PAGES = ["group", "group-sharing", "group-edit", "group-delete", "group-members-add"]


@pytest.mark.parametrize("name", PAGES)
def test_strangers_are_sent_to_the_sign_in_page(stranger_client: Client, design: Group, name: str) -> None:
    answer = stranger_client.get(reverse(name, args=[design.pk]))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(reverse("login"))


def test_auditors_see_and_cannot_change(
    auditor_client: Client, design: Group, people: list[User], actor: Any
) -> None:
    membership = services.add_member(design, people[0], actor=actor)
    for url in (reverse("groups"), reverse("group", args=[design.pk])):
        page = auditor_client.get(url)
        assert page.status_code == 200
        main = page.content.decode().split('id="main"')[1].split("</main>")[0]
        assert 'method="post"' not in main
        assert "/delete/" not in main
        assert "/add/" not in main
    shared = auditor_client.get(reverse("group-sharing", args=[design.pk]))
    assert shared.status_code == 200
    assert 'type="radio"' not in shared.content.decode().split('id="main"')[1]
    for name in ("group-edit", "group-delete", "group-members-add"):
        assert auditor_client.get(reverse(name, args=[design.pk])).status_code == 403
    for url in (
        reverse("group-sharing", args=[design.pk]),
        reverse("group-delete", args=[design.pk]),
        reverse("group-create"),
        reverse("group-member-remove", args=[design.pk, membership.pk]),
        reverse("group-member-admin", args=[design.pk, membership.pk]),
    ):
        answer = auditor_client.post(url, {"mode": "everybody", "display_name": "x", "confirm": "Design"})
        assert answer.status_code == 403
    design.refresh_from_db()
    assert (design.sharing, members(design)) == ("nobody", ["ann@example.org"])


@pytest.mark.parametrize("name", PAGES)
def test_hostile_names_are_text(
    owner_client: Client, domain: Any, actor: Any, make_user: Any, name: str
) -> None:
    group = services.create_group(name=HOSTILE, description=HOSTILE, domain=domain, actor=actor)
    services.update_group(group, sharing_mode="everybody", display_name=HOSTILE, actor=actor)
    services.add_member(group, make_user("mallory", name=HOSTILE), actor=actor)
    for url in (reverse(name, args=[group.pk]), reverse("groups")):
        html = owner_client.get(url).content.decode()
        assert "<svg/onload" not in html
        assert "&amp;lt;svg" not in html
