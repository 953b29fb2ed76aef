"""Profiles, XEP-0054, with the columns that the user directory (XEP-0055) searches."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

MAX_SEARCHED_CHARS = 200  # the searched columns hold the beginning of longer values


def _searched(label: str) -> models.CharField:
    """A case-folded column: databases differ in what they call equal but for case."""
    return models.CharField(label, max_length=MAX_SEARCHED_CHARS, blank=True, default="", db_index=True)


class VCard(models.Model):
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="vcard"
    )
    xml = models.TextField("the complete <vCard/>")
    updated = models.DateTimeField(default=timezone.now)
    shown = models.JSONField("the searched values as they were written, by column", default=dict)
    full_name = _searched("FN")
    nickname = _searched("NICKNAME")
    family = _searched("N/FAMILY")
    given = _searched("N/GIVEN")
    email = _searched("EMAIL/USERID")
    locality = _searched("ADR/LOCALITY")
    organisation = _searched("ORG/ORGNAME")

    class Meta:
        verbose_name = "vCard"

    def __str__(self) -> str:
        return f"vCard of {self.user_id}"
