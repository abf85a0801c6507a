"""A cap that is nearly used up is told of, once a period."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.caps import Cap, CapSetting
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Tariff
from gateway.core.money import Money
from gateway.core.outgoing import Outgoing
from gateway.core.refusals import CapReached
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.flows.watch_caps import WatchCaps
from tests.fakes import FakeClock, SeededRandomness

ANN = "acct_" + "1a" * 16
CAP = Cap(ANN, "day", Money.parse("1.00 usd"))


class Shop:
    """Books and records, and as many processes that watch as are made."""

    def __init__(self, path: Path) -> None:
        self.clock, self.store = FakeClock(), MemoryLedgerStore()
        pace = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600)
        self.ledger = Keeper(self.store, self.clock, cap_lines=self.store, pace=pace)
        self.records = SqliteRecords(path, keyring=Keyring([Secret("k" * 40)]), randomness=SeededRandomness())
        self.flows = [self.process()]
        self._number = 0

    def process(self) -> WatchCaps:
        return WatchCaps(outbox=self.records.outbox, lines=self.store, percent=80, clock=self.clock)

    cap = CAP

    async def spend(self, amount: str) -> None:
        self._number += 1
        cost, tariff = Money.parse(amount), Tariff("search", "operator", 0, "p")
        id = RequestId(self.clock.now_ms(), self._number)
        try:
            hold = await self.ledger.hold(ANN, cost, id=id, token=7, tariff=tariff, caps=(self.cap,))
        except CapReached as refusal:
            for flow in self.flows:
                flow.reached(ANN, refusal)
        else:
            await self.ledger.start(hold, cost, "strict")
            self.ledger.settle(hold, cost)
            for flow in self.flows:
                flow.spent(ANN, hold)
        for flow in self.flows:
            await flow.settled()
            flow._rests.clear()

    async def told(self) -> list[Outgoing]:
        return list(reversed(await self.records.outbox.entries(None, count=100)))


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr("gateway.flows.watch_caps._LOOKS_AFTER", (0.0,))
    made = Shop(tmp_path / "records.db")
    await made.records.open()
    await made.ledger.open()
    await made.ledger.credit(Credit("manual:1", ANN, Money.parse("100.00 usd"), "manual", "a test"))
    yield made
    await made.ledger.close()
    await made.records.close()


async def test_a_cap_is_told_of_at_the_line_once_and_again_on_the_next_day(shop: Shop) -> None:
    await shop.spend("0.799999 usd")
    assert await shop.told() == [], "one below the line"
    await shop.spend("0.000001 usd")
    [message] = await shop.told()
    assert (message.type, message.account) == ("cap.near", ANN)
    resets = CAP.resets_ms(shop.clock.now_ms())
    assert resets is not None
    told = dict(message.content)
    assert told.pop("resets_at").endswith("+00:00")
    assert told == {"node": ANN, "per": "day", "cap": "1.00 usd", "tell_at": None, "spent": "0.80 usd"}
    await shop.spend("0.10 usd")
    await shop.spend("0.20 usd")
    assert len(await shop.told()) == 1
    shop.clock.pass_seconds((resets - shop.clock.now_ms()) / 1000)
    await shop.spend("0.79 usd")
    assert len(await shop.told()) == 1
    await shop.spend("0.10 usd")
    assert len(await shop.told()) == 2


async def test_who_is_refused_makes_it_known_too_but_not_below_the_line(shop: Shop) -> None:
    await shop.spend("0.70 usd")
    await shop.spend("0.31 usd")
    assert await shop.told() == []
    watches, shop.flows = shop.flows, []
    await shop.spend("0.20 usd")  # nobody has noticed
    shop.flows = watches
    await shop.spend("0.20 usd")
    assert len(await shop.told()) == 1


async def test_many_processes_notice_and_one_message_is_written(shop: Shop) -> None:
    shop.flows += [shop.process() for _ in range(5)]
    await shop.spend("0.90 usd")
    assert len(await shop.told()) == 1


@pytest.mark.parametrize("bound", ["1.00 usd", None])
async def test_a_line_of_its_own_is_told_of_and_alone_refuses_nothing(shop: Shop, bound: str | None) -> None:
    micros = None if bound is None else Money.parse(bound).micros
    made = CapSetting(1, ANN, "day", "usd", micros, 5, 300_000).cap("UTC")
    assert made is not None
    shop.cap = made
    await shop.spend("0.299999 usd")
    assert await shop.told() == []
    await shop.spend("0.000001 usd")
    [message] = await shop.told()
    assert (message.content["cap"], message.content["tell_at"]) == (bound, "0.30 usd")
    for _ in range(3):
        await shop.spend("0.60 usd")
    assert len(await shop.told()) == 1
    left = await shop.ledger.balance(ANN, "usd")
    assert str(left.available) == ("99.10 usd" if bound else "97.90 usd")
