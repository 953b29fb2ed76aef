"""Counters since the start; read by the dashboard, `status` and tests."""

from __future__ import annotations

from collections import Counter


class Metrics:
    """Names are plain words in the plural: logins, stanza_failures, refused_connections."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] += by
