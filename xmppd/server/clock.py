"""Time for the whole server, so that tests can move it: wall clock for stamps, monotonic for intervals."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    def now(self) -> datetime:
        """The time of day, aware, UTC."""
        return datetime.now(UTC)

    def time(self) -> float:
        """The same as seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only grow; for time-outs and rates."""
        return time.monotonic()
