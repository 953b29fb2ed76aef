"""What the review warns of. Nothing here blocks: a name that DNS is slow about is simply not mentioned."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from adminconsole import hosts
from adminconsole.cautions import OPEN_CONSOLE_TEXT, OPEN_CONSOLE_TITLE
from xmppd.protocol.addresses import is_address, is_loopback
from xmppd.services.certificates import to_ascii
from xmppd.services.setup import SetupAnswers

WAIT_SECONDS = 0.5

_pool = ThreadPoolExecutor(2, thread_name_prefix="hearth-lookup")
_lookups: dict[str, Future[bool]] = {}


def look_up(name: str) -> None:
    """Begin to ask DNS about a name, so that the answer is there when the review wants it."""
    if name not in _lookups and not _is_special(name):
        while len(_lookups) > 20:
            del _lookups[next(iter(_lookups))]
        _lookups[name] = _pool.submit(_resolves, name)


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(to_ascii(name), None))
    except (OSError, ValueError):
        return False


def warnings(answers: SetupAnswers, request: HttpRequest) -> Iterator[tuple[str | Promise, str | Promise]]:
    """(title, text) of everything worth a second thought."""
    domain, host = answers.domain, answers.hostname or answers.domain
    if domain == "localhost" or is_loopback(domain):
        title = _("Only this machine will reach %(domain)s")
        yield title % {"domain": domain}, _("Right for a trial. The domain cannot be changed later.")
    elif is_address(domain):
        yield (
            _("The domain is an IP address"),
            _("That works within one network. Most certificates need a name."),
        )
    elif "." not in domain or domain.endswith((".local", ".lan", ".internal", ".home.arpa")):
        yield (
            _("%(domain)s is only known in your own network") % {"domain": domain},
            _("No public authority issues certificates for such a name."),
        )
    elif not seems_to_resolve(host):
        yield (
            _("DNS does not know %(name)s yet") % {"name": host},
            _("Clients find the server once the name leads to this machine. You can add it later."),
        )
    for name, port in settings.CONFIG.ports.items():
        if name != "console" and port and not _is_free(port):
            yield (
                _("Port %(port)s is in use") % {"port": port},
                _("Another program holds it. Stop that program, or start Hearth with another port."),
            )
    if not answers.console_localhost_only and settings.CONFIG.console_bind is None:
        yield OPEN_CONSOLE_TITLE, OPEN_CONSOLE_TEXT
    if not request.is_secure() and not hosts.is_local(request):
        yield (
            _("This page is not encrypted"),
            _("Anybody on the network between you and the server could have read what you entered."),
        )


def _is_special(name: str) -> bool:
    return name == "localhost" or is_address(name)


def seems_to_resolve(name: str) -> bool:
    """False only when DNS has said no."""
    if _is_special(name):
        return True
    look_up(name)
    try:
        return _lookups[name].result(WAIT_SECONDS)
    except FutureTimeoutError:
        return True


def _is_free(port: int) -> bool:
    bind = settings.CONFIG.bind or "0.0.0.0"  # noqa: S104  where the listeners will be
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError:
            return False
    return True
