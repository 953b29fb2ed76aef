"""What open consoles are told: a change becomes {"changed": [topics]} on their WebSockets, at most once a second.

Topics are the words that `{% listing live="..." %}` listens to: audit, groups, reports, rosters, sessions, settings,
users; problems is what the banner of every page listens to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from channels.layers import get_channel_layer

from adminconsole import imports
from adminconsole.samples import SAMPLE_SECONDS, history
from xmppd.bus import channel, messages
from xmppd.services import live

log = logging.getLogger("hearth.console")

GROUP = "console"  # of the channel layer
INTERVAL_SECONDS = 1.0  # between two messages to the consoles

TOPICS: dict[type[messages.Message], tuple[str, ...]] = {
    messages.UserCreated: ("users", "audit"),
    messages.UserChanged: ("users", "audit"),
    messages.UserDeleted: ("users", "groups", "audit"),
    messages.UserLocked: ("users", "audit"),
    messages.UserUnlocked: ("users", "audit"),
    messages.PasswordChanged: ("users", "audit"),
    messages.DeviceRevoked: ("sessions", "audit"),
    messages.RosterChanged: ("rosters",),
    messages.SharedRostersChanged: ("groups", "rosters", "audit"),
    messages.ReportsChanged: ("reports", "audit"),
    messages.SettingChanged: ("settings", "audit"),
}


class Announcer:
    """Gathers topics and sends them to the group; lives on one event loop."""

    def __init__(self, sessions_version: Callable[[], int] | None = None) -> None:
        self.loop = _current_loop()
        self._sessions_version = sessions_version
        self._seen = sessions_version() if sessions_version else 0
        self._problems = _problems()
        self._pending: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = -INTERVAL_SECONDS
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe = [channel.subscribe(kind, self._on_message) for kind in TOPICS]
        self._watch = self.loop.call_later(INTERVAL_SECONDS, self._look)
        self._sampling = self.loop.call_soon(self._sample)

    def stop(self) -> None:
        """Nothing is sent any more. On the loop."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()
        for timer in (self._watch, self._sampling, self._timer):
            if timer is not None:
                timer.cancel()

    def notify(self, *topics: str) -> None:
        """From any thread."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            self._add(topics)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._add, topics)

    def _on_message(self, message: messages.Message) -> None:
        self.notify(*TOPICS[type(message)])

    def _add(self, topics: tuple[str, ...]) -> None:
        """At once when the last message is a second old, else with what gathers until then."""
        self._pending.update(topics)
        if self._pending and self._timer is None:
            self._timer = self.loop.call_at(
                max(self.loop.time(), self._sent_at + INTERVAL_SECONDS), self._flush
            )

    def _flush(self) -> None:
        self._timer = None
        self._sent_at = self.loop.time()
        topics = sorted(self._pending)
        self._pending.clear()
        task = self.loop.create_task(self._send(topics))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, topics: list[str]) -> None:
        layer = get_channel_layer()
        try:
            await layer.group_send(GROUP, {"type": "console.changed", "changed": topics})
        except Exception:  # a broker that is down costs freshness only: consoles fetch again later
            log.warning("consoles could not be told of %s", ", ".join(topics), exc_info=True)

    def _look(self) -> None:
        """Once a second: whether sessions have come, gone or changed presence, or something does not work any more."""
        self._watch = self.loop.call_later(INTERVAL_SECONDS, self._look)
        if self._sessions_version is not None and (version := self._sessions_version()) != self._seen:
            self._seen = version
            self._add(("sessions",))
        if (problems := _problems()) != self._problems:
            self._problems = problems
            self._add(("problems",))

    def _sample(self) -> None:
        self._sampling = self.loop.call_later(SAMPLE_SECONDS, self._sample)
        self.loop.run_in_executor(None, imports.sweep)
        try:
            history.add(live.run_here("status", {}))
        except KeyError:  # the stream service does not run in this process
            return
        self._add(("stats",))


def _problems() -> list[dict[str, str]]:
    """What does not work now in the stream service of this process."""
    try:
        return list(live.run_here("problems", {}))
    except KeyError:  # it runs in another one; pages are told when they are loaded
        return []


def _current_loop() -> asyncio.AbstractEventLoop:
    """The running loop, or the one that this thread is about to run."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.get_event_loop_policy().get_event_loop()


_announcer: Announcer | None = None


def start(server_sessions_version: Callable[[], int] | None = None) -> Callable[[], None]:
    """Begin to tell consoles, on this thread's event loop; returns the call that ends it.

    `server_sessions_version` gives a number that changes whenever a session opens, closes or changes presence;
    None in a process without stream service.
    """
    global _announcer
    if _announcer is not None:
        _announcer.stop()
    _announcer = Announcer(server_sessions_version)
    return partial(_stop, _announcer)


def _stop(announcer: Announcer) -> None:
    global _announcer
    announcer.stop()
    if _announcer is announcer:
        _announcer = None


def notify(*topics: str) -> None:
    """Tell the open consoles that these have changed; from any thread, and nothing where no console is served."""
    if _announcer is not None:
        _announcer.notify(*topics)
