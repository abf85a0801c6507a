"""What is asked for with one key is sold once: twins, cancellations, ends of processes, and leases, without sockets."""

import asyncio
from dataclasses import replace

import pytest

from gateway.core import idempotency
from gateway.core.answers import Answer
from gateway.core.idempotency import Claim
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Kind, Reversal
from gateway.core.money import Money
from gateway.core.refusals import (
    AnswerNotKept,
    KeyInFlight,
    OutcomeUnknown,
    PaymentRequired,
    RecordsUnavailable,
    UpstreamBusy,
)
from gateway.core.routes import RouteTable
from gateway.core.secrets import Secret
from gateway.flows.follow import Aliases
from gateway.flows.once import LEASE_MS, Bounds, Once
from tests.fakes import FakeClock, MemoryKeyClaims, SeededRandomness
from tests.flows.test_serve import ROUTES, FakeExchange, Shop

PRICE = 2_000
RECEIPT = [("Gateway-Cost", "0.002 usd"), ("Gateway-Balance", "0.998 usd")]


class KeyedShop(Shop):
    """A shop of one or several processes, whose caller has a key."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = MemoryKeyClaims()
        self.clock = FakeClock()
        self.keyring = Keyring([Secret("k" * 40)])
        self.once = self.another_process()

    def another_process(self, *, seed: int = 1) -> Once:
        """From now on, requests come to this one."""
        self.once = Once(
            claims=self.claims,
            ledger=self.keeper,
            keyring=self.keyring,
            bounds=Bounds(wait_seconds=0),
            clock=self.clock,
            randomness=SeededRandomness(seed),
            roots=self.aliases,
        )
        self.serve._once = self.once
        return self.once

    def keyed(self, target: str = "/paid/x", **rest: object) -> FakeExchange:
        exchange = self.exchange(target, **{"body": b"", "method": "POST", **rest})
        exchange.headers = {**exchange.headers, "Idempotency-Key": "k1"}
        return exchange

    async def ask(self, **rest: object) -> FakeExchange:
        await self.serve.serve(exchange := self.keyed(**rest))  # type: ignore[arg-type]
        return exchange

    async def spent(self) -> int:
        available, held = await self.balance()
        assert held == 0
        return 1_000_000 - available

    def left_open(self, method: str) -> Claim:
        """What a process leaves that is killed with a request under way."""
        asked = idempotency.fingerprint(method, "/paid/x", b"")
        now_ms = self.clock.now_ms()
        claim = Claim(
            self.account, idempotency.digest("k1"), asked, "req_dead", "dead", now_ms + LEASE_MS, now_ms + 10 * LEASE_MS
        )
        self.claims.rows[claim.account, claim.key] = claim
        return claim


@pytest.fixture
async def shop() -> KeyedShop:
    shop = KeyedShop()
    await shop.open()
    return shop


@pytest.mark.parametrize("target", ["/paid/x", "/relaxed/x"])
async def test_the_same_again_is_answered_with_what_was_kept(shop: KeyedShop, target: str) -> None:
    await shop.ask(target=target)
    again = await shop.ask(target=target)
    assert again.replayed == Answer(200, [("X-Upstream", "toy"), *RECEIPT, ("Idempotency-Replayed", "true")], b"whole")
    assert (again.forwarded, again.cost, await shop.spent()) == (0, None, PRICE)
    assert [record.kind for _, record in shop.store.records] == [Kind.GATED_CAPTURE], "a crash voids what is not kept"


async def _joined(shop: KeyedShop) -> str:
    """The caller's wallet has become another's, with all that was in it; another process says so."""
    other = "acct_" + "2b" * 16
    left, _ = await shop.balance()
    await shop.keeper.reverse(Reversal("out", shop.account, Money(left, "usd"), "join", ""))
    await shop.keeper.credit(Credit("in", other, Money(left, "usd"), "join", ""))
    elsewhere = Aliases(book=shop.records.aliases, clock=FakeClock(), report=lambda *_, **__: None)
    assert await elsewhere.add(shop.account, other, "asked") == "joined"
    return other


async def test_a_key_is_served_from_the_wallet_that_its_own_has_become(shop: KeyedShop) -> None:
    """This process has not heard of the join when it is asked."""
    other = await _joined(shop)
    first = await shop.ask()
    assert (first.status, first.forwarded) == (200, 1)
    assert (await shop.keeper.balance(other, "usd")).available == Money(1_000_000 - PRICE, "usd")
    assert (await shop.ask()).replayed is not None


async def test_a_key_of_before_two_wallets_became_one_is_known(shop: KeyedShop) -> None:
    await shop.ask()
    other = await _joined(shop)
    await shop.aliases.look()
    again = await shop.ask()
    assert (again.replayed is not None, again.forwarded) == (True, 0)
    assert (await shop.keeper.balance(other, "usd")).available == Money(1_000_000 - PRICE, "usd")
    shop.clock.ms += 10 * Bounds().keep_ms  # then the key is free again, and the new account's
    assert (await shop.ask()).forwarded == 1
    assert (other, idempotency.digest("k1")) in shop.claims.rows


async def test_who_never_paid_writes_nothing_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def written(*_: object, **__: object) -> None:
        raise AssertionError("a stranger filled the disk")

    shop = KeyedShop()
    await shop.keeper.open()
    monkeypatch.setattr(shop.claims, "claim", written)
    assert isinstance((await shop.ask()).refused, PaymentRequired)


@pytest.mark.parametrize("target", ["/paid/x", "/relaxed/x"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_cancelled_at_every_await_it_is_sold_once_all_the_same(target: str, method: str) -> None:
    for turns in range(1, 40):
        shop = KeyedShop()
        await shop.open()
        task = asyncio.create_task(shop.serve.serve(first := shop.keyed(target, method=method)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        second = await shop.ask(target=target, method=method)
        assert (second.status, first.forwarded + second.forwarded) == (200, 1), turns
        assert await shop.spent() == PRICE, turns
        await shop.keeper.close()


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_closed_at_every_await_it_is_sold_once_or_said_to_be_unknown(method: str) -> None:
    endings = set()
    for turns in range(1, 40):
        shop = KeyedShop()
        await shop.open()
        task = asyncio.create_task(shop.serve.serve(first := shop.keyed(method=method)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await shop.once.close()
        await asyncio.gather(task, return_exceptions=True)
        assert not any(claim.state == "open" for claim in shop.claims.rows.values()), turns
        before = await shop.spent()
        shop.another_process(seed=2)
        second = await shop.ask(method=method)
        spent = await shop.spent()
        assert spent <= PRICE, turns
        if first.status == 200:
            assert before == PRICE, turns
        if method == "POST":
            assert first.forwarded + second.forwarded <= 1, turns
            assert second.status == 200 or (isinstance(second.refused, OutcomeUnknown) and spent == 0), turns
        else:
            assert second.status == 200, turns
        endings.add((second.status, second.forwarded))
        await shop.keeper.close()
    assert len(endings) >= 2, endings


async def test_what_a_dead_process_left_is_unknown_once_its_lease_is_over(shop: KeyedShop) -> None:
    shop.left_open("POST")
    shop.clock.pass_seconds(LEASE_MS / 1000 - 0.001)
    assert isinstance((await shop.ask()).refused, KeyInFlight)
    shop.clock.pass_seconds(0.001)
    for _ in range(2):
        refused = (await shop.ask()).refused
        assert isinstance(refused, OutcomeUnknown)
        assert refused.original == "req_dead"
    assert await shop.spent() == 0


async def test_what_is_safe_is_run_again_once_the_lease_is_over(shop: KeyedShop) -> None:
    shop.left_open("GET")
    assert isinstance((await shop.ask(method="GET")).refused, KeyInFlight)
    shop.clock.pass_seconds(LEASE_MS / 1000)
    assert [(await shop.ask(method="GET")).forwarded for _ in range(2)] == [1, 0]
    assert await shop.spent() == PRICE


@pytest.mark.parametrize(("method", "refusal"), [("POST", OutcomeUnknown), ("GET", KeyInFlight)])
async def test_who_slept_over_its_lease_does_not_answer(shop: KeyedShop, method: str, refusal: type) -> None:
    task = asyncio.create_task(shop.serve.serve(slept := shop.keyed(method=method)))
    await slept.on_its_way.wait()
    shop.clock.pass_seconds(LEASE_MS / 1000)
    shop.another_process(seed=2)
    found = shop.claims.rows[shop.account, idempotency.digest("k1")]
    if method == "POST":
        await shop.claims.end(replace(found, state="unknown"), lapsed_ms=shop.clock.now_ms())
    else:
        await shop.claims.take_over(replace(found, request="req_2"), of=found.request, now_ms=shop.clock.now_ms())
    await task
    assert isinstance(slept.refused, refusal)
    assert await shop.spent() == 0


async def test_who_lives_keeps_its_lease(shop: KeyedShop) -> None:
    task = asyncio.create_task(shop.serve.serve(long := shop.keyed()))
    await long.on_its_way.wait()
    shop.clock.pass_seconds(LEASE_MS / 1000 - 1)
    await shop.once.renew()
    assert next(iter(shop.claims.rows.values())).lease_ms == shop.clock.now_ms() + LEASE_MS
    await task
    assert long.status == 200


async def test_an_answer_whose_key_is_gone_is_as_if_not_kept(shop: KeyedShop) -> None:
    first = await shop.ask()
    shop.keyring.renew([Secret("n" * 40)])
    refused = (await shop.ask()).refused
    assert isinstance(refused, AnswerNotKept)
    assert refused.original == str(first.id)
    assert await shop.spent() == PRICE


async def test_a_key_means_another_request_when_its_time_is_over(shop: KeyedShop) -> None:
    await shop.ask()
    shop.clock.pass_seconds(86_399)
    assert (await shop.ask()).forwarded == 0
    shop.clock.pass_seconds(1)
    assert (await shop.ask()).forwarded == 1
    assert await shop.spent() == 2 * PRICE


async def test_what_cannot_be_kept_is_not_answered_and_costs_nothing(
    shop: KeyedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object, **__: object) -> bool:
        raise RecordsUnavailable()

    with monkeypatch.context() as patched:
        patched.setattr(shop.claims, "end", down)
        first = await shop.ask()
    assert (first.status, await shop.spent()) == (503, 0)
    shop.clock.pass_seconds(LEASE_MS / 1000)
    assert isinstance((await shop.ask()).refused, OutcomeUnknown)


async def test_what_was_not_sent_leaves_its_key_free(shop: KeyedShop) -> None:
    shop.serve.routes = RouteTable([replace(route, concurrency_max=1) for route in ROUTES.routes])
    shop.serve._places.take(taken := shop.serve.routes.routes[0])
    assert isinstance((await shop.ask()).refused, UpstreamBusy)
    assert shop.claims.rows == {}
    shop.serve._places.leave(taken)
    assert (await shop.ask()).status == 200


async def test_nothing_of_a_key_or_an_answer_is_on_record_in_the_clear(shop: KeyedShop) -> None:
    await shop.ask()
    [claim] = shop.claims.rows.values()
    assert b"whole" not in claim.answer
    assert b"k1" not in claim.key
