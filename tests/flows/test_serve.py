"""The life of one request on adapters in memory, without sockets: every ending, and a cancellation at every await."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.adapters.memory import MemoryLedgerStore, MemoryRecords
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.core.answers import Answer
from gateway.core.callers import Caller
from gateway.core.headers import Fields, asks_us
from gateway.core.idempotency import FIELD
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Reversal
from gateway.core.limits import Limit, Limiter, Rate
from gateway.core.mcp import Call
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.payments import Outcome, Payment
from gateway.core.pricing import MeteredPrice, Price, UnitPrice
from gateway.core.refusals import PaymentRequired, RateLimited, Refusal, UpstreamFailed
from gateway.core.routes import Route, RouteTable, Server, Upstream
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers, TokenMint
from gateway.core.traces import NO_TRACE, Trace
from gateway.core.use_meters import UseMeter
from gateway.flows.admit import Admit
from gateway.flows.checkpoint import Checkpoints
from gateway.flows.follow import Aliases
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.flows.keep import Keeper, Pace
from gateway.flows.serve import Serve
from gateway.ports import AnswerCut, Exchange, Started
from tests.fakes import FakeClock, SeededRandomness

UPSTREAM = Upstream("toy", (Server("http", "toy", 80),))
PRICE = Price(Money.parse("0.002 usd"))
BY_USE = MeteredPrice(
    Money.parse("0.1 usd"),
    Money.parse("0.001 usd"),
    (UnitPrice("answer_bytes", Money.parse("0.001 usd"), 1, "a byte"),),
)
ROUTES = RouteTable(
    [
        Route("paid", "/paid/", UPSTREAM, PRICE),
        Route("relaxed", "/relaxed/", UPSTREAM, PRICE, durability="relaxed"),
        Route("free", "/free/", UPSTREAM, Price(Money.zero("usd"))),
        Route("narrow", "/narrow/", UPSTREAM, PRICE, limits=(Limit("narrow", None, at_once=1, per="token"),)),
        Route("few", "/few/", UPSTREAM, PRICE, limits=(Limit("few", Rate(2, 60, "2/minute")),)),
        Route("used", "/used/", UPSTREAM, BY_USE),
        Route("sliced", "/sliced/", UPSTREAM, replace(BY_USE, slice=Money.parse("0.01 usd"))),
    ]
)


NUMBERS = itertools.count(1)


@dataclass
class FakeExchange:
    """An exchange whose upstream does what it is told; every step gives the loop a turn or two."""

    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream_status: int = 200
    dead: bool = False
    cut: bool = False
    cut_early: bool = False
    method: str = "GET"
    peer: str = "127.0.0.1"
    host: str = "gateway.example"
    cookies: Mapping[str, str] = field(default_factory=dict)
    fields: Fields = field(default_factory=list)
    cost: Money | None = None
    call: Call | None = None
    status: int = 0
    forwarded: int = 0
    refused: Refusal | None = None
    refusal_code: str = ""
    upstream_seconds: float | None = None
    begun: float = 0.0
    front_id: str = ""
    trace: Trace = NO_TRACE
    bytes_in: int = 0
    bytes_out: int = 0
    sent: bool = False
    replayed: Answer | None = None
    body: bytes | None = None
    on_its_way: asyncio.Event = field(default_factory=asyncio.Event)
    id: RequestId = field(default_factory=lambda: RequestId(1, next(NUMBERS)))

    @property
    def asks_us(self) -> bool:
        return asks_us(self.headers)

    @property
    def has_key(self) -> bool:
        return FIELD in self.headers

    def check(self) -> None:
        pass

    async def body_ahead(self, bytes_max: int, *, insist: bool = False) -> bytes | None:
        return self.body

    def carry_on(self) -> None:
        pass

    async def whole_answer(self, bytes_max: int) -> Answer | None:
        await asyncio.sleep(0)
        if self.cut_early:
            raise UpstreamFailed()
        whole = Answer(self.upstream_status, [("X-Upstream", "toy")], b"whole")
        return whole if bytes_max >= 5 else None

    async def replay(self, answer: Answer) -> None:
        self.replayed, self.status = answer, answer.status

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        await asyncio.sleep(0)
        self.forwarded += 1
        self.sent = True
        self.on_its_way.set()
        if self.dead:
            raise UpstreamFailed()
        await asyncio.sleep(0)
        meter.head(self.upstream_status)

    def leave_open(self, *, event: bool, trailer: bool) -> None:
        pass

    async def conclude(self, cost: Money) -> None:
        pass

    async def answer(self, meter: Meter, started: Started) -> None:
        if self.cut_early:
            raise UpstreamFailed()
        self.status = self.upstream_status
        started()
        await asyncio.sleep(0)
        if self.cut:
            meter.cut()
            raise AnswerCut
        await asyncio.sleep(0)

    def pause(self) -> None:
        pass

    def go_on(self) -> None:
        pass

    def end_early(self, refusal: Refusal) -> None:
        self.refused = refusal

    async def refuse(self, refusal: Refusal, route: Route | None) -> None:
        self.refused = refusal
        self.status = refusal.status


class FakeTill:
    """Implements `ports.Till` as far as serving needs it."""

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        return refusal

    async def fulfil(self, payment: Payment) -> Outcome:
        raise AssertionError("nobody pays here")

    async def fulfil_intent(self, intent: str) -> Outcome | None:
        raise AssertionError("nobody pays here")


class Shop:
    """A `Serve` with a caller that has money."""

    def __init__(self) -> None:
        clock, randomness = FakeClock(), SeededRandomness()
        self.store = MemoryLedgerStore()
        self.limiter = Limiter()
        self.keeper = Keeper(
            self.store, clock, pace=Pace(gap=0, idly=0, quiet=0.001, refuse_after=600, give_up_after=600)
        )
        self.records = records = MemoryRecords()
        self.aliases = Aliases(book=records.aliases, clock=clock, report=lambda *_, **__: None)
        self.freezes = Freezes(book=records, clock=clock, report=lambda *_, **__: None)
        self.callers = Callers(
            mint=TokenMint(Keyring([Secret("k" * 40)]), "test"),
            peppers=Peppers([Secret("p" * 40)]),
            credentials=records,
            frozen=self.freezes,
            clock=clock,
            randomness=randomness,
            header="Authorization",
            cookie_names=("gateway_token",),
            aliases=self.aliases,
        )
        caller = self.callers.fresh()
        assert caller.fresh is not None
        self.account, self.token = caller.account, caller.fresh.reveal()
        self.served: list[Exchange] = []
        self.checkpoints = Checkpoints(self.keeper)
        self.serve = Serve(
            routes=ROUTES,
            callers=self.callers,
            limits=Admit(limits=MemoryRateLimits(clock, self.limiter), ledger=self.keeper, uncounted=lambda *_: None),
            ledger=self.keeper,
            till=FakeTill(),
            served=lambda exchange, route, caller: self.served.append(exchange),
            now=lambda: 0.0,
            checkpoints=self.checkpoints,
        )

    async def open(self, money: str = "1.00 usd") -> None:
        await self.keeper.open()
        await self.keeper.credit(Credit("manual:1", self.account, Money.parse(money), "manual", "for a test"))

    def exchange(self, target: str, **rest: object) -> FakeExchange:
        return FakeExchange(target, headers={"authorization": f"Bearer {self.token}"}, **rest)  # type: ignore[arg-type]

    async def balance(self) -> tuple[int, int]:
        found = await self.keeper.balance(self.account, "usd")
        return found.available.micros, found.held.micros


def look(asked: list[int]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def looked() -> None:
        asked.append(1)

    return looked


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.open()
    yield shop
    await shop.keeper.close()


@pytest.mark.parametrize("route", ["/paid/x", "/relaxed/x"])
async def test_an_answered_request_is_debited_and_says_so(shop: Shop, route: str) -> None:
    exchange = shop.exchange(route)
    await shop.serve.serve(exchange)
    assert exchange.status == 200
    assert ("Gateway-Cost", "0.002 usd") in exchange.fields
    assert ("Gateway-Balance", "0.998 usd") in exchange.fields
    assert exchange.cost == Money.parse("0.002 usd")
    assert await shop.balance() == (998_000, 0)
    assert shop.served == [exchange]


@pytest.mark.parametrize("came_whole", [True, False])
async def test_what_an_answer_says_of_its_cost_is_what_is_on_record_when_it_begins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, came_whole: bool
) -> None:
    """The rest of it may come while the record is being written: then its cost is not said before it is known."""
    exchange = shop.exchange("/used/x")
    forward, start, meters = exchange.forward, shop.keeper.start, list[UseMeter]()

    async def forwarded(route: Route, target: str, meter: Meter, caller: Caller) -> None:
        await forward(route, target, meter, caller)
        assert isinstance(meter, UseMeter)
        meters.append(meter)
        meter.answers("GET", 200, [])
        meter.body(b"12345")
        if came_whole:
            meter.end()

    async def started(*record: Any, counted: bool) -> None:
        await start(*record, counted=counted)
        if not came_whole:
            meters[0].body(b"678")
            meters[0].end()

    monkeypatch.setattr(exchange, "forward", forwarded)
    monkeypatch.setattr(shop.keeper, "start", started)
    await shop.serve.serve(exchange)
    told = dict(exchange.fields)
    if came_whole:
        assert (told["Gateway-Cost"], told["Gateway-Balance"]) == ("0.006 usd", "0.994 usd")
    else:
        assert "Gateway-Cost" not in told
        assert told["Gateway-Cost-Max"] == "0.10 usd"
    assert str(exchange.cost) == ("0.006 usd" if came_whole else "0.009 usd")


@pytest.mark.parametrize("owned", [True, False])
async def test_a_wallet_that_was_joined_elsewhere_a_moment_ago_is_not_refused(shop: Shop, owned: bool) -> None:
    """Neither if its account had spent all it had, nor if nobody had ever paid into it."""
    other = "acct_" + "2b" * 16
    exchange = shop.exchange("/paid/x")
    if owned:
        await shop.keeper.reverse(Reversal("manual:2", shop.account, Money.parse("1.00 usd"), "manual", ""))
    else:
        token = shop.callers.fresh().fresh
        assert token is not None
        exchange.headers["authorization"] = f"Bearer {token.reveal()}"  # type: ignore[index]
        known = await shop.callers.known(token.reveal())
        assert known is not None
        shop.account = known.account
    await shop.keeper.credit(Credit("manual:3", other, Money.parse("1.00 usd"), "manual", ""))
    elsewhere = Aliases(book=shop.records.aliases, clock=FakeClock(), report=lambda *_, **__: None)
    assert await elsewhere.add(shop.account, other, "asked") == "joined"
    await shop.serve.serve(exchange)
    assert (exchange.status, exchange.cost) == (200, Money.parse("0.002 usd"))
    assert ("Gateway-Balance", "0.998 usd") in exchange.fields


async def test_who_has_nothing_is_refused_once_with_the_records_asked_once(shop: Shop) -> None:
    asked: list[int] = []
    shop.aliases.look = look(asked)  # type: ignore[method-assign]
    await shop.keeper.reverse(Reversal("manual:2", shop.account, Money.parse("1.00 usd"), "manual", ""))
    exchange = shop.exchange("/paid/x")
    await shop.serve.serve(exchange)
    assert isinstance(exchange.refused, PaymentRequired)
    assert asked == [1]


@pytest.mark.parametrize(
    "ending", [{"dead": True}, {"cut": True}, {"cut_early": True}, {"upstream_status": 404}, {"upstream_status": 500}]
)
async def test_what_the_upstream_did_not_deliver_costs_nothing(shop: Shop, ending: dict[str, object]) -> None:
    exchange = shop.exchange("/paid/x", **ending)
    await shop.serve.serve(exchange)
    assert exchange.cost == Money.zero("usd")
    assert await shop.balance() == (1_000_000, 0)
    assert shop.served == [exchange]


async def test_a_refusal_after_the_price_went_on_record_says_nothing_of_a_charge(shop: Shop) -> None:
    exchange = shop.exchange("/paid/x", cut_early=True)
    await shop.serve.serve(exchange)
    assert exchange.status == 502
    assert [name for name, _ in exchange.fields if name in ("Gateway-Cost", "Gateway-Balance")] == []


async def test_a_free_route_touches_no_money(shop: Shop) -> None:
    exchange = shop.exchange("/free/x")
    await shop.serve.serve(exchange)
    assert (exchange.status, exchange.cost, exchange.fields) == (200, None, [])


async def test_who_cannot_pay_is_refused_before_the_upstream_is_asked(shop: Shop) -> None:
    exchange = FakeExchange("/paid/x")
    await shop.serve.serve(exchange)
    assert isinstance(exchange.refused, PaymentRequired)
    assert exchange.forwarded == 0


async def test_who_is_turned_away_by_a_limit_has_no_money_set_aside(shop: Shop) -> None:
    statuses = []
    for _ in range(3):
        exchange = shop.exchange("/few/x")
        await shop.serve.serve(exchange)
        statuses.append(exchange.status)
    assert statuses == [200, 200, 429]
    assert await shop.balance() == (996_000, 0)


async def test_as_many_as_may_be_are_under_way_and_the_next_one_leaves_no_money_set_aside(shop: Shop) -> None:
    task = asyncio.create_task(shop.serve.serve(first := shop.exchange("/narrow/x")))
    await first.on_its_way.wait()
    await shop.serve.serve(second := shop.exchange("/narrow/x"))
    assert isinstance(second.refused, RateLimited)
    assert (second.refused.policy, second.refused.violated) == ("1 at once", ("narrow",))
    assert await shop.balance() == (998_000, 2_000)
    await task
    await shop.serve.serve(third := shop.exchange("/narrow/x", dead=True))
    await shop.serve.serve(fourth := shop.exchange("/narrow/x"))
    assert (first.status, third.status, fourth.status) == (200, 502, 200)


async def test_a_request_in_flight_keeps_the_price_it_was_quoted(shop: Shop) -> None:
    task = asyncio.create_task(shop.serve.serve(exchange := shop.exchange("/paid/x")))
    await exchange.on_its_way.wait()
    shop.serve.routes = RouteTable([Route("paid", "/paid/", UPSTREAM, Price(Money.parse("0.5 usd")))])
    await task
    assert exchange.cost == Money.parse("0.002 usd")
    await shop.serve.serve(later := shop.exchange("/paid/x"))
    assert later.cost == Money.parse("0.5 usd")


@pytest.mark.parametrize("target", ["/paid/x", "/relaxed/x", "/free/x", "/few/x", "/narrow/x"])
@pytest.mark.parametrize("ending", [{}, {"dead": True}, {"cut": True}, {"upstream_status": 500}])
async def test_cancelled_at_every_await_no_money_is_missing_and_none_is_stuck(
    target: str, ending: dict[str, object]
) -> None:
    for turns in range(1, 60):
        shop = Shop()
        await shop.open()
        exchange = shop.exchange(target, **ending)
        task = asyncio.create_task(shop.serve.serve(exchange))
        for _ in range(turns):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not shop.limiter._under_way, f"a place is taken after {turns} turns"
        available, held = await shop.balance()
        spent = exchange.cost.micros if exchange.cost else 0
        assert held == 0, f"money is stuck after {turns} turns"
        assert available == 1_000_000 - spent, f"money is missing after {turns} turns"
        assert spent == 0 or (exchange.status == 200 and ending in ({}, {"cut": True})), "no byte, no charge"
        await shop.keeper.close()
        [account] = shop.store.accounts.values()
        assert account.credited - account.spent == available, f"the store disagrees after {turns} turns"
        if finished:
            return
    raise AssertionError("the request did not end within sixty turns of the loop")
