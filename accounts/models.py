"""Domains, users, groups, and the two tables that every writer needs: settings and the audit log.

Rows belong to a user by id, never by name: a name may be given again, rights may not. Written by
accounts.services, accounts.registry and accounts.audit alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import roles
from accounts.fields import MAX_JID_CHARS, MAX_NAME_CHARS, ExactCharField
from accounts.roles import Role
from xmppd.protocol.jid import JID, JIDError, prepare_local


class Domain(models.Model):
    """A domain served here. Exactly one is the primary one; users and groups belong to one domain."""

    name = ExactCharField("prepared domainpart, RFC 7622 3.2", max_length=MAX_NAME_CHARS, unique=True)
    is_primary = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["is_primary"], condition=models.Q(is_primary=True), name="domain_one_primary"
            )
        ]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> models.QuerySet[User]:
        return super().get_queryset().select_related("domain")

    def get_by_natural_key(self, username: str | None) -> User:
        """The account of a bare JID; without '@', of the primary domain. Raises User.DoesNotExist."""
        local, at, domain = (username or "").rpartition("@")
        if not at:
            return self.get(domain__is_primary=True, username=domain)
        return self.get(domain__name=domain, username=local)

    def by_jid(self, text: str) -> User | None:
        """The local account with this JID (prepared here), or None."""
        try:
            jid = JID.parse(text)
        except JIDError:
            return None
        return self.filter(domain__name=jid.domain, username=jid.local).first() if jid.local else None

    def by_username(self, text: str) -> User | None:
        """The account of the primary domain with this user name (prepared here), or None."""
        try:
            return self.filter(domain__is_primary=True, username=prepare_local(text.strip())).first()
        except JIDError:
            return None


class User(AbstractBaseUser):
    """An account: logs in over XMPP, and on the console too when it has a role."""

    Role = Role
    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = []

    domain = models.ForeignKey(Domain, models.PROTECT, related_name="users")
    username = ExactCharField(_("User name"), max_length=MAX_NAME_CHARS)
    name = models.CharField(_("Name"), max_length=MAX_NAME_CHARS, blank=True, default="")
    email = models.CharField(_("E-mail"), max_length=254, blank=True, default="")
    password = models.CharField("SCRAM keys, see accounts.credentials", max_length=512)
    role = models.CharField(_("Role"), max_length=20, choices=Role.choices, default=Role.NONE, blank=True)
    created = models.DateTimeField(_("Created"), default=timezone.now)
    last_login = models.DateTimeField(_("Last login"), null=True, blank=True)
    last_seen = models.DateTimeField("when the last session ended", null=True, blank=True)
    last_status = models.TextField("status text of the last unavailable presence", blank=True, default="")
    locked_from = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField("null with locked_from set: for ever", null=True, blank=True)
    lock_reason = models.CharField(_("Reason"), max_length=255, blank=True, default="")
    # User name, name and e-mail in one case-folded column, so that one LIKE searches them in any script.
    search_text = models.TextField(editable=False, default="")

    objects = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "username"], name="user_unique")]
        # Each list order of search_users(); the id makes the order of equal rows stable.
        indexes = [
            models.Index(fields=["domain", "name", "id"], name="user_by_name"),
            models.Index(fields=["domain", "created", "id"], name="user_by_created"),
            models.Index(fields=["domain", "last_seen", "id"], name="user_by_last_seen"),
            models.Index(fields=["domain", "role", "username"], name="user_by_role"),
            models.Index(fields=["domain", "locked_from"], name="user_by_lock"),
        ]

    def __str__(self) -> str:
        return self.jid

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.search_text = search_text(self.username, self.name, self.email)
        fields = kwargs.get("update_fields")
        if fields is not None and not {"username", "name", "email"}.isdisjoint(fields):
            kwargs["update_fields"] = {*fields, "search_text"}
        super().save(*args, **kwargs)

    @property
    def jid(self) -> str:
        """The bare JID."""
        return f"{self.username}@{self.domain.name}"

    @property
    def display_name(self) -> str:
        return self.name or self.username

    def is_locked(self, at: datetime | None = None) -> bool:
        at = at or timezone.now()
        if self.locked_from is None or at < self.locked_from:
            return False
        return self.locked_until is None or at < self.locked_until

    @property
    def is_active(self) -> bool:  # type: ignore[override]
        """Django's word for being allowed in."""
        return not self.is_locked()

    def can(self, permission: str) -> bool:
        """Whether the role allows it, e.g. `users.change`; accounts.roles has the table."""
        return roles.allows(self.role, permission)

    def get_full_name(self) -> str:
        return self.display_name

    def get_short_name(self) -> str:
        return self.username


