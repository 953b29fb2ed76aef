"""What users report to the administrators when they block somebody, XEP-0377; written by xmppd.services.reports."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.fields import MAX_JID_CHARS, ExactCharField


class Report(models.Model):
    """The addresses stay when an account is deleted; the accounts are linked so that a later one with the same
    name is not taken for it.
    """

    class Reason(models.TextChoices):
        SPAM = "spam", _("Spam")
        ABUSE = "abuse", _("Abuse")
        OTHER = "other", _("Other")

    class State(models.TextChoices):
        OPEN = "open", _("Open")
        HANDLED = "handled", _("Handled")
        DISMISSED = "dismissed", _("Dismissed")

    reporter = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="reports_made"
    )
    reporter_jid = ExactCharField("bare JID", max_length=MAX_JID_CHARS)
    reported = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="reports_about"
    )
    reported_jid = ExactCharField("the blocked address", max_length=MAX_JID_CHARS)
    reason = models.CharField(max_length=8, choices=Reason.choices)
    reason_uri = models.CharField("as the client named it", max_length=255, blank=True, default="")
    text = models.TextField(blank=True, default="")
    stanza_ids = models.JSONField("the reported messages: list of {by, id}, XEP-0359", default=list)
    may_go_to = models.JSONField(
        "with whom the reporter agrees to share it: origin, third-party", default=list
    )
    created = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=9, choices=State.choices, default=State.OPEN)
    handled_by = models.CharField("bare JID", max_length=MAX_JID_CHARS, blank=True, default="")
    handled = models.DateTimeField(null=True)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "id"], name="report_state"),
            models.Index(fields=["reporter", "created"], name="report_reporter"),
            models.Index(fields=["reported_jid"], name="report_reported"),
        ]

    def __str__(self) -> str:
        return f"{self.reporter_jid} reports {self.reported_jid} ({self.reason})"
