"""What many hosts on one PostgreSQL promise each other, on a real server that is stopped, frozen and killed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import asyncpg
import pytest

from gateway.adapters.postgres.audit import audit
from gateway.adapters.postgres.desk import Turn
from gateway.adapters.postgres.ledger import PostgresLedgerStore, Pulse
from gateway.adapters.postgres.sessions import Address, Bounds
from gateway.adapters.system import SystemClock
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Draft, Reversal, Tariff, slice_of
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.ports import StoreDamaged, StoreFailed, StoreLocked
from tests.postgres_server import Server

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
TARIFF = Tariff("search", "operator", 0, "0.002 usd")
PATIENT = Pace(refuse_after=60, give_up_after=60)
NEVER_QUIET = replace(PATIENT, quiet=600)
QUICK = Bounds(connect=1, statement=1, answer=1.5)
_numbers = iter(range(1, 1 << 40))


class Said(list[str]):
    """What was reported; shown with a test that fails."""

    def append(self, problem: str) -> None:
        print(problem)
        super().append(problem)


class Host:
    """One host's keeper and its store."""

    def __init__(
        self, dsn: str, name: str, *, pulse: Pulse, bounds: Bounds, pace: Pace, crew: str = "", heir: bool = False
    ) -> None:
        self.name = name
        self.said: list[str] = Said()
        self.store = PostgresLedgerStore(
            Address(Secret(dsn), bounds=bounds),
            name=name,
            clock=SystemClock(),
            pulse=pulse,
            report=self.said.append,
            crew=crew,
            heir=heir,
        )
        self.keeper = Keeper(
            self.store,
            SystemClock(),
            lender=self.store,
            teller=self.store,
            refunds=self.store,
            pace=pace,
            report=self.said.append,
        )
        self.recovered = Recovered(0, 0)

    async def die(self) -> None:
        """As by kill -9: its connections end, and nothing is given back."""
        self.keeper._closing = True
        for task in (self.store._heart, self.keeper._task, *self.keeper._draws, self.store._lending._task):
            if task is not None:
                task.cancel()
        if self.keeper._rounds is not None:
            self.keeper._rounds.cancel()
        if self.store._ear is not None:
            await self.store._ear.close()
        self.store._desk.lose()
        self.store._closed = True
        await asyncio.sleep(0.01)


class Hosts:
    """Several hosts on the books of one schema."""

    def __init__(self, server: Server, dsn: str) -> None:
        self.server = server
        self.dsn = dsn
        self._open: list[Host] = []

    async def open(
        self,
        name: str,
        *,
        pulse: Pulse | None = None,
        bounds: Bounds | None = None,
        pace: Pace = PATIENT,
        crew: str = "",
        heir: bool = False,
    ) -> Host:
        host = Host(self.dsn, name, pulse=pulse or Pulse(), bounds=bounds or Bounds(), pace=pace, crew=crew, heir=heir)
        host.recovered = await host.keeper.open()
        self._open.append(host)
        return host

    async def close(self) -> None:
        for host in self._open:
            await host.keeper.close()
        report = await audit(Address(Secret(self.dsn)))
        assert report.findings == ()

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def account(self, holder: str = "ann") -> tuple[int, int, int]:
        """Credited, spent and leased, as committed."""
        [row] = await self.fetch("SELECT credited, spent, leased FROM account WHERE holder = $1", holder)
        return row["credited"], row["spent"], row["leased"]


@pytest.fixture
async def hosts(postgres: Server) -> AsyncIterator[Hosts]:
    made = Hosts(postgres, await postgres.schema())
    yield made
    await made.close()


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def paid(ref: str, micros: int, account: str = "ann") -> Credit:
    return Credit(ref, account, usd(micros), "payment", "")


async def request(host: Host, price: int, *, account: str = "ann", cost: int | None = None) -> None:
    id = RequestId(1_790_000_000_000, next(_numbers))
    held = await host.keeper.hold(account, usd(price), id=id, token=7, tariff=TARIFF)
    try:
        await host.keeper.start(held, usd(price), "strict")
        held.started()
    finally:
        host.keeper.settle(held, usd(price if cost is None else cost))


