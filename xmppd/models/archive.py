"""The message archive, XEP-0313."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from accounts.fields import MAX_JID_CHARS, ExactCharField, ExactTextField, RowIdField


class ArchivedCopy(models.Model):
    """One message in one archive; the sender's copy and the recipient's are two rows.

    The id is ours (services.archive.Ids): it tells the time to the millisecond, orders the archive, and is the
    stanza-id (XEP-0359) that clients see.
    """

    id = RowIdField(primary_key=True)
    # Without a constraint: an account goes at once, and its messages behind it in small transactions
    # (services.archive_retention.forget). To delete a million rows in one keeps SQLite from all else for a minute.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    peer = ExactCharField("bare JID of the other side", max_length=MAX_JID_CHARS)
    peer_resource = ExactTextField("resource of the other side", blank=True, default="")
    stanza = models.TextField("the <message/> as delivered, without our stanza-id")
    size = models.PositiveIntegerField("bytes of the stanza in UTF-8")
    fingerprint = models.BigIntegerField(
        "equal for a message that its client sends again; null where that cannot be told", null=True
    )

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"message {self.id} of {self.user_id} with {self.peer}"


class ArchivedMessage(ArchivedCopy):
    """The archive, in which each page is found by an index."""

    class Meta:
        indexes = [
            # With the size, so that the sum of a million messages is read from the index.
            models.Index(fields=["user", "id", "size"], name="archived_message_user"),
            models.Index(fields=["user", "peer", "id"], name="archived_message_peer"),
        ]


class JournalledMessage(ArchivedCopy):
    """What was committed a moment ago and waits to be moved into the archive, on SQLite only.

    It commits whole pages, and each message would change four of the archive's indexes; a journal without an index
    grows at its end, and hundreds of messages that are moved at once share the pages that they change.
    """


class ArchivePreferences(models.Model):
    """What a user wants archived (XEP-0441), and how long it is kept. Without a row the server's settings hold."""

    class Default(models.TextChoices):
        ALWAYS = "always"
        NEVER = "never"
        ROSTER = "roster"

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="archive_preferences"
    )
    default = models.CharField(max_length=6, choices=Default.choices, default=Default.ALWAYS)
    always = models.JSONField("bare JIDs whose messages are archived whatever the default", default=list)
    never = models.JSONField("bare JIDs whose messages are not", default=list)
    keep_days = models.PositiveIntegerField(
        "days that messages are kept; null: as the setting says", null=True
    )
    keep_bytes = models.BigIntegerField("bytes that are kept; null: as the setting says", null=True)

    def __str__(self) -> str:
        return f"archive of {self.user_id}: {self.default}"
