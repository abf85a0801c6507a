"""A host keeps the head of its chain outside the database: a database that was put back is noticed, and by whom."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.adapters.postgres.audit import KeptHead, audit
from gateway.adapters.postgres.head import HostHead, accept_head
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.system import SystemClock, SystemFile
from gateway.core.chain_head import ChainHead
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.ports import StoreDamaged
from tests.postgres_server import Server
from tests.relay.scenes import until

KEY, OLDER = b"k" * 32, b"o" * 32
TARIFF = Tariff("search", "operator", 0, "p")
PATIENT = Pace(refuse_after=60, give_up_after=60, quiet=600)


class Place:
    """One host, its file and the database."""

    def __init__(self, dsn: str, path: Path) -> None:
        self.dsn = dsn
        self.path = path
        self.said: list[str] = []
        self.address = Address(Secret(dsn))
        self._keepers: list[Keeper] = []
        self._numbers = 0

    async def open(self, *keys: bytes, name: str = "north") -> Keeper:
        clock = SystemClock()
        head = HostHead(SystemFile(self.path), keys or (KEY,), name, self.said.append)
        store = self.store = PostgresLedgerStore(
            self.address, name=name, clock=clock, report=self.said.append, head=head
        )
        keeper = Keeper(store, clock, lender=store, teller=store, pace=PATIENT, report=self.said.append)
        self._keepers.append(keeper)
        await keeper.open()
        return keeper

    async def close(self) -> None:
        for keeper in self._keepers:
            await keeper.close()
        self._keepers.clear()

    async def sql(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def last(self) -> int:
        [row] = await self.sql("SELECT max(seq) AS seq FROM batch JOIN keeper ON id = keeper WHERE name = 'north'")
        return int(row["seq"] or 0)

    def head(self) -> ChainHead:
        return ChainHead.read(self.path.read_bytes(), [KEY])

    async def put_back(self) -> None:
        """The database as it was before its last batch, which held a credit of 7."""
        await self.sql("DELETE FROM credit WHERE ref = 'last'")
        await self.sql("DELETE FROM money_key WHERE ref = 'last'")
        await self.sql("DELETE FROM batch WHERE seq = (SELECT max(seq) FROM batch)")
        await self.sql("UPDATE account SET credited = credited - 7")

    async def audit(self) -> str:
        """How the head stands. But for it, the books are clean."""
        kept = KeptHead(self.path.name, SystemFile(self.path).read())
        report = await audit(self.address, keys=[KEY], head=kept)
        assert [finding.table for finding in report.findings] == ["head"] * report.head.startswith("failed")
        return report.head


@pytest.fixture
async def place(postgres: Server, tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(await postgres.schema(), tmp_path / "north.head")
    yield made
    await made.close()


def paid(ref: str, micros: int = 1000) -> Credit:
    return Credit(ref, "ann", Money(micros, "usd"), "payment", "")


async def buy(keeper: Keeper, number: int) -> None:
    price = Money(10, "usd")
    hold = await keeper.hold("ann", price, id=RequestId(1_790_000_000_000, number), token=1, tariff=TARIFF)
    await keeper.start(hold, price, "strict")
    hold.started()
    keeper.settle(hold, price)


async def two_credits(place: Place) -> None:
    keeper = await place.open()
    await keeper.credit(paid("first"))
    await keeper.credit(paid("last", 7))
    await place.close()


async def test_money_that_arrived_is_vouched_for_before_that_is_acknowledged(place: Place) -> None:
    keeper = await place.open()
    for number in range(3):
        await keeper.credit(paid(f"cs_{number}"))
        assert place.head().seq == await place.last() == number + 1
    await keeper.reverse(Reversal("re_1", "ann", Money(5, "usd"), "refund", ""))
    assert place.head().seq == await place.last() == 4
    assert place.path.stat().st_mode & 0o777 == 0o600


async def test_costs_are_vouched_for_at_the_end(place: Place) -> None:
    keeper = await place.open()
    await keeper.credit(paid("first"))
    for number in range(20):
        await buy(keeper, number)
    await place.close()
    assert place.head().seq == await place.last() > 2
    assert await place.audit() == f"verified, of the chain of 'north' up to batch {await place.last()}; each other" + (
        " host keeps its own"
    )


async def test_books_that_end_before_their_head_are_refused_until_that_is_accepted(place: Place) -> None:
    await two_credits(place)
    await place.put_back()
    kept = place.path.read_bytes()
    with pytest.raises(StoreDamaged, match=r"no batch 2 of 'north'.*--accept-head"):
        await place.open()
    await place.close()
    assert place.path.read_bytes() == kept  # it is the evidence
    assert (await place.audit()).startswith("failed: names batch 2, which is not there")
    connection = await place.address.connect("test")
    assert await accept_head(connection, SystemFile(place.path), KEY, "north") == 1
    connection.terminate()
    keeper = await place.open()
    assert (await keeper.balance("ann", "usd")).available == Money(1000, "usd")
    assert await keeper.credit(paid("again"))
    assert (await place.audit()).startswith("verified")


async def test_a_replica_that_lags_is_not_taken_for_books_that_lost_their_end(place: Place) -> None:
    await two_credits(place)
    await place.put_back()
    await place.sql("CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    place.address = Address(Secret(f"{place.dsn},pg_catalog"))  # so that ours is found before the server's own
    assert await place.audit() == "not checked: this is a replica, and batch 2 of 'north' has not come to it"
    place.path.write_bytes(ChainHead("north", 1, bytes(32)).signed(KEY))
    assert "by another hash" in await place.audit()


async def test_a_chain_that_was_written_anew_is_refused(place: Place) -> None:
    await two_credits(place)
    place.path.write_bytes(ChainHead("north", 2, bytes(32)).signed(KEY))
    with pytest.raises(StoreDamaged, match="no batch 2 of 'north' with the hash"):
        await place.open()
    assert "by another hash" in await place.audit()


async def test_a_database_that_was_put_back_under_a_running_host_is_noticed_when_it_connects_again(
    place: Place,
) -> None:
    keeper = await place.open()
    await keeper.credit(paid("first"))
    await keeper.credit(paid("last", 7))
    await place.put_back()
    await place.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway north'")
    with pytest.raises(LedgerUnavailable):
        async with asyncio.timeout(20):
            await keeper.credit(paid("more"))
    await until(lambda: any("ends with batch 1, and 2 was written" in problem for problem in place.said), seconds=20)
    with pytest.raises(LedgerUnavailable):
        await buy(keeper, 1)
    assert await place.last() == 1
    assert place.head().seq == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not a head that the gateway wrote"),
        (b"[]", "is not a head that the gateway wrote"),
        (b'{"host": "north", "seq": 1, "hash": "00", "mac": ""}', "is not signed by a key of this gateway"),
        (ChainHead("north", 1, bytes(32)).signed(b"x" * 32), "is not signed by a key of this gateway"),
        (ChainHead("south", 0, bytes(32)).signed(KEY), "is the head of another host, 'south'"),
    ],
)
async def test_a_head_that_is_not_ours_is_refused(place: Place, text: bytes, words: str) -> None:
    place.path.write_bytes(text)
    with pytest.raises(StoreDamaged, match=words):
        await place.open()


async def test_another_number_or_host_needs_another_signature(place: Place) -> None:
    told = json.loads(ChainHead("north", 7, bytes(32)).signed(KEY))
    assert ChainHead.read(json.dumps(told).encode(), [OLDER, KEY]).seq == 7
    for change in ({"seq": 6}, {"host": "south"}, {"hash": "11" * 32}):
        with pytest.raises(ValueError, match="is not signed"):
            ChainHead.read(json.dumps(told | change).encode(), [KEY])


async def test_an_older_key_may_have_signed_and_the_newest_signs(place: Place) -> None:
    keeper = await place.open(OLDER)
    await keeper.credit(paid("first"))
    await place.close()
    await place.open(KEY, OLDER)
    await place.close()
    assert place.head().seq == 1


async def test_a_host_without_its_head_says_so_and_has_one_from_then_on(place: Place) -> None:
    await two_credits(place)
    assert place.said == []  # books that begin have no head, and nothing is missing
    place.path.unlink()
    assert (await place.audit()).startswith("not checked")
    await place.open()
    assert place.said == [f"{place.path} is not there: nothing tells whether the end of our chain is"]
    await place.close()
    assert (await place.audit()).startswith("verified")


async def test_a_head_that_cannot_be_written_stops_nobody_and_is_told_once(place: Place) -> None:
    keeper = await place.open()
    (place.path.parent / "north.head.new").mkdir()
    for number in range(3):
        assert await keeper.credit(paid(f"cs_{number}"))
    [told] = place.said
    assert "cannot be written" in told
    (place.path.parent / "north.head.new").rmdir()
    assert await keeper.credit(paid("more"))
    assert place.head().seq == await place.last()


async def test_a_head_whose_batch_was_pruned_stands(place: Place) -> None:
    await two_credits(place)
    kept = place.head()
    await place.sql("INSERT INTO anchor SELECT keeper, 2, 1, 0, 0, hash, 1, hash, hash FROM batch WHERE seq = 2")
    place.path.write_bytes(ChainHead("north", 1, b"h" * 32).signed(KEY))
    await place.sql("DELETE FROM batch WHERE seq = 1")
    await place.open()
    await place.close()
    assert place.head() == kept
