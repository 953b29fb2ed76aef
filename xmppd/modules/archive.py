"""XEP-0313: Message Archive Management, its writing half: what is kept, and that it is kept before it is delivered.

Parse, authorise, commit both copies and the offline message in one transaction, then count as handled (XEP-0198), then
deliver. Nobody is told of a message that a crash could still lose.
"""

from __future__ import annotations

import asyncio
import logging

from django.utils.translation import gettext_lazy as _

from xmppd.modules.offline import Offline
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.namespaces import CHAT_MARKERS, CLIENT, HINTS, RECEIPTS, STANZA_ID
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.management import Management
from xmppd.server.account import Account
from xmppd.server.deferred import Deferred
from xmppd.server.module import Module, Xep
from xmppd.server.session import Session
from xmppd.services import archive, archive_query, offline
from xmppd.services.archive import Copy, Ids, Job, Writer, fingerprint
from xmppd.services.db import OUT_OF_REACH, db
from xmppd.services.db import refusal as database_refusal
from xmppd.services.properties import Setting

log = logging.getLogger("hearth.archive")

RESTART_SECONDS = 3600  # how far back a message that is sent again is known behind a restart
MAX_CLOCK_STEP = 24 * 3600  # seconds that the clock may go back over a restart, and ids still grow
MAX_RECENT = 50_000  # messages; once to twice as many are known when they are sent again

_BODY = f"{CLIENT}\nbody"
_STANZA_ID = f"{STANZA_ID}\nstanza-id"
_STORE = f"{HINTS}\nstore"
_NOT = frozenset({f"{HINTS}\nno-store", f"{HINTS}\nno-permanent-store"})
_NEVER_KEPT = frozenset({"error", "groupchat"})  # a room has an archive of its own
# Without a body: what other devices of the user must learn as well.
_WORTH_KEEPING = frozenset(
    {
        f"{RECEIPTS}\nreceived",
        f"{CHAT_MARKERS}\ndisplayed",
        f"{CHAT_MARKERS}\nreceived",
        f"{CHAT_MARKERS}\nacknowledged",
        "urn:xmpp:message-correct:0\nreplace",
        "urn:xmpp:message-retract:1\nretract",
        "urn:xmpp:reactions:0\nreactions",
        "urn:xmpp:jingle-message:0\npropose",  # and all that ends a call, lest a device rings for it later
        "urn:xmpp:jingle-message:0\nretract",
        "urn:xmpp:jingle-message:0\nproceed",
        "urn:xmpp:jingle-message:0\naccept",
        "urn:xmpp:jingle-message:0\nreject",
        "urn:xmpp:jingle-message:0\nfinish",
        "eu.siacs.conversations.axolotl\nencrypted",
        "urn:xmpp:omemo:2\nencrypted",
        "urn:xmpp:openpgp:0\nopenpgp",
        "jabber:x:conference\nx",
    }
)


