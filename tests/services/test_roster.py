"""Rosters and presence subscriptions, RFC 6121 2, 3 and appendix A: rows in, rows out."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.audit import Actor
from accounts.models import AuditEntry, Domain, Group, Membership, User
from accounts.roles import Role
from accounts.sharing import SharedContact
from xmppd.bus import channel
from xmppd.bus.messages import RosterChanged, UserDeleted
from xmppd.models import RosterItem, RosterState, RosterTombstone, SubscriptionRequest
from xmppd.protocol.errors import StanzaError
from xmppd.services import properties, roster, roster_store
from xmppd.services.roster import Item

pytestmark = pytest.mark.django_db
ADMIN = Actor("admin@example.org", "console", "192.0.2.1")
ASKS = "<presence type='subscribe' from='bob@example.org'><status>me?</status></presence>"


@pytest.fixture
def domain():
    return Domain.objects.create(name="example.org", is_primary=True)


@pytest.fixture
def alice(domain):
    return User.objects.create(domain=domain, username="alice", name="Alice")


@pytest.fixture
def bob(domain):
    return User.objects.create(domain=domain, username="bob", name="Bob")


@contextmanager
def refused(condition):
    with pytest.raises(StanzaError) as caught:
        yield
    assert caught.value.condition == condition


def items(user):
    return roster.load(user.pk).items


def send(sender, receiver, type):
    """Both halves of a subscription stanza between two local accounts, with the automatic answers."""
    out = roster.outgoing(sender.pk, receiver.jid, type)
    if not out.route:
        return out, None
    into = roster.incoming(receiver.pk, sender.jid, type, f"<presence type='{type}' from='{sender.jid}'/>")
    if into.reply:
        roster.incoming(sender.pk, receiver.jid, into.reply)
    return out, into


# --- items


def test_client_adds_renames_and_removes_a_contact(alice, bob):
    added = roster.set_item(alice.pk, bob.jid, "Bobby", ["Friends", "Work"])
    assert added.previous is None
    assert (
        items(alice) == {bob.jid: Item(bob.jid, "Bobby", groups=("Friends", "Work"))} == {bob.jid: added.item}
    )

    renamed = roster.set_item(alice.pk, bob.jid, "", [])
    assert renamed.previous == added.item
    assert renamed.version == added.version + 1
    assert items(alice) == {bob.jid: Item(bob.jid)}

    removal = roster.remove_item(alice.pk, bob.jid)
    assert removal == roster.Removal(renamed.version + 1, Item(bob.jid), False, ())
    assert roster.load(alice.pk) == roster.RosterData(removal.version, {}, {})


def test_roster_set_leaves_the_subscription_alone(alice, bob):
    roster.admin_add(alice, bob.jid, "Bob", ["A"], actor=ADMIN)
    change = roster.set_item(alice.pk, bob.jid, "Robert", ["B"])
    assert change.item == Item(bob.jid, "Robert", "both", groups=("B",))


def test_roster_of_twenty_items_with_a_request_loads_in_two_queries(alice, bob):
    for number in range(20):
        roster.set_item(alice.pk, f"c{number}@example.net", f"C {number}", ["Group", "Ünïcode 组"])
    roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)
    roster.incoming(alice.pk, "carol@example.net", "subscribe", "<presence/>")
    with CaptureQueriesContext(connection) as queries:
        data = roster.load(alice.pk)
    assert len(queries) == 2
    assert len(data.items) == 20
    assert data.items["c7@example.net"] == Item("c7@example.net", "C 7", groups=("Group", "Ünïcode 组"))
    assert data.pending == {bob.jid: ASKS, "carol@example.net": "<presence/>"}
    assert data.version == RosterState.objects.get(user=alice).version


def test_account_without_roster_is_empty_at_version_0(alice):
    assert roster.load(alice.pk) == roster.RosterData(0, {}, {})
    assert roster.changes_since(alice.pk, 0) == []


def test_unknown_account_has_no_roster_to_write(alice):
    with refused("item-not-found"):
        roster.set_item(alice.pk + 1, "x@example.net", "", [])
    assert not RosterState.objects.exists()


def test_nothing_to_remove(alice):
    with refused("item-not-found"):
        roster.remove_item(alice.pk, "nobody@example.net")


@pytest.mark.parametrize(
    ("name", "groups", "condition"),
    [
        ("x" * 1024, [], "not-acceptable"),
        ("é" * 512, [], "not-acceptable"),
        ("bell \x07", [], "not-acceptable"),
        ("nul \x00", [], "not-acceptable"),
        ("half \ud800", [], "not-acceptable"),
        ("no character \uffff", [], "not-acceptable"),
        ("", [""], "not-acceptable"),
        ("", ["x" * 1024], "not-acceptable"),
        ("", ["esc \x1b"], "not-acceptable"),
        ("", ["Friends", "Friends"], "bad-request"),
        ("", [f"group {n}" for n in range(10_000)], "not-acceptable"),
    ],
)
def test_hostile_names_and_groups_are_refused(alice, name, groups, condition):
    with refused(condition):
        roster.set_item(alice.pk, "x@example.net", name, groups)
    assert not RosterItem.objects.exists()


def test_longest_allowed_name_is_kept_verbatim(alice):
    name = "<&'\"\t\n" + "é" * 508
    assert len(name.encode()) == 1022
    roster.set_item(alice.pk, "x@example.net", name, [])
    assert items(alice)["x@example.net"].name == name


def test_own_address_and_endless_addresses_are_no_contacts(alice):
    with refused("not-allowed"):
        roster.set_item(alice.pk, alice.jid, "me", [])
    with refused("not-allowed"):
        roster.outgoing(alice.pk, alice.jid, "subscribe")
    with refused("not-acceptable"):
        roster.set_item(alice.pk, "x" * 513, "", [])
    endless = roster.incoming(alice.pk, "x" * 513, "subscribe", "<presence/>")
    assert not endless.route
    assert not SubscriptionRequest.objects.exists()


def test_roster_is_full(alice, bob):
    with properties.overridden(roster__max_items=2):
        roster.set_item(alice.pk, "a@example.net", "", [])
        roster.set_item(alice.pk, "b@example.net", "", [])
        with refused("policy-violation"):
            roster.set_item(alice.pk, "c@example.net", "", [])
        with refused("policy-violation"):
            roster.outgoing(alice.pk, "c@example.net", "subscribe")
        with pytest.raises(ValidationError, match="2 contacts at most"):
            roster.admin_add(alice, "c@example.net", actor=ADMIN)
        roster.set_item(alice.pk, "b@example.net", "still editable", [])
        assert roster.incoming(alice.pk, bob.jid, "subscribe", ASKS).route
    assert set(items(alice)) == {"a@example.net", "b@example.net"}


# --- versions


def test_changes_are_the_latest_state_of_each_item_in_version_order(alice):
    start = roster.set_item(alice.pk, "a@example.net", "A", []).version
    roster.set_item(alice.pk, "b@example.net", "B", [])
    roster.set_item(alice.pk, "c@example.net", "C", [])
    roster.set_item(alice.pk, "a@example.net", "A again", [])
    roster.remove_item(alice.pk, "b@example.net")
    changes = roster.changes_since(alice.pk, start)
    assert [(c.version - start, c.contact, c.item and c.item.name) for c in changes] == [
        (2, "c@example.net", "C"),
        (3, "a@example.net", "A again"),
        (4, "b@example.net", None),
    ]
    assert roster.changes_since(alice.pk, start + 4) == []


def test_versions_that_the_log_does_not_know_get_the_whole_roster(alice):
    newest = roster.set_item(alice.pk, "a@example.net", "A", []).version
    assert roster.changes_since(alice.pk, newest + 1) is None
    assert roster.changes_since(alice.pk, 0) is None


def test_contact_that_comes_back_is_no_removal_any_more(alice):
    start = roster.set_item(alice.pk, "a@example.net", "A", []).version
    roster.remove_item(alice.pk, "a@example.net")
    roster.set_item(alice.pk, "a@example.net", "A", [])
    assert [change.item for change in roster.changes_since(alice.pk, start)] == [Item("a@example.net", "A")]
    roster.remove_item(alice.pk, "a@example.net")
    assert [change.item for change in roster.changes_since(alice.pk, start)] == [None]


def test_old_removals_are_pruned_and_the_log_knows_it(alice, monkeypatch):
    monkeypatch.setattr(roster_store, "KEPT_TOMBSTONES", 3)
    versions = []
    for number in range(5):
        roster.set_item(alice.pk, f"c{number}@example.net", "", [])
        versions.append(roster.remove_item(alice.pk, f"c{number}@example.net").version)
    assert list(RosterTombstone.objects.order_by("version").values_list("version", flat=True)) == versions[2:]
    assert roster.changes_since(alice.pk, versions[1] - 1) is None
    assert [change.version for change in roster.changes_since(alice.pk, versions[1])] == versions[2:]


def test_account_with_the_name_of_a_deleted_one_is_never_at_its_versions(alice, domain):
    remembered = roster.set_item(alice.pk, "a@example.net", "", []).version
    RosterState.objects.update(
        version=remembered - 3600, log_start=remembered - 3600
    )  # it was made an hour ago
    before = RosterState.objects.get().version
    alice.delete()
    again = User.objects.create(domain=domain, username="alice")
    assert roster.changes_since(again.pk, before) is None
    roster.set_item(again.pk, "b@example.net", "", [])
    assert roster.changes_since(again.pk, before) is None


def test_every_write_is_published_on_commit(alice, bob, django_capture_on_commit_callbacks):
    seen = []
    unsubscribe = channel.subscribe(RosterChanged, seen.append)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            version = roster.set_item(alice.pk, bob.jid, "Bob", []).version
            roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)  # not shown in the roster
            roster.outgoing(alice.pk, bob.jid, "subscribed")
            roster.remove_item(alice.pk, bob.jid)
            assert seen == []
    finally:
        unsubscribe()
    assert seen == [RosterChanged(alice.pk, alice.jid, bob.jid, version + n) for n in range(3)]


# --- subscriptions: RFC 6121 3, between two accounts here


def test_two_users_subscribe_to_each_other_and_part(alice, bob):
    out, into = send(alice, bob, "subscribe")
    assert (out.route, out.pushed, out.item) == (True, True, Item(bob.jid, ask=True))
    assert (into.route, into.pushed, into.item, into.pending_changed) == (True, False, None, True)
    assert items(bob) == {}  # RFC 6121 3.1.3: no item for who merely asks
    assert list(roster.load(bob.pk).pending) == [alice.jid]

    out, into = send(bob, alice, "subscribed")
    assert (out.route, out.pushed, out.item, out.pending_changed) == (
        True,
        True,
        Item(alice.jid, "", "from"),
        True,
    )
    assert (into.route, into.pushed, into.item) == (True, True, Item(bob.jid, "", "to"))
    assert roster.load(bob.pk).pending == {}

    send(bob, alice, "subscribe")
    assert items(bob)[alice.jid] == Item(alice.jid, "", "from", ask=True)
    send(alice, bob, "subscribed")
    assert items(alice)[bob.jid].subscription == items(bob)[alice.jid].subscription == "both"
    assert not items(bob)[alice.jid].ask

    out, into = send(alice, bob, "unsubscribe")
    assert (out.item.subscription, into.item.subscription, into.reply) == ("from", "to", "unsubscribed")
    out, into = send(alice, bob, "unsubscribed")
    assert (out.item, into.item) == (Item(bob.jid), Item(alice.jid))


def test_refused_request_leaves_nothing_behind(alice, bob):
    send(alice, bob, "subscribe")
    out, into = send(bob, alice, "unsubscribed")
    assert (out.route, out.pushed, out.item, out.pending_changed, out.pending) == (
        True,
        False,
        None,
        True,
        None,
    )
    assert (into.route, into.item) == (True, Item(bob.jid))
    assert not SubscriptionRequest.objects.exists()
    assert items(bob) == {}


def test_withdrawn_request_is_forgotten(alice, bob):
    send(alice, bob, "subscribe")
    _out, into = send(alice, bob, "unsubscribe")
    assert (into.route, into.pending_changed, into.item) == (True, True, None)
    assert roster.load(bob.pk).pending == {}
    assert items(alice) == {bob.jid: Item(bob.jid)}


def test_repeated_request_is_shown_once_and_kept_as_it_came_first(alice, bob):
    first = roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)
    again = roster.incoming(alice.pk, bob.jid, "subscribe", "<presence>again</presence>")
    assert (first.route, first.pending_changed, first.pending) == (True, True, ASKS)
    assert (again.route, again.pending_changed, again.pending) == (False, False, ASKS)
    assert roster.load(alice.pk).pending == {bob.jid: ASKS}


def test_pre_approval_answers_for_the_user_and_can_be_taken_back(alice, bob):
    approval = roster.outgoing(alice.pk, bob.jid, "subscribed")
    assert (approval.route, approval.pushed, approval.item) == (False, True, Item(bob.jid, approved=True))
    cancelled = roster.outgoing(alice.pk, bob.jid, "unsubscribed")
    assert (cancelled.route, cancelled.pushed, cancelled.item) == (False, True, Item(bob.jid))

    roster.outgoing(alice.pk, bob.jid, "subscribed")
    _out, into = send(bob, alice, "subscribe")
    assert (into.route, into.reply, into.item.subscription) == (False, "subscribed", "from")
    assert items(bob) == {alice.jid: Item(alice.jid, "", "to")}


def test_subscribe_of_a_subscriber_is_answered_without_the_user(alice, bob):
    roster.admin_add(alice, bob.jid, actor=ADMIN)
    again = roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)
    assert (again.route, again.reply, again.pushed, again.pending) == (False, "subscribed", False, None)


def test_stray_answers_change_nothing(alice, bob):
    for type in ("subscribed", "unsubscribed", "unsubscribe"):
        outcome = roster.incoming(alice.pk, bob.jid, type)
        assert outcome == roster.Outcome(False, None, None, None, False, outcome.version, False, None)
    assert roster.load(alice.pk).items == {}


# (stored subscription, ask, request pending): event: (after, route). Appendix A.2 and A.3 once more, by hand.
N, NO, NI, NOI = ("none", 0, 0), ("none", 1, 0), ("none", 0, 1), ("none", 1, 1)
T, TI, F, FO, B = ("to", 0, 0), ("to", 0, 1), ("from", 0, 0), ("from", 1, 0), ("both", 0, 0)
ALL = [N, NO, NI, NOI, T, TI, F, FO, B]
TABLE = {
    ("outgoing", "subscribe"): [NO, NO, NOI, NOI, T, TI, FO, FO, B],
    ("outgoing", "unsubscribe"): [N, N, NI, NI, N, NI, F, F, F],
    ("outgoing", "subscribed"): [N, NO, F, FO, T, B, F, FO, B],
    ("outgoing", "unsubscribed"): [N, NO, N, NO, T, T, N, NO, T],
    ("incoming", "subscribe"): [NI, NOI, NI, NOI, TI, TI, F, FO, B],
    ("incoming", "unsubscribe"): [N, NO, N, NO, T, T, N, NO, T],
    ("incoming", "subscribed"): [N, T, NI, TI, T, TI, F, B, B],
    ("incoming", "unsubscribed"): [N, N, NI, NI, N, NI, F, F, F],
}


@pytest.mark.parametrize(("direction", "type"), TABLE)
@pytest.mark.parametrize("state", ALL)
def test_every_transition_is_stored(alice, bob, direction, type, state):
    subscription, ask, pending = state
    start = roster.set_item(alice.pk, bob.jid, "Bob", ["Friends"]).version
    RosterItem.objects.update(subscription=subscription, ask=bool(ask))
    if pending:
        SubscriptionRequest.objects.create(user=alice, jid=bob.jid, stanza=ASKS)

    outcome = getattr(roster, direction)(alice.pk, bob.jid, type)

    expected = TABLE[direction, type][ALL.index(state)]
    data = roster.load(alice.pk)
    stored = data.items[bob.jid]
    assert (stored.subscription, int(stored.ask), len(data.pending)) == expected
    assert (stored.name, stored.groups) == ("Bob", ("Friends",))
    assert outcome.item == stored
    assert outcome.pushed == (outcome.previous != stored)
    assert outcome.version == data.version == start + outcome.pushed
    assert outcome.pending_changed == (bool(pending) != bool(data.pending))


def test_requests_are_bounded_in_number_and_size(alice, bob):
    with properties.overridden(roster__max_requests=2, roster__max_request_size=1024):
        large = roster.incoming(alice.pk, bob.jid, "subscribe", f"<presence>{'x' * 1024}</presence>")
        assert large.route
        assert large.pending == (
            f"<presence xmlns='jabber:client' type='subscribe' from='{bob.jid}' to='{alice.jid}'/>"
        )
        assert roster.incoming(alice.pk, "a@example.net", "subscribe", "<presence/>").route
        beyond = roster.incoming(alice.pk, "b@example.net", "subscribe", "<presence/>")
        assert (beyond.route, beyond.pending_changed) == (False, False)
    assert set(roster.load(alice.pk).pending) == {bob.jid, "a@example.net"}


@pytest.mark.parametrize(
    ("state", "sends"),
    [
        (N, ()),
        (NO, ("unsubscribe",)),
        (NI, ("unsubscribed",)),
        (NOI, ("unsubscribe", "unsubscribed")),
        (T, ("unsubscribe",)),
        (F, ("unsubscribed",)),
        (B, ("unsubscribe", "unsubscribed")),
    ],
)
def test_removal_ends_the_subscriptions(alice, bob, state, sends):
    subscription, ask, pending = state
    roster.set_item(alice.pk, bob.jid, "", [])
    RosterItem.objects.update(subscription=subscription, ask=bool(ask))
    if pending:
        roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)
    removal = roster.remove_item(alice.pk, bob.jid)
    assert removal.sends == sends
    assert removal.had_pending == bool(pending)
    assert roster.load(alice.pk).items == roster.load(alice.pk).pending == {}


def test_removal_of_who_merely_asked_is_a_refusal(alice, bob):
    roster.incoming(alice.pk, bob.jid, "subscribe", ASKS)
    removal = roster.remove_item(alice.pk, bob.jid)
    assert (removal.previous, removal.had_pending, removal.sends) == (None, True, ("unsubscribed",))


# --- deleted accounts


def test_contacts_of_a_deleted_account_keep_the_item_alone(alice, bob):
    roster.admin_add(alice, bob.jid, "Bob", ["Friends"], actor=ADMIN)
    carol = User.objects.create(domain=alice.domain, username="carol")
    roster.set_item(carol.pk, bob.jid, "B", [])  # nothing to change
    send(bob, carol, "subscribe")
    changes = roster.contacts_of_deleted(bob.jid)
    bob.delete()
    assert [(user_id, change.item) for user_id, change in changes] == [
        (alice.pk, Item(bob.jid, "Bob", groups=("Friends",)))
    ]
    assert items(alice) == {bob.jid: Item(bob.jid, "Bob", groups=("Friends",))}
    assert roster.load(carol.pk).pending == {}
    assert not RosterItem.objects.filter(jid=alice.jid).exists()
    assert set(RosterState.objects.values_list("user_id", flat=True)) == {alice.pk, carol.pk}


def test_deletion_through_any_door_ends_the_subscriptions(
    alice, bob, heard, django_capture_on_commit_callbacks
):
    version = roster.admin_add(alice, bob.jid, "Bob", actor=ADMIN).version
    bob_id = bob.pk
    with django_capture_on_commit_callbacks(execute=True):
        accounts.delete_user(bob, actor=ADMIN)
    assert items(alice) == {bob.jid: Item(bob.jid, "Bob")}
    assert heard == [
        RosterChanged(alice.pk, alice.jid, bob.jid, version + 1),
        UserDeleted(bob_id, "bob@example.org"),
    ]


# --- the administrator


def test_user_manager_cannot_show_the_presence_of_an_owner(alice, bob, domain):
    alice.role, bob.role = Role.USER_MANAGER, Role.OWNER
    alice.save()
    bob.save()
    carol = User.objects.create(domain=domain, username="carol")
    manager = Actor.of(alice, "console")
    with pytest.raises(PermissionDenied):
        roster.admin_add(bob, carol.jid, actor=manager)
    with pytest.raises(PermissionDenied):
        roster.admin_add(carol, bob.jid, actor=manager)
    with pytest.raises(PermissionDenied):
        roster.admin_remove(bob, carol.jid, actor=manager)
    roster.admin_add(carol, alice.jid, actor=manager)
    assert items(bob) == {}
    assert items(carol)[alice.jid].subscription == "both"


def test_admin_adds_a_contact_on_both_sides(alice, bob):
    send(bob, alice, "subscribe")
    change = roster.admin_add(alice, "Bob@EXAMPLE.org", "Bobby", ["Team"], actor=ADMIN)
    assert change.item == Item(bob.jid, "Bobby", "both", groups=("Team",))
    assert items(alice) == {bob.jid: change.item}
    assert items(bob) == {alice.jid: Item(alice.jid, "", "both")}
    assert not SubscriptionRequest.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.target, entry.detail) == (
        ADMIN.name,
        "roster-item-added",
        alice.jid,
        bob.jid,
    )
    assert entry.after["subscription"] == "both"


@pytest.mark.parametrize(
    ("mine", "theirs"), [("to", "from"), ("from", "to"), ("both", "both"), ("none", "none")]
)
def test_admin_edits_the_subscription_of_both(alice, bob, mine, theirs):
    roster.admin_add(alice, bob.jid, "Bob", actor=ADMIN)
    roster.admin_edit(alice, bob.jid, "Rob", ["New"], mine, actor=ADMIN)
    assert items(alice) == {bob.jid: Item(bob.jid, "Rob", mine, groups=("New",))}
    assert items(bob) == {alice.jid: Item(alice.jid, "", theirs)}
    edited = AuditEntry.objects.get(action="roster-item-changed")
    assert edited.before["name"] == "Bob"
    assert edited.after["name"] == "Rob"


def test_admin_edit_without_subscription_leaves_it(alice, bob):
    roster.admin_add(alice, bob.jid, "Bob", subscription="to", actor=ADMIN)
    before = roster.load(bob.pk)
    roster.admin_edit(alice, bob.jid, "Rob", actor=ADMIN)
    assert items(alice)[bob.jid] == Item(bob.jid, "Rob", "to")
    assert roster.load(bob.pk) == before


def test_admin_adds_a_contact_elsewhere_without_a_subscription(alice):
    roster.admin_add(alice, "juliet@example.net", "Juliet", actor=ADMIN)
    assert items(alice) == {"juliet@example.net": Item("juliet@example.net", "Juliet")}


def test_admin_removes_a_contact_and_the_other_side_parts(alice, bob):
    roster.admin_add(alice, bob.jid, actor=ADMIN)
    removal = roster.admin_remove(alice, bob.jid, actor=ADMIN)
    assert removal.previous.subscription == "both"
    assert items(alice) == {}
    assert items(bob) == {alice.jid: Item(alice.jid)}
    assert AuditEntry.objects.filter(action="roster-item-removed", target=alice.jid).count() == 1


@pytest.mark.parametrize(
    ("contact", "options", "field"),
    [
        ("not an address@", {}, "contact"),
        ("alice@example.org", {}, "contact"),
        ("bob@example.org", {"subscription": "remove"}, "subscription"),
        ("bob@example.org", {"name": "\x00"}, "name"),
        ("bob@example.org", {"groups": ["A", "A"]}, "groups"),
    ],
)
def test_admin_gets_a_readable_refusal(alice, bob, contact, options, field):
    with pytest.raises(ValidationError) as caught:
        roster.admin_add(alice, contact, actor=ADMIN, **options)
    assert list(caught.value.message_dict) == [field]
    assert not RosterItem.objects.exists()
    assert not AuditEntry.objects.exists()


def test_admin_add_twice_and_edit_of_nobody_are_refused(alice, bob):
    roster.admin_add(alice, bob.jid, actor=ADMIN)
    with pytest.raises(ValidationError, match="already"):
        roster.admin_add(alice, bob.jid, actor=ADMIN)
    with pytest.raises(ValidationError, match="not in this"):
        roster.admin_edit(alice, "nobody@example.org", actor=ADMIN)
    with pytest.raises(ValidationError, match="not in this"):
        roster.admin_remove(alice, "nobody@example.org", actor=ADMIN)


# --- shared contacts


@pytest.fixture
def team(domain, alice, bob):
    carol = User.objects.create(domain=domain, username="carol", name="Carol")
    group = Group.objects.create(
        domain=domain, name="team", display_name="The Team", sharing=Group.Sharing.GROUPS
    )
    for user in (alice, bob, carol):
        Membership.objects.create(group=group, user=user)
    return group


def test_shared_contacts_are_listed_and_marked(alice, bob, team):
    roster.set_item(alice.pk, bob.jid, "Bobby", ["Friends", "The Team"])
    roster.set_item(alice.pk, "juliet@example.net", "Juliet", [])
    entries = roster.list_entries(alice.pk)
    assert [(entry.item, entry.is_shared, entry.is_personal) for entry in entries] == [
        (Item(bob.jid, "Bobby", "both", groups=("Friends", "The Team")), True, True),
        (Item("carol@example.org", "Carol", "both", groups=("The Team",)), True, False),
        (Item("juliet@example.net", "Juliet"), False, True),
    ]


def test_shared_contact_is_removed_by_changing_the_group(alice, team):
    with pytest.raises(ValidationError, match="change the group"):
        roster.admin_remove(alice, "carol@example.org", actor=ADMIN)


def test_personal_item_joins_the_shared_one():
    shared = SharedContact("Bob", ("Friends", "Team"), "to")
    assert roster.merge(None, "bob@example.org", shared) == Item(
        "bob@example.org", "Bob", "to", groups=("Friends", "Team")
    )
    own = Item("bob@example.org", "", "none", ask=True, groups=("Mine", "Team"))
    assert roster.merge(own, "bob@example.org", shared) == Item(
        "bob@example.org", "Bob", "both", groups=("Mine", "Team", "Friends")
    )


def test_groups_are_stored_as_a_json_list(alice):
    roster.set_item(alice.pk, "a@example.net", "", ['"quoted"', "日本"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT groups FROM xmppd_rosteritem")
        (raw,) = cursor.fetchone()
    assert (json.loads(raw) if isinstance(raw, str) else raw) == ['"quoted"', "日本"]


@pytest.mark.django_db(transaction=True)
def test_simultaneous_writers_never_share_a_version(alice):
    def write(number):
        try:
            return roster.set_item(alice.pk, f"c{number}@example.net", "", []).version
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(write, range(12)))
    assert sorted(versions) == list(range(min(versions), min(versions) + 12))
    assert roster.load(alice.pk).version == max(versions)