async def asked(host: Host, price: int) -> Exception | None:
    """A request that is asked again for as long as nobody knows; why it was refused."""
    while True:
        try:
            await request(host, price)
        except LedgerUnavailable:
            continue
        except PaymentRequired as refused:
            return refused
        return None


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


# --- slices -----------------------------------------------------------------------------------------------------------


async def test_the_database_cuts_slices_as_the_core_does(hosts: Hosts) -> None:
    await hosts.open("one")
    for missing, available, keepers in [
        (1, 0, 1), (1, 1, 1), (5, 3, 2), (1, 10**6, 1), (1, 10**6, 7), (100, 150, 2), (3, -8, 2), (0, 50, 3),
        (7, 10**12, 4), (10**9, 10**10, 3),
    ]:  # fmt: skip
        [row] = await hosts.fetch("SELECT slice_of($1, $2, $3) AS cut", missing, available, keepers)
        assert row["cut"] == slice_of(missing, available, keepers), (missing, available, keepers)


async def test_money_that_one_host_has_is_called_back_when_another_needs_it(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    await request(one, 10)
    assert (await hosts.account())[2] > 0
    await request(two, 900)  # more than is not leased
    assert (await hosts.account())[1] == 910
    with pytest.raises(PaymentRequired) as refused:
        await request(one, 91)
    assert refused.value.balance == usd(90)
    await request(one, 90)
    assert (await hosts.account())[:2] == (1000, 1000)


async def test_what_is_spoken_for_is_not_called_back(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    held = await one.keeper.hold("ann", usd(600), id=RequestId(1, next(_numbers)), token=7, tariff=TARIFF)
    with pytest.raises(PaymentRequired):
        await request(two, 401)
    await request(two, 400)
    assert one.keeper.settle(held, usd(600)) == usd(600)


@pytest.mark.parametrize("round", range(20 if TORTURE else 4))
@pytest.mark.parametrize("count", [2, 3])
async def test_of_many_requests_on_several_hosts_exactly_those_that_are_affordable_are_served(
    hosts: Hosts, count: int, round: int
) -> None:
    all_hosts = [await hosts.open(f"host {number}") for number in range(count)]
    affordable = 137 + round * 50
    await all_hosts[0].keeper.credit(paid("cs_1", affordable * 20 + 19))

    async def client(number: int) -> list[Exception | None]:
        return [await asked(all_hosts[number % count], 20) for _ in range(20)]

    outcomes = [outcome for outcomes in await asyncio.gather(*map(client, range(30))) for outcome in outcomes]
    assert {type(outcome) for outcome in outcomes} == {type(None), PaymentRequired}
    assert sum(outcome is None for outcome in outcomes) == min(affordable, 600)

    async def all_is_spent() -> bool:
        return (await hosts.account())[1] == min(affordable, 600) * 20

    await until(all_is_spent)


async def test_a_credit_that_comes_to_two_hosts_at_once_arrives_once(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    wanted = [paid(f"cs_{number}", 10, f"account {number % 7}") for number in range(40)]
    both = await asyncio.gather(
        *(one.keeper.credit(credit) for credit in wanted), *(two.keeper.credit(credit) for credit in reversed(wanted))
    )
    assert sum(both) == 40
    [row] = await hosts.fetch("SELECT sum(credited) AS all FROM account")
    assert row["all"] == 400


async def test_what_a_correction_gives_back_can_be_spent_elsewhere_once_it_is_committed(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 100))
    for _ in range(20):
        for host in (one, two):
            await request(host, 100, cost=0)
            await host.keeper.durable()
    assert (await hosts.account())[:2] == (100, 0)


async def test_money_is_taken_back_from_all_hosts_and_what_was_spent_is_owed(hosts: Hosts) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 1000))
    await request(two, 300)
    await request(one, 100)
    assert await two.keeper.reverse(Reversal("re_1", "ann", usd(1000), "refund", ""))
    assert not await one.keeper.reverse(Reversal("re_1", "ann", usd(1000), "refund", ""))
    assert not await one.keeper.credit(paid("re_1", 5))
    assert (await one.keeper.balance("ann", "usd")).available == usd(-400)
    for host in (one, two):
        with pytest.raises(PaymentRequired):
            await request(host, 1)
    await two.keeper.credit(paid("cs_2", 450))
    await request(one, 50)
    with pytest.raises(PaymentRequired):
        await request(two, 1)


