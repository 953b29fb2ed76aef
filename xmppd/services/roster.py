"""Contact lists and presence subscriptions, RFC 6121 2 and 3; the only writer of a roster.

Every write locks the account's RosterState row, gives each changed item the next roster version (2.6) and
publishes RosterChanged on commit. A contact who merely asks to subscribe is kept beside the roster, as a
SubscriptionRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Literal

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models.signals import pre_delete
from django.utils.translation import gettext as _

from accounts import sharing
from accounts.audit import Actor, record
from accounts.models import User
from accounts.services.checks import invalid, require_manages
from xmppd.models import RosterItem, RosterState, RosterTombstone, SubscriptionRequest
from xmppd.protocol import subscription as transitions
from xmppd.protocol.element import E
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import CLIENT
from xmppd.protocol.writer import write
from xmppd.services.roster_store import (
    FIELDS,
    MAX_REQUEST_SIZE,
    Change,
    Item,
    LockedRoster,
    check_groups,
    check_name,
    make_item,
)

__all__ = ["Change", "Item"]


@dataclass(frozen=True, slots=True)
class RosterData:
    """`pending` is {contact: its <presence type='subscribe'/> as XML}."""

    version: int
    items: dict[str, Item]
    pending: dict[str, str]


@dataclass(frozen=True, slots=True)
class Removal:
    """`previous` is None when there was a request only. `sends`: presence types owed to the contact."""

    version: int
    previous: Item | None
    had_pending: bool
    sends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a subscription stanza did: route or deliver it? answer it with `reply`? push the item?

    `pending` is the request that awaits an answer afterwards.
    """

    route: bool
    reply: str | None
    item: Item | None
    previous: Item | None
    pushed: bool
    version: int
    pending_changed: bool
    pending: str | None


# --- reading


def load(user_id: int) -> RosterData:
    """The whole roster in two queries. Empty at version 0 for an account that has none."""
    # On the way of every login, so written out: the ORM builds these two in ten times the time they take.
    with connection.cursor() as cursor:
        # Read first: a write in between then makes the version too old, which costs a push, and not too new.
        cursor.execute(_LOAD_STATE, [user_id])
        version = 0
        pending = {}
        for row_version, jid, stanza in cursor.fetchall():
            version = row_version or 0
            if jid is not None:
                pending[jid] = stanza
        cursor.execute(_LOAD_ITEMS, [user_id])
        items = {row[0]: make_item(row) for row in cursor.fetchall()}
    return RosterData(version, items, pending)


# One row at least for an existing account.
_LOAD_STATE = f"""
    SELECT state.version, request.jid, request.stanza FROM {User._meta.db_table} account
    LEFT JOIN {RosterState._meta.db_table} state ON state.user_id = account.id
    LEFT JOIN {SubscriptionRequest._meta.db_table} request ON request.user_id = account.id
    WHERE account.id = %s
"""  # noqa: S608
_LOAD_ITEMS = f"""
    SELECT item.jid, item.name, item.subscription, item.ask, item.approved, item.groups
    FROM {RosterItem._meta.db_table} item WHERE item.user_id = %s
"""  # noqa: S608


def changes_since(user_id: int, version: int) -> list[Change] | None:
    """The latest state of each item changed after `version`, in that order; None: the log does not tell."""
    state = RosterState.objects.filter(user_id=user_id).values_list("version", "log_start").first()
    newest, log_start = state or (0, 0)
    if not log_start <= version <= newest:
        return None
    changed = RosterItem.objects.filter(user_id=user_id, version__gt=version).values_list("version", *FIELDS)
    removed = RosterTombstone.objects.filter(user_id=user_id, version__gt=version).values_list(
        "version", "jid"
    )
    changes = [Change(row[0], row[1], make_item(row[1:])) for row in changed]
    changes += [Change(row_version, jid, None) for row_version, jid in removed]
    return sorted(changes, key=lambda change: change.version)


# --- what a client asks for


