"""Contact lists and presence subscriptions, RFC 6121 2 and 3. Written by xmppd.services.roster alone."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.fields import MAX_JID_CHARS, ExactCharField


class RosterState(models.Model):
    """The version of a roster (RFC 6121 2.6). Without a row: never had an item, version 0."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="roster_state"
    )
    version = models.BigIntegerField()
    # All removals after this version are logged as tombstones; who knows an older one gets the whole roster.
    log_start = models.BigIntegerField()

    def __str__(self) -> str:
        return f"roster of {self.user_id} at version {self.version}"


class RosterItem(models.Model):
    """A contact as the client sees it. A contact who merely asked to subscribe has none (RFC 6121 3.1.3)."""

    class Subscription(models.TextChoices):
        NONE = "none"
        TO = "to"
        FROM = "from"
        BOTH = "both"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="roster_items")
    jid = ExactCharField("bare JID of the contact", max_length=MAX_JID_CHARS)
    name = models.TextField(blank=True, default="")
    subscription = models.CharField(max_length=4, choices=Subscription.choices, default=Subscription.NONE)
    ask = models.BooleanField("a subscribe of ours awaits an answer", default=False)
    approved = models.BooleanField("pre-approved, RFC 6121 3.4", default=False)
    groups = models.JSONField("list of group names", default=list)
    version = models.BigIntegerField("roster version of the last change")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "jid"], name="roster_item_unique")]
        indexes = [
            models.Index(fields=["jid"], name="roster_item_jid"),
            models.Index(fields=["user", "version"], name="roster_item_version"),
        ]

    def __str__(self) -> str:
        return f"{self.jid} ({self.subscription})"


class RosterTombstone(models.Model):
    """A removal, for clients that fetch only changes (RFC 6121 2.6.3). Goes when the contact comes back."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="roster_tombstones")
    jid = ExactCharField(max_length=MAX_JID_CHARS)
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "jid"], name="roster_tombstone_unique")]
        indexes = [models.Index(fields=["user", "version"], name="roster_tombstone_version")]

    def __str__(self) -> str:
        return f"{self.jid} removed at version {self.version}"


class SubscriptionRequest(models.Model):
    """An inbound subscribe that awaits the account's answer, as received (RFC 6121 3.1.3)."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="subscription_requests")
    jid = ExactCharField("bare JID of who asks", max_length=MAX_JID_CHARS)
    stanza = models.TextField("the complete <presence/>")
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "jid"], name="subscription_request_unique")]
        indexes = [models.Index(fields=["jid"], name="subscription_request_jid")]

    def __str__(self) -> str:
        return f"{self.jid} asks {self.user_id}"