# --- fencing ----------------------------------------------------------------------------------------------------------


async def test_a_keeper_whose_name_was_taken_over_writes_nothing_more_and_says_why(hosts: Hosts) -> None:
    old = await hosts.open("one")
    await old.keeper.credit(paid("cs_1", 1000))
    await request(old, 10)
    new = await hosts.open("one")
    with pytest.raises(LedgerUnavailable):
        await request(old, 10)  # of its slice: the commit is turned away
    with pytest.raises(LedgerUnavailable):
        await old.keeper.credit(paid("cs_2", 5))
    assert any("another gateway took over what 'one' kept" in said for said in old.said)
    assert old.keeper.stuck
    await request(new, 990)
    assert new.recovered.micros in (0, 10)  # whether the old one had told that its answer had begun
    assert (await hosts.account())[:2] == (1000, 1000 - new.recovered.micros)


async def test_a_keeper_that_is_fenced_hears_of_it_without_a_request(hosts: Hosts) -> None:
    old = await hosts.open("one", pulse=Pulse(beat_seconds=0.02))
    await old.keeper.credit(paid("cs_1", 1000))
    await request(old, 10)
    await hosts.open("one")

    async def heard() -> bool:
        return bool(old.said)

    async def says_so() -> bool:
        return old.keeper.stuck

    await until(heard)
    await until(says_so, seconds=3)
    with pytest.raises(LedgerUnavailable):
        await request(old, 10)


async def test_a_draft_of_a_fenced_keeper_is_refused_as_locked_books(hosts: Hosts) -> None:
    old = await hosts.open("one")
    await hosts.open("one")
    with pytest.raises(StoreLocked, match="another gateway took over"):
        await old.store.commit(Draft(seq=1, first=1, quiet=True))
    with pytest.raises(StoreFailed, match="another gateway took over"):
        await old.store.draw("ann", "usd", 5)


