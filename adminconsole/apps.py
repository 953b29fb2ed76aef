"""App config of the console: pages, wizard, template tags."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AdminConsoleConfig(AppConfig):
    name = "adminconsole"
    verbose_name = _("Admin console")
