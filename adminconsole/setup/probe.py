"""Tries a database within three seconds and says no more about the network than that it did not work."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.utils.translation import gettext as _

from xmppd.services import database_check, setup
from xmppd.services.database_check import DatabaseProblem

log = logging.getLogger("hearth.setup")

SECONDS = 3
# These show that a database server was talking; anything else could map the ports of other machines.
TELLING = frozenset({"password", "missing", "permission", "version", "driver", "file", "url"})

_pool = ThreadPoolExecutor(2, thread_name_prefix="hearth-probe")
_busy = threading.BoundedSemaphore(2)


def test(url: str) -> None:
    """Raise DatabaseProblem unless the database can be used now."""
    if not _busy.acquire(blocking=False):
        raise DatabaseProblem(_("A test is still running. Try again in a moment."), "busy")
    future = _pool.submit(database_check.test_database, _with_timeout(url))
    future.add_done_callback(lambda _future: _busy.release())
    try:
        future.result(SECONDS + 1)
    except FutureTimeoutError:
        raise _nothing_usable(url) from None
    except DatabaseProblem as problem:
        log.info("database test: %s: %s", problem.code, problem.detail)
        raise problem if problem.code in TELLING else _nothing_usable(url) from None


def owner_credentials(url: str, *, domain: str, username: str, password: str) -> str:
    """setup.owner_credentials() of a database that may be slow to answer."""
    return setup.owner_credentials(_with_timeout(url), domain=domain, username=username, password=password)


def _nothing_usable(url: str) -> DatabaseProblem:
    """One answer for ports that are closed, filtered or used by something else."""
    host = urlsplit(url).hostname or dict(parse_qsl(urlsplit(url).query)).get("host", "")
    message = _("No database of this kind could be reached at “%(host)s”. Check host, port and firewall.")
    return DatabaseProblem(message % {"host": host}, "unreachable")


def _with_timeout(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("", "sqlite"):
        return url
    query = {**dict(parse_qsl(parts.query)), "connect_timeout": str(SECONDS)}
    return parts._replace(query=urlencode(query)).geturl()