async def test_of_those_who_take_turns_at_one_name_the_next_begins_when_the_one_before_is_gone(hosts: Hosts) -> None:
    waited: list[str] = []

    @asynccontextmanager
    async def waiting() -> AsyncIterator[None]:
        waited.append("begun")
        yield
        waited.append("over")

    def command(seconds: float) -> PostgresLedgerStore:
        turn = Turn(seconds, waiting)
        return PostgresLedgerStore(Address(Secret(hosts.dsn)), name="command", clock=SystemClock(), turn=turn)

    first, second, third = command(9), command(9), command(0.1)
    await first.open()
    assert not waited
    begins = asyncio.create_task(second.open())

    async def waits() -> bool:
        return bool(waited)

    await until(waits)
    with pytest.raises(StoreFailed, match="another command of this host has been at work as 'command'"):
        await third.open()
    assert not begins.done()
    connection = first._desk._session.connection
    assert connection is not None
    await hosts.fetch("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    await begins
    assert waited.count("over") == 2
    await second.close()
    with pytest.raises(StoreLocked):
        await first.reopen()
    await first.close()


# --- those that are gone ----------------------------------------------------------------------------------------------


async def test_a_host_that_died_gets_its_loans_back_and_voids_when_it_starts_again(hosts: Hosts) -> None:
    one = await hosts.open("one", pace=NEVER_QUIET)
    await one.keeper.credit(paid("cs_1", 1000))
    held = await one.keeper.hold("ann", usd(100), id=RequestId(1, next(_numbers)), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(100), "strict")
    await one.die()
    assert (await hosts.account())[1] == 100
    again = await hosts.open("one")
    assert again.recovered == Recovered(1, 100)
    await request(again, 1000)


async def test_the_others_take_over_what_a_dead_host_had(hosts: Hosts) -> None:
    quick = Pulse(beat_seconds=0.02, dead_after_beats=5)
    one, two = await hosts.open("one", pace=NEVER_QUIET), await hosts.open("two", pulse=quick)
    await one.keeper.credit(paid("cs_1", 1000))
    held = await one.keeper.hold("ann", usd(100), id=RequestId(1, next(_numbers)), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(100), "strict")
    leased = (await hosts.account())[2]
    await one.die()
    assert leased > 0

    async def taken_over() -> bool:
        return any("1 requests that it never answered are given away (100 micros)" in said for said in two.said)

    await until(taken_over)
    assert await hosts.account() == (1000, 0, 0)
    await request(two, 1000)
    back = await hosts.open("one")
    assert back.recovered == Recovered(0, 0)


async def test_a_host_that_was_only_silent_is_fenced_once_its_loans_are_taken_back(hosts: Hosts) -> None:
    one = await hosts.open("one", pulse=Pulse(beat_seconds=600))
    two = await hosts.open("two", pulse=Pulse(beat_seconds=0.02, dead_after_beats=5))
    await one.keeper.credit(paid("cs_1", 1000))
    await request(one, 10)

    async def taken_over() -> bool:
        return bool(two.said)

    await until(taken_over)
    with pytest.raises(LedgerUnavailable):
        await request(one, 10)
    await request(two, 990)


async def test_two_who_find_the_same_host_dead_void_once(hosts: Hosts) -> None:
    quick = Pulse(beat_seconds=0.02, dead_after_beats=5)
    one = await hosts.open("one", pace=NEVER_QUIET)
    await one.keeper.credit(paid("cs_1", 1000))
    held = await one.keeper.hold("ann", usd(100), id=RequestId(1, next(_numbers)), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(100), "strict")
    others = [await hosts.open(f"other {number}", pulse=quick) for number in range(3)]
    await one.die()

    async def taken_over() -> bool:
        return any(other.said for other in others)

    await until(taken_over)
    await asyncio.sleep(0.3)
    assert sum(len(other.said) for other in others) == 1


# --- a database in trouble --------------------------------------------------------------------------------------------


async def terminate_all(hosts: Hosts) -> None:
    await hosts.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gateway %'")


async def load(hosts: list[Host], journal: list[int], stop: asyncio.Event, *, price: int = 7) -> None:
    """Callers who ask again and again; the journal has what was served."""

    async def client(number: int) -> None:
        host = hosts[number % len(hosts)]
        while not stop.is_set():
            try:
                await request(host, price, account=f"account {number % 5}")
            except LedgerUnavailable:
                await asyncio.sleep(0.01)
            else:
                journal.append(price)

    async with asyncio.TaskGroup() as group:
        for number in range(32):
            group.create_task(client(number))


async def credited(host: Host, credit: Credit) -> None:
    """However long that takes: what is slow here is not slow on purpose."""
    while True:
        with suppress(LedgerUnavailable):
            await host.keeper.credit(credit)
            return


async def survives(hosts: Hosts, trouble: Callable[[], Awaitable[None]], *, hurry: Pace | None = None) -> None:
    """Under load, what was answered is charged and nothing else, whatever happened meanwhile."""
    pace = hurry or Pace()
    two = [await hosts.open(f"host {number}", bounds=QUICK, pace=pace) for number in range(2)]
    for number in range(5):
        await credited(two[0], paid(f"cs_{number}", 10**9, f"account {number}"))
    journal: list[int] = []
    stop = asyncio.Event()
    running = asyncio.create_task(load(two, journal, stop))

    async def under_load() -> bool:
        return len(journal) > 50

    await until(under_load)
    await trouble()

    served = len(journal)

    async def goes_on() -> bool:
        return len(journal) > served + 200

    await until(goes_on)
    stop.set()
    await running
    for host in two:
        await host.keeper.durable()
    [row] = await hosts.fetch("SELECT sum(spent) AS spent FROM account")
    assert row["spent"] == sum(journal)


async def test_connections_that_are_terminated_under_load_lose_nothing(hosts: Hosts) -> None:
    async def trouble() -> None:
        for _ in range(40 if TORTURE else 12):
            await terminate_all(hosts)
            await asyncio.sleep(0.03)

    await survives(hosts, trouble)


async def test_a_restart_of_the_server_under_load_loses_nothing(hosts: Hosts) -> None:
    async def trouble() -> None:
        await asyncio.to_thread(hosts.server.restart)

    await survives(hosts, trouble)


async def test_a_crash_of_the_server_under_load_loses_nothing(hosts: Hosts) -> None:
    """kill -9 of a backend makes the server drop every session and recover from its log."""

    async def trouble() -> None:
        [row] = await hosts.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'gateway host%' LIMIT 1"
        )
        os.kill(row["pid"], signal.SIGKILL)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(hosts.server.restart, how=signal.SIGQUIT)

    await survives(hosts, trouble)