def search_text(username: str, name: str, email: str) -> str:
    return f"{username}\n{name}\n{email}".casefold()


class Group(models.Model):
    """A set of users, shared into contact lists when `sharing` says so (accounts.sharing)."""

    class Sharing(models.TextChoices):
        NOBODY = "nobody", _("Not shared")
        EVERYBODY = "everybody", _("Shared with all users")
        GROUPS = "groups", _("Shared with its members and the groups chosen")

    domain = models.ForeignKey(Domain, models.PROTECT, related_name="groups")
    name = ExactCharField(_("Name"), max_length=MAX_NAME_CHARS)
    description = models.TextField(_("Description"), blank=True, default="")
    sharing = models.CharField(
        _("Contact list sharing"), max_length=10, choices=Sharing.choices, default=Sharing.NOBODY
    )
    display_name = models.CharField(
        _("Name in contact lists"), max_length=MAX_NAME_CHARS, blank=True, default=""
    )
    shared_with = models.ManyToManyField(
        "self", symmetrical=False, related_name="sees", blank=True, verbose_name=_("Shared with these groups")
    )
    created = models.DateTimeField(default=timezone.now)
    users: models.ManyToManyField[User, Membership] = models.ManyToManyField(
        User, through="Membership", related_name="user_groups"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="group_unique")]
        indexes = [models.Index(fields=["domain", "sharing"], name="group_by_sharing")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_shared(self) -> bool:
        return self.sharing != self.Sharing.NOBODY


class Membership(models.Model):
    """A member of a group: an account here, or the bare JID of somebody elsewhere."""

    group = models.ForeignKey(Group, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="memberships")
    remote_jid = ExactCharField(max_length=MAX_JID_CHARS, blank=True, default="")
    is_admin = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user__isnull=False, remote_jid="")
                | (models.Q(user__isnull=True) & ~models.Q(remote_jid="")),
                name="membership_user_or_remote",
            ),
            # A null user is distinct from every other: the local rule leaves remote members alone, and the
            # remote rule needs the condition (MySQL, which has none, relies on the service).
            models.UniqueConstraint(fields=["group", "user"], name="membership_unique"),
            models.UniqueConstraint(
                fields=["group", "remote_jid"],
                condition=models.Q(user__isnull=True),
                name="membership_unique_remote",
            ),
        ]
        indexes = [models.Index(fields=["remote_jid"], name="membership_by_remote")]

    def __str__(self) -> str:
        return self.jid

    @property
    def jid(self) -> str:
        return self.user.jid if self.user else self.remote_jid


class LoginLink(models.Model):
    """A one-time link into the console. Only the digest of its token is kept; used links are deleted."""

    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="login_links")
    expires = models.DateTimeField()

    def __str__(self) -> str:
        return f"link of {self.user_id} until {self.expires}"


class Property(models.Model):
    """A setting that differs from its default; accounts.registry knows type, limits and meaning."""

    name = ExactCharField(max_length=150, primary_key=True)
    value = models.JSONField()
    changed = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=MAX_JID_CHARS, blank=True, default="")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """Who did what to whom, through which door, with what change. Never a password, key or token."""

    class Door(models.TextChoices):
        CONSOLE = "console", _("Console")
        CLI = "cli", _("Command line")
        ADHOC = "adhoc", _("XMPP client")
        API = "api", _("API")
        SYSTEM = "system", _("Server")

    created = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=MAX_JID_CHARS)
    door = models.CharField(max_length=10, choices=Door.choices)
    address = models.CharField(max_length=64, blank=True, default="")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=MAX_JID_CHARS, blank=True, default="")
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    detail = models.TextField(blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["created"], name="audit_by_created"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
            models.Index(fields=["target", "id"], name="audit_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"
