"""XEP-0388: the elements of the Extensible SASL Profile, read and written. What happens with them is in c2s.py."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import SASL2
from xmppd.protocol.sasl.base import decode_base64, encode_payload
from xmppd.protocol.writer import escape, write

MAX_NAME_CHARS = 100  # of software and device; longer ones are cut


@dataclass(frozen=True, slots=True)
class UserAgent:
    """Which installation of which client this is (XEP-0388 2.3). `id` is a UUID, or '' where the client gave none
    that could be told from another's; it is known to client and server alone.
    """

    id: str = ""
    software: str = ""
    device: str = ""

    @classmethod
    def read(cls, element: Element | None) -> UserAgent:
        if element is None:
            return NOBODY
        return cls(
            _uuid(element.get("id")),
            element.text_of(SASL2, "software").strip()[:MAX_NAME_CHARS],
            element.text_of(SASL2, "device").strip()[:MAX_NAME_CHARS],
        )


NOBODY = UserAgent()


@dataclass(frozen=True, slots=True)
class Request:
    """What <authenticate/> asks for beside the login itself; `inline` in the client's order."""

    user_agent: UserAgent
    inline: tuple[Element, ...]

    @classmethod
    def read(cls, element: Element) -> Request:
        agent = UserAgent.read(element.find(SASL2, "user-agent"))
        return cls(agent, tuple(child for child in element.elements() if child.ns != SASL2))

    def find(self, ns: str, name: str) -> Element | None:
        return next((child for child in self.inline if child.name == name and child.ns == ns), None)


def initial_response(element: Element) -> str | None:
    """Its text; None where the client sent none."""
    child = element.find(SASL2, "initial-response")
    return None if child is None else child.text.strip()


def decode(text: str | None) -> bytes | None:
    """XEP-0388 2.2: an empty element is empty data, an absent one no data. Raises SASLError."""
    return None if text is None else decode_base64(text, "incorrect-encoding")


def success(identity: JID, data: bytes | None, inline: str) -> str:
    """<success/> for this JID, with the answers to inline requests."""
    return (
        f"<success xmlns='{SASL2}'>{_additional(data)}"
        f"<authorization-identifier>{escape(identity.full_str)}</authorization-identifier>{inline}</success>"
    )


def continuation(data: bytes | None, task: str) -> str:
    """<continue/>: who the client is has been proved, this task is left (2.6.3)."""
    return (
        f"<continue xmlns='{SASL2}'>{_additional(data)}<tasks><task>{escape(task)}</task></tasks></continue>"
    )


def task_data(content: Element) -> str:
    return write(Element(SASL2, "task-data", {}, [content]))


def _additional(data: bytes | None) -> str:
    return "" if data is None else f"<additional-data>{encode_payload(data or None)}</additional-data>"


def _uuid(text: str) -> str:
    """In the usual form, so that an id has one spelling."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""
