"""Publish on commit, subscribe by message class.

Inside the process that runs the server, messages go straight to the subscribers. From any other process of the same
installation (a command, a separate web process) they travel through the control socket in HEARTH_HOME, so that
`deluser` beside a running server disconnects at once. Delivery is at most once: a message is a hint to read again.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction

from xmppd.bus.messages import KINDS, Message

log = logging.getLogger("hearth.bus")
M = TypeVar("M", bound=Message)
Handler = Callable[[Any], None]

_subscribers: dict[type[Message], list[Handler]] = defaultdict(list)


def publish(message: Message) -> None:
    """Deliver the message once the current transaction is committed; at once when there is none."""
    transaction.on_commit(partial(deliver, message))


def subscribe(kind: type[M], handler: Callable[[M], None]) -> Callable[[], None]:
    """Call `handler(message)` for each message of this class, on the publishing thread; returns what ends it."""
    _subscribers[kind].append(handler)
    return partial(_subscribers[kind].remove, handler)


def deliver(message: Message) -> None:
    """Hand a message to the subscribers here, then to the server process when that is another one."""
    deliver_locally(message)
    if not is_server_process():
        send_to_server(message)


def deliver_locally(message: Message) -> None:
    """A subscriber that fails is logged; the others still hear the message."""
    for handler in list(_subscribers[type(message)]):
        try:
            handler(message)
        except Exception:
            log.exception("subscriber failed on %s", type(message).__name__)


_server_process = False


def set_server_process(value: bool) -> None:
    """Say that this process runs the stream service: its messages need no control socket."""
    global _server_process
    _server_process = value


def is_server_process() -> bool:
    return _server_process


def encode(message: Message) -> bytes:
    """One JSON line: {"bus": class name, "data": fields}."""
    return json.dumps({"bus": type(message).__name__, "data": asdict(message)}).encode() + b"\n"


def decode(line: dict[str, Any]) -> Message:
    """The inverse of encode() after json.loads; raises ValueError for what is no message of ours."""
    try:
        return KINDS[line["bus"]](**line["data"])
    except (KeyError, TypeError) as error:
        raise ValueError("not a bus message") from error


ANSWER_SECONDS = 5.0
PAUSE_SECONDS = 60.0  # nothing is sent after a server did not answer: an import has a message for each user

_silent_until: dict[str, float] = {}  # path of a control socket: monotonic time


def send_to_server(message: Message) -> bool:
    """Write the message to the control socket; False when no server is running beside us, or none that answers."""
    path = str(settings.CONFIG.control_socket)
    if time.monotonic() < _silent_until.get(path, 0.0):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(encode(message))
            connection.recv(64)  # the server answers when its subscribers have been told
            return True
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except (TimeoutError, BlockingIOError):  # the latter: its backlog is full
        _silent_until[path] = time.monotonic() + PAUSE_SECONDS
        log.warning(
            "the server does not answer on %s; it is not told of changes for %d s", path, PAUSE_SECONDS
        )
        return False
    except OSError as error:
        log.warning("control socket %s: %s", path, error)
        return False
