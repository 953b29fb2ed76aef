"""Forms of the sessions pages: close a session, send a message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from xmppd.protocol.jid import JID, JIDError
from xmppd.protocol.writer import clean as without_forbidden

EVERYBODY, USER, SESSION = "all", "user", "session"
MAX_BODY_CHARS = 10_000


def xml_text(text: str) -> None:
    """XML 1.0 2.2 has no place for most control characters: they would end the streams of all who got them."""
    if without_forbidden(text) != text:
        raise ValidationError(_("The text contains a control character that cannot be sent."))


class CloseForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=200,
        validators=[xml_text],
        help_text=gettext_lazy("Sent to the client, which may show it. Up to 200 characters."),
    )


class MessageForm(forms.Form):
    audience = forms.ChoiceField(
        label=gettext_lazy("To"),
        widget=forms.RadioSelect,
        choices=[
            (EVERYBODY, gettext_lazy("Everybody online")),
            (USER, gettext_lazy("One user")),
            (SESSION, gettext_lazy("One session")),
        ],
        initial=EVERYBODY,
    )
    audience.choice_help = {  # type: ignore[attr-defined]
        EVERYBODY: gettext_lazy("Every session of every user"),
        USER: gettext_lazy("All sessions of the address below"),
        SESSION: gettext_lazy("The session with the full address below"),
    }
    to = forms.CharField(
        label=gettext_lazy("Address"),
        required=False,
        max_length=3071,
        help_text=gettext_lazy("user@domain for one user, user@domain/resource for one session."),
    )
    subject = forms.CharField(
        label=gettext_lazy("Subject"), required=False, max_length=200, validators=[xml_text]
    )
    body = forms.CharField(
        label=gettext_lazy("Message"),
        max_length=MAX_BODY_CHARS,
        widget=forms.Textarea(attrs={"rows": 5}),
        validators=[xml_text],
        help_text=gettext_lazy(
            "Plain text, up to 10,000 characters. Users who are offline will not receive it."
        ),
    )

    def clean_body(self) -> str:
        return str(self.cleaned_data["body"]).replace("\r\n", "\n")

    def clean(self) -> dict[str, Any]:
        """`to` becomes what the service takes: "" for everybody, a bare or a full JID."""
        data = super().clean() or {}
        audience = data.get("audience")
        if audience == EVERYBODY:
            data["to"] = ""
        elif audience and "to" not in self.errors:
            data["to"] = self._address(data.get("to", ""), audience)
        return data

    def _address(self, text: str, audience: str) -> str:
        try:
            jid = JID.parse(text.strip())
        except JIDError:
            self.add_error("to", _("This is not an address. Enter user@domain or user@domain/resource."))
            return ""
        if not jid.local:
            self.add_error("to", _("The address has no user before the @."))
        elif audience == SESSION and jid.is_bare:
            self.add_error("to", _("A session has a resource: user@domain/resource."))
        return jid.bare_str if audience == USER else jid.full_str