@transaction.atomic
def set_item(user_id: int, contact: str, name: str, groups: Iterable[str]) -> Change:
    """A roster set, RFC 6121 2.3 and 2.4: replaces name and groups, never touches the subscription.

    Raises StanzaError: not-acceptable, bad-request (a group twice), not-allowed (the account itself),
    policy-violation (too many contacts).
    """
    checked = check_groups(groups)
    check_name(name)
    roster = LockedRoster(user_id)
    roster.check_contact(contact)
    previous = roster.get(contact)
    if previous is None:
        roster.check_room()
    return roster.put(replace(previous or Item(contact), name=name, groups=checked), previous)


@transaction.atomic
def remove_item(user_id: int, contact: str) -> Removal:
    """RFC 6121 2.5. Raises StanzaError(item-not-found) when there is neither an item nor a request."""
    roster = LockedRoster(user_id)
    previous = roster.get(contact)
    had_pending = roster.drop_pending(contact)
    if previous is None and not had_pending:
        raise StanzaError("item-not-found")
    if previous is not None:
        roster.remove(contact)
    return Removal(roster.version, previous, had_pending, _owed_on_removal(previous, had_pending))


def _owed_on_removal(item: Item | None, had_pending: bool) -> tuple[str, ...]:
    """RFC 6121 2.5.3; an unanswered request in either direction is withdrawn or refused as well."""
    sends = []
    if item is not None and (item.ask or item.subscription in ("to", "both")):
        sends.append("unsubscribe")
    if had_pending or (item is not None and item.subscription in ("from", "both")):
        sends.append("unsubscribed")
    return tuple(sends)


# --- what subscription stanzas do

PresenceType = Literal["subscribe", "subscribed", "unsubscribe", "unsubscribed"]


@transaction.atomic
def outgoing(user_id: int, contact: str, type: PresenceType) -> Outcome:
    """The account sends it: RFC 6121 appendix A.2. Raises StanzaError as set_item does."""
    roster = LockedRoster(user_id)
    roster.check_contact(contact)
    previous = roster.get(contact)
    pending = roster.get_pending(contact)
    before = previous or Item(contact)
    step = transitions.outgoing(_state(before, pending), type, before.approved)
    if previous is None and step.push:
        roster.check_room()
    return _apply(roster, previous, pending, step, before)


@transaction.atomic
def incoming(user_id: int, contact: str, type: PresenceType, stanza: str = "") -> Outcome:
    """The contact sends it: RFC 6121 appendix A.3. `stanza`: the complete subscribe, kept until answered."""
    roster = LockedRoster(user_id)
    try:
        roster.check_contact(contact)
    except StanzaError:  # nobody that could be a contact: RFC 6121 3 knows no answer, so none is given
        return Outcome(False, None, None, None, False, roster.version, False, None)
    previous = roster.get(contact)
    pending = roster.get_pending(contact)
    before = previous or Item(contact)
    step = transitions.incoming(_state(before, pending), type, before.approved)
    return _apply(roster, previous, pending, step, before, stanza)


def _apply(
    roster: LockedRoster,
    previous: Item | None,
    pending: str | None,
    step: transitions.Transition,
    before: Item,
    stanza: str = "",
) -> Outcome:
    route, pending_after = step.route, pending
    if pending is not None and not step.state.pending_in:
        roster.drop_pending(before.jid)
        pending_after = None
    elif pending is None and step.state.pending_in:
        pending_after = _kept_request(roster.jid, before.jid, stanza)
        if not roster.add_pending(before.jid, pending_after):
            route, pending_after = False, None  # not kept, so not shown either: it could come without end
    item = previous
    if step.push:
        approved = before.approved if step.approved is None else step.approved
        after = replace(before, subscription=step.state.subscription, ask=step.state.ask, approved=approved)
        item = roster.put(after, previous).item
    return Outcome(
        route=route,
        reply=step.reply,
        item=item,
        previous=previous,
        pushed=step.push,
        version=roster.version,
        pending_changed=pending_after != pending,
        pending=pending_after,
    )


