"""The pages of the wizard. None of them exists once Hearth is set up."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.audit import Actor, record
from adminconsole import cautions, hosts
from adminconsole.access import address_of, page, wait_text
from adminconsole.setup import advice, forms, gate, probe, state, steps
from adminconsole.views import errors
from adminconsole.views.login import BACKEND
from xmppd.services import setup
from xmppd.services.database_check import DatabaseProblem


@page(public=True)
def begin(request: HttpRequest) -> HttpResponse:
    """Where the wizard was left; takes the token from the printed address into a cookie."""
    if "token" in request.GET:
        return _check_token(request, request.GET["token"])
    if not gate.is_admitted(request):
        return redirect("setup-token")
    return redirect(steps.first_open(state.load()).url)


@page(public=True)
def token(request: HttpRequest) -> HttpResponse:
    """Asks for the token."""
    if gate.is_admitted(request):
        return redirect("setup")
    if request.method == "POST":
        return _check_token(request, request.POST.get("token", ""))
    return _token_page(request, 403)


def _check_token(request: HttpRequest, text: str) -> HttpResponse:
    wait = gate.try_token(request, text)
    if wait is None:
        return gate.admit(request, redirect("setup"))
    if wait > 0:
        response = _token_page(request, 429, wait_text(wait))
        response.headers["Retry-After"] = str(max(1, round(wait)))
        return response
    return _token_page(request, 403, _("This is not the token."))


def _token_page(request: HttpRequest, status: int, error: str = "") -> HttpResponse:
    context = {"error": error, "token_path": settings.CONFIG.setup_token_path.name}
    return render(request, "setup/token.html", context, status=status)


@page(public=True)
@require_POST
def take_over(request: HttpRequest) -> HttpResponse:
    """Go on in this browser; the other one finds out at its next step."""
    if not gate.is_admitted(request):
        return redirect("setup-token")
    with state.lock:
        known = state.load()
        known.take()
        state.save(known)
    return gate.hold(request, redirect("setup"), known)


@page(public=True)
@sensitive_post_parameters("password", "password2")
def step(request: HttpRequest, name: str) -> HttpResponse:
    """One step: shown, tested or answered."""
    if not gate.is_admitted(request):
        return redirect("setup-token")
    current, known = steps.BY_NAME[name], state.load()
    if not gate.holds(request, known):
        return _other_browser(request)
    if not steps.is_reachable(current, known):
        return redirect(steps.first_open(known).url)
    if current is steps.REVIEW:
        return _finish(request, known) if request.method == "POST" else _review(request, known)
    form = _form(request, current, known)
    if request.method != "POST" or not form.is_valid():
        return _show(request, current, known, form)
    if isinstance(form, forms.DatabaseForm | forms.GivenDatabaseForm):
        answer = _try_database(request, current, known, form)
        if answer is not None:
            return answer
    return _answered(request, current, form)


def _form(request: HttpRequest, current: steps.Step, known: state.State) -> Any:
    form_class = steps.form_of(current)
    assert form_class is not None
    data = request.POST if request.method == "POST" else None
    return form_class(data, known=known, is_local=hosts.is_local(request))


def _answered(request: HttpRequest, current: steps.Step, form: forms.StepForm) -> HttpResponse:
    """Keep the answer, unless another browser has taken over meanwhile."""
    with state.lock:
        known = state.load()
        if not gate.holds(request, known):
            return _other_browser(request)
        if not known.claim:
            known.take()
        known.keep(current.name, form.to_state())
        state.save(known)
    response = redirect(steps.after(current).url)
    if current.name == "language":
        language = known.values["language"]["language"]
        response.set_cookie(settings.LANGUAGE_COOKIE_NAME, language, samesite="Lax", max_age=31536000)
    if current.name == "server":
        advice.look_up(known.values["server"]["hostname"] or known.values["server"]["domain"])
    return gate.hold(request, response, known)


def _show(
    request: HttpRequest,
    current: steps.Step,
    known: state.State,
    form: Any,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    previous = steps.before(current)
    context |= {
        "form": form,
        "steps": steps.shown(current, known),
        "back_url": previous.url if previous else "",
        "is_local": hosts.is_local(request),
    }
    if current.name == "database":
        context["given_url"] = state.without_password(state.given_database_url())
        context["sqlite_path"] = settings.CONFIG.home / "hearth.sqlite3"
    if current.name == "server":
        context |= {"open_title": cautions.OPEN_CONSOLE_TITLE, "open_text": cautions.OPEN_CONSOLE_TEXT}
    if current.name == "administrator":
        context["domain_name"] = known.values["server"]["domain"]
    return render(request, current.template, context, status=status)


def _try_database(
    request: HttpRequest, current: steps.Step, known: state.State, form: Any
) -> HttpResponse | None:
    """The page with the outcome of the test; None when the database works and the person wants to go on."""
    try:
        probe.test(form.url())
    except DatabaseProblem as problem:
        # The driver's words, where they cannot tell more about the network than our own.
        detail = problem.detail if problem.code in probe.TELLING else ""
        return _show(request, current, known, form, problem=problem.message, detail=detail)
    if "test" in request.POST:
        return _show(request, current, known, form, works=True)
    return None


def _review(request: HttpRequest, known: state.State, status: int = 200, error: str = "") -> HttpResponse:
    answers = known.answers()
    context = {
        "answers": answers,
        "language_name": dict(settings.LANGUAGES)[answers.language],
        "database": known.values["database"],
        "database_url": state.without_password(answers.database_url),
        "warnings": list(advice.warnings(answers, request)),
        "error": error,
        "change": {each.name: each.url for each in steps.STEPS},
        "next_label": _("Set up Hearth"),
    }
    return _show(request, steps.REVIEW, known, None, status, **context)


def _finish(request: HttpRequest, known: state.State) -> HttpResponse:
    """Make it so, sign the owner in and leave the wizard for good."""
    if not gate.is_holder(request, known):
        return _other_browser(request)
    answers = known.answers()
    actor = Actor(f"{answers.admin_username}@{answers.domain}", "console", address_of(request))
    try:
        owner = setup.finish(answers, actor)
    except setup.SetupConflict as conflict:
        if setup.is_set_up():
            return errors.conflict(request, title=_("Hearth is set up already"), text=str(conflict))
        return _review(request, known, 409, str(conflict))
    except DatabaseProblem as problem:
        return _review(request, known, 200, problem.message)
    except ValidationError as error:
        return _review(request, known, 200, " ".join(error.messages))
    login(request, owner, backend=BACKEND)
    record(Actor.of(owner, "console", address_of(request)), "signed-in", owner.jid)
    response = redirect(reverse("welcome", urlconf=settings.ROOT_URLCONF))
    response.delete_cookie(gate.COOKIE, path="/setup/")
    return response


def _other_browser(request: HttpRequest) -> HttpResponse:
    return errors.conflict(
        request,
        title=_("Hearth is being set up in another browser"),
        text=_(
            "Only one browser at a time. If that was you, or if it was given up, go on here with its answers."
        ),
        href=reverse("setup"),
        label=_("Look again"),
        form_action=reverse("setup-take-over"),
        form_label=_("Go on in this browser"),
    )
