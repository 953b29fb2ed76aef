#!/usr/bin/env python3
"""Measure servers with xmppload and print one table: server CPU and memory per unit, beside Hearth's targets.

    bench.py                                        what Hearth promises; Hearth and the installed peers
    bench.py chat ping --servers hearth --runs 3    a part of it
    bench.py --list                                 the tests and servers there are
    bench.py --report                               medians of every result so far

Runs alternate (run 1 of every server, then run 2), so that a change of the machine meets all alike. The
server has one core for itself and the generator another. Every result is appended to a file of JSON lines.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import peers
from peers.server import WORK, XMPPLOAD, Server, ServerError

USERS = ("--users", 200)
PRESENCE = ("--users", 210, "--contacts", 20, "--senders", 210)
PHONES = (
    "--users",
    210,
    "--contacts",
    20,
    "--phones",
    "--rate",
    210,
)  # each contact tells something every second
STARTTLS = ("--tls", "starttls")
SATURATE = ("--window", 1)


@dataclass(frozen=True)
class Test:
    """One run of the load generator; `half_of` names the test whose rate is halved for this one.

    What has a target is measured in the configurations that it is promised for: with modern clients (and the archive),
    or without.
    """

    name: str
    title: str
    mode: str
    options: tuple[object, ...]
    key: str  # of the result
    unit: str
    target: float | None = None
    is_more_better: bool = False
    half_of: str = ""
    is_modern: bool = False

    def fits(self, server: Server) -> bool:
        return self.target is None or self.is_modern == server.has_modern_clients


def us(
    name: str,
    title: str,
    mode: str,
    *options: object,
    target: float | None = None,
    half_of: str = "",
    is_modern: bool = False,
) -> Test:
    """A test whose figure is server CPU per stanza delivered."""
    return Test(name, title, mode, options, "cpu_us_per", "us", target, half_of=half_of, is_modern=is_modern)


TESTS = {
    test.name: test
    for test in [
        us("chat", "chat, 100 pairs, bare JID", "chat", *USERS, *SATURATE, target=25),
        us("chat-tls", "chat over TLS", "chat", *USERS, *SATURATE, *STARTTLS, target=35),
        us("ping", "ping to the server", "iq", *USERS, *SATURATE, "--iq", "ping", target=25),
        us("roster", "roster get, 20 items", "iq", *USERS, *SATURATE, "--iq", "roster", target=40),
        us("presence", "presence to 20 contacts, each", "presence", *PRESENCE, *SATURATE, target=8),
        Test(
            "login",
            "logins, SCRAM-SHA-1, STARTTLS",
            "login",
            ("--users", 400, "--ramp", 64, *STARTTLS),
            "per_core_s",
            "/CPU s",
            1000,
            is_more_better=True,
        ),
        Test("idle", "memory, 5000 idle", "idle", ("--users", 5000), "kb_per_conn", "KB", 20),
        Test(
            "idle-tls",
            "memory, 5000 idle, TLS",
            "idle",
            ("--users", 5000, *STARTTLS),
            "kb_per_conn",
            "KB",
            35,
        ),
        us(
            "archived",
            "chat: archive, carbons, 0198",
            "chat",
            *USERS,
            *SATURATE,
            target=60,
            is_modern=True,
        ),
        Test(
            "archived-half",
            "the same at half the rate, p99",
            "chat",
            USERS,
            "p99_us",
            "us",
            10_000,
            half_of="archived",
            is_modern=True,
        ),
        Test(
            "idle-0198",
            "memory, 5000 idle, 0198",
            "idle",
            ("--users", 5000),
            "kb_per_conn",
            "KB",
            25,
            is_modern=True,
        ),
        us("chat-half", "chat at half the rate", "chat", *USERS, half_of="chat"),
        us("chat-tls-half", "chat over TLS at half the rate", "chat", *USERS, *STARTTLS, half_of="chat-tls"),
        us("chat-full", "chat, full JID", "chat", *USERS, *SATURATE, "--to", "full"),
        us("chat-8", "chat, 8 messages under way", "chat", *USERS, "--window", 8),
        us("ping-half", "ping at half the rate", "iq", *USERS, "--iq", "ping", half_of="ping"),
        us("presence-half", "presence at half the rate", "presence", *PRESENCE, half_of="presence"),
        Test("phone", "bytes to a phone, 20 busy contacts", "presence", PHONES, "phone_bytes_per_s", "B/s"),
        Test(
            "phone-csi",
            "the same, nobody looks at it",
            "presence",
            (*PHONES, "--inactive"),
            "phone_bytes_per_s",
            "B/s",
        ),
        us("muc", "room of 100, 10 senders, each", "muc", "--users", 100, "--senders", 10, *SATURATE),
        us(
            "muc-10",
            "room of 10, each",
            "muc",
            "--users",
            10,
            "--senders",
            10,
            "--window",
            4,
            "--room",
            "small",
        ),
    ]
}
PROMISED = [test.name for test in TESTS.values() if test.target is not None]
Results = dict[tuple[str, str], list[dict[str, float]]]


def options_of(test: Test, server: Server, results: Results, seconds: float) -> list[object]:
    """The generator's options; PLAIN for `limit`, which knows no SCRAM."""
    options = [*test.options, "--auth", "plain" if server.name.startswith("limit") else "scram"]
    options += ["--warmup", 1, "--duration", 2 if test.mode == "idle" else seconds]
    if test.mode == "idle":
        options += ["--settle", 2, "--ramp", 64]
    if test.half_of:
        saturated = results.get((str(server), test.half_of))
        if not saturated:
            raise ServerError(f"{test.name} needs {test.half_of} before it")
        options += ["--rate", round(saturated[-1]["sent_per_s"] / 2)]
    if server.has_modern_clients and test.mode != "login":
        options += ["--sm", "--carbons"]
    return options


