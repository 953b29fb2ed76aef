"""Much for one client, sent as fast as the client reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xmppd.server.session import Session

BURST_BYTES = 64 * 1024  # written before looking whether the client keeps up
PATIENCE_SECONDS = 0.05


async def send_all(session: Session, stanzas: Iterable[bytes]) -> None:
    """Send them in order; the rest is left out when the session ends meanwhile."""
    burst = 0
    for data in stanzas:
        if is_gone(session):
            return
        session.send(data)
        burst += len(data)
        if burst > BURST_BYTES:
            burst = 0
            await written(session)


async def written(session: Session) -> None:
    """Wait until the client has read about all that was sent, or its connection is gone."""
    await asyncio.sleep(0)  # what was sent is written at the end of this turn
    while session.is_attached and session.connection.is_congested:
        await asyncio.sleep(PATIENCE_SECONDS)


def is_gone(session: Session) -> bool:
    """Whether nothing that is sent can reach the client any more, though its last stanzas may still be dealt with."""
    return session.is_closed or not (session.is_attached or session.may_be_resumed)
