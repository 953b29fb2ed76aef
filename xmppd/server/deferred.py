"""The outcome of a stanza that waits for a commit, without a task for each: thousands of messages share one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator


class Deferred:
    """Finished once, with a problem or without. One listener: `then`, or `await`, which raises the problem."""

    __slots__ = ("_listener", "is_finished", "problem")

    def __init__(self) -> None:
        self.is_finished = False
        self.problem: Exception | None = None
        self._listener: Callable[[], None] | None = None

    def then(self, listener: Callable[[], None]) -> None:
        """Call it when finished; at once if that is now."""
        if self.is_finished:
            listener()
        else:
            self._listener = listener

    def finish(self, problem: Exception | None = None) -> None:
        self.is_finished = True
        self.problem = problem
        listener, self._listener = self._listener, None  # it may hold what holds us
        if listener is not None:
            listener()

    def __await__(self) -> Generator[asyncio.Future[None], None, None]:
        if not self.is_finished:
            future = asyncio.get_running_loop().create_future()
            self.then(lambda: None if future.done() else future.set_result(None))
            yield from future
        if self.problem is not None:
            raise self.problem
