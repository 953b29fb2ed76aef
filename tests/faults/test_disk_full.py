"""No space is left for the database (F5): what cannot be kept is refused, all else goes on, and space is enough to
recover.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.client import Client, check_history
from tests.faults.conftest import IS_LONG
from tests.faults.databases import Database, control, installation, tablespace
from tests.hearth import Hearth

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DISK_BYTES = 48 * 1024 * 1024
RESERVE_BYTES = 64 * 1024
LONG = "".join(chr(97 + number * number % 26) for number in range(20_000))
VCARD = "<vCard xmlns='vcard-temp'>{}</vCard>"
CONDITIONS = {"resource-constraint", "internal-server-error"}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where the user may make one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "hearth-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise PermissionError(made.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no space; returns the file whose end gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


@contextlib.contextmanager
def no_larger_files(hearth: Hearth) -> Iterator[None]:
    """RLIMIT_FSIZE of the running server: nothing may be written beyond the first bytes of a file."""
    unlimited = resource.prlimit(hearth.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(hearth.process.pid, resource.RLIMIT_FSIZE, (RESERVE_BYTES, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(hearth.process.pid, resource.RLIMIT_FSIZE, unlimited)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    ballast = fill(folder)
    try:
        yield
    finally:
        ballast.unlink()


def problems(hearth: Hearth) -> set[str]:
    return {row["name"] for row in control(hearth, "problems")}


async def until_problems(hearth: Hearth, wanted: set[str], meanwhile: Client) -> None:
    """The server looks once a second."""
    async with asyncio.timeout(30):
        while problems(hearth) & {"archive"} != wanted:
            await meanwhile.ping()


async def refuses_and_recovers(
    hearth: Hearth,
    database: Database,
    client: Callable[..., Awaitable[Client]],
    fault: contextlib.AbstractContextManager[None],
    body: str = "",
) -> str:
    """What the server said of it."""
    juliet, nurse = await client("juliet", at=hearth), await client("nurse", at=hearth)
    benvolio = await client("benvolio", at=hearth)
    first = juliet.say("nurse")
    await juliet.settle("nurse")
    sessions = control(hearth, "status")["sessions"]
    said = len(hearth.text())
    with fault:
        refused = []
        while not refused:  # what is left of allocated pages may take a few
            id = juliet.say("nurse", body)
            while id not in juliet.handled:
                await benvolio.ping()
            refused = list(juliet.refused)
        assert set(juliet.refused.values()) <= CONDITIONS
        await until_problems(hearth, {"archive"}, benvolio)
        # A login, presence, and what can be read.
        romeo = await client("romeo", at=hearth)
        assert (await romeo.request("<query xmlns='jabber:iq:roster'/>")).get("type") == "result"
        assert first in [row.id for row in await juliet.archive()]
        guest = await client("guest0", at=hearth)
        answer = await guest.request(VCARD.format("<FN>" + "x" * 8000 + "</FN>"), "set")
        assert answer.get("type") in ("result", "error")
        assert control(hearth, "status")["sessions"] == sessions + 2
    await until_problems_end(hearth, juliet, benvolio)
    await juliet.settle("nurse")
    assert set(juliet.kept) == set(juliet.messages)
    await nurse.until(lambda: len(nurse.received) >= len(juliet.messages))
    assert sorted(id for id, _ in nurse.received) == sorted(juliet.messages)
    assert (await guest.request(VCARD.format("<FN>A guest</FN>"), "set")).get("type") == "result"
    await check_history(hearth, [juliet])
    database.check()
    text = hearth.text()[said:]
    assert "Traceback" not in text, text
    return text


async def until_problems_end(hearth: Hearth, juliet: Client, benvolio: Client) -> None:
    juliet.say("nurse")
    await juliet.all_handled()
    await until_problems(hearth, set(), benvolio)


async def test_full_disk_below_sqlite(tmp_path, client):
    """Where no file system may be made: a limit on the size of files, which is as good as a quota."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_disk(tmp_path / "disk"))
        except PermissionError:
            folder = None
        hearth, database = stack.enter_context(installation(folder or tmp_path, None))
        hearth.output = tmp_path / "serve.log"  # what the terminal shows is not on the full disk
        hearth.start()
        fault = full(folder) if folder else no_larger_files(hearth)
        text = await refuses_and_recovers(hearth, database, client, fault, LONG)
        if folder:
            assert text.count("the archive cannot be written") == 1
            assert text.count("the archive can be written again") == 1
        assert hearth.stop() == 0


@pytest.mark.skipif(not IS_LONG, reason="a full disk shows the same: HEARTH_TEST_FAULTS=long")
async def test_limit_of_file_sizes(tmp_path, client):
    with installation(tmp_path, None) as (hearth, database):
        hearth.start()
        await refuses_and_recovers(hearth, database, client, no_larger_files(hearth))
        assert hearth.stop() == 0


@pytest.mark.skipif(not IS_LONG, reason="takes a quarter of a minute: HEARTH_TEST_FAULTS=long")
@pytest.mark.postgresql
async def test_full_disk_below_postgresql(tmp_path, client, postgresql_server):
    """A tablespace on a small file system; the server itself has room."""
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk"))
        except PermissionError as error:
            pytest.skip(f"no file system can be made here: {error}")
        name = stack.enter_context(tablespace(postgresql_server, disk))
        hearth, database = stack.enter_context(installation(tmp_path, postgresql_server, tablespace=name))
        hearth.start()
        await refuses_and_recovers(hearth, database, client, full(disk), LONG)
        assert hearth.stop() == 0