async def test_a_server_that_stands_still_under_load_loses_nothing_and_kills_nobody(hosts: Hosts) -> None:
    async def trouble() -> None:
        hosts.server.freeze()
        await asyncio.sleep(10 if TORTURE else 3)
        hosts.server.thaw()

    await survives(hosts, trouble)
    assert not any("another gateway" in said for host in hosts._open for said in host.said)


async def test_paid_requests_are_refused_within_a_second_while_the_server_stands_still(hosts: Hosts) -> None:
    host = await hosts.open("one", bounds=QUICK, pace=Pace())
    await credited(host, paid("cs_1", 1000))
    hosts.server.freeze()
    try:
        for account in ("ann", "bob"):
            begun = time.monotonic()
            with pytest.raises(LedgerUnavailable):
                await request(host, 10, account=account)
            assert time.monotonic() - begun < 5
    finally:
        hosts.server.thaw()

    async def served() -> bool:
        try:
            await request(host, 10)
        except LedgerUnavailable:
            return False
        return True

    await until(served)


@pytest.mark.parametrize("when", ["before it is sent", "while it is written", "after it is written"])
async def test_a_commit_whose_connection_is_lost_is_read_back_and_never_repeated(hosts: Hosts, when: str) -> None:
    host = await hosts.open("one")
    await host.keeper.credit(paid("cs_1", 1000))
    await request(host, 10)
    desk = host.store._desk
    session, do = desk._session, desk._session.do
    lost: list[str] = []

    async def lose_once(work):  # type: ignore[no-untyped-def]
        if lost or host.store._in_doubt is None:  # a question, which nobody reads back
            return await do(work)
        lost.append(when)
        assert session.connection is not None
        pid = session.connection.get_server_pid()
        if when == "before it is sent":
            await hosts.fetch("SELECT pg_terminate_backend($1)", pid)
        if when == "while it is written":  # it waits for a row that a stranger has, and is killed there
            stranger = await asyncpg.connect(hosts.dsn)
            await stranger.execute("BEGIN; SELECT * FROM account FOR UPDATE")
            writing = asyncio.create_task(do(work))
            await asyncio.sleep(0.1)
            await hosts.fetch("SELECT pg_terminate_backend($1)", pid)
            await stranger.close()
            return await writing
        if when == "after it is written":
            await do(work)
            await hosts.fetch("SELECT pg_terminate_backend($1)", pid)
        return await do(work)

    session.do = lose_once  # type: ignore[method-assign]
    assert await host.keeper.credit(paid("cs_2", 70))
    lost.clear()
    await request(host, 20)
    assert lost == [when], host.said
    session.do = do  # type: ignore[method-assign]
    assert (await hosts.account())[:2] == (1070, 30)
    await request(host, 1040)


async def test_a_statement_that_arrives_after_it_was_given_up_is_turned_away(hosts: Hosts) -> None:
    """A server that stands still may find an old draw in its buffers when it goes on."""
    host = await hosts.open("one", bounds=QUICK)
    await credited(host, paid("cs_1", 1000))
    hosts.server.freeze()
    drawing = asyncio.create_task(host.store.draw("ann", "usd", 10))
    await asyncio.sleep(2)  # longer than our patience: the connection is given up, its statement is in the buffer
    hosts.server.thaw()
    with pytest.raises(StoreFailed):
        await drawing
    await request(host, 1000)
    assert (await hosts.account()) == (1000, 1000, 0)


async def test_a_statement_of_before_the_connection_was_lost_writes_nothing(hosts: Hosts) -> None:
    """It may stand in a buffer for long, and be carried out when everything in doubt has been settled."""
    host = await hosts.open("one")
    await host.keeper.credit(paid("cs_1", 1000))
    desk = host.store._desk
    before = desk.epoch
    await host.store.reopen()
    assert desk.epoch > before
    late = [
        f"SELECT * FROM lend({desk.id}, {before}, 1, 'x', '{{ann}}', '{{usd}}', '{{10}}', '{{f}}', '{{1}}', '{{}}',"
        " '{}', '{}', 800)",
        f"SELECT * FROM write_batch({desk.id}, {before}, 99, 0, 1, 0, 0, '', '', '', '{{}}', '{{}}')",
        f"SELECT settle_leases({desk.id}, {before}, '{{}}', '{{}}')",
    ]
    for statement in late:
        with pytest.raises(asyncpg.PostgresError, match="another took these books over"):
            await hosts.fetch(statement)


