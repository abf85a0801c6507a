"""The disk is full, read-only, fails to sync, or a stranger has the books locked: paid routes are closed, free ones are
not, and no money is lost."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests import shims
from tests.callers import Funded
from tests.gateway_process import PROMISED, fund, running, write_config
from tests.raw import RawUpstream
from tests.stories.test_many_workers import Callers, Journal, ask, audited, charged

PRICE = 2_000
SECONDS_MAX = 5.0  # the promise is one second; a test on a busy machine allows five times that
TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
ROUNDS = 20 if TORTURE else 2
LOCKED_SECONDS = [0.5, 5, 60] if TORTURE else [0.5, 3]


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
def disk(tmp_path: Path) -> "Disk":
    library = shims.built(tmp_path)
    if library is None:
        pytest.skip(shims.WITHOUT)
    return Disk(tmp_path, library)


class Disk:
    """Where the books stand."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._fault = folder / "fault"
        self.environ = {"LD_PRELOAD": str(library), "SHIM_FAULT": str(self._fault), "SHIM_PATH": "gateway.db"}

    def fails(self, how: str) -> None:
        beside = self._fault.with_name("fault.new")
        beside.write_text(how)
        beside.replace(self._fault)

    def works(self) -> None:
        self._fault.unlink()


async def served(settings: Settings, caller: Funded) -> bool:
    """Whether a paid route is open again within a moment."""
    async with asyncio.timeout(4 * SECONDS_MAX):
        while (await ask(settings, caller))[0] != 200:
            pass
    return True


@pytest.mark.parametrize(
    ("how", "workers"),
    [("full", 1), ("full", 2), ("read-only", 1), ("sync", 2), *([("read-only", 2), ("sync", 1)] if TORTURE else [])],
)
async def test_paid_routes_are_closed_and_open_again_by_themselves(
    tmp_path: Path, upstream: RawUpstream, disk: Disk, how: str, workers: int
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=workers, ledger=PROMISED)
    callers = await fund(settings, "100.00 usd", count=8)
    [caller] = await fund(settings, "1.00 usd", count=1)
    journal = Journal()
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml", environ=disk.environ) as process:
        with load.asking(connections=8):
            for _ in range(ROUNDS):
                await load.answers(100)
                disk.fails(how)
                began = time.monotonic()
                in_a_row = 0  # each worker finds out for itself
                while in_a_row < 10 * workers:
                    in_a_row = 0 if (await ask(settings, caller))[0] == 200 else in_a_row + 1
                assert time.monotonic() - began < SECONDS_MAX
                answered, visits = len(journal.answered), len(upstream.visits)
                for _ in range(10):
                    status, fields, _ = await ask(settings, caller)
                    assert (status, fields["Retry-After"]) == (503, "1")
                    assert (await ask(settings, caller, "/free/x"))[0] == 200
                assert len(upstream.visits) - visits == 10, "a closed route called its upstream"
                assert len(journal.answered) == answered, "something was served that could not be billed"
                disk.works()
                assert await served(settings, caller)
        await load.ended()
        assert await process.stop() == 0
    assert set(journal.statuses) == {200, 503}
    paid, voided = charged(settings.store_path)
    assert journal.answered <= paid
    assert voided == 0
    assert audited(settings) == len(paid) * PRICE


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", LOCKED_SECONDS)
async def test_however_long_a_stranger_locks_the_books_nothing_is_lost_or_given_away(
    tmp_path: Path, upstream: RawUpstream, seconds: float, workers: int
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=workers, ledger=PROMISED)
    callers = await fund(settings, "100.00 usd", count=8)
    [caller] = await fund(settings, "1.00 usd", count=1)
    journal = Journal()
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml") as process:
        with load.asking(connections=8), closing(sqlite3.connect(settings.store_path, isolation_level=None)) as other:
            await load.answers(100)
            other.execute("PRAGMA busy_timeout = 10000")
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answered = len(journal.answered)
            while time.monotonic() - began < seconds:
                assert (await ask(settings, caller, "/free/x"))[0] == 200
                status, fields, _ = await ask(settings, caller)
                assert status == 503 or time.monotonic() - began < SECONDS_MAX
                assert status != 503 or fields["Retry-After"] == "1"
            assert len(journal.answered) - answered < 20, "something was served that could not be billed"
            other.execute("ROLLBACK")
            assert await served(settings, caller)
            await load.answers(100)
        await load.ended()
        assert await process.stop() == 0
    assert set(journal.statuses) <= {200, 503}
    paid, voided = charged(settings.store_path)
    assert journal.answered <= paid
    assert voided == 0
    assert audited(settings) == len(paid) * PRICE


async def test_a_slow_disk_only_makes_answers_late(tmp_path: Path, upstream: RawUpstream, disk: Disk) -> None:
    settings = write_config(tmp_path, upstream.url, ledger=PROMISED)
    callers = await fund(settings, "100.00 usd", count=8)
    journal = Journal()
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml", environ={**disk.environ, "SHIM_SYNC_MS": "50"}) as process:
        with load.asking(connections=8):
            await load.answers(100)
        await load.ended()
        assert await process.stop() == 0
    assert set(journal.statuses) == {200}
    assert audited(settings) == len(journal.answered) * PRICE
