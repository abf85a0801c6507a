"""A checkout is the same for the same key, as long as it can be paid."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.adapters.memory import MemoryLedgerStore, MemoryWaysToPay
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.core.limits import Ask, Rate
from gateway.core.money import Money
from gateway.core.orders import PAYABLE_MS, Order
from gateway.core.refusals import BadRequest, CountryRefused
from gateway.flows.check_out import CheckOut
from tests.fakes import FakeClock, SeededRandomness
from tests.tills import ACCOUNT, FIVE, KEYRING, sealed


class Provider:
    """Makes a page for each order, once."""

    def __init__(self) -> None:
        self.made: list[str] = []

    async def checkout(self, order: Order) -> str:
        self.made.append(order.id)
        return f"https://pay.example/{order.id}"


class Anybody:
    """Implements `ports.Screens`."""

    def refusal(self, peer: str) -> CountryRefused | None:
        return None

    def asks(self, peer: str) -> Sequence[Ask]:
        return ()


class Shop:
    """One that sells amounts, and its clock."""

    def __init__(self) -> None:
        self.clock, self.provider, kept = FakeClock(), Provider(), MemoryWaysToPay()
        often = Rate(1000, 60, "1000/minute")
        provider: Any = self.provider
        self.check_out = CheckOut(
            cards=provider,
            orders=kept,
            rules=kept,
            least=Money.parse("1.00 usd"),
            most=Money.parse("100.00 usd"),
            ceilings=None,
            day_most=Money.parse("1000.00 usd"),
            books=MemoryLedgerStore(),
            keyring=KEYRING,
            limits=MemoryRateLimits(self.clock),
            per_address=often,
            per_account=often,
            altogether=often,
            screen=Anybody(),
            clock=self.clock,
            randomness=SeededRandomness(),
        )

    async def asks(self, key: str | None = "k", amount: Money = FIVE) -> str | None:
        order = await self.check_out.begin(sealed(), amount, holder=ACCOUNT, key=key, peer="127.0.0.1")
        return order.url


async def test_the_same_key_is_the_same_checkout_until_that_cannot_be_paid_any_more() -> None:
    shop = Shop()
    first = await shop.asks()
    shop.clock.ms += PAYABLE_MS - 1
    assert await shop.asks() == first
    shop.clock.ms += 1
    second = await shop.asks()
    assert second != first, "its page is closed: nobody could pay there"
    assert await shop.asks() == second
    assert len(shop.provider.made) == 2
    with pytest.raises(BadRequest, match="was used for something else"):
        await shop.asks(amount=Money.parse("6.00 usd"))
    shop.clock.ms += PAYABLE_MS
    third = await shop.asks()
    assert third != second
    assert await shop.asks() == third
    shop.clock.ms += 10 * PAYABLE_MS
    assert await shop.asks() == f"https://pay.example/{shop.provider.made[-1]}"


async def test_without_a_key_each_is_a_checkout_of_its_own() -> None:
    shop = Shop()
    assert len({await shop.asks(key=None) for _ in range(3)}) == 3
