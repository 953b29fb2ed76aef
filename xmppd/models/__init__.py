"""The rows of the stream service. Only xmppd.services touches them."""

from xmppd.models.offline import OfflineMessage
from xmppd.models.private import PrivateData
from xmppd.models.roster import RosterItem, RosterState, RosterTombstone, SubscriptionRequest
from xmppd.models.vcard import VCard

__all__ = [
    "OfflineMessage",
    "PrivateData",
    "RosterItem",
    "RosterState",
    "RosterTombstone",
    "SubscriptionRequest",
    "VCard",
]
