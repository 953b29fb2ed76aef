"""Messages in archives, written by the writer itself."""

from __future__ import annotations

import itertools
import re
import time

from accounts.models import User
from xmppd.models import ArchivedMessage
from xmppd.protocol.writer import escape
from xmppd.services import archive

_numbers = itertools.count(1)


def keep(user: User, text: str, *, days_ago: float = 0.0, peer: str = "romeo@example.org") -> int:
    """A chat message from `peer` to the user that many days ago; its id."""
    now = time.time() - days_ago * 86_400
    identity = archive.id_at(now) + next(_numbers)  # below the millisecond, so that no two are the same
    stanza = (
        f"<message from='{peer}/balcony' to='{user.jid}' type='chat'><body>{escape(text)}</body></message>"
    )
    job = archive.Job([(identity, user.pk, peer, "balcony")], stanza.encode(), None, _ignore)
    archive.write([job])
    return identity


def _ignore(job: archive.Job, problem: Exception | None) -> None:
    pass


def bodies(user: User) -> list[str]:
    """The texts in the user's archive, oldest first."""
    archive.settle()
    rows = ArchivedMessage.objects.filter(user=user).order_by("id").values_list("stanza", flat=True)
    return [re.findall("<body>(.*)</body>", stanza)[0] for stanza in rows]
