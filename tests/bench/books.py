"""The ledger by itself: how many requests it can charge, and what one costs.

    python -m tests.bench.books            two minutes; a table
    python -m tests.bench.books --json     for programs
    python -m tests.bench.books --quick    for a look
    python -m tests.bench.books --million  three minutes: a million accounts, and a million requests of one
    … --sync-ms 1                          as on a disk whose sync takes so much longer (needs a C compiler)

64 callers of each process hold a price, wait until it is on disk (strict), and settle, without a pause: the life of a
priced request without its network. They share 1,000 accounts, or one. Compared are

- what one writes first: an `UPDATE` and a commit for each request, on a shared aiosqlite connection;
- a group commit as in a textbook: one transaction for all that has gathered, an `UPDATE` for each request in it;
- the ledger of this project in one process, and with one and four worker processes that borrow from a keeper;
- on PostgreSQL, if the package that brings it is there: an `UPDATE` for each request, and this ledger.

CPU is that of all processes together, in microseconds for each request charged. Rounds are interleaved, figures are
medians. At the end every set of books is audited, and its debits must be as many as were counted.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.adapters.interprocess.keeper import Counter
from gateway.adapters.interprocess.limits import Counting
from gateway.adapters.interprocess.worker import BorrowedLedgerStore, Line
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.system import SystemClock
from gateway.cli.run import runner
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.ledger import Credit, Tariff
from gateway.core.limits import Limiter
from gateway.core.money import Money
from gateway.flows.keep import Keeper, Pace
from gateway.flows.keep.slices import Slices
from gateway.ports import Ledger
from tests import postgres_server, shims
from tests.bench.shared_books import SharedBooks

KEY = b"k" * 32
PRICE = Money(2_000, "usd")
PAID = Money(10**12, "usd")
TARIFF = Tariff("search", "operator", 0, "0.002 usd")
CALLERS = 64


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender did in one round."""

    operations: int
    seconds: float
    cpu_seconds: float
    commits: int
    times: list[float]


Charge = Callable[[int], Awaitable[None]]
"""Charges one request to an account by its number."""


async def _load(charge: Charge, accounts: int, seconds: float) -> tuple[int, list[float]]:
    """64 callers without a pause; how many requests were charged, and how long a sample of them took."""
    end, times, count = time.perf_counter() + seconds, [], 0

    async def caller(number: int) -> None:
        nonlocal count
        turn = number
        while (begun := time.perf_counter()) < end:
            await charge(turn % accounts)
            turn += CALLERS + 1
            count += 1
            if not count % 16:
                times.append(time.perf_counter() - begun)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return count, times


# --- naive and textbook -----------------------------------------------------------------------------------------------


async def _naive(path: Path, accounts: int, seconds: float) -> Run:
    async with aiosqlite.connect(path, isolation_level=None) as sql:
        await _open_simple(sql, accounts)

        async def charge(account: int) -> None:
            async with sql.execute(
                "UPDATE account SET balance = balance - ? WHERE id = ? AND balance >= ?",
                (PRICE.micros, account, PRICE.micros),
            ) as done:
                assert done.rowcount == 1

        run = await _timed(charge, accounts, seconds, lambda: 0)
    return Run(run.operations, run.seconds, run.cpu_seconds, run.operations, run.times)


async def _textbook(path: Path, accounts: int, seconds: float) -> Run:
    waiting: list[tuple[int, asyncio.Future[None]]] = []
    work = asyncio.Event()
    commits = 0
    async with aiosqlite.connect(path, isolation_level=None) as sql:
        await _open_simple(sql, accounts)

        async def commit() -> None:
            nonlocal waiting, commits
            while True:
                await work.wait()
                work.clear()
                taken, waiting = waiting, []
                await sql.execute("BEGIN IMMEDIATE")
                await sql.executemany(
                    "UPDATE account SET balance = balance - ? WHERE id = ?",
                    [(PRICE.micros, account) for account, _ in taken],
                )
                await sql.execute("COMMIT")
                commits += 1
                for _, done in taken:
                    done.set_result(None)

        async def charge(account: int) -> None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append((account, done))
            work.set()
            await done

        task = asyncio.create_task(commit())
        run = await _timed(charge, accounts, seconds, lambda: commits)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return run


