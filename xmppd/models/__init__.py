"""The rows of the stream service. Only xmppd.services touches them."""

from xmppd.models.archive import ArchivedMessage, ArchivePreferences, JournalledMessage
from xmppd.models.blocklist import BlockedAddress
from xmppd.models.device import Device, DeviceToken
from xmppd.models.offline import OfflineMessage
from xmppd.models.private import PrivateData
from xmppd.models.report import Report
from xmppd.models.roster import RosterItem, RosterState, RosterTombstone, SubscriptionRequest
from xmppd.models.vcard import VCard

__all__ = [
    "ArchivePreferences",
    "ArchivedMessage",
    "BlockedAddress",
    "Device",
    "DeviceToken",
    "JournalledMessage",
    "OfflineMessage",
    "PrivateData",
    "Report",
    "RosterItem",
    "RosterState",
    "RosterTombstone",
    "SubscriptionRequest",
    "VCard",
]
