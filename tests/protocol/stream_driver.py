"""A client's stream without a socket: what is said to it, and what comes of that."""

import base64

from xmppd.protocol.jid import JID
from xmppd.protocol.parser import AUTHENTICATED, ParserPool
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.stream.c2s import ClientStream
from xmppd.protocol.stream.events import (
    AuthRequested,
    BindRequested,
    Closed,
    EarlyIQ,
    StartTLS,
)

HEADER = (
    "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
PLAIN = base64.b64encode(b"\0juliet\0r0m30").decode()
AUTH = f"<auth {SASL} mechanism='PLAIN'>{PLAIN}</auth>"
BIND = (
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>"
)
ACCOUNT = JID.parse("juliet@example.com")
STEPS = [1, 5, 1 << 20]


class Policy:
    """A server of two domains."""

    default_domain = "example.com"
    has_tls = True
    is_tls_required = True
    max_auth_failures = 3

    def __init__(self, **changes):
        self.pool = ParserPool(AUTHENTICATED)
        vars(self).update(changes)

    def serves(self, domain):
        return domain in ("example.com", "example.net")

    def mechanisms(self, stream):
        return ["SCRAM-SHA-1", "PLAIN"]

    def token_mechanisms(self, stream):
        return ["HT-SHA-256-NONE"]

    def sasl2_extras(self, stream):
        return "<inline/>"

    def extra_features(self, stream):
        return b"<extra xmlns='urn:extra'/>"


class Driver:
    """Feeds a stream as a transport does: in pieces, and answers its events."""

    def __init__(self, step=1 << 20, *, tls=True, **policy):
        self.stream = ClientStream(Policy(**policy), is_direct_tls=tls)
        self.step = step
        self.events = []
        self.text = ""

    def sends(self, data, *, answers=True):
        """New events; the answers to them are given unless not wanted."""
        data = data.encode() if isinstance(data, str) else data
        before = len(self.events)
        for start in range(0, len(data), self.step):
            self._take(self.stream.receive(data[start : start + self.step]), answers)
        return self.events[before:]

    def _take(self, events, answers):
        self.text += self.stream.take_output().decode()
        for event in events:
            self.events.append(event)
            if answers and self._answer(event):
                self.text += self.stream.take_output().decode()
                self._take(self.stream.receive(b""), answers)

    def _answer(self, event):
        stream = self.stream
        if isinstance(event, StartTLS):
            stream.tls_established(("tls-exporter",))
        elif isinstance(event, AuthRequested):
            stream.auth_succeeded(ACCOUNT)
        elif isinstance(event, BindRequested):
            stream.bind_succeeded(event.request, ACCOUNT.with_resource(event.resource or "made"))
        elif isinstance(event, EarlyIQ):
            stream.answered(b"<iq type='result'/>")
        else:
            return False
        return True

    def output(self):
        self.text += self.stream.take_output().decode()
        text, self.text = self.text, ""
        return text

    def is_closed_with(self, condition):
        (event,) = [event for event in self.events if isinstance(event, Closed)]
        assert self.events[-1] is event
        assert event.error is not None
        assert event.error.condition == condition, event.error
        assert self.stream.is_closed
        text = self.text + self.stream.take_output().decode()
        assert f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" in text
        assert text.count("</stream:stream>") == 1
        assert text.endswith("</stream:stream>")
        assert self.stream.receive(b"<presence/>") == []
        return True


def kinds(events):
    return [event.kind if isinstance(event, Stanza) else type(event).__name__ for event in events]


def bound(step=1 << 20, header=HEADER, **policy):
    driver = Driver(step, **policy)
    driver.sends(header + AUTH + header + BIND)
    assert kinds(driver.events) == ["AuthRequested", "BindRequested"], driver.output()
    driver.output()
    return driver


def header(**changes):
    attrs = {
        "to": "example.com",
        "version": "1.0",
        "xmlns": "jabber:client",
        "xmlns:stream": "http://etherx.jabber.org/streams",
        **{key.replace("_", ":"): value for key, value in changes.items()},
    }
    return "<stream:stream" + "".join(f" {k}='{v}'" for k, v in attrs.items() if v is not None) + ">"
