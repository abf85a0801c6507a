"""The keeper and a model of twenty lines are told the same story, and must agree after every sentence."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.refusals import PaymentRequired
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.ports import Hold, LedgerStore

TORTURE = 40 if os.environ.get("GATEWAY_TORTURE") == "1" else 1
PACE = Pace(gap=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
ACCOUNTS = [("ann", "usd"), ("ann", "jpy"), ("bob", "usd")]
TARIFFS = [Tariff("search", "operator", 0, "p"), Tariff("export", "anna", 1500, "q")]
SENTENCES = 60


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


@dataclass
class Model:
    """What the ledger is, without a word about how."""

    available: dict[tuple[str, str], int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    held: dict[tuple[str, str], int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    refs: set[str] = field(default_factory=set)

    def credit(self, ref: str, account: tuple[str, str], micros: int) -> bool:
        if ref in self.refs:
            return False
        self.refs.add(ref)
        self.available[account] += micros
        return True

    def reverse(self, ref: str, account: tuple[str, str], micros: int) -> bool:
        if ref in self.refs:
            return False
        self.refs.add(ref)
        self.available[account] -= micros
        return True

    def hold(self, account: tuple[str, str], micros: int) -> bool:
        if self.available[account] < micros:
            return False
        self.available[account] -= micros
        self.held[account] += micros
        return True

    def renew(self, account: tuple[str, str], micros: int) -> bool:
        return micros <= 0 or self.hold(account, micros)

    def settle(self, account: tuple[str, str], ceiling: int, cost: int) -> int:
        cost = min(cost, ceiling)
        self.held[account] -= ceiling
        self.available[account] += ceiling - cost
        return cost


@dataclass
class Open:
    """A request in flight. What it is worth at most once something was recorded: its `due`."""

    hold: Hold
    account: tuple[str, str]
    ceiling: int
    due: int | None = None
    renewed: bool = False


class Story:
    """Tells both, and compares."""

    def __init__(self, make_store: Callable[[], LedgerStore], accounts_max: int) -> None:
        self._make_store = make_store
        self._accounts_max = accounts_max
        self._model = Model()
        self._open: list[Open] = []
        self._numbers = itertools.count(1)

    async def tell(self, sentences: list[tuple[str, int, int, int]]) -> None:
        await self._begin()
        for verb, which, micros, extra in sentences:
            await getattr(self, verb)(which, micros, extra)
            await self._compare()
        await self.restart(0, 0, 0)
        await self._compare()
        await self.keeper.close()

    async def _begin(self) -> None:
        self.keeper = Keeper(self._make_store(), Clock(), pace=PACE, accounts_max=self._accounts_max)
        assert await self.keeper.open() == Recovered(0, 0)

    async def _compare(self) -> None:
        for account in ACCOUNTS:
            balance = await self.keeper.balance(*account)
            assert balance.available == Money(self._model.available[account], account[1])
            assert balance.held == Money(self._model.held[account], account[1])

    async def credit(self, which: int, micros: int, ref: int) -> None:
        account = ACCOUNTS[which % len(ACCOUNTS)]
        credit = Credit(f"cs_{ref}", account[0], Money(micros, account[1]), "payment", "")
        assert await self.keeper.credit(credit) is self._model.credit(credit.ref, account, micros)

    async def reverse(self, which: int, micros: int, ref: int) -> None:
        account = ACCOUNTS[which % len(ACCOUNTS)]
        reversal = Reversal(f"{'cs' if ref % 4 == 0 else 're'}_{ref}", account[0], Money(micros, account[1]), "r", "")
        assert await self.keeper.reverse(reversal) is self._model.reverse(reversal.ref, account, micros)

    async def hold(self, which: int, micros: int, tariff: int) -> None:
        account = ACCOUNTS[which % len(ACCOUNTS)]
        possible = self._model.hold(account, micros)
        id = RequestId(1_790_000_000_000, next(self._numbers))
        try:
            hold = await self.keeper.hold(
                account[0], Money(micros, account[1]), id=id, token=3, tariff=TARIFFS[tariff % 2]
            )
        except PaymentRequired as refusal:
            granted, told = False, refusal.balance.micros
        else:
            granted, told = True, hold.balance.micros - micros
            self._open.append(Open(hold, account, micros))
        assert granted is possible
        assert told == self._model.available[account]

    async def start(self, which: int, micros: int, how: int) -> None:
        waiting = [request for request in self._open if request.due is None]
        if not waiting:
            return
        request = waiting[which % len(waiting)]
        request.due = min(micros, request.ceiling) if how & 1 else request.ceiling
        due = Money(request.due, request.account[1])
        await self.keeper.start(request.hold, due, "strict" if how & 2 else "relaxed")
        if how & 4:
            request.hold.started()

    async def renew(self, which: int, micros: int, part: int) -> None:
        """A long answer has come to a part of what is held, and goes on."""
        if not self._open:
            return
        request = self._open[which % len(self._open)]
        recorded, unit = request.due or 0, request.account[1]
        request.due = recorded + (request.ceiling - recorded) * part // 4
        request.renewed = True
        missing = request.due + micros - request.ceiling
        possible = self._model.renew(request.account, missing)
        refused = None
        try:
            await self.keeper.renew(request.hold, Money(request.due, unit), Money(micros, unit))
        except PaymentRequired as refusal:
            refused = (refusal.price.micros, refusal.balance.micros)
        else:
            request.ceiling += max(0, missing)
        assert refused == (None if possible else (missing, self._model.available[request.account]))

    async def settle(self, which: int, micros: int, twice: int) -> None:
        if not self._open:
            return
        request = self._open.pop(which % len(self._open))
        # What was recorded first is the most that it can cost; a true cost beyond that would be a price without a hold.
        most = micros if request.due is None or request.renewed else request.due
        cost = Money(min(micros, most), request.account[1])
        charged = self._model.settle(request.account, request.ceiling, cost.micros)
        for _ in range(1 + twice % 2):
            assert self.keeper.settle(request.hold, cost).micros == charged

    async def burst(self, which: int, micros: int, count: int) -> None:
        """Many at once: as many are granted as can be paid."""
        account = ACCOUNTS[which % len(ACCOUNTS)]
        price = Money(micros, account[1])
        affordable = max(0, min(count, self._model.available[account] // micros))

        async def buy() -> None:
            id = RequestId(1_790_000_000_000, next(self._numbers))
            hold = await self.keeper.hold(account[0], price, id=id, token=3, tariff=TARIFFS[0])
            await self.keeper.start(hold, price, "strict")
            self.keeper.settle(hold, price)

        # All hold before any settles, so what is given back by none cannot be taken by another.
        outcomes = await asyncio.gather(*(buy() for _ in range(count)), return_exceptions=True)
        assert sum(outcome is None for outcome in outcomes) == affordable
        assert sum(isinstance(outcome, PaymentRequired) for outcome in outcomes) == count - affordable
        self._model.available[account] -= affordable * micros

    async def restart(self, which: int, micros: int, extra: int) -> None:
        """Every request ends, the books are closed and opened again."""
        while self._open:
            await self.settle(which, micros, extra)
        await self.keeper.close()
        await self._begin()


SENTENCE = st.one_of(
    *(
        st.tuples(st.just(verb), st.integers(0, 7), st.integers(1, micros), st.integers(0, extra))
        for verb, micros, extra in (
            ("credit", 400, 30), ("reverse", 300, 30), ("hold", 120, 1), ("hold", 60, 1), ("start", 100, 7),
            ("start", 100, 7), ("renew", 90, 4), ("settle", 130, 1), ("settle", 130, 1), ("burst", 40, 9),
            ("restart", 50, 0),
        )
    )
)  # fmt: skip
STORY = st.lists(SENTENCE, min_size=SENTENCES, max_size=SENTENCES)
UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=200 * TORTURE, deadline=None, suppress_health_check=UNHURRIED, derandomize=TORTURE == 1)
@given(story=STORY, accounts_max=st.sampled_from([1, 2, 1000]))
def test_the_ledger_in_memory_matches_its_model(story: list[tuple[str, int, int, int]], accounts_max: int) -> None:
    store = MemoryLedgerStore()
    asyncio.run(Story(lambda: store, accounts_max).tell(story))


@settings(max_examples=12 * TORTURE, deadline=None, suppress_health_check=UNHURRIED, derandomize=TORTURE == 1)
@given(story=STORY, accounts_max=st.sampled_from([1, 2, 1000]))
def test_the_ledger_in_sqlite_matches_its_model(story: list[tuple[str, int, int, int]], accounts_max: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        asyncio.run(Story(lambda: SqliteLedgerStore(path, head_key=b"k" * 32), accounts_max).tell(story))
        report = audit(path, head_key=b"k" * 32)
        assert report.findings == ()
        assert report.head == "verified"
