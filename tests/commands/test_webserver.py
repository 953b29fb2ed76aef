"""The web server holds an application back while its client does not read."""

import http.client
import socket
import subprocess
import sys
import time

import pytest

from xmppd.bootstrap import ROOT

PARTS, PART_BYTES = 2000, 64 * 1024
SERVER = f"""
import asyncio
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
asyncioreactor.install(loop)
from xmppd.webserver import WebServer
produced = ended = 0

async def application(scope, receive, send):
    global produced, ended
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    if scope["path"] == "/produced":
        await send({{"type": "http.response.body", "body": b"%d %d" % (produced, ended)}})
        return
    try:
        for _ in range({PARTS}):
            produced += 1
            await send({{"type": "http.response.body", "body": bytes({PART_BYTES}), "more_body": True}})
            await asyncio.sleep(0)
        await send({{"type": "http.response.body", "body": b"end"}})
    finally:
        ended += 1

def ready():
    print(server.listening_addresses[0][1], flush=True)

server = WebServer(
    application, endpoints=["tcp:port=0:interface=127.0.0.1"], signal_handlers=False, ready_callable=ready,
    verbosity=0,
)
server.run()
"""


@pytest.fixture
def port():
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def produced(port):
    """(parts made so far, answers that came to their end)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/produced")
    answer = connection.getresponse().read()
    connection.close()
    return tuple(int(number) for number in answer.split())


def stalled(port):
    """What was produced when nothing more comes."""
    last, same = None, 0
    while same < 30:
        now = produced(port)
        last, same = now, same + 1 if now == last else 0
    return last


def test_a_client_that_does_not_read_holds_the_answer_back(port):
    reader = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    reader.request("GET", "/long")
    answer = reader.getresponse()
    parts, ended = stalled(port)
    assert 0 < parts < PARTS // 4
    assert ended == 0
    content = answer.read()
    assert len(content) == PARTS * PART_BYTES + 3
    assert content.endswith(b"end")
    assert produced(port) == (PARTS, 1)
    # The connection is good for another answer.
    reader.request("GET", "/produced")
    assert reader.getresponse().read() == b"%d 1" % PARTS
    reader.close()


def test_an_answer_to_nobody_is_not_held_back(port):
    with socket.create_connection(("127.0.0.1", port)) as reader:
        reader.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reader.recv(1000).startswith(b"HTTP/1.1 200")
        assert stalled(port)[1] == 0
    deadline = time.monotonic() + 20
    while produced(port)[1] == 0:
        assert time.monotonic() < deadline
