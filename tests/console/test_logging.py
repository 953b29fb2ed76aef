"""What answers of the console leave in the log: visitors' mistakes are no warnings, failed logins and errors are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client as Browser

from adminconsole.views import health
from xmppd import logs

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    """What a running server has written to its file; logging is as before afterwards."""
    root, touched = logging.getLogger(), ("daphne", "asyncio", "twisted", "django.channels.server", "hearth")
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in touched}
    flags = logging._srcfile, logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    logs.configure(tmp_path)
    try:
        yield lambda: (tmp_path / "logs" / "hearth.log").read_text()
    finally:
        for handler in root.handlers:
            if handler not in before[0] and isinstance(handler, logs.LogFile):
                handler.close()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        for name, level in before[2].items():
            logging.getLogger(name).setLevel(level)
        logging._srcfile, logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags
        for name in ("django.request", "django.security.csrf"):
            logging.getLogger(name).removeFilter(logs.lower_refusals)


def test_mistakes_of_visitors_are_no_warnings(owner_client: Browser, auditor: Any, log: Any) -> None:
    assert owner_client.post("/settings/archive.keep_size/", {"value_0": "x"}).status_code == 422
    assert owner_client.get("/nothing/").status_code == 404
    forger = Browser(headers={"Host": "localhost"}, enforce_csrf_checks=True)
    assert forger.post("/login/", {}).status_code == 403
    eye = Browser(headers={"Host": "localhost"})
    eye.force_login(auditor)
    assert eye.post("/settings/archive.keep_size/", {}).status_code == 403
    text = log()
    assert "INFO django.request Unprocessable" in text
    assert "INFO django.request Not Found: /nothing/" in text
    assert "INFO django.security.csrf Forbidden" in text
    assert "INFO django.request Forbidden" in text
    assert "WARNING" not in text


def test_failed_logins_stay_for_fail2ban(stranger_client: Browser, log: Any) -> None:
    stranger_client.post("/login/", {"username": "nobody", "password": "wrong"})
    assert " WARNING hearth.auth auth-failed user=nobody" in log()


def test_errors_of_ours_stay_errors(
    stranger_client: Browser, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, str]:
        raise RuntimeError("broken")

    monkeypatch.setattr(health, "not_ready", fail)
    stranger_client.raise_request_exception = False
    assert stranger_client.get("/readyz").status_code == 500
    assert "ERROR django.request Internal Server Error: /readyz" in log()
