"""XEP-0377: Blocking Command Reports. A block may say why; administrators read it in the console."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from xmppd.protocol.element import Element
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import REPORTING, STANZA_ID
from xmppd.server import hooks
from xmppd.server.module import Module, Xep, on
from xmppd.server.session import Session
from xmppd.services import reports
from xmppd.services.db import db

log = logging.getLogger("hearth.reporting")

CONSENTS = ("report-origin", "third-party")


class Reporting(Module):
    """The block is done when a report is looked at: a bad one, or one too many, takes nothing from it (4)."""

    xep = Xep(
        377,
        "0.4.1",
        "reports are for this server's administrators; none is passed on",
        name="Blocking Command Reports",
    )

    def domain_features(self) -> Sequence[str]:
        return [REPORTING] if reports.ENABLED.value else []

    @on(hooks.contacts_blocked)
    async def blocked(self, items: list[Element], session: Session) -> None:
        found = [(item, item.find(REPORTING, "report")) for item in items]
        filings = [_filing(item, report) for item, report in found if report is not None]
        if not filings or not reports.ENABLED.value:
            return
        kept = await db(reports.file, session.account.id, filings)
        if kept < len(filings):
            log.info("%s: %d reports beyond the limit", session.account.jid, len(filings) - kept)


def _filing(item: Element, report: Element) -> reports.Filing:
    """What can be understood of it; unknown elements do not matter."""
    marks = [(mark.get("by") or "", mark.get("id") or "") for mark in report.findall(STANZA_ID, "stanza-id")]
    return reports.Filing(
        about=JID.parse(item.attrs["jid"]),
        reason=report.get("reason") or "",
        text=report.text_of(REPORTING, "text"),
        stanza_ids=[mark for mark in marks if all(mark)],
        may_go_to=[name for name in CONSENTS if report.find(REPORTING, name) is not None],
    )