def _kept_request(account: str, contact: str, stanza: str) -> str:
    if stanza and len(stanza.encode()) <= MAX_REQUEST_SIZE.value:
        return stanza
    return write(E(CLIENT, "presence", type="subscribe", from_=contact, to=account))


def _state(item: Item, pending: str | None) -> transitions.State:
    return transitions.State.of(item.subscription, item.ask, pending is not None)


# --- accounts that go


@transaction.atomic
def contacts_of_deleted(jid: str) -> list[tuple[int, Change]]:
    """The account is gone: who had it as a contact keeps the item, without a subscription.

    Returns the changed items as (user id, change). Requests of the account are withdrawn.
    """
    SubscriptionRequest.objects.filter(jid=jid).delete()
    changes = []
    holders = RosterItem.objects.filter(jid=jid).exclude(subscription="none", ask=False, approved=False)
    for user_id in holders.order_by("user_id").values_list("user_id", flat=True):
        roster = LockedRoster(user_id)
        previous = roster.get(jid)
        if previous is not None:
            item = replace(previous, subscription="none", ask=False, approved=False)
            changes.append((user_id, roster.put(item, previous)))
    return changes


def watch_deletions() -> None:
    """Have contacts_of_deleted() run in the transaction that deletes an account, whoever asks for it."""
    pre_delete.connect(_account_goes, sender=User, dispatch_uid="roster")


def _account_goes(instance: User, **_signal: object) -> None:
    contacts_of_deleted(instance.jid)


# --- what an administrator does