def measure(test: Test, server: Server, results: Results, seconds: float) -> dict[str, float]:
    """One run on a freshly started server. Raises ServerError, also where a client failed."""
    options = options_of(test, server, results, seconds)
    with server:
        result = json.loads(server.load(test.mode, *options))
    if (
        result.get("failed")
        or result.get("errors")
        or result.get("joined", result["users"]) < result["users"]
    ):
        raise ServerError(f"{server} {test.name}: clients failed: {result}")
    return result | {"server": str(server), "test": test.name, "startup_s": round(server.startup_seconds, 3)}


def show_run(test: Test, server: Server, result: dict[str, float]) -> None:
    rest = [
        f"{key}={result[key]}"
        for key in ("per_s", "server_util", "p50_us", "p99_us", "idle_cpu_pct", "gen_cpu")
        if key in result
    ]
    print(
        f"{server} {test.name}: {result[test.key]} {test.unit}  {' '.join(rest)}", file=sys.stderr, flush=True
    )


def cell(test: Test, found: list[dict[str, float]]) -> str:
    if not found:
        return "-"
    value = statistics.median(result[test.key] for result in found)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def verdict(test: Test, found: list[dict[str, float]]) -> str:
    """How Hearth stands to its target."""
    if test.target is None or not found:
        return ""
    value = statistics.median(result[test.key] for result in found)
    is_met = value >= test.target if test.is_more_better else value <= test.target
    return "met" if is_met else f"missed by {abs(value / test.target - 1):.0%}"


def print_table(tests: list[Test], servers: list[str], results: Results) -> None:
    """Medians as Markdown; a dash where a server failed or was not measured."""
    hearths = [name for name in servers if name.startswith("hearth/")]
    rows = [["test", "unit", "target", *servers, "target of Hearth" if hearths else ""]]
    for test in tests:
        target = "-" if test.target is None else f"{'>=' if test.is_more_better else '<='} {test.target:,.0f}"
        cells = [cell(test, results[server, test.name]) for server in servers]
        found = [result for name in hearths for result in results[name, test.name]]
        rows.append([test.title, test.unit, target, *cells, verdict(test, found)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def report(path: Path) -> None:
    results: Results = defaultdict(list)
    for line in path.read_text().splitlines():
        result = json.loads(line)
        results[result["server"], result["test"]].append(result)
    names = {test for _, test in results}
    servers = list(dict.fromkeys(server for server, _ in results))
    print_table([test for test in TESTS.values() if test.name in names], servers, results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("tests", nargs="*", metavar="TEST", help=f"default: {' '.join(PROMISED)}")
    parser.add_argument(
        "--servers",
        help="name or name/config, by commas; default: hearth and the installed peers, lean and modern",
    )
    parser.add_argument("--runs", type=int, default=1, help="runs of every test; the table shows medians")
    parser.add_argument("--duration", type=float, default=4, help="seconds measured per run")
    parser.add_argument(
        "--out", type=Path, default=WORK / "results.jsonl", help="where every result is added"
    )
    parser.add_argument("--report", action="store_true", help="medians of every result in --out")
    parser.add_argument("--list", action="store_true", help="the tests and servers there are")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.tests if name not in TESTS]
    if unknown:
        parser.error(f"unknown test {unknown[0]}; there is {', '.join(TESTS)}")
    return arguments


def chosen_servers(text: str | None) -> list[Server]:
    if text:
        return [peers.find(name) for name in text.split(",")]
    installed = [name for name in ("hearth", "prosody", "ejabberd") if peers.SERVERS[name].is_installed()]
    return [peers.find(f"{name}/{config}") for config in ("lean", "modern") for name in installed]


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        for test in TESTS.values():
            print(f"{test.name:14} {test.title}")
        for cls in peers.SERVERS.values():
            state = "" if cls.is_installed() else "  (not installed)"
            print(f"{cls.name}/{'|'.join(cls.configs)}{state}")
        return 0
    if arguments.report:
        report(arguments.out)
        return 0
    if not XMPPLOAD.exists() or not shutil.which("taskset"):
        print("bench: build the load generator first (make -C bench); taskset is needed too", file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    tests = [TESTS[name] for name in arguments.tests or PROMISED]
    results: Results = defaultdict(list)
    failures = 0
    try:
        servers = chosen_servers(arguments.servers)
        for server in servers:
            print(f"{server}: accounts and rosters", file=sys.stderr, flush=True)
            server.prepare()
    except ServerError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    for run in range(1, arguments.runs + 1):
        for test in tests:
            for server in filter(test.fits, servers):
                try:
                    result = measure(test, server, results, arguments.duration)
                except ServerError as error:
                    failures += 1
                    print(f"bench: {error}", file=sys.stderr, flush=True)
                    continue
                results[str(server), test.name].append(result)
                show_run(test, server, result)
                with open(arguments.out, "a") as file:
                    file.write(json.dumps(result | {"run": run}) + "\n")
    print_table(tests, list(map(str, servers)), results)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
