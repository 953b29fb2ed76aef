"""Checks that several services make. They raise ValidationError with the field's name."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext as _

from accounts import roles
from accounts.audit import Actor
from accounts.models import User


def invalid(field: str, message: str, code: str = "invalid", **params: Any) -> ValidationError:
    return ValidationError({field: ValidationError(message, code=code, params=params or None)})


def clean_text(field: str, text: str, max_chars: int, *, lines: bool = False) -> str:
    """The text without surrounding space. It will stand in XML: control characters have no place there."""
    text = text.strip()
    allowed = "\n\t" if lines else ""
    if lines:
        text = text.replace("\r\n", "\n")
    if any(not is_xml_char(char) or (ord(char) < 0x20 and char not in allowed) for char in text):
        raise invalid(field, _("This text holds a character that is not allowed."))
    if len(text) > max_chars:
        raise invalid(field, _("At most %(limit)d characters."), "too-long", limit=max_chars)
    return text


def is_xml_char(char: str) -> bool:
    """XML 1.0 production 2, without the C1 controls and the non-characters that some parsers refuse."""
    code = ord(char)
    if code < 0x20:
        return char in "\t\n\r"
    return not (0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE)


def actor_role(actor: Actor) -> str:
    """The role behind the actor; the server and its commands act as an owner."""
    if actor.user_id is None:
        return roles.Role.OWNER
    return User.objects.filter(pk=actor.user_id).values_list("role", flat=True).first() or roles.Role.NONE


def require_permission(actor: Actor, permission: str) -> None:
    """PermissionDenied unless the actor's role has the permission, which roles.PERMISSIONS names."""
    if not roles.allows(actor_role(actor), permission):
        raise PermissionDenied(
            _("Your role does not include this page or action. Ask an owner of this server if you need it.")
        )


def require_manages(actor: Actor, user: User, *, self_too: bool = False) -> None:
    """PermissionDenied unless the actor's role manages this account; `self_too`: or it is his own."""
    if self_too and actor.user_id == user.pk:
        return
    if not roles.manages(actor_role(actor), user.role):
        raise PermissionDenied(_("Your role does not allow changes to this account."))
