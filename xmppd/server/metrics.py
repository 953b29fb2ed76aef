"""Counters since the start; read by the dashboard, `status` and tests."""

from __future__ import annotations

import traceback
from collections import Counter
from hashlib import blake2b

MAX_FAILURES = 200  # kinds of failures that are told apart
FINGERPRINT_FRAMES = 3


class Metrics:
    """Names are plain words in the plural: logins, stanza_failures, refused_connections.

    `failures` counts what broke in our own code, by fingerprint and what it stands for.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] += by

    def failed(self, problem: BaseException) -> str:
        """Count an error that nobody expected; returns its fingerprint, for the log line beside it."""
        where = place_of(problem)
        fingerprint = blake2b(where.encode(), digest_size=4).hexdigest()
        key = (fingerprint, where)
        if key in self.failures or len(self.failures) < MAX_FAILURES:
            self.failures[key] += 1
        self.counters["failures"] += 1
        return fingerprint


def place_of(problem: BaseException) -> str:
    """The kind of error and the functions in which it came up, innermost last: the same for every occurrence, whatever
    the data, and from release to release."""
    frames = traceback.extract_tb(problem.__traceback__)[-FINGERPRINT_FRAMES:]
    names = [f"{frame.filename.rpartition('/')[2].removesuffix('.py')}.{frame.name}" for frame in frames]
    return " > ".join([type(problem).__qualname__, *names])