@pytest.mark.parametrize("busy", [True, False])
async def test_a_host_whose_loan_was_lost_in_a_fail_over_stops_and_says_so_at_once(
    postgres: Server, busy: bool
) -> None:
    """All is there but what it was lent at last: what it has in memory may be on loan to another by now."""
    hosts = Hosts(postgres, await postgres.schema())
    one = await hosts.open("one", pulse=Pulse(beat_seconds=0.05))
    two = await hosts.open("two", pulse=Pulse(beat_seconds=0.05, dead_after_beats=20))
    await two.keeper.credit(paid("cs_1", 10_000))
    held = await one.keeper.hold("ann", usd(20), id=RequestId(1, next(_numbers)), token=7, tariff=TARIFF)
    await hosts.fetch("DELETE FROM lease")
    await hosts.fetch("UPDATE account SET leased = 0")
    two.store._desk.known.clear()
    await terminate_all(hosts)

    async def says_so() -> bool:
        if busy:
            with suppress(LedgerUnavailable):
                await request(one, 10, account="bob")
        return one.keeper.stuck

    await until(says_so, seconds=3)
    assert any("what was lent to 'one' is not on loan any more" in said for said in one.said)
    one.keeper.settle(held, usd(20))

    async def taken_over() -> bool:
        return any("'one' has been silent" in said for said in two.said)

    await until(taken_over)
    await asked(two, 10_000)
    assert (await hosts.account())[:2] == (10_000, 10_000), "nothing of it was spent twice"
    again = await hosts.open("one")
    await again.keeper.credit(paid("cs_2", 50))
    await request(again, 50)
    await hosts.close()


@pytest.mark.parametrize("cut", ["its ear", "all connections"])
async def test_a_refund_that_a_host_could_not_hear_of_is_spent_by_nobody(hosts: Hosts, cut: str) -> None:
    one, two = await hosts.open("one"), await hosts.open("two")
    await one.keeper.credit(paid("cs_1", 10_000_000))
    for _ in range(3):
        await request(one, 2000)
    assert (await hosts.account())[2] > 0
    names = {"its ear": "gateway one ear", "all connections": "gateway one%"}[cut]
    await hosts.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1", names)
    assert await two.keeper.reverse(Reversal("re_1", "ann", usd(10_000_000), "refund", ""))
    # What was made in the moment before anybody could know is all there is.
    served = 0
    refused: Exception | None = None
    async with asyncio.timeout(10):
        while not isinstance(refused, PaymentRequired):
            try:
                await request(one, 2000)
                served += 1
            except (PaymentRequired, LedgerUnavailable) as no:
                refused = no
            await asyncio.sleep(0.05)
            assert served < 5, "it goes on spending what was refunded"


async def test_who_could_not_listen_asks_about_many_accounts_with_few_questions(hosts: Hosts) -> None:
    one = await hosts.open("one")
    names = [f"account {number}" for number in range(300)]
    await asyncio.gather(*(one.keeper.credit(paid(f"cs {name}", 10_000, name)) for name in names))
    await asyncio.gather(*(request(one, 10, account=name) for name in names))
    desk = one.store._desk
    questions: list[None] = []
    do = desk.do

    async def counted(work):  # type: ignore[no-untyped-def]
        questions.append(None)
        return await do(work)

    desk.do = counted  # type: ignore[method-assign]
    one.store._lending.missed()
    assert not any(account.alone for account in one.keeper._accounts.values())
    assert not questions, "nobody wants any of them"
    await asyncio.gather(*(request(one, 10, account=name) for name in names))
    desk.do = do  # type: ignore[method-assign]
    assert len(questions) < 60, "some questions, and some commits"
    assert all(account.alone for account in one.keeper._accounts.values())


