"""What a client that binds by XEP-0386 reads in the archive by itself, and so is not sent from the offline store."""

from __future__ import annotations

import re

from django.db import transaction

from xmppd.models import OfflineMessage
from xmppd.services import offline
from xmppd.services.archive_query import messages, tables

CHUNK = 500  # SQLite may be built for no more than 999 parameters

# The archive's mark is the last child; on the way into it, marks in our name are taken out.
_ARCHIVED_AS = re.compile(r"<stanza-id xmlns='urn:xmpp:sid:0' by='[^']*' id='([0-9]{1,19})'/></message>\Z")


@transaction.atomic
def clear_archived(user_id: int, last: int) -> bool:
    """Delete the offline messages that stand in the user's archive up to this id, and only these: an archive that is
    switched off, or was asked not to keep somebody's messages, gives nothing back. Whether any are left.
    """
    rows = OfflineMessage.objects.filter(user_id=user_id).values_list("id", "stanza")
    marks = {row: int(mark[1]) for row, stanza in rows if (mark := _ARCHIVED_AS.search(stanza))}
    archived = _archived(user_id, [mark for mark in set(marks.values()) if mark <= last])
    offline.delete(user_id, [row for row, mark in marks.items() if mark in archived])
    return offline.count(user_id) > 0


def _archived(user_id: int, ids: list[int]) -> set[int]:
    """Those of the ids that the user's archive holds."""
    return {
        identity
        for start in range(0, len(ids), CHUNK)
        for table in tables()
        for identity in messages(user_id, table)
        .filter(id__in=ids[start : start + CHUNK])
        .values_list("id", flat=True)
    }
