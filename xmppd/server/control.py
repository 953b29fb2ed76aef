"""The control socket in HEARTH_HOME, for the owner of the process alone: commands beside a running server.

JSON lines. {"bus": class, "data": {...}} hands in a bus message; {"call": operation, "args": {...}} runs an operation
of live.py. Each line is answered by {"ok": value} or {"error": text}.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from xmppd.bus import channel
from xmppd.services import live
from xmppd.services.db import db

log = logging.getLogger("hearth.control")
MAX_LINE_BYTES = 16 * 1024 * 1024


class ControlSocket:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listen; a socket file that a dead server left behind is replaced."""
        self.path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self.path), limit=MAX_LINE_BYTES)
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            log.debug("control connection broke")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if "bus" in request:
                # Off the loop, as from the console: a subscriber may read the database.
                await db(channel.deliver_locally, channel.decode(request))
                return {"ok": None}
            return {"ok": live.run_here(request["call"], request.get("args", {}))}
        except Exception as error:
            log.warning("control request failed: %s", error)
            return {"error": str(error) or type(error).__name__}
