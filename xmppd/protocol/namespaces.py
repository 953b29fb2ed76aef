"""XML namespaces of RFC 6120 and 6121, and those that several parts of the server share.

A namespace that only one module speaks stands in that module as `NS`.
"""

# XML itself
XML = "http://www.w3.org/XML/1998/namespace"  # xml:lang

# Streams, RFC 6120
STREAMS = "http://etherx.jabber.org/streams"  # stream header, features, error; 4.8.1
CLIENT = "jabber:client"  # content of c2s streams; 4.8.2
SERVER = "jabber:server"  # content of s2s streams; 4.8.2
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"  # conditions of stream errors; 4.9.3
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"  # conditions of stanza errors; 8.3.3
TLS = "urn:ietf:params:xml:ns:xmpp-tls"  # STARTTLS; 5
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"  # 6
BIND = "urn:ietf:params:xml:ns:xmpp-bind"  # 7
SESSION = "urn:ietf:params:xml:ns:xmpp-session"  # RFC 3921 3, still asked for by old clients

# Other stream kinds
COMPONENT = "jabber:component:accept"  # XEP-0114
DIALBACK = "jabber:server:dialback"  # XEP-0220
DIALBACK_FEATURE = "urn:xmpp:features:dialback"  # XEP-0220 2.3
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"  # RFC 7395, XMPP over WebSocket
HTTP_BIND = "http://jabber.org/protocol/httpbind"  # XEP-0124, BOSH
XBOSH = "urn:xmpp:xbosh"  # XEP-0206

# Negotiation after RFC 6120
SASL2 = "urn:xmpp:sasl:2"  # XEP-0388
SASL_UPGRADE = "urn:xmpp:sasl:upgrade:0"  # XEP-0480
SCRAM_UPGRADE = "urn:xmpp:scram-upgrade:0"  # XEP-0480 3
SASL_CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"  # XEP-0440
BIND2 = "urn:xmpp:bind:0"  # XEP-0386
FAST = "urn:xmpp:fast:0"  # XEP-0484
STREAM_LIMITS = "urn:xmpp:stream-limits:0"  # XEP-0478
STREAM_MANAGEMENT = "urn:xmpp:sm:3"  # XEP-0198
CLIENT_STATE = "urn:xmpp:csi:0"  # XEP-0352
REGISTER_FEATURE = "http://jabber.org/features/iq-register"  # XEP-0077 8

# Instant messaging, RFC 6121
ROSTER = "jabber:iq:roster"  # 2
ROSTER_VERSIONING = "urn:xmpp:features:rosterver"  # 2.6
PRE_APPROVAL = "urn:xmpp:features:pre-approval"  # 3.4

# Building blocks
DISCO_INFO = "http://jabber.org/protocol/disco#info"  # XEP-0030
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"  # XEP-0030
CAPS = "http://jabber.org/protocol/caps"  # XEP-0115
DATA_FORMS = "jabber:x:data"  # XEP-0004
DATA_VALIDATE = "http://jabber.org/protocol/xdata-validate"  # XEP-0122
OOB = "jabber:x:oob"  # XEP-0066
RSM = "http://jabber.org/protocol/rsm"  # XEP-0059
DELAY = "urn:xmpp:delay"  # XEP-0203
FORWARD = "urn:xmpp:forward:0"  # XEP-0297
STANZA_ID = "urn:xmpp:sid:0"  # XEP-0359
HINTS = "urn:xmpp:hints"  # XEP-0334
ADDRESS = "http://jabber.org/protocol/address"  # XEP-0033
COMMANDS = "http://jabber.org/protocol/commands"  # XEP-0050
REGISTER = "jabber:iq:register"  # XEP-0077
PING = "urn:xmpp:ping"  # XEP-0199
VCARD = "vcard-temp"  # XEP-0054
PRIVATE = "jabber:iq:private"  # XEP-0049
BLOCKING = "urn:xmpp:blocking"  # XEP-0191
BLOCKING_ERRORS = "urn:xmpp:blocking:errors"  # XEP-0191
REPORTING = "urn:xmpp:reporting:1"  # XEP-0377

# Messages and archive
CARBONS = "urn:xmpp:carbons:2"  # XEP-0280
MAM = "urn:xmpp:mam:2"  # XEP-0313
RECEIPTS = "urn:xmpp:receipts"  # XEP-0184
CHAT_MARKERS = "urn:xmpp:chat-markers:0"  # XEP-0333
CHAT_STATES = "http://jabber.org/protocol/chatstates"  # XEP-0085

# Rooms and publishing
MUC = "http://jabber.org/protocol/muc"  # XEP-0045
MUC_USER = "http://jabber.org/protocol/muc#user"  # XEP-0045
MUC_ADMIN = "http://jabber.org/protocol/muc#admin"  # XEP-0045
MUC_OWNER = "http://jabber.org/protocol/muc#owner"  # XEP-0045
PUBSUB = "http://jabber.org/protocol/pubsub"  # XEP-0060
PUBSUB_EVENT = "http://jabber.org/protocol/pubsub#event"  # XEP-0060
PUBSUB_OWNER = "http://jabber.org/protocol/pubsub#owner"  # XEP-0060
PUBSUB_ERRORS = "http://jabber.org/protocol/pubsub#errors"  # XEP-0060
