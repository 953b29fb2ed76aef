"""What clients keep on the server for themselves, XEP-0049."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from accounts.fields import ExactCharField

MAX_NS_CHARS = 512
MAX_NAME_CHARS = 128  # the unique key has 8 + 4 * (512 + 128) bytes, below InnoDB's 3072


class PrivateData(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="private_data")
    ns = ExactCharField("namespace of the element", max_length=MAX_NS_CHARS)
    name = ExactCharField("local name of the element", max_length=MAX_NAME_CHARS)
    xml = models.TextField("the complete element")

    class Meta:
        verbose_name = verbose_name_plural = "private data"
        constraints = [models.UniqueConstraint(fields=["user", "ns", "name"], name="private_data_unique")]

    def __str__(self) -> str:
        return f"{{{self.ns}}}{self.name} of {self.user_id}"