async def _open_simple(sql: aiosqlite.Connection, accounts: int) -> None:
    await sql.execute("PRAGMA journal_mode = WAL")
    await sql.execute("PRAGMA synchronous = FULL")
    await sql.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
    await sql.executemany("INSERT INTO account VALUES (?, ?)", [(id, PAID.micros) for id in range(accounts)])


async def _timed(charge: Charge, accounts: int, seconds: float, commits: Callable[[], int]) -> Run:
    await _load(charge, accounts, seconds / 5)
    before, cpu, begun = commits(), time.process_time(), time.perf_counter()
    count, times = await _load(charge, accounts, seconds)
    return Run(count, time.perf_counter() - begun, time.process_time() - cpu, commits() - before, times)


# --- ours -------------------------------------------------------------------------------------------------------------


def _charging(ledger: Ledger, slot: int) -> Charge:
    numbers, clock = RequestNumbers(slot=slot, start=int.from_bytes(os.urandom(4))), SystemClock()

    async def charge(account: int) -> None:
        id = RequestId(clock.now_ms(), numbers.next())
        hold = await ledger.hold(f"account {account}", PRICE, id=id, token=1, tariff=TARIFF)
        await ledger.start(hold, PRICE, "strict")
        hold.started()
        ledger.settle(hold, PRICE)

    return charge


async def _fund(path: Path, accounts: int) -> None:
    keeper = Keeper(SqliteLedgerStore(path, head_key=KEY), SystemClock())
    await keeper.open()
    names = [f"account {number}" for number in range(accounts)]
    await asyncio.gather(*(keeper.credit(Credit(name, name, PAID, "manual", "bench")) for name in names))
    await keeper.close()


async def _one_process(path: Path, accounts: int, seconds: float) -> Run:
    await _fund(path, accounts)
    keeper = Keeper(SqliteLedgerStore(path, head_key=KEY), SystemClock())
    await keeper.open()
    run = await _timed(_charging(keeper, 0), accounts, seconds, lambda: keeper._committed_seq)
    await keeper.close()
    return run


def _many(path: Path, accounts: int, seconds: float, workers: int) -> Run:
    """A keeper and its workers, each a process; what the workers counted."""
    with runner() as loop:
        loop.run(_fund(path, accounts))
    socket_path = str(path.with_name(f"{path.name}.line"))
    ready, told = os.pipe(), [os.pipe() for _ in range(workers)]
    keeper = _fork(lambda: _be_keeper(path, socket_path, workers, ready[1]))
    os.read(ready[0], 1)
    before = _commits(path)
    begun = time.perf_counter()
    pids = [
        _fork(lambda slot=slot, end=end: _be_worker(socket_path, slot, accounts, seconds, end[1]))  # type: ignore[misc]
        for slot, end in enumerate(told)
    ]
    said = [json.loads(_read_line(end)) for end in told]
    for pid in pids:
        os.waitpid(pid, 0)
    took = time.perf_counter() - begun
    commits = _commits(path) - before
    os.kill(keeper, signal.SIGTERM)
    _, _, usage = os.wait4(keeper, 0)
    os.close(ready[0])
    cpu = usage.ru_utime + usage.ru_stime + sum(one["cpu"] for one in said)
    operations = sum(one["all"] for one in said)
    share = sum(one["count"] for one in said) / operations
    return Run(
        sum(one["count"] for one in said),
        max(one["seconds"] for one in said),
        cpu * share,
        round(commits * max(one["seconds"] for one in said) / took),
        [moment for one in said for moment in one["times"]],
    )


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def _read_line(end: tuple[int, int]) -> bytes:
    """What a process says. Its end stays open in others, so there is no end of file to wait for."""
    os.close(end[1])
    with open(end[0], "rb") as file:
        return file.readline()


