"""Installations of clients, known by the id in XEP-0388's <user-agent/>, and their tokens (XEP-0484)."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.fields import ExactCharField


class Device(models.Model):
    """The id itself is a secret between client and server; only its hash is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="devices")
    agent = ExactCharField("SHA-256 of the id, in hexadecimal", max_length=64)
    label = models.CharField("the name that its user gave it", max_length=100, blank=True, default="")
    software = models.CharField(max_length=100, blank=True, default="")
    device = models.CharField(max_length=100, blank=True, default="")
    resource = models.TextField("of its last session", blank=True, default="")
    mechanism = models.CharField("of its last login", max_length=40, blank=True, default="")
    address = models.CharField("of its last login", max_length=64, blank=True, default="")
    first_seen = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "agent"], name="device_unique")]

    def __str__(self) -> str:
        return f"device {self.pk} of {self.user_id}"


class DeviceToken(models.Model):
    """No secret stands here: the token is made of `nonce` and the server's secret key (services/devices.py)."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="tokens")
    mechanism = models.CharField("the only one it is good for", max_length=40)
    nonce = ExactCharField(max_length=32)
    credential = ExactCharField("fingerprint of the password's keys when it was issued", max_length=32)
    created = models.DateTimeField()
    expires = models.DateTimeField()
    is_used = models.BooleanField(default=False)
    count = models.BigIntegerField("of the last login that counted, XEP-0484 3.4", default=-1)

    def __str__(self) -> str:
        return f"token {self.pk} of device {self.device_id}"
