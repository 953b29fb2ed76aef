"""XEP-0386: Bind 2. A resource, and all that a client wants of its session, in one step with the login."""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
from datetime import UTC, datetime

from xmppd.modules.offline import Offline
from xmppd.protocol.delay import format_datetime
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError, StreamError
from xmppd.protocol.jid import JIDError, prepare_resource
from xmppd.protocol.namespaces import BIND2, MAM
from xmppd.server.completion import Completion
from xmppd.server.module import Module, Xep, inline_login, inline_session
from xmppd.server.session import Session
from xmppd.services import archive_query
from xmppd.services.archive import time_of
from xmppd.services.db import db

log = logging.getLogger("hearth.c2s")
NS = BIND2
MAX_TAG_BYTES = 512  # of the 1023 that a resource may have


class Bind2(Module):
    """Other modules take part with `bind_features` and `inline_bind`."""

    xep = Xep(386, "1.1.0", name="Bind 2")

    def login_offers(self, binding_types: tuple[str, ...]) -> str:
        features = sorted({feature for module in self.server.modules for feature in module.bind_features})
        names = "".join(f"<feature var='{feature}'/>" for feature in features)
        inline = f"<inline>{names}</inline>" if names else ""
        return f"<bind xmlns='{NS}'>{inline}</bind>"

    @inline_login(NS, "bind")
    async def look_up(self, element: Element, completion: Completion) -> None:
        """3.2: the state of the archive, read when the login is proved and right before binding."""
        completion.archived = await db(archive_query.bounds, completion.account.id)

    @inline_session(NS, "bind")
    def bind(self, element: Element, completion: Completion) -> Element | None:
        """Where no resource can be bound there is no <bound/>: the client is logged in, and asking again by an
        IQ (RFC 6120 7) tells it why.
        """
        agent = completion.request.user_agent.id
        if agent:
            self._end_former(completion, agent)
        name = self._stable_name(completion, agent) if agent else secrets.token_urlsafe(9)
        tag = _tag(element)
        try:
            session = completion.bind(f"{tag}/{name}" if tag else name, replaces=bool(agent))
        except StanzaError as problem:
            log.info("no-session jid=%s reason=%s", completion.account.jid, problem)
            return None
        completion.then.append(lambda: self._leave_to_archive(session, completion.archived))
        return E(NS, "bound", _metadata(completion.archived), *self._answers(element, session))

    def _leave_to_archive(self, session: Session, archived: tuple[int, int] | None) -> None:
        """3.2: offline messages are not sent, for the client finds them in the archive; those that came after it
        was looked at are.
        """
        if session.account.has_offline and archived is not None:
            offline = self.server.module(Offline)
            self.server.spawn(offline.leave_to_archive(session.account, archived[1]))

    def _end_former(self, completion: Completion, agent: str) -> None:
        """3.2: a client that binds anew has given up its earlier session, whatever the wire says."""
        for session in list(completion.account.sessions.values()):
            if session.connection.user_agent.id == agent:
                session.close(StreamError("conflict", "the same client has logged in again"))

    def _stable_name(self, completion: Completion, agent: str) -> str:
        """The same for each login of this installation; tells nothing of its id (3.2.1)."""
        text = f"resource\0{completion.account.jid.bare_str}\0{agent}"
        digest = hmac.digest(self.server.authentication.secret, text.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:9]).decode()

    def _answers(self, element: Element, session: Session) -> list[Element]:
        answers = []
        for child in element.elements():
            handler = self.server.inline_bind.get(child.tag)
            if handler is None:
                continue
            try:
                answer = handler(child, session)
            except Exception as broken:
                fingerprint = self.server.metrics.failed(broken)
                log.exception("%s for %s fingerprint=%s", child.tag, session, fingerprint)
                continue
            if answer is not None:
                answers.append(answer)
        return answers


def _metadata(archived: tuple[int, int] | None) -> Element:
    """XEP-0313 4.2; empty where the archive is."""
    ends = [] if archived is None else zip(("start", "end"), archived, strict=True)
    stamps = ((name, i, format_datetime(datetime.fromtimestamp(time_of(i), UTC))) for name, i in ends)
    return E(MAM, "metadata", *(E(MAM, name, id=i, timestamp=stamp) for name, i, stamp in stamps))


def _tag(element: Element) -> str:
    """The client's name as it wrote it; '' where it cannot stand in a resource."""
    text = element.text_of(NS, "tag").strip().encode()[:MAX_TAG_BYTES].decode(errors="ignore")
    try:
        return prepare_resource(text) if text else ""
    except JIDError:
        return ""