def _be_keeper(path: Path, socket_path: str, workers: int, ready: int) -> None:
    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        keeper = Keeper(SqliteLedgerStore(path, head_key=KEY), SystemClock())
        slices = Slices(keeper, workers=workers)
        counter = Counter(
            slices, count=lambda: Counting(Limiter(), SystemClock()), counted=lambda *_: None, report=print
        )
        import socket

        listening = socket.socket(socket.AF_UNIX)
        listening.bind(socket_path)
        await counter.listen(listening)
        await keeper.open(slices)
        await slices.begin()
        os.write(ready, b".")
        await stop.wait()
        await counter.close()
        await keeper.close()

    with runner() as loop:
        loop.run(work())


def _be_worker(socket_path: str, slot: int, accounts: int, seconds: float, tell: int) -> None:
    async def work() -> dict[str, Any]:
        store = BorrowedLedgerStore(Line(socket_path, worker=f"worker {slot}", begone=lambda: None))
        keeper = Keeper(store, SystemClock(), lender=store, pace=Pace(gap=0))
        await keeper.open()
        charge = _charging(keeper, slot)
        warm, _ = await _load(charge, accounts, seconds / 5)
        begun = time.perf_counter()
        count, times = await _load(charge, accounts, seconds)
        took = time.perf_counter() - begun
        await keeper.close()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        return {"count": count, "all": count + warm, "seconds": took, "cpu": cpu, "times": times}

    with runner() as loop:
        said = loop.run(work())
    with open(tell, "wb") as file:
        file.write(json.dumps(said).encode() + b"\n")


def _commits(path: Path) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as sql:
        return int(sql.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()[0])


# --- rounds -----------------------------------------------------------------------------------------------------------

