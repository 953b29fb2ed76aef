"""The last hour of the dashboard's figures, in memory: gauges as they were, counters as growth per sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

SAMPLE_SECONDS = 30.0
KEPT = int(3600 / SAMPLE_SECONDS) + 1


class Samples:
    """Written on the loop, read by request threads: appending to a deque and copying it are atomic."""

    GAUGES = ("users_online", "sessions")
    COUNTERS = ("logins", "failed_logins")

    def __init__(self) -> None:
        self._samples: deque[dict[str, int]] = deque(maxlen=KEPT)

    def add(self, status: Mapping[str, Any]) -> None:
        """Take a sample of xmppd.services.live.status()."""
        counters = status.get("counters", {})
        sample = {name: int(status.get(name, 0)) for name in self.GAUGES}
        sample |= {name: int(counters.get(name, 0)) for name in self.COUNTERS}
        self._samples.append(sample)

    def clear(self) -> None:
        self._samples.clear()

    def series(self) -> dict[str, list[int]]:
        """Per name the values of the last hour, the oldest first."""
        samples = list(self._samples)
        lines = {name: [sample[name] for sample in samples] for name in self.GAUGES}
        for name in self.COUNTERS:
            # A counter that fell began anew with the service.
            lines[name] = [max(0, now[name] - before[name]) for before, now in pairwise(samples)]
        return lines


history = Samples()