class Archive(Module):
    """Keeps messages of type normal and chat for both sides."""

    xep = Xep(359, "0.7.0", name="Unique and Stable Stanza IDs")
    account_features = [STANZA_ID]

    enabled = Setting(
        "archive.enabled",
        bool,
        True,
        _("Keep the messages of all users, so that each of their devices can fetch what it missed."),
        label=_("Message archive"),
    )

    async def start(self) -> None:
        now = self.server.clock.time()
        self._ids = Ids(last=await db(archive.newest, now + MAX_CLOCK_STEP))
        self.preferences = await db(
            archive_query.all_preferences
        )  # of the users who said something; see mam.py
        # Fingerprint -> the stream that a message came over, and its number there.
        self._recent: dict[int, tuple[Management, int]] = {}
        self._older: dict[int, tuple[Management, int]] = {}
        self._of_earlier = set(await db(archive.recent, now - RESTART_SECONDS, MAX_RECENT))
        # Of messages that are sent again while the first is written.
        self._again: dict[int | None, list[Deferred]] = {}
        self._offline: Offline = self.server.module(Offline)
        self._writer = Writer(asyncio.get_running_loop())
        self._writer.start()
        self.server.archive = self.keep

    async def stop(self) -> None:
        await asyncio.to_thread(self._writer.stop)

    @property
    def is_failing(self) -> bool:
        """The database does not take what is written; senders wait."""
        return self._writer.is_failing

    def keep(self, stanza: Stanza, account: Account, is_undelivered: bool) -> Deferred | None:
        """Have a message for the account committed; the Deferred is finished when it was delivered after that."""
        if _STANZA_ID in stanza.children:
            self._remove_forged(stanza)  # from what is not kept as well (XEP-0359 3)
        if not is_worth_keeping(stanza):
            return None
        if is_undelivered and offline.POLICY.value == "bounce":
            return None  # XEP-0313 5.1: what is refused is in no archive
        copies: list[Copy] = []
        if self.enabled:
            now = self.server.clock.time()
            sender = self.server.directory.in_memory(stanza.from_.bare_str)
            if sender is not None and sender is not account and self._wants(sender, stanza.to):
                copies.append((self._ids.next(now), sender.id, stanza.to.bare_str, stanza.to.resource))
            if self._wants(account, stanza.from_):
                copies.append((self._ids.next(now), account.id, stanza.from_.bare_str, stanza.from_.resource))
        if not copies:
            return None
        is_offline = is_undelivered and offline.POLICY.value == "store"
        return self._submit(stanza, account, copies, is_offline)

    def _wants(self, account: Account, peer: JID) -> bool:
        """XEP-0441: what the user said; all, where nothing was said."""
        if not self.preferences or account.id not in self.preferences:
            return True
        return self.preferences[account.id].wants(peer.full_str, peer.bare_str in account.contacts)

    def _submit(self, stanza: Stanza, account: Account, copies: list[Copy], is_offline: bool) -> Deferred:
        if is_offline:
            self._offline.remove_own_delays(stanza)
        deferred = Deferred()
        mark = fingerprint(stanza.from_.bare_str, stanza.to.full_str, stanza.id, stanza.body)
        if mark is not None and self._is_repeated(mark, self.server.router.origin(stanza.from_)):
            stanza.sent_id = -1  # kept and delivered the first time
            if mark in self._again:
                self._again[mark].append(deferred)
            else:
                deferred.finish()
            return deferred
        if mark is not None:
            self._again.setdefault(mark, [])
        identity, owner_id = copies[-1][:2]
        job = Job(
            copies,
            stanza.to_bytes(),
            mark,
            lambda job, problem: self._committed(problem, job, stanza, account, deferred),
            offline_user_id=account.id if is_offline else None,
            stanza_id=_stanza_id(account, identity) if owner_id == account.id else b"",
            sender=stanza.from_.full_str,
        )
        self._writer.submit(job)
        return deferred

    def _committed(
        self, problem: Exception | None, job: Job, stanza: Stanza, account: Account, deferred: Deferred
    ) -> None:
        refusal: StanzaError | None = None
        if problem is not None or job.is_refused:
            if job.fingerprint is not None:
                self._recent.pop(job.fingerprint, None)
                self._older.pop(job.fingerprint, None)
            refusal = _refusal(problem)
        if job.is_refused:
            refusal = StanzaError("service-unavailable")  # XEP-0160 2
        for again in self._again.pop(job.fingerprint, ()):
            again.finish(refusal)
        if refusal is not None:
            deferred.finish(refusal)
            return
        for identity, owner_id, _peer, _resource in job.copies:
            if owner_id == account.id:
                stanza.append_bytes(_STANZA_ID, job.stanza_id)
            else:
                stanza.sent_id = identity
        if job.offline_user_id is not None:
            self._offline.stored(account)
            if account.carbons:
                self.server.router.delivered(stanza, account, ())
            deferred.finish()
            return
        try:
            waiting = self.server.router.hand_out(stanza, account)
        except StanzaError as refused:
            log.debug("%s is in the archive only: %s", stanza, refused)
            deferred.finish()  # so it is not lost, and nobody has to be told
            return
        if waiting is None:
            deferred.finish()
        else:
            self.server.spawn(_finish_later(waiting, deferred))

    def _is_repeated(self, mark: int, session: Session | None) -> bool:
        """Whether a client sends again what came over a stream that broke before its acknowledgement (XEP-0198 5).

        A stream does not repeat itself, and who was told of a message means another one, though it be the same.
        """
        if mark in self._of_earlier:
            self._of_earlier.discard(mark)  # whether its client was told, the process before this one knew
            return True
        management = None if session is None else session.management
        first = self._recent.get(mark) or self._older.get(mark)
        if first is not None and first[0] is not management and first[0].told < first[1]:
            return True
        if management is not None:
            self._recent[mark] = (management, management.handled + 1)
            if len(self._recent) >= MAX_RECENT:
                self._recent, self._older = {}, self._recent
        return False

    def _remove_forged(self, stanza: Stanza) -> None:
        """XEP-0359 3: nobody but us gives ids in the name of our addresses."""
        stanza.replace_children(
            child
            for child in stanza.element.children
            if isinstance(child, str)
            or child.tag != (STANZA_ID, "stanza-id")
            or not self._is_ours(child.get("by"))
        )

    def _is_ours(self, by: str) -> bool:
        try:
            return JID.parse(by).domain in self.server.domains
        except JIDError:
            return True


def _stanza_id(account: Account, identity: int) -> bytes:
    """What tells the account under which id it finds the message (XEP-0313 3.5)."""
    return b"<stanza-id xmlns='urn:xmpp:sid:0' by='%b' id='%d'/>" % (account.jid.attr, identity)


def _refusal(problem: Exception | None) -> StanzaError:
    if isinstance(problem, OUT_OF_REACH):
        return database_refusal(problem)
    return StanzaError("internal-server-error", "the message could not be kept", type="wait")


async def _finish_later(waiting: object, deferred: Deferred) -> None:
    problem: Exception | None = None
    try:
        await waiting  # type: ignore[misc]
    except Exception as error:
        problem = error
    deferred.finish(problem)


def is_worth_keeping(stanza: Stanza) -> bool:
    """XEP-0313 5.1.1: messages with content, and what asks for it, not what asks not to be kept (XEP-0334 4)."""
    kind = stanza.attrs.get("type")
    children = stanza.children
    if kind in _NEVER_KEPT or not _NOT.isdisjoint(children):
        return False
    if _STORE in children:
        return True
    # An unknown type is normal (RFC 6121 5.2.2).
    return kind != "headline" and (_BODY in children or not _WORTH_KEEPING.isdisjoint(children))
