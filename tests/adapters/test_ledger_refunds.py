"""What one request did cost is given back by an operator, once, whatever else is going on."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.postgres.audit import audit as audit_database
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Kind, Tariff
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Hold, RequestUnderWay, RequestUnknown
from tests.batches import HOUR, KEY, NOON, Batches
from tests.postgres_server import Server

NOW = 1_790_000_000_000
TARIFF = Tariff("search", "operator", 0, "p")
PATIENT = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)


class Clock:
    def now_ms(self) -> int:
        return NOW


class Books:
    def __init__(self, folder: Path | None, dsn: str = "") -> None:
        self._folder = folder
        self._address = Address(Secret(dsn)) if dsn else None
        self._memory = MemoryLedgerStore()
        self.keeper: Keeper | None = None

    async def open(self) -> Keeper:
        await self.close()
        if self._address is not None:
            shared = PostgresLedgerStore(self._address, name="one", clock=Clock())
            keeper = Keeper(shared, Clock(), lender=shared, teller=shared, refunds=shared, pace=PATIENT)
        elif self._folder is None:
            keeper = Keeper(self._memory, Clock(), archive=self._memory, pace=PATIENT)
        else:
            path = self._folder / "ledger.db"
            store = SqliteLedgerStore(path, head_key=KEY)
            keeper = Keeper(store, Clock(), archive=SqliteArchive(path), pace=PATIENT)
        await keeper.open()
        self.keeper = keeper
        return keeper

    async def close(self) -> None:
        if self.keeper is not None:
            await self.keeper.close()
            self.keeper = None
            if self._address is not None:
                assert (await audit_database(self._address)).findings == ()
            elif self._folder is not None:
                assert audit(self._folder / "ledger.db", head_key=KEY).findings == ()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def books(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    made = Books(tmp_path if request.param == "sqlite" else None, await server.schema() if server else "")
    yield made
    await made.close()


def usd(micros: int) -> Money:
    return Money(micros, "usd")


async def begin(keeper: Keeper, number: int, micros: int, *, relaxed: bool = False) -> Hold:
    held = await keeper.hold("ann", usd(micros), id=RequestId(NOW, number), token=7, tariff=TARIFF)
    await keeper.start(held, usd(micros), "relaxed" if relaxed else "strict")
    held.started()
    return held


async def available(keeper: Keeper) -> int:
    return (await keeper.balance("ann", "usd")).available.micros


async def paid(books: Books) -> Keeper:
    keeper = await books.open()
    await keeper.credit(Credit("cs_1", "ann", usd(1000), "payment", ""))
    return keeper


async def test_a_request_is_refunded_once_at_what_it_came_to(books: Books) -> None:
    keeper = await paid(books)
    keeper.settle(await begin(keeper, 1, 300), usd(200))
    keeper.settle(await begin(keeper, 2, 50, relaxed=True), usd(50))
    [charge] = await keeper.refund(RequestId(NOW, 1), "it was wrong")
    assert (charge.holder, charge.unit, charge.micros) == ("ann", "usd", 200)
    assert await available(keeper) == 950
    assert await keeper.refund(RequestId(NOW, 1), "again") == []
    keeper = await books.open()
    assert await keeper.refund(RequestId(NOW, 1), "again") == []
    assert len(await keeper.refund(RequestId(NOW, 2), "this, too")) == 1
    assert await available(keeper) == 1000


async def test_many_refunds_at_once_are_one(books: Books) -> None:
    keeper = await paid(books)
    keeper.settle(await begin(keeper, 1, 300), usd(300))
    outcomes = await asyncio.gather(*(keeper.refund(RequestId(NOW, 1), "x") for _ in range(20)))
    assert sum(len(given) for given in outcomes) == 1
    assert await available(keeper) == 1000


async def test_a_request_under_way_is_not_refunded_until_it_has_ended(books: Books) -> None:
    keeper = await paid(books)
    held = await begin(keeper, 1, 300)
    with pytest.raises(RequestUnderWay):
        await keeper.refund(RequestId(NOW, 1), "too early")
    keeper.settle(held, usd(100))
    [charge] = await keeper.refund(RequestId(NOW, 1), "now")
    assert charge.micros == 100
    assert await available(keeper) == 1000


async def test_a_request_that_nobody_was_charged_for_is_unknown(books: Books) -> None:
    keeper = await paid(books)
    held = await keeper.hold("ann", usd(10), id=RequestId(NOW, 1), token=7, tariff=TARIFF)
    keeper.settle(held, usd(0))
    for number in (1, 99):
        with pytest.raises(RequestUnknown):
            await keeper.refund(RequestId(NOW, number), "x")


async def test_a_request_that_came_to_nothing_gives_back_nothing(books: Books) -> None:
    keeper = await paid(books)
    keeper.settle(await begin(keeper, 1, 300), usd(0))
    assert await keeper.refund(RequestId(NOW, 1), "x") == []
    assert await available(keeper) == 1000


async def test_what_is_given_back_to_one_who_owes_pays_the_debt(books: Books) -> None:
    from gateway.core.ledger import Reversal

    keeper = await paid(books)
    keeper.settle(await begin(keeper, 1, 300), usd(300))
    await keeper.reverse(Reversal("re_1", "ann", usd(1000), "refund", ""))
    await keeper.refund(RequestId(NOW, 1), "x")
    assert await available(keeper) == 0
    keeper = await books.open()
    assert await available(keeper) == 0


async def test_a_refund_before_the_next_watermark_is_not_voided_as_well(tmp_path: Path) -> None:
    """The power fails when the capture and its refund are in the books and the word that it had begun is not."""
    books = Batches(tmp_path / "ledger.db")
    books.credit("cs_1", 1000)
    request = books.record(Kind.GATED_CAPTURE, 300, TARIFF)
    books.record(Kind.CORRECTION, -300, TARIFF, request=request)
    books.commit(started=0)
    books.close()
    keeper = Keeper(SqliteLedgerStore(tmp_path / "ledger.db", head_key=KEY), Clock(), pace=PATIENT)
    assert (await keeper.open()).count == 0
    assert await available(keeper) == 1000
    await keeper.close()


async def test_a_closed_keeper_refunds_nothing(books: Books) -> None:
    keeper = await paid(books)
    await books.close()
    with pytest.raises(LedgerUnavailable):
        await keeper.refund(RequestId(NOW, 1), "x")


async def test_the_archive_finds_a_correction_that_came_late_and_knows_what_was_pruned(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "books.db")
    batches.credit("cs_1", 1000)
    one = batches.record(Kind.CAPTURE, 300, TARIFF)
    batches.commit(NOON + HOUR)
    batches.record(Kind.CAPTURE, 5, TARIFF)
    batches.commit(NOON + 2 * HOUR)
    batches.record(Kind.CORRECTION, -100, TARIFF, request=one)
    batches.commit(NOON + 9 * HOUR)
    archive, id = SqliteArchive(batches.path), RequestId(NOON + one, one)
    [charge] = await archive.charges_of(id)
    assert (charge.micros, charge.captured, charge.holder) == (200, True, "ann")
    batches.sql.execute("INSERT INTO anchor VALUES (1, 2, 1, 1, zeroblob(32), zeroblob(32), zeroblob(32))")
    [charge] = await archive.charges_of(id)
    assert (charge.micros, charge.captured) == (-100, False)
    batches.sql.close()


async def test_the_reason_is_in_the_chain_and_must_have_its_record(tmp_path: Path) -> None:
    books = Books(tmp_path)
    keeper = await paid(books)
    keeper.settle(await begin(keeper, 1, 300), usd(300))
    await keeper.refund(RequestId(NOW, 1), "it was wrong")
    await books.close()
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        notes = [notes for (notes,) in sql.execute("SELECT notes FROM batch") if "refund" in notes]
        assert len(notes) == 1
        assert '"reason":"it was wrong","request":"req_' in notes[0]
        sql.execute("UPDATE batch SET notes = replace(notes, '\"micros\":300', '\"micros\":301')")
    assert any("tell of a refund of" in str(finding) for finding in audit(path).findings)


@pytest.mark.parametrize(
    "text", ["", "req_", "req_" + "0" * 27, "req_" + "0" * 29, "req_" + "G" * 28, "req_000000000000f" + "0" * 15]
)
def test_what_is_no_request_id_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="not a request"):
        RequestId.parse(text)


def test_a_request_id_is_read_as_it_was_written() -> None:
    id = RequestId(NOW, (1 << 63) - 1)
    assert RequestId.parse(str(id)) == id
