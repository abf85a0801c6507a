"""What goes over the line between a worker and the process of the keeper arrives whole, and in order of sense."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from gateway.adapters.interprocess import frames
from gateway.adapters.interprocess.frames import BrokenLine, FrameReader, Kind
from gateway.adapters.interprocess.keeper import Counter, WorkerConnection
from gateway.adapters.interprocess.limits import Counting, _question
from gateway.adapters.interprocess.worker import DRAW, DRAWN, BorrowedLedgerStore, Line
from gateway.core.ids import RequestId
from gateway.core.ledger import Tariff
from gateway.core.limits import Limiter, Place
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Hold

ROW = 7
TARIFF = Tariff("search", "operator", 0, "p")
PATIENT = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class KeeperSide:
    """Plays the keeper's process, word by word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._heard: list[tuple[int, bytes]] = []

    async def hears(self, kind: Kind) -> bytes:
        """The next frame, which is of this kind."""
        async with asyncio.timeout(5):
            while not self._heard:
                self._heard += self._frames.feed(await self._reader.read(65_536))
        found, contents = self._heard.pop(0)
        assert found == kind, (Kind(found).name, contents)
        return contents

    def says(self, *words: bytes) -> None:
        """All in one piece, as a busy socket delivers them."""
        self._writer.write(b"".join(words))


@asynccontextmanager
async def worker(folder: Path, pace: Pace = PATIENT) -> AsyncIterator[tuple[Keeper, KeeperSide]]:
    met: asyncio.Future[KeeperSide] = asyncio.get_running_loop().create_future()
    writers = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        met.set_result(KeeperSide(reader, writer))

    path = str(folder / "line")
    server = await asyncio.start_unix_server(meet, path)
    store = BorrowedLedgerStore(Line(path, worker="w1", begone=lambda: None))
    keeper = Keeper(store, Clock(), lender=store, pace=pace)
    opening = asyncio.create_task(keeper.open())
    side = await met
    assert json.loads(await side.hears(Kind.HELLO))["worker"] == "w1"
    side.says(frames.frame(Kind.WELCOME))
    await opening
    try:
        yield keeper, side
    finally:
        task = keeper._task
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        await store.close()
        for writer in writers:
            writer.close()
        server.close()


def drawn(question: bytes, micros: int, *, elsewhere: int = 0, doubtful: bool = False) -> bytes:
    number, _, _ = DRAW.unpack_from(question)
    return frames.frame(Kind.DRAWN, DRAWN.pack(number, ROW, micros, elsewhere, doubtful, False))


def recall() -> bytes:
    return frames.frame(Kind.RECALL, ROW.to_bytes(8))


def holding(keeper: Keeper, micros: int) -> asyncio.Task[Hold]:
    id = RequestId(Clock().now_ms(), 1)
    return asyncio.create_task(keeper.hold("ann", Money(micros, "usd"), id=id, token=3, tariff=TARIFF))


async def test_a_slice_that_came_in_one_piece_with_its_recall_is_parted_with(tmp_path: Path) -> None:
    async with worker(tmp_path) as (keeper, side):
        hold = holding(keeper, 20)
        question = await side.hears(Kind.DRAW)
        side.says(drawn(question, 100), recall())
        await hold
        assert list(frames.read_pairs(await side.hears(Kind.RECALLED))) == [(ROW, 80)]


async def test_a_worker_that_is_told_that_anything_may_have_changed_asks_before_it_spends(tmp_path: Path) -> None:
    async with worker(tmp_path) as (keeper, side):
        hold = holding(keeper, 20)
        side.says(drawn(await side.hears(Kind.DRAW), 100))
        keeper.settle(await hold, Money(0, "usd"))
        side.says(frames.frame(Kind.ANYTHING_CHANGED))
        async with asyncio.timeout(5):
            while keeper.holds_at_once(("ann", "usd"), 20):
                await asyncio.sleep(0)
        hold = holding(keeper, 20)
        side.says(drawn(await side.hears(Kind.DRAW), 0))
        await hold


async def test_what_comes_for_one_who_has_given_up_goes_back(tmp_path: Path) -> None:
    async with worker(tmp_path, Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=0.01, retry=0)) as (
        keeper,
        side,
    ):
        hold = holding(keeper, 20)
        question = await side.hears(Kind.DRAW)
        with pytest.raises(LedgerUnavailable):
            await hold
        side.says(drawn(question, 100))
        assert list(frames.read_pairs(await side.hears(Kind.SOME_BACK))) == [(ROW, 100)]


async def test_a_rest_that_is_not_enough_goes_back_with_the_question(tmp_path: Path) -> None:
    async with worker(tmp_path) as (keeper, side):
        first = holding(keeper, 20)
        side.says(drawn(await side.hears(Kind.DRAW), 30))
        await first
        second = holding(keeper, 20)
        assert list(frames.read_pairs(await side.hears(Kind.SOME_BACK))) == [(ROW, 10)]
        question = await side.hears(Kind.DRAW)
        assert DRAW.unpack_from(question)[1] == 20
        side.says(drawn(question, 20))
        await second


def test_frames_are_put_together_however_they_are_cut() -> None:
    sent = [frames.frame(Kind.BACK, frames.pairs({1: 2, 3: -4})), frames.json_frame(Kind.HELLO, {"worker": "w1"})]
    stream = b"".join(sent)
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        heard = [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]
        assert [kind for kind, _ in heard] == [Kind.BACK, Kind.HELLO]
        assert list(frames.read_pairs(heard[0][1])) == [(1, 2), (3, -4)]


def test_a_line_that_lost_its_place_is_broken() -> None:
    with pytest.raises(BrokenLine):
        list(FrameReader().feed(b"\xff" * 8))


@pytest.mark.parametrize("gives_up", [False, True])
async def test_a_keeper_gives_no_place_away_before_all_workers_have_told_which_they_hold(gives_up: bool) -> None:
    limiter, transport = Limiter(), Mock()
    slices = Mock()
    slices.join.return_value = True
    count = lambda: Counting(limiter, Clock())  # noqa: E731
    counter = Counter(slices, count=count, counted=lambda *_: None, report=lambda *_, **__: None)
    connection = WorkerConnection(counter)
    transport.is_closing.return_value = False
    connection.connection_made(transport)
    hello = {"worker": "w1", "fresh": True, "started": 0, "tariffs": [], "slices": [], "pending_seq": 0}
    connection.data_received(frames.json_frame(Kind.HELLO, hello | {"pending_spent": [], "held": [[1, ["p"]]]}))
    connection.data_received(frames.frame(Kind.ADMIT, _question(7, [], [Place("p", 2)])))
    if gives_up:
        connection.data_received(frames.frame(Kind.LEAVE, (7).to_bytes(8)))
    assert transport.write.call_count == 1  # the welcome
    counter.gathered.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert limiter._under_way == {"p": 1 if gives_up else 2}
    assert transport.write.call_count == (1 if gives_up else 2)
    connection.connection_lost(None)
    assert limiter._under_way == {}
