"""The steps of the wizard as one table, and what the frame shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from adminconsole.setup import forms
from adminconsole.setup.state import State, given_database_url


@dataclass(frozen=True, slots=True)
class Step:
    """`form` is None for the review, which asks nothing."""

    name: str
    title: str | Promise
    form: type[forms.StepForm] | None

    @property
    def url(self) -> str:
        return reverse("setup-step", args=[self.name])

    @property
    def template(self) -> str:
        return f"setup/{self.name}.html"


STEPS = (
    Step("language", _("Language"), forms.LanguageForm),
    Step("server", _("Server"), forms.ServerForm),
    Step("database", _("Database"), forms.DatabaseForm),
    Step("accounts", _("Accounts"), forms.AccountsForm),
    Step("administrator", _("Administrator"), forms.AdministratorForm),
    Step("review", _("Review"), None),
)
BY_NAME = {step.name: step for step in STEPS}
REVIEW = STEPS[-1]


def form_of(step: Step) -> type[forms.StepForm] | None:
    if step.name == "database" and given_database_url():
        return forms.GivenDatabaseForm
    return step.form


def first_open(state: State) -> Step:
    """The first step without an answer; the review when all are answered."""
    return next((step for step in STEPS if step.form and not state.is_done(step.name)), REVIEW)


def is_reachable(step: Step, state: State) -> bool:
    return STEPS.index(step) <= STEPS.index(first_open(state))


def before(step: Step) -> Step | None:
    position = STEPS.index(step)
    return STEPS[position - 1] if position else None


def after(step: Step) -> Step:
    return STEPS[STEPS.index(step) + 1]


def shown(current: Step, state: State) -> list[dict[str, Any]]:
    """For partials/steps.html."""
    return [
        {
            "title": step.title,
            "url": step.url,
            "state": "current" if step is current else "done" if state.is_done(step.name) else "todo",
        }
        for step in STEPS
    ]