async def test_what_was_lent_by_an_answer_that_never_arrived_goes_back(hosts: Hosts) -> None:
    host = await hosts.open("one")
    await host.keeper.credit(paid("cs_1", 1000))
    desk = host.store._desk
    do = desk._session.do

    async def lose(work):  # type: ignore[no-untyped-def]
        desk._session.do = do  # type: ignore[method-assign]
        await do(work)
        raise TimeoutError

    desk._session.do = lose  # type: ignore[method-assign]
    with pytest.raises(StoreFailed):
        await host.store.draw("ann", "usd", 10)
    assert (await hosts.account())[2] > 0
    await host.store.reopen()
    assert await hosts.account() == (1000, 0, 0)


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_hosts_that_start_at_once_make_the_tables_once(hosts: Hosts) -> None:
    await asyncio.gather(*(hosts.open(f"host {number}") for number in range(5)))
    [row] = await hosts.fetch("SELECT count(*) AS all FROM keeper")
    assert row["all"] == 5


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE batch SET payload = payload || payload WHERE count > 0", "is not what its hash"),
        ("DELETE FROM batch WHERE seq = 2", "is not what its hash"),
        ("UPDATE migration_ledger SET checksum = 'x'", "was changed after it had been applied"),
        ("INSERT INTO migration_ledger VALUES (99, '0099_x.sql', 'x')", "use a newer gateway"),
    ],
)
async def test_books_that_do_not_hang_together_are_refused(postgres: Server, statement: str, match: str) -> None:
    hosts = Hosts(postgres, await postgres.schema())
    host = await hosts.open("one")
    await host.keeper.credit(paid("cs_1", 1000))
    for _ in range(3):
        await request(host, 10)
    await hosts.close()
    await hosts.fetch(statement)
    host = Host(hosts.dsn, "one", pulse=Pulse(), bounds=Bounds(), pace=PATIENT)
    with pytest.raises(StoreDamaged, match=match):
        await host.keeper.open()
    await host.store.close()


# --- the audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE account SET credited = credited + 1", "account 1: credited is 1001 but the chains say 1000"),
        ("UPDATE account SET spent = spent + 1", "account 1: spent is 31 but the chains say 30"),
        ("UPDATE account SET leased = leased + 1", "account 1: leased is 1 but its leases sum to 0"),
        ("UPDATE credit SET reason = 'x'", "credit cs_1: reason is x but the chain says "),
        ("DELETE FROM credit", "credit cs_1: is missing: a chain notes it"),
        ("DELETE FROM money_key", "money_key cs_1: has 1 entries and 0 keys"),
        ("UPDATE tariff SET price = 'free'", "tariff 1/1: is not what the chain notes"),
        ("DELETE FROM batch WHERE seq = 3", "rows are missing between"),
        ("UPDATE batch SET started = 0 WHERE seq = 3", "its hash is not that of its contents"),
    ],
)
async def test_the_audit_names_what_is_not_as_it_must_be(postgres: Server, statement: str, found: str) -> None:
    hosts = Hosts(postgres, await postgres.schema())
    host = await hosts.open("one")
    await host.keeper.credit(paid("cs_1", 1000))
    for _ in range(3):
        await request(host, 10)
    await hosts.close()
    await hosts.fetch(statement)
    report = await audit(Address(Secret(hosts.dsn)))
    assert not report.clean
    assert any(found in str(finding) for finding in report.findings), [str(one) for one in report.findings]


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "address", "password"),
    [
        ("postgresql://u:p%40w@db/x?search_path=s&sslmode=require", "postgresql://u@db/x?sslmode=require", "p@w"),
        ("postgres://db-a,db-b:6432/x?target_session_attrs=read-write&password=pw",
         "postgres://db-a,db-b:6432/x?target_session_attrs=read-write", "pw"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x?host=%2Frun%2Fpostgresql", None),
    ],
)  # fmt: skip
def test_programs_are_given_the_address_without_its_password(dsn: str, address: str, password: str | None) -> None:
    assert Address(Secret(dsn)).for_programs() == (address, {"PGPASSWORD": password} if password else {})
    given = Address(Secret(dsn), password=Secret("other")).for_programs()
    assert given == (address, {"PGPASSWORD": "other"})
