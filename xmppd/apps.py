"""App config of the stream service: its models live in xmppd.models."""

from django.apps import AppConfig


class XmppdConfig(AppConfig):
    name = "xmppd"
    verbose_name = "XMPP service"

    def ready(self) -> None:
        from xmppd.services import devices, roster

        roster.watch_deletions()
        devices.watch_tokens()
