"""Domains served here."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Actor
from accounts.fields import MAX_NAME_CHARS
from accounts.models import Domain
from xmppd.protocol.jid import JIDError, prepare_domain


def primary_domain() -> Domain | None:
    """The domain that names without one belong to; None before set-up."""
    return Domain.objects.filter(is_primary=True).first()


def clean_domain(text: str) -> str:
    """The prepared name; a host name, `localhost` and an IP address (IPv6 in brackets) are all domains."""
    try:
        name = prepare_domain(text.strip())
    except JIDError:
        name = ""
    if not name or len(name) > MAX_NAME_CHARS:
        message = _(
            "“%(name)s” is not a domain name. Use for example chat.example.org, localhost or 192.168.1.10."
        )
        raise ValidationError({"domain": ValidationError(message, code="invalid", params={"name": text})})
    return name


@transaction.atomic
def create_domain(*, name: str, is_primary: bool = False, actor: Actor) -> Domain:
    name = clean_domain(name)
    if Domain.objects.filter(name=name).exists():
        raise ValidationError({"domain": ValidationError(_("This domain exists already."), code="taken")})
    domain = Domain.objects.create(name=name, is_primary=is_primary)
    audit.record(actor, "domain-created", name, after={"name": name, "is_primary": is_primary})
    return domain
