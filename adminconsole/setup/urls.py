"""Routes while Hearth is not set up; middleware.SetupGate puts them in place of the console's."""

from django.urls import path, re_path
from django.views.decorators.http import require_POST
from django.views.generic import RedirectView
from django.views.i18n import set_language

from adminconsole.access import page
from adminconsole.setup import views
from adminconsole.setup.steps import BY_NAME
from adminconsole.views import health

STEP_NAMES = "|".join(BY_NAME)

urlpatterns = [
    *health.urlpatterns,
    path("", page(public=True)(RedirectView.as_view(pattern_name="setup", query_string=True))),
    path("setup/", views.begin, name="setup"),
    path("setup/token/", views.token, name="setup-token"),
    path("setup/take-over/", views.take_over, name="setup-take-over"),
    re_path(rf"^setup/(?P<name>{STEP_NAMES})/$", views.step, name="setup-step"),
    path("language/", page(public=True)(require_POST(set_language)), name="set_language"),
]

handler400 = "adminconsole.views.errors.bad_request"
handler403 = "adminconsole.views.errors.forbidden"
handler404 = "adminconsole.views.errors.not_found"
handler500 = "adminconsole.views.errors.server_error"
