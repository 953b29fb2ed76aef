"""For load balancers and supervisors: /healthz says that the process lives, /readyz that it can work."""

from __future__ import annotations

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from adminconsole.access import page
from xmppd.services import db, live, setup

# Of those that the stream service tells: in which it cannot do what it is there for.
PROBLEMS = {"archive": "cannot be written", "database": "does not answer"}


@page(public=True)
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@page(public=True)
def readyz(request: HttpRequest) -> HttpResponse:
    """200 {"ready": true} or 503 with a word for each part that is not. Names no hosts and no errors."""
    reasons = not_ready()
    response = JsonResponse({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)
    # An answer, not an error: Django would log one each time a supervisor asks during a start.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def not_ready() -> dict[str, str]:
    """{part: why} of setup, database, migrations, listeners, archive; empty when all is well."""
    if not setup.is_set_up():
        return {"setup": "not finished"}
    reasons: dict[str, str] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not db.is_up_to_date():
            reasons["migrations"] = "not applied"
    except (Error, OSError):
        reasons["database"] = "does not answer"
    wanted = {name for name in ("c2s", "c2s_tls") if settings.CONFIG.ports[name] is not None}
    try:
        status = live.status()
    except live.NotRunningError:
        return reasons | ({"listeners": "the stream service does not answer"} if wanted else {})
    if not wanted <= {listener["name"] for listener in status["listeners"]}:
        reasons["listeners"] = "not open"
    return reasons | {
        row["name"]: PROBLEMS[row["name"]] for row in status["problems"] if row["name"] in PROBLEMS
    }


urlpatterns = [path("healthz", healthz), path("readyz", readyz)]
