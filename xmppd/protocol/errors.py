"""Errors of stanzas, streams and SASL, RFC 6120 8.3, 4.9 and 6.5. Raise them; the layer above writes them."""

from __future__ import annotations

from xmppd.protocol.element import E, Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, SASL, STANZAS, STREAM_ERRORS, STREAMS

# condition: (usual type, RFC 6120 8.3.3; legacy code, XEP-0086 table 2)
STANZA_CONDITIONS: dict[str, tuple[str, int]] = {
    "bad-request": ("modify", 400),
    "conflict": ("cancel", 409),
    "feature-not-implemented": ("cancel", 501),
    "forbidden": ("auth", 403),
    "gone": ("cancel", 302),
    "internal-server-error": ("cancel", 500),
    "item-not-found": ("cancel", 404),
    "jid-malformed": ("modify", 400),
    "not-acceptable": ("modify", 406),
    "not-allowed": ("cancel", 405),
    "not-authorized": ("auth", 401),
    "policy-violation": ("modify", 406),
    "recipient-unavailable": ("wait", 404),
    "redirect": ("modify", 302),
    "registration-required": ("auth", 407),
    "remote-server-not-found": ("cancel", 404),
    "remote-server-timeout": ("wait", 504),
    "resource-constraint": ("wait", 500),
    "service-unavailable": ("cancel", 503),
    "subscription-required": ("auth", 407),
    "undefined-condition": ("cancel", 500),
    "unexpected-request": ("wait", 400),
}
STANZA_ERROR_TYPES = frozenset({"auth", "cancel", "continue", "modify", "wait"})

STREAM_CONDITIONS = frozenset(
    {
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    }
)

SASL_CONDITIONS = frozenset(
    {
        "aborted",
        "account-disabled",
        "credentials-expired",
        "encryption-required",
        "incorrect-encoding",
        "invalid-authzid",
        "invalid-mechanism",
        "malformed-request",
        "mechanism-too-weak",
        "not-authorized",
        "temporary-auth-failure",
    }
)


class XMPPError(Exception):
    """A defined condition, an English text for people ('' = none) and application-specific elements."""

    def __init__(self, condition: str, text: str = "", *extra: Element) -> None:
        super().__init__(condition, text, *extra)
        self.condition = condition
        self.text = text
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else self.condition

    def _require(self, known: bool) -> None:
        if not known:
            raise ValueError(f"{self.condition!r} is no condition of a {type(self).__name__}")


class StanzaError(XMPPError):
    """The answer to a stanza is an error, RFC 6120 8.3.

    `type` is needed only where it differs from the usual one. The content of gone and redirect, a URI
    (8.3.3.5, 8.3.3.14), is given as `uri`.
    """

    def __init__(
        self, condition: str, text: str = "", *extra: Element, type: str | None = None, uri: str | None = None
    ) -> None:
        super().__init__(condition, text, *extra)
        self._require(condition in STANZA_CONDITIONS)
        usual, self.code = STANZA_CONDITIONS[condition]
        self.type = type or usual
        if self.type not in STANZA_ERROR_TYPES:
            raise ValueError(f"{type!r} is no stanza error type")
        self.uri = uri

    def to_element(self, by: JID | None = None, ns: str = CLIENT) -> Element:
        """The <error/> child. `ns` is that of the stanza, `by` who found the error (8.3.1)."""
        return E(
            ns,
            "error",
            E(STANZAS, self.condition, self.uri),
            _text(STANZAS, self.text),
            *self.extra,
            type=self.type,
            code=self.code,  # XEP-0086: clients of Spark's age read nothing else
            by=by,
        )


class StreamError(XMPPError):
    """The stream ends, RFC 6120 4.9. `content` is the host[:port] of see-other-host (4.9.3.19)."""

    def __init__(self, condition: str, text: str = "", *extra: Element, content: str | None = None) -> None:
        super().__init__(condition, text, *extra)
        self._require(condition in STREAM_CONDITIONS)
        self.content = content

    def to_element(self) -> Element:
        """The <stream:error/> element."""
        return E(
            STREAMS,
            "error",
            E(STREAM_ERRORS, self.condition, self.content),
            _text(STREAM_ERRORS, self.text),
            *self.extra,
        )


class SASLError(XMPPError):
    """The login failed, RFC 6120 6.5. The text may reach the peer: never say more than the condition does."""

    def __init__(self, condition: str, text: str = "", *extra: Element) -> None:
        super().__init__(condition, text, *extra)
        self._require(condition in SASL_CONDITIONS)

    def to_element(self, ns: str = SASL) -> Element:
        """The <failure/> element; `ns` is SASL or SASL2, the conditions are the same in both (XEP-0388)."""
        return E(
            ns,
            "failure",
            E(SASL, self.condition),
            # In both RFC 6120 6.5 and XEP-0388 <text/> has the namespace of <failure/>.
            E(ns, "text", self.text, xml_lang="en") if self.text else None,
            *self.extra,
        )


def _text(ns: str, text: str) -> Element | None:
    return E(ns, "text", text, xml_lang="en") if text else None
