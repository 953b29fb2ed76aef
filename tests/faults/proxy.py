"""A TCP proxy between a client and the server that can fall silent: bytes vanish, and no FIN or RST tells of it."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """`port` is where clients connect; `silence("up")` swallows what clients send, "down" what the server sends."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.silent: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def silence(self, *directions: str) -> None:
        self.silent.update(directions or ("up", "down"))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, far_writer]
        for direction, source, sink in (("up", reader, far_writer), ("down", far_reader, writer)):
            self._tasks.add(asyncio.ensure_future(self._pump(direction, source, sink)))

    async def _pump(self, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if direction not in self.silent:
                    sink.write(data)
                    await sink.drain()
            if direction not in self.silent:  # else the end vanishes too
                sink.close()
