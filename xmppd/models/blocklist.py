"""Whom accounts block, XEP-0191. Written by xmppd.services.blocklist alone."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from accounts.fields import MAX_JID_CHARS, ExactCharField


class BlockedAddress(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="blocked_addresses")
    jid = ExactCharField(
        "user@domain/resource, user@domain, domain/resource or domain", max_length=MAX_JID_CHARS
    )

    class Meta:
        verbose_name_plural = "blocked addresses"
        constraints = [models.UniqueConstraint(fields=["user", "jid"], name="blocked_address_unique")]

    def __str__(self) -> str:
        return f"{self.jid} is blocked by {self.user_id}"
