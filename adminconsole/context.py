"""What every template may use. Computed when a template asks: error pages stand without database."""

from __future__ import annotations

import os
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

import xmppd
from accounts import services
from adminconsole import nav, problems


def console(request: HttpRequest) -> dict[str, Any]:
    """nav, problems, domain, version, demo, csp_nonce, home_url; docs/design.md says which template reads what."""
    return {
        "nav": SimpleLazyObject(lambda: nav.build(request)),
        "problems": SimpleLazyObject(lambda: problems.seen_by(request)),
        "domain": SimpleLazyObject(_domain),
        "version": xmppd.__version__,
        "demo": os.environ.get("HEARTH_DEMO") == "1",
        "csp_nonce": getattr(request, "csp_nonce", ""),
        "home_url": "/",
    }


def _domain() -> str:
    domain = services.primary_domain()
    return domain.name if domain else ""
