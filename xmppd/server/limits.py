"""What one client may cost; every bound is a setting and holds for new stanzas at once."""

from __future__ import annotations

from datetime import timedelta

from django.utils.translation import gettext_lazy as _

from xmppd.services.properties import Setting

TLS_POLICY = Setting(
    "c2s.tls",
    str,
    "required",
    _(
        "Whether clients must encrypt before they log in. With “optional”, passwords and messages of clients that do "
        "not ask for TLS cross the network readable to everybody on it."
    ),
    label=_("Encryption of client connections"),
    choices=[("required", _("required")), ("optional", _("optional"))],
)
ALLOW_PLAIN = Setting(
    "c2s.allow_plain",
    bool,
    True,
    _("Offer the mechanism PLAIN over TLS, for clients that know no SCRAM: they send the password itself."),
    label=_("Login with PLAIN"),
)
MAX_STANZA_BYTES = Setting(
    "c2s.max_stanza_size",
    "size",
    256 * 1024,
    _("The largest stanza a client may send, in bytes; a larger one ends its stream (RFC 6120 13.12)."),
    label=_("Largest stanza from a client"),
    minimum=10_000,
    maximum=16 * 1024 * 1024,
)
MAX_SESSIONS = Setting(
    "c2s.max_sessions_per_user",
    int,
    25,
    _("How many devices of one user may be connected at the same time."),
    label=_("Connected devices per user"),
    minimum=1,
    maximum=1000,
)
CONFLICT = Setting(
    "c2s.resource_conflict",
    str,
    "replace",
    _("What happens when a client asks for a resource name that is in use by the same user."),
    label=_("Two sessions with the same resource"),
    choices=[
        ("replace", _("the older session is closed")),
        ("refuse", _("the newer one is refused")),
        ("rename", _("the newer one gets another name")),
    ],
)
MAX_AUTH_FAILURES = Setting(
    "c2s.max_login_failures",
    int,
    3,
    _("Failed logins on one connection before it is closed."),
    label=_("Failed logins on one connection"),
    minimum=1,
    maximum=5,
)
LOGIN_TIMEOUT = Setting(
    "c2s.login_timeout",
    timedelta,
    timedelta(seconds=60),
    _("A connection that has not logged in after this time is closed."),
    label=_("Time to log in"),
    minimum=timedelta(seconds=5),
    maximum=timedelta(minutes=10),
)
IDLE_TIMEOUT = Setting(
    "c2s.idle_timeout",
    timedelta,
    timedelta(minutes=6),
    _(
        "A client that was silent for this time is pinged; one that does not answer in half of it is disconnected."
    ),
    label=_("Silence before a client is pinged"),
    minimum=timedelta(seconds=30),
    maximum=timedelta(days=1),
)
UNMANAGED_IDLE_TIMEOUT = Setting(
    "c2s.idle_timeout_unmanaged",
    timedelta,
    timedelta(seconds=90),
    _(
        "A client without stream management (XEP-0198) that was silent for this time is pinged; one that does not "
        "answer in half of it is disconnected. What is sent to one that is gone is lost, so this is found out sooner."
    ),
    label=_("Silence before a client without stream management is pinged"),
    minimum=timedelta(seconds=30),
    maximum=timedelta(days=1),
)
MAX_CONNECTIONS_PER_ADDRESS = Setting(
    "c2s.max_connections_per_address",
    int,
    500,
    _("Connections that one network address may have open; loopback is not limited."),
    label=_("Connections from one address"),
    minimum=1,
    maximum=1_000_000,
)
MAX_UNAUTHENTICATED = Setting(
    "c2s.max_unauthenticated",
    int,
    2000,
    _("Connections of all addresses that may be open without being logged in."),
    label=_("Connections that are not logged in"),
    minimum=10,
    maximum=1_000_000,
)
MAX_SEND_QUEUE_BYTES = Setting(
    "c2s.max_send_queue",
    "size",
    1024 * 1024,
    _(
        "Bytes kept for a client that reads slower than it is written to; above it the connection is closed. A client "
        "with stream management may come back and go on."
    ),
    label=_("Output buffer of a slow client"),
    minimum=64 * 1024,
    maximum=256 * 1024 * 1024,
)
BYTES_PER_SECOND = Setting(
    "c2s.max_bytes_per_second",
    "size",
    1024 * 1024,
    _(
        "Bytes per second that are read from one client on average; a faster one is slowed down, nothing is lost."
    ),
    label=_("Fastest sending rate of a client"),
    minimum=4096,
    maximum=1024 * 1024 * 1024,
)
MAX_QUEUED_STANZAS = Setting(
    "sm.max_queue",
    int,
    1000,
    _(
        "Stanzas kept for a client that has not acknowledged them. Above this number a connected client is "
        "disconnected and may come back; where the connection was broken already, the session ends and its stanzas "
        "go to other devices or are kept for later."
    ),
    label=_("Unacknowledged stanzas per session"),
    minimum=50,
    maximum=100_000,
)
MAX_QUEUED_BYTES = Setting(
    "sm.max_queue_size",
    "size",
    1024 * 1024,
    _("Bytes kept for a client that has not acknowledged them."),
    label=_("Size of unacknowledged stanzas per session"),
    minimum=64 * 1024,
    maximum=256 * 1024 * 1024,
)
