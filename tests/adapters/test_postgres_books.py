"""What is done with the books of many hosts beside their commits: folded, pruned, refunded from, by one at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.postgres import prune as prune_module
from gateway.adapters.postgres.audit import Report, Since, audit
from gateway.adapters.postgres.bookkeeping import EVERYTHING_MS, TURN_SECONDS, PostgresBookkeeping
from gateway.adapters.postgres.fold import Fold
from gateway.adapters.postgres.ledger import Pulse
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.postgres.statement import PostgresStatementSource
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.adapters.system import SystemClock
from gateway.core import folding
from gateway.core.ids import RequestId
from gateway.core.ledger import Charge, Kind, Record, Tariff
from gateway.core.refusals import LedgerUnavailable
from gateway.core.secrets import Secret
from gateway.core.statements import Line, Period
from gateway.flows.statement import Statement
from gateway.ports import BooksRefused, Hold, RequestUnderWay, RequestUnknown, StoreBusy
from tests.adapters.test_postgres import Host, Hosts, paid, until, usd
from tests.adapters.test_postgres import request as served
from tests.batches import KEY
from tests.postgres_server import Server

ANNA = Tariff("export", "anna", 1500, "p")
NOW = SystemClock().now_ms()


@pytest.fixture
async def hosts(postgres: Server) -> AsyncIterator[Hosts]:
    made = Hosts(postgres, await postgres.schema())
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "BATCHES_KEPT", 1)
    monkeypatch.setattr(folding, "ACCOUNTS_A_STEP", 1)


def keeping(hosts: Hosts, host: Host | None = None, *, name: str = "command") -> PostgresBookkeeping:
    """Of a host; without one, of a command."""
    whose = None if host is None else lambda: host.store.host
    return PostgresBookkeeping(Address(Secret(hosts.dsn)), [KEY], name=host.name if host else name, host=whose)


async def fold_all(books: PostgresBookkeeping, before: int = EVERYTHING_MS) -> None:
    while await books.fold(closed_before_ms=before):
        pass


async def proved(hosts: Hosts) -> Report:
    report = await audit(Address(Secret(hosts.dsn)), keys=[KEY])
    assert report.findings == ()
    return report


async def proved_from_every_batch_on(hosts: Hosts) -> None:
    whole = await proved(hosts)
    times = [Since(at_ms=row["at"]) for row in await hosts.fetch("SELECT DISTINCT at FROM batch ORDER BY at")]
    for since in (*(Since(batch=first) for first in range(2, whole.batches + 2)), *times):
        report = await audit(Address(Secret(hosts.dsn)), keys=[KEY], since=since)
        assert report.findings == (), since
        assert report.totals == whole.totals


async def transfers(hosts: Hosts) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await hosts.fetch("SELECT payer, payee, micros FROM transfer ORDER BY fold, number")]


async def two_hosts_have_served(hosts: Hosts) -> tuple[Host, Host]:
    one, two = await hosts.open("one"), await hosts.open("two")
    for number in range(4):
        await one.keeper.credit(paid(f"stripe:{number}", 10_000, f"holder {number}"))
    for number in range(4):
        await served(one, 10, account=f"holder {number}")
        await served(two, 30, account=f"holder {number}")

    async def quiet() -> bool:
        query = "SELECT DISTINCT ON (keeper) first + count - 1 - started AS ahead FROM batch ORDER BY keeper, seq DESC"
        return not any(row["ahead"] for row in await hosts.fetch(query))

    await until(quiet)
    return one, two


# --- folding ----------------------------------------------------------------------------------------------------------


async def test_two_hosts_that_fold_at_once_fold_once(hosts: Hosts) -> None:
    one, two = await two_hosts_have_served(hosts)

    async def all_of(books: PostgresBookkeeping) -> None:
        for _ in range(200):
            try:
                if not await books.fold(closed_before_ms=EVERYTHING_MS):
                    break
            except StoreBusy:
                await asyncio.sleep(0.005)
        await books.close()

    await asyncio.gather(all_of(keeping(hosts, one)), all_of(keeping(hosts, two)))
    report = await proved(hosts)
    assert report.folded == report.batches
    assert sum(micros for _, payee, micros in await transfers(hosts) if payee == "owner:operator") == 160


async def test_it_is_one_hosts_turn_until_it_says_goodbye(hosts: Hosts) -> None:
    one, two = await two_hosts_have_served(hosts)
    first, second = keeping(hosts, one), keeping(hosts, two)
    assert await first.fold(closed_before_ms=EVERYTHING_MS)
    with pytest.raises(StoreBusy):
        await second.fold(closed_before_ms=EVERYTHING_MS)
    await first.close()
    await fold_all(second)
    assert (await proved(hosts)).folded > 0
    await second.close()


async def test_whoever_dies_in_the_middle_is_gone_on_behind(hosts: Hosts) -> None:
    one, two = await two_hosts_have_served(hosts)
    first = keeping(hosts, one)
    while not await hosts.fetch("SELECT 1 FROM transfer"):
        assert await first.fold(closed_before_ms=EVERYTHING_MS)
    assert await hosts.fetch("SELECT 1 FROM fold WHERE NOT done")
    before = await transfers(hosts)
    first._session.drop()  # as by kill -9: its turn is not given back
    await proved(hosts)
    second = keeping(hosts, two)
    with pytest.raises(StoreBusy):
        await second.fold(closed_before_ms=EVERYTHING_MS)
    [row] = await hosts.fetch("SELECT extract(epoch FROM until - clock_timestamp()) AS left FROM housekeeping")
    assert 0 < row["left"] <= TURN_SECONDS
    await hosts.fetch("UPDATE housekeeping SET until = '-infinity'")  # so much time passes
    await fold_all(second)
    assert (await transfers(hosts))[: len(before)] == before
    report = await proved(hosts)
    assert report.folded == report.batches
    await second.close()


async def test_whoever_was_only_silent_writes_nothing_when_it_comes_back(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await two_hosts_have_served(hosts)
    first, second = keeping(hosts, one), keeping(hosts, two)
    while not await hosts.fetch("SELECT 1 FROM transfer"):
        assert await first.fold(closed_before_ms=EVERYTHING_MS)
    await hosts.fetch("UPDATE housekeeping SET until = '-infinity'")
    await fold_all(second)
    await hosts.fetch("UPDATE housekeeping SET until = '-infinity'")
    before = await transfers(hosts)
    with pytest.raises(StoreBusy):
        await first.fold(closed_before_ms=EVERYTHING_MS)  # it still believes that it is its turn
    await fold_all(first)
    assert await transfers(hosts) == before
    await proved(hosts)
    await first.close()
    await second.close()


async def test_a_host_that_is_fenced_folds_nothing(hosts: Hosts) -> None:
    one, _ = await two_hosts_have_served(hosts)
    books = keeping(hosts, one)
    assert await books.fold(closed_before_ms=EVERYTHING_MS)
    again = await hosts.open("one")
    for _ in range(3):
        with pytest.raises(StoreBusy):
            await books.fold(closed_before_ms=EVERYTHING_MS)
    await books.close()
    books = keeping(hosts, again)
    await fold_all(books)
    await books.close()


async def test_a_command_takes_the_turn_of_a_gateway_and_not_that_of_a_command(hosts: Hosts) -> None:
    one, _ = await two_hosts_have_served(hosts)
    gateway, command, other = keeping(hosts, one), keeping(hosts), keeping(hosts, name="other")
    assert await gateway.fold(closed_before_ms=EVERYTHING_MS)
    assert await command.fold(closed_before_ms=EVERYTHING_MS)
    for books in (gateway, other):
        with pytest.raises(StoreBusy):
            await books.fold(closed_before_ms=EVERYTHING_MS)
    await fold_all(command)
    await command.close()
    await fold_all(gateway)
    report = await proved(hosts)
    assert report.folded == report.batches
    await gateway.close()
    await other.close()


async def test_commits_go_on_while_the_fold_holds_its_rows(hosts: Hosts) -> None:
    """Not even a step of the fold that stands still keeps a commit waiting."""
    one, _ = await two_hosts_have_served(hosts)
    connection = await Address(Secret(hosts.dsn)).connect("fold")
    fold = Fold()
    transaction = connection.transaction()
    await transaction.start()
    for _ in range(30):
        await fold.step(connection, closed_before_ms=EVERYTHING_MS)
    async with asyncio.timeout(2):
        await served(one, 10, account="holder 1")
        await one.keeper.credit(paid("stripe:more", 50))
    await transaction.rollback()
    connection.terminate()


async def test_a_chain_that_does_not_hold_is_named_with_its_host(hosts: Hosts) -> None:
    await two_hosts_have_served(hosts)
    [row] = await hosts.fetch("SELECT payload FROM batch WHERE keeper = 2 AND seq = 1")
    await hosts.fetch("UPDATE batch SET payload = payload || '\\x00' WHERE keeper = 2 AND seq = 1")
    books = keeping(hosts)
    with pytest.raises(BooksRefused, match="two: batch 1 was changed"):
        await fold_all(books)
    await hosts.fetch("UPDATE batch SET payload = $1 WHERE keeper = 2 AND seq = 1", row["payload"])
    await fold_all(books)
    await books.close()


# --- pruning ----------------------------------------------------------------------------------------------------------


async def test_pruning_while_others_write_leaves_books_that_are_proved(hosts: Hosts) -> None:
    one, two = await two_hosts_have_served(hosts)
    await one.keeper.credit(paid("stripe:more", 10_000_000, "holder 2"))
    stop = asyncio.Event()

    async def write(host: Host) -> None:
        while not stop.is_set():
            await served(host, 10, account="holder 2")

    writing = [asyncio.create_task(write(host)) for host in (one, two)]
    books = keeping(hosts)
    for _ in range(5):
        await fold_all(books)
        while await books.prune(before_ms=NOW + 48 * 3_600_000):
            pass
        report = await proved(hosts)
    stop.set()
    await asyncio.gather(*writing)
    assert len(await hosts.fetch("SELECT 1 FROM anchor")) == 2
    assert "the batches of one up to" in report.unproved[0]
    await fold_all(books)
    again = await hosts.open("one")  # from what is left of its chain
    await served(again, 10, account="holder 2")
    await proved(hosts)
    await books.close()


async def test_what_would_go_is_told_by_host(hosts: Hosts) -> None:
    one, two = await two_hosts_have_served(hosts)
    for host in (one, two):
        await host.keeper.durable()
    books = keeping(hosts)
    await fold_all(books)
    before = await hosts.fetch("SELECT keeper, count(*) AS batches FROM batch GROUP BY keeper ORDER BY keeper")
    plan = await books.prunable(before_ms=NOW + 48 * 3_600_000)
    assert set(plan.last) <= {"one", "two"}
    while await books.prune(before_ms=NOW + 48 * 3_600_000):
        pass
    [after] = await hosts.fetch("SELECT count(*) AS batches FROM batch")
    assert sum(row["batches"] for row in before) - after["batches"] == plan.batches
    await books.close()


# --- refunds ----------------------------------------------------------------------------------------------------------


async def begin(host: Host, number: int, micros: int, *, account: str = "ann") -> Hold:
    held = await host.keeper.hold(account, usd(micros), id=RequestId(NOW, number), token=7, tariff=ANNA)
    await host.keeper.start(held, usd(micros), "strict")
    held.started()
    return held


async def available(host: Host) -> int:
    return (await host.keeper.balance("ann", "usd")).available.micros


async def test_a_request_of_another_host_is_refunded_when_it_has_ended(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    held = await begin(one, 1, 300)
    for host in (two, one):
        with pytest.raises(RequestUnderWay):
            await host.keeper.refund(RequestId(NOW, 1), "too early")
    one.keeper.settle(held, usd(200))
    [charge] = await two.keeper.refund(RequestId(NOW, 1), "it was wrong")
    assert (charge.holder, charge.micros) == ("ann", 200)
    assert (await hosts.account())[:2] == (1000, 0)
    assert [await available(host) for host in (one, two)] == [1000, 1000]
    assert await one.keeper.refund(RequestId(NOW, 1), "again") == []
    with pytest.raises(RequestUnknown):
        await one.keeper.refund(RequestId(NOW, 2), "never was")
    await served(one, 1000)  # all of it can be spent again
    await proved_from_every_batch_on(hosts)


@pytest.mark.parametrize("round", range(5))
async def test_two_operators_at_two_hosts_refund_once(hosts: Hosts, round: int) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    for number in (1, 2):
        one.keeper.settle(await begin(one, number, 300), usd(300))
    asked = [host.keeper.refund(RequestId(NOW, number), "x") for number in (1, 2) for host in (one, two)]
    given: list[list[Charge]] = await asyncio.gather(*asked)
    assert sum(len(charges) for charges in given) == 2
    assert (await hosts.account())[:2] == (1000, 0)


async def test_nothing_is_refunded_that_a_recovery_may_still_void(hosts: Hosts) -> None:
    """The host has died before the word was stored that its answer had begun: its heir gives the answer away."""
    one = await hosts.open("one", pulse=Pulse(beat_seconds=600))
    two = await hosts.open("two", pulse=Pulse(beat_seconds=600))
    await one.keeper.credit(paid("cs_1", 1000))
    waits = await one.keeper.hold("ann", usd(300), id=RequestId(NOW, 1), token=7, tariff=ANNA)
    await one.keeper.start(waits, usd(300), "strict")
    await one.die()
    with pytest.raises(RequestUnderWay):
        await two.keeper.refund(RequestId(NOW, 1), "nobody knows")
    await hosts.fetch("UPDATE keeper SET instance = '' WHERE name = 'one'")  # even if nobody keeps it just now
    with pytest.raises(RequestUnderWay):
        await two.keeper.refund(RequestId(NOW, 1), "nobody knows")
    assert (await hosts.open("one")).recovered.count == 1
    assert await two.keeper.refund(RequestId(NOW, 1), "it was voided") == []
    assert (await hosts.account())[:2] == (1000, 0)


async def test_a_request_of_a_host_that_is_gone_is_refunded_once_it_was_taken_over_from(hosts: Hosts) -> None:
    quick = Pulse(beat_seconds=0.05, dead_after_beats=8)
    one, two = await hosts.open("one", pulse=quick), await hosts.open("two", pulse=quick)
    await one.keeper.credit(paid("cs_1", 1000))
    one.keeper.settle(await begin(one, 1, 300), usd(300))
    await one.keeper.durable()
    await one.die()
    async with asyncio.timeout(10):
        while True:
            try:
                [charge] = await two.keeper.refund(RequestId(NOW, 1), "x")
                break
            except RequestUnderWay:
                await asyncio.sleep(0.05)
            except ValueError:  # it was voided: given away already
                return
    assert charge.micros == 300


async def test_a_host_that_is_fenced_refunds_nothing(hosts: Hosts) -> None:
    one = await hosts.open("one")
    await one.keeper.credit(paid("cs_1", 1000))
    one.keeper.settle(await begin(one, 1, 300), usd(300))
    await one.keeper.durable()

    async def stored() -> bool:
        return bool(await hosts.fetch("SELECT 1 FROM batch WHERE started >= 1"))  # that the answer had begun

    await until(stored)
    again = await hosts.open("one")
    with pytest.raises(LedgerUnavailable):
        await one.keeper.refund(RequestId(NOW, 1), "x")
    assert len(await hosts.fetch("SELECT 1 FROM refund")) == 0
    assert len(await again.keeper.refund(RequestId(NOW, 1), "x")) == 1


async def test_a_refund_stands_in_statements_and_transfers(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 10_000))
    one.keeper.settle(await begin(one, 1, 1000), usd(1000))
    one.keeper.settle(await begin(one, 2, 1001), usd(1001))
    await one.keeper.durable()
    books = keeping(hosts)
    await fold_all(books)
    await two.keeper.refund(RequestId(NOW, 1), "x")

    def lines(*, summary: bool) -> list[Line]:
        with PostgresStatementSource(Address(Secret(hosts.dsn))) as source:
            made = Statement(source, Period(), owner="anna", scratch=SqliteScratch)
            return list(made.summary() if summary else made.requests())

    found = await asyncio.to_thread(lines, summary=False)
    assert [(line.cost, line.state) for line in found] == [(0, "corrected"), (1001, "charged")]
    assert sum(line.cost for line in await asyncio.to_thread(lines, summary=True)) == 1001
    await fold_all(books)
    assert [(line.cost, line.state) for line in await asyncio.to_thread(lines, summary=True)] == [
        (2001, "folded"),
        (-1000, "folded"),
    ]
    commission = sum(
        micros if payee == "platform" else -micros
        for payer, payee, micros in await transfers(hosts)
        if "platform" in (payer, payee)
    )
    assert commission == 1001 * 1500 // 10_000
    await books.close()


FORGED: list[tuple[str, str]] = [
    ("UPDATE refund SET batch = 9", "refund"),
    ("DELETE FROM refund", "refund"),
    ("INSERT INTO refund VALUES ('req_0', 1, 99)", "refund"),
    ("UPDATE batch SET notes = replace(notes, '300', '299') WHERE notes LIKE '%\"refund\"%'", "tells of a refund of"),
]


@pytest.mark.parametrize(("change", "words"), FORGED)
async def test_a_refund_that_is_changed_is_found(hosts: Hosts, change: str, words: str) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    one.keeper.settle(await begin(one, 1, 300), usd(300))
    await two.keeper.refund(RequestId(NOW, 1), "x")
    await proved(hosts)
    connection = await Address(Secret(hosts.dsn)).connect("test")
    rows = await hosts.fetch("SELECT * FROM refund")
    notes = await hosts.fetch("SELECT keeper, seq, notes FROM batch")
    await connection.execute(change)
    report = await audit(Address(Secret(hosts.dsn)), keys=[KEY])
    assert any(words in str(finding) for finding in report.findings)
    await connection.execute("DELETE FROM refund")
    await connection.executemany("INSERT INTO refund VALUES ($1, $2, $3)", [tuple(row) for row in rows])
    await connection.executemany(
        "UPDATE batch SET notes = $3 WHERE keeper = $1 AND seq = $2", [tuple(row) for row in notes]
    )
    connection.terminate()


async def test_more_than_a_request_did_cost_is_found(hosts: Hosts) -> None:
    """Somebody has forged a whole chain of refunds, and everything else with it."""
    one = await hosts.open("one")
    await one.keeper.credit(paid("cs_1", 1000))
    one.keeper.settle(await begin(one, 1, 300), usd(300))
    await one.keeper.durable()
    await one.keeper.refund(RequestId(NOW, 1), "x")
    [row] = await hosts.fetch("SELECT keeper, payload, notes FROM batch WHERE notes LIKE '%\"refund\"%'")
    [forged] = Record.unpack_all(row["payload"])
    assert (forged.kind, forged.micros) == (Kind.CORRECTION, -300)
    more = Record.packed(forged.kind, forged.tariff, forged.account, forged.token, -301, forged.request)
    await hosts.fetch("UPDATE batch SET payload = $2, notes = replace(notes, ':300', ':301') WHERE keeper = $1",
                      row["keeper"], more)  # fmt: skip
    told = [str(finding) for finding in (await audit(Address(Secret(hosts.dsn)))).findings]
    assert any("gives back 301 of req_" in words and "cost account" in words for words in told)
    await hosts.fetch(
        "UPDATE batch SET payload = $2, notes = $3 WHERE keeper = $1", row["keeper"], row["payload"], row["notes"]
    )
