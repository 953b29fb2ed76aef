"""Every address of the console. Each section of adminconsole.views has its own list."""

from adminconsole import problems
from adminconsole.views import (
    audit,
    dashboard,
    groups,
    health,
    lockouts,
    login,
    reports,
    search,
    sessions,
    settings,
    users,
    welcome,
)

urlpatterns = [
    *health.urlpatterns,
    *login.urlpatterns,
    *welcome.urlpatterns,
    *dashboard.urlpatterns,
    *problems.urlpatterns,
    *users.urlpatterns,
    *groups.urlpatterns,
    *reports.urlpatterns,
    *sessions.urlpatterns,
    *settings.urlpatterns,
    *lockouts.urlpatterns,
    *audit.urlpatterns,
    *search.urlpatterns,
]