Contender = Callable[[Path, int, float], Coroutine[Any, Any, Run]] | int
CONTENDERS: dict[str, Contender] = {
    "naive aiosqlite": _naive,
    "textbook group commit": _textbook,
    "ledger, one process": _one_process,
    "ledger, 1 worker": 1,
    "ledger, 4 workers": 4,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.books", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--home", default="/var/tmp", help="where the books stand: a disk, not memory")  # noqa: S108
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--million", action="store_true", help="how cost and memory grow, instead")
    parser.add_argument("--accounts", type=int, default=1_000_000, help="how many a million are")
    parser.add_argument("--sync-ms", type=float, default=0, help="what each sync takes longer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.sync_ms and "SHIM_SYNC_MS" not in os.environ:
        return _again_with_a_slower_disk(options.sync_ms)
    if options.million:
        with runner() as loop:
            print(json.dumps(loop.run(_million(Path(options.home), options.accounts)), indent=2))
        return 0
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    found: dict[tuple[str, int], list[Run]] = {}
    with ExitStack() as stack:
        contenders = CONTENDERS | _on_postgresql(stack)
        for number in range(rounds):
            for accounts in (1000, 1):
                for name, work in contenders.items():
                    print(f"round {number + 1} of {rounds}: {name}, accounts {accounts}", file=sys.stderr)
                    run = _measured(name, work, accounts, seconds, Path(options.home))
                    found.setdefault((name, accounts), []).append(run)
    _tell(found, as_json=options.json)
    return 0


def _on_postgresql(stack: ExitStack) -> dict[str, Contender]:
    if postgres_server.programs() is None:
        return {}
    server = stack.enter_context(postgres_server.running())
    books = SharedBooks(server, timed=_timed, charging=_charging, price=PRICE, paid=PAID)
    return {"PostgreSQL, UPDATE per request": books.naive, "ledger on PostgreSQL": books.one_process}


def _again_with_a_slower_disk(ms: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        library = shims.built(Path(folder))
        if library is None:
            print(f"bench: {shims.WITHOUT}", file=sys.stderr)
            return 1
        environ = {**os.environ, "LD_PRELOAD": str(library), "SHIM_SYNC_MS": str(ms)}
        return subprocess.run(
            [sys.executable, "-m", "tests.bench.books", *sys.argv[1:]], env=environ, check=False
        ).returncode


async def _million(home: Path, accounts: int) -> dict[str, float]:
    """How the ledger fares with many accounts, and with one that has a long history."""
    folder = Path(tempfile.mkdtemp(prefix="farebox-books-", dir=home))
    path, clock, found = folder / "books.db", SystemClock(), {}
    try:
        keeper = Keeper(SqliteLedgerStore(path, head_key=KEY), clock)
        await keeper.open()
        for first in range(0, accounts, 5000):
            names = [f"account {number}" for number in range(first, min(first + 5000, accounts))]
            await asyncio.gather(*(keeper.credit(Credit(name, name, PAID, "manual", "bench")) for name in names))
            print(f"\r{first + len(names):,} accounts", end="", file=sys.stderr)
        await keeper.close()
        begun = time.perf_counter()
        keeper = Keeper(SqliteLedgerStore(path, head_key=KEY), clock)
        await keeper.open()
        found["start_seconds"] = time.perf_counter() - begun
        charge, found["idle_mib"] = _charging(keeper, 0), _resident_mib()
        order = list(range(accounts))
        random.Random(1).shuffle(order)
        found["cold_us"] = await _cost(lambda turn: charge(order[turn % accounts]), accounts)
        found["after_all_mib"] = _resident_mib()
        for part in ("hot_first_tenth_us", "hot_last_tenth_us"):
            found[part] = await _cost(lambda _: charge(0), accounts // 10)
            if part == "hot_first_tenth_us":
                found["hot_us"] = await _cost(lambda _: charge(0), accounts * 8 // 10)
        await keeper.close()
        report = audit(path, head_key=KEY)
        assert report.clean, report.findings
        found["requests"] = report.records
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: round(value, 2) for name, value in found.items()}


async def _cost(charge: Callable[[int], Awaitable[None]], count: int) -> float:
    """CPU microseconds of one request, of so many by 512 callers."""
    turns = iter(range(count))

    async def caller() -> None:
        for turn in turns:
            await charge(turn)

    before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(512)))
    return (time.process_time() - before) / count * 1e6


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _measured(name: str, work: Contender, accounts: int, seconds: float, home: Path) -> Run:
    folder = Path(tempfile.mkdtemp(prefix="farebox-books-", dir=home))
    path = folder / "books.db"
    try:
        if isinstance(work, int):
            run = _many(path, accounts, seconds, work)
        else:
            with runner() as loop:
                run = loop.run(work(path, accounts, seconds))
        if name.startswith("ledger") and path.exists():
            report = audit(path, head_key=KEY)
            assert report.clean, report.findings
            assert report.records >= run.operations
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
    return run


def _tell(found: dict[tuple[str, int], list[Run]], *, as_json: bool) -> None:
    def middle(runs: list[Run], figure: Callable[[Run], float]) -> float:
        return statistics.median(figure(run) for run in runs)

    rows = []
    for (name, accounts), runs in found.items():
        base = found["naive aiosqlite", accounts]
        rows.append(
            {
                "contender": name,
                "accounts": accounts,
                "per_second": round(middle(runs, lambda run: run.operations / run.seconds)),
                "times_naive": round(
                    statistics.median(
                        one.operations / one.seconds / (other.operations / other.seconds)
                        for one, other in zip(runs, base, strict=True)
                    ),
                    1,
                ),
                "cpu_us": round(middle(runs, lambda run: run.cpu_seconds / run.operations * 1e6), 1),
                "p50_ms": round(middle(runs, lambda run: statistics.median(run.times) * 1e3), 2),
                "p99_ms": round(middle(runs, lambda run: statistics.quantiles(run.times, n=100)[98] * 1e3), 2),
                "commits_per_second": round(middle(runs, lambda run: run.commits / run.seconds)),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print("| ledger | accounts | charged/s | ÷ naive | CPU µs | p50 ms | p99 ms | commits/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    sys.exit(main())
