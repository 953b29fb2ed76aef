"""Routes of the console once Hearth is set up; before that adminconsole.middleware.SetupGate has the wizard's."""

from django.urls import include, path

urlpatterns = [path("", include("adminconsole.urls"))]

handler400 = "adminconsole.views.errors.bad_request"
handler403 = "adminconsole.views.errors.forbidden"
handler404 = "adminconsole.views.errors.not_found"
handler500 = "adminconsole.views.errors.server_error"
