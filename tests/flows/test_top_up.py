"""A payment link goes out, a credit comes in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.memory import MemoryLedgerStore, MemoryRecords
from gateway.core import references
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.payments import Bounds, Event, Payment
from gateway.core.references import Reference
from gateway.core.refusals import PaymentRequired, PaymentServiceUnavailable
from gateway.core.reversals import Credited, Notice
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.flows.take_back import TakeBack
from gateway.flows.top_up import TopUp
from tests.fakes import FakeClock, SeededRandomness, Trail

FIVE = Money.parse("5.00 usd")
CALLER = Caller("acct_" + "1a" * 16, b"d" * 32, 7, fresh=Secret("fb_test_x"))


class FakeProvider:
    """Makes one link, after as many failures as it is told."""

    scope = lasting_scope = "fake"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked = 0

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.asked <= self.failures:
            raise PaymentServiceUnavailable()
        return f"https://pay.example/{self.asked}"

    async def find_payment(self, session: str) -> Payment | None:
        return None

    async def find_payment_of(self, intent: str) -> Payment | None:
        return None

    def notice(self, event: Event) -> Notice | None:
        raise AssertionError("not asked here")

    def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        raise AssertionError("not asked here")

    def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        raise AssertionError("not asked here")

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        raise AssertionError("not asked here")

    def payment(self, event: Event) -> Payment | None:
        raise AssertionError("not asked here")


class Shop:
    def __init__(self, provider: FakeProvider | None, bounds: Bounds | None = None) -> None:
        self.keyring, self.clock, self.records = Keyring([Secret("k" * 40)]), FakeClock(), MemoryRecords()
        self.store = MemoryLedgerStore()
        self.keeper = Keeper(
            self.store, self.clock, pace=Pace(gap=0, idly=0, quiet=0.001, refuse_after=600, give_up_after=600)
        )
        self.recorded: list[bytes] = []
        self.trail = Trail()
        self.top_up = TopUp(
            payments=provider,
            price=FIVE,
            bounds=bounds,
            return_url="https://shop.example/-/paid",
            live=False,
            keyring=self.keyring,
            ledger=self.keeper,
            credentials=self.records,
            links=self.records,
            receipts=self.records,
            subscriptions=self.records.subscriptions,
            inbox=self.records,
            take_back=TakeBack(
                receipts=self.records,
                ledger=self.keeper,
                lines=self.store,
                live=False,
                report=lambda *_, **__: None,
                witness=self.trail,
            ),
            clock=self.clock,
            randomness=SeededRandomness(),
            token_recorded=self.recorded.append,
            witness=self.trail,
        )

    def payment(self, id: str = "cs_test_1", **change: Any) -> Payment:
        reference = Reference(CALLER.account, CALLER.token_digest, "0000", expires=0)  # expired: money still counts
        sealed = references.seal(self.keyring, reference, nonce=bytes(12))
        fields: dict[str, Any] = {"amount": FIVE, "reference": sealed, "settled": True, "live": False, **change}
        return Payment(id, **fields)

    async def balance(self) -> Money:
        return (await self.keeper.balance(CALLER.account, "usd")).available


async def test_two_hundred_callers_at_once_cost_one_call_to_the_provider() -> None:
    provider = FakeProvider()
    shop = Shop(provider)
    urls = await asyncio.gather(*(shop.top_up.payment_url(CALLER) for _ in range(200)))
    assert provider.asked == 1
    assert len(set(urls)) == 200, "each carries a seal of its own"
    assert all(url and url.startswith("https://pay.example/1?client_reference_id=") for url in urls)


async def test_a_link_is_kept_over_a_restart() -> None:
    provider = FakeProvider()
    first, second = Shop(provider), Shop(provider)
    second.records.links = first.records.links
    await first.top_up.prepare()
    await second.top_up.prepare()
    assert provider.asked == 1


async def test_a_link_of_other_bounds_is_another_link() -> None:
    provider = FakeProvider()
    shops = [Shop(provider, bounds) for bounds in (None, (FIVE, Money.parse("9 usd")), (FIVE, Money.parse("8 usd")))]
    for shop in shops:
        shop.records.links = shops[0].records.links
        await shop.top_up.prepare()
    assert provider.asked == 3


async def test_after_a_failure_the_provider_has_a_rest() -> None:
    provider = FakeProvider(failures=1)
    shop = Shop(provider)
    for _ in range(10):
        refusal = await shop.top_up.offer(PaymentRequired(FIVE, FIVE), CALLER)
        assert isinstance(refusal, PaymentServiceUnavailable)
    assert provider.asked == 1


async def test_an_offer_names_the_account_the_page_and_the_fresh_token() -> None:
    offer = await Shop(FakeProvider()).top_up.offer(PaymentRequired(FIVE, FIVE), CALLER)
    assert isinstance(offer, PaymentRequired)
    assert (offer.account, offer.access_token, offer.token_digest) == (CALLER.account, CALLER.fresh, b"d" * 32)
    assert offer.payment_url is not None
    bare = await Shop(None).top_up.offer(PaymentRequired(FIVE, FIVE), CALLER)
    assert isinstance(bare, PaymentRequired)
    assert bare.payment_url is None


async def test_a_payment_is_credited_once_to_the_account_it_names() -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    assert [await shop.top_up.fulfil(shop.payment()) for _ in range(3)] == ["credited", "repeated", "repeated"]
    assert await shop.balance() == FIVE
    assert await shop.records.find(CALLER.token_digest) is not None
    assert shop.recorded
    await shop.keeper.close()


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"live": True}, "wrong mode"),
        ({"settled": False}, "pending"),
        ({"amount": Money.zero("usd")}, "pending"),
        ({"amount": Money.parse("5.00 eur")}, "wrong currency"),
        ({"reference": None}, "no account"),
        ({"reference": "made-up"}, "no account"),
    ],
)
async def test_whatever_is_not_plainly_ours_credits_nothing(change: dict[str, Any], outcome: str) -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    assert await shop.top_up.fulfil(shop.payment(**change)) == outcome
    assert await shop.balance() == Money.zero("usd")
    await shop.keeper.close()


async def test_what_names_nobody_can_be_assigned_once() -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    lost = shop.payment(reference=None, intent="pi_1")
    assert await shop.top_up.fulfil(lost) == "no account"
    assert await shop.top_up.account_of(lost) is None
    assert await shop.top_up.assign(lost, CALLER.account) == ("credited", CALLER.account)
    assert await shop.top_up.account_of(lost) == CALLER.account
    other = "acct_" + "2b" * 16
    assert await shop.top_up.assign(lost, other) == ("repeated", CALLER.account)
    assert await shop.top_up.fulfil(lost) == "repeated"
    assert await shop.balance() == FIVE
    assert (await shop.keeper.balance(other, "usd")).available == Money.zero("usd")
    await shop.keeper.close()


async def test_an_assignment_that_was_cut_off_cannot_go_to_another_account() -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    lost = shop.payment(reference=None, intent="pi_1")
    await shop.records.keep_credited(Credited("pi_1", lost.id, CALLER.account, FIVE, FIVE))
    assert await shop.top_up.assign(lost, "acct_" + "2b" * 16) == ("credited", CALLER.account)
    assert await shop.balance() == FIVE
    await shop.keeper.close()


async def test_an_assignment_that_was_cut_off_before_the_credit_is_finished_by_the_event() -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    lost = shop.payment(reference=None, intent="pi_1")
    await shop.records.keep_credited(Credited("pi_1", lost.id, CALLER.account, FIVE, FIVE))
    assert await shop.top_up.fulfil(lost) == "credited"
    assert await shop.balance() == FIVE
    await shop.keeper.close()


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"live": True}, "wrong mode"),
        ({"settled": False}, "pending"),
        ({"amount": Money.parse("5.00 eur")}, "wrong currency"),
    ],
)
async def test_what_is_not_ours_cannot_be_assigned(change: dict[str, Any], outcome: str) -> None:
    shop = Shop(FakeProvider())
    await shop.keeper.open()
    assert await shop.top_up.assign(shop.payment(**change), CALLER.account) == (outcome, CALLER.account)
    assert await shop.balance() == Money.zero("usd")
    await shop.keeper.close()