_MIRRORED = {"none": "none", "to": "from", "from": "to", "both": "both"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A contact as the console shows it. `shared_groups`: the groups that share it, which lock it."""

    item: Item
    shared_groups: tuple[str, ...] = ()
    is_personal: bool = True

    @property
    def is_shared(self) -> bool:
        return bool(self.shared_groups)


def admin_add(
    user: User,
    contact: str,
    name: str = "",
    groups: Iterable[str] = (),
    subscription: str | None = None,
    *,
    actor: Actor,
) -> Change:
    """Add a contact. Without a given subscription: both for an account here, none for one elsewhere.

    An account here gets the mirrored item, so that the two rosters agree. Raises ValidationError.
    """
    return _write(user, contact, name, groups, subscription, actor, is_new=True)


def admin_edit(
    user: User,
    contact: str,
    name: str = "",
    groups: Iterable[str] = (),
    subscription: str | None = None,
    *,
    actor: Actor,
) -> Change:
    """Replace name and groups; a given subscription too, then on both sides. Raises ValidationError."""
    return _write(user, contact, name, groups, subscription, actor, is_new=False)


@transaction.atomic
def admin_remove(user: User, contact: str, *, actor: Actor) -> Removal:
    """Remove a contact; an account here keeps its item without a subscription. Raises ValidationError.

    For a contact elsewhere the subscription stanzas of `Removal.sends` are still owed.
    """
    require_manages(actor, user, self_too=True)
    contact = _prepared(contact)
    other = User.objects.by_jid(contact)
    rosters = _lock(user, other)
    roster = rosters[user.pk]
    previous = roster.get(contact)
    if previous is None:
        raise _not_there(user, contact)
    had_pending = roster.drop_pending(contact)
    roster.remove(contact)
    if other is not None:
        _mirror(rosters[other.pk], user.jid, "none")
    record(actor, "roster-item-removed", user.jid, before=asdict(previous))
    return Removal(roster.version, previous, had_pending, _owed_on_removal(previous, had_pending))


@transaction.atomic
def _write(
    user: User,
    contact: str,
    name: str,
    groups: Iterable[str],
    subscription: str | None,
    actor: Actor,
    *,
    is_new: bool,
) -> Change:
    require_manages(actor, user, self_too=True)
    contact = _prepared(contact)
    other = User.objects.by_jid(contact)
    if is_new and subscription is None:
        subscription = "none" if other is None else "both"
    if other is not None and subscription not in (None, "none"):
        require_manages(actor, other, self_too=True)  # whose presence will be shown
    rosters = _lock(user, other)
    roster = rosters[user.pk]
    previous = roster.get(contact)
    if is_new and previous is not None:
        raise invalid("contact", _("%(contact)s is in this contact list already."), contact=contact)
    if not is_new and previous is None:
        raise _not_there(user, contact)
    if subscription is not None and subscription not in _MIRRORED:
        raise invalid("subscription", _("The subscription is one of none, to, from and both."))
    with _as_validation("contact"):
        roster.check_contact(contact)
        if is_new:
            roster.check_room()
    with _as_validation("name"):
        check_name(name)
    with _as_validation("groups"):
        item = replace(previous or Item(contact), name=name, groups=check_groups(groups))
    if subscription is not None:
        item = _subscribed(item, subscription)
        _settle_request(roster, item)
        if other is not None:
            with _as_validation("contact"):
                _mirror(rosters[other.pk], user.jid, _MIRRORED[subscription])
    change = roster.put(item, previous)
    record(
        actor,
        "roster-item-added" if is_new else "roster-item-changed",
        user.jid,
        before=asdict(previous) if previous else None,
        after=asdict(item),
        detail=contact,
    )
    return change


@contextmanager
def _as_validation(field: str) -> Iterator[None]:
    try:
        yield
    except StanzaError as error:
        raise invalid(field, error.text) from error


def _not_there(user: User, contact: str) -> ValidationError:
    if contact in sharing.shared_contacts(user.pk, everybody=False):
        text = _("%(contact)s is shared by a group; change the group instead.")
    else:
        text = _("%(contact)s is not in this contact list.")
    return invalid("contact", text, contact=contact)


def _prepared(contact: str) -> str:
    try:
        jid = JID.parse(contact.strip())
    except JIDError as error:
        raise invalid("contact", _("This is not an XMPP address.")) from error
    return jid.bare_str


def _lock(user: User, other: User | None) -> dict[int, LockedRoster]:
    """Both rosters, locked in the order of ids, lest two administrators wait for each other."""
    ids = {user.pk} | ({other.pk} if other else set())
    return {user_id: LockedRoster(user_id) for user_id in sorted(ids)}


def _mirror(roster: LockedRoster, contact: str, subscription: str) -> None:
    """Give the other side of a local subscription; an item that would say nothing is not made."""
    previous = roster.get(contact)
    item = _subscribed(previous or Item(contact), subscription)
    if subscription == "none":
        roster.drop_pending(contact)
    _settle_request(roster, item)
    if item != (previous or Item(contact)):
        if previous is None:
            roster.check_room()
        roster.put(item, previous)


def _subscribed(item: Item, subscription: str) -> Item:
    """The item with this subscription and without what it has settled: an own request, a pre-approval."""
    return replace(item, subscription=subscription, ask=False, approved=False)


def _settle_request(roster: LockedRoster, item: Item) -> None:
    if item.subscription in ("from", "both"):
        roster.drop_pending(item.jid)


def list_entries(user_id: int) -> list[Entry]:
    """Personal and shared contacts by address, as the account's clients see them."""
    rows = RosterItem.objects.filter(user_id=user_id).values_list(*FIELDS)
    entries = {row[0]: Entry(make_item(row)) for row in rows}
    for contact, shared in sharing.shared_contacts(user_id, everybody=False).items():
        if shared.implicit:
            continue
        own = entries.get(contact)
        item = merge(own.item if own else None, contact, shared)
        entries[contact] = Entry(item, shared.groups, is_personal=own is not None)
    return [entries[contact] for contact in sorted(entries)]


def merge(item: Item | None, contact: str, shared: sharing.SharedContact) -> Item:
    """What clients see of a contact that a group shares: the group's, joined by what the user made of it.

    Openfire's rule: who stands in the personal roster too is subscribed both ways.
    """
    if item is None:
        return Item(contact, shared.name, shared.subscription, groups=shared.groups)
    groups = tuple(dict.fromkeys([*item.groups, *shared.groups]))
    return replace(item, name=item.name or shared.name, subscription="both", ask=False, groups=groups)
