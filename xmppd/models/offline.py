"""Messages kept for accounts without an available resource, XEP-0160."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.fields import ExactCharField


class OfflineMessage(models.Model):
    """One <message/> as it would have been delivered; the ids are the order of delivery."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="offline_messages")
    stanza = models.TextField()
    size = models.PositiveIntegerField("bytes of the stanza in UTF-8")
    created = models.DateTimeField(default=timezone.now, db_index=True)
    sender = ExactCharField(
        "full JID of the sender, cut to the column", max_length=512, blank=True, default=""
    )

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"message {self.id} for {self.user_id}"
