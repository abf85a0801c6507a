"""Which limits a request meets, by whom it is counted, and what is said of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.grants import OwnLimit
from gateway.core.ledger import Credit
from gateway.core.limits import Ask, Limit, Limiter, Place, Rate, Stand
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.refusals import LimitsUnavailable, RateLimited
from gateway.core.routes import Route
from gateway.core.secrets import Secret
from gateway.flows.admit import Admit
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Admitted, LimitsDown
from tests.fakes import FakeClock
from tests.flows.test_serve import PRICE, UPSTREAM, FakeExchange

ONCE = Rate(1, 60, "1/minute")
FREE = Price(Money.zero("usd"))
ANN, BOB = Caller("acct_ann", b"a", 1), Caller("acct_bob", b"b", 2)
ANNS_OTHER = Caller("acct_ann", b"c", 3, on_record=True)
FRESH = Caller("acct_new", b"n", 4, fresh=Secret("fb_test_x"))


class Down:
    """Implements `ports.RateLimits` where nothing can be counted."""

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> Admitted:
        raise LimitsDown

    @property
    def down(self) -> bool:
        return False

    @property
    def failures(self) -> int:
        return 0

    async def hit(self, rate: Rate, subject: str) -> Stand:
        raise AssertionError("a route's limits are asked together")

    async def hit_all(self, asks: Sequence[Ask]) -> Sequence[Stand]:
        raise AssertionError("a route says what becomes of it while nobody counts")

    async def open(self) -> None:
        """Nothing is connected."""

    async def close(self) -> None: ...


class Door:
    """What admits, with ann's money behind it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = Keeper(
            MemoryLedgerStore(), self.clock, pace=Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600)
        )
        self.uncounted: list[tuple[str, str]] = []
        self.admit = self.over(MemoryRateLimits(self.clock))

    def over(self, limits: MemoryRateLimits | Down) -> Admit:
        return Admit(limits=limits, ledger=self.ledger, uncounted=lambda *told: self.uncounted.append(told))

    async def lets_in(self, route: Route, caller: Caller = ANN, peer: str = "192.0.2.1") -> bool:
        try:
            await self.admit.admit(FakeExchange("/x", peer=peer), caller, route)
        except RateLimited:
            return False
        return True


@pytest.fixture
async def door() -> Door:
    door = Door()
    await door.ledger.open()
    await door.ledger.credit(Credit("m:1", ANN.account, Money.parse("1.00 usd"), "manual", "for a test"))
    return door


def route(*limits: Limit, price: Price = PRICE, name: str = "r", owner: str = "operator") -> Route:
    return Route(name, f"/{name}/", UPSTREAM, price, limits=limits, owner=owner)


@pytest.mark.parametrize("per", ["caller", "account"])
async def test_an_account_counts_over_all_its_tokens_and_addresses(door: Door, per: str) -> None:
    limited = route(Limit("l", ONCE, per=per))  # type: ignore[arg-type]
    assert await door.lets_in(limited, ANN)
    assert not await door.lets_in(limited, ANNS_OTHER, "192.0.2.2")


async def test_each_token_counts_by_itself(door: Door) -> None:
    limited = route(Limit("l", ONCE, per="token"))
    assert [await door.lets_in(limited, caller) for caller in (ANN, ANNS_OTHER, ANN)] == [True, True, False]


@pytest.mark.parametrize("per", ["caller", "account", "token"])
@pytest.mark.parametrize("stranger", [BOB, FRESH])
async def test_who_has_not_paid_counts_by_address_whatever_the_token(door: Door, per: str, stranger: Caller) -> None:
    limited = route(Limit("l", ONCE, per=per))  # type: ignore[arg-type]
    assert await door.lets_in(limited, stranger)
    assert not await door.lets_in(limited, replace(stranger, account="acct_another", token_tag=9))
    assert await door.lets_in(limited, stranger, "192.0.2.2")
    assert await door.lets_in(limited, ANN)


async def test_on_a_free_route_a_token_without_a_payment_on_record_counts_by_address(door: Door) -> None:
    limited = route(Limit("l", ONCE), price=FREE)
    assert [await door.lets_in(limited, caller) for caller in (ANONYMOUS, ANN, ANNS_OTHER)] == [True, False, True]


async def test_addresses_of_ipv6_count_by_their_network(door: Door) -> None:
    limited = route(Limit("l", ONCE, per="address"))
    peers = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"]
    assert [await door.lets_in(limited, ANN, peer) for peer in peers] == [True, False, True, True, True]


async def test_a_route_and_an_owner_count_everybody(door: Door) -> None:
    of_route, of_owner = Limit("l", ONCE, per="route"), Limit("o", ONCE, per="owner")
    assert await door.lets_in(route(of_route), ANN)
    assert not await door.lets_in(route(of_route), BOB, "192.0.2.9")
    assert await door.lets_in(route(of_route, name="other"), BOB)
    assert await door.lets_in(route(of_owner), ANN)
    assert not await door.lets_in(route(of_owner, name="other"), BOB)
    assert await door.lets_in(route(of_owner, name="other", owner="eve"), BOB)


async def test_callers_that_paid_and_that_did_not_have_limits_of_their_own(door: Door) -> None:
    limited = route(
        Limit("few", ONCE, per="route", callers="unpaid"),
        Limit("more", Rate(2, 60, "2/minute"), per="route", callers="paid"),
    )
    assert [await door.lets_in(limited, BOB) for _ in range(2)] == [True, False]
    assert [await door.lets_in(limited, ANN) for _ in range(3)] == [True, True, False]
    exchange = FakeExchange("/x")
    with pytest.raises(RateLimited) as refused:
        await door.admit.admit(exchange, ANN, limited)
    assert refused.value.violated == ("more",)
    assert exchange.fields[0] == ("RateLimit-Policy", '"more";q=2;w=60')


async def test_a_limit_of_money_counts_the_most_that_a_request_can_cost(door: Door) -> None:
    limited = route(Limit("l", Rate(5_000, 60, "0.005 usd/minute", currency="usd")))
    assert [await door.lets_in(limited) for _ in range(3)] == [True, True, False]
    assert await door.lets_in(replace(limited, price=Price(Money(1_000, "usd"))))


async def test_a_refusal_names_what_was_violated_and_a_wait_that_is_enough(door: Door) -> None:
    limited = route(
        Limit("minute", ONCE), Limit("hour", Rate(1, 3600, "1/hour")), Limit("day", Rate(9, 86_400, "9/day"))
    )
    assert await door.lets_in(limited)
    exchange = FakeExchange("/x")
    with pytest.raises(RateLimited) as refused:
        await door.admit.admit(exchange, ANN, limited)
    assert (refused.value.policy, refused.value.violated) == ("1/minute, 1/hour", ("minute", "hour"))
    fields = dict(exchange.fields)
    assert fields["RateLimit-Policy"] == '"minute";q=1;w=60, "hour";q=1;w=3600, "day";q=9;w=86400'
    waits = [int(entry.rpartition("t=")[2]) for entry in fields["RateLimit"].split(", ")]
    assert refused.value.retry_after_seconds == max(waits[:2])
    assert [entry.split(";")[1] for entry in fields["RateLimit"].split(", ")] == ["r=0", "r=0", "r=8"]
    door.clock.pass_seconds(refused.value.retry_after_seconds - 1)
    assert not await door.lets_in(limited)
    door.clock.pass_seconds(1)
    assert await door.lets_in(limited)


async def test_where_nothing_can_be_counted_the_route_says_what_becomes_of_it(door: Door) -> None:
    door.admit = door.over(Down())
    limited = route(Limit("l", ONCE))
    assert [await door.lets_in(limited) for _ in range(2)] == [True, True]
    with pytest.raises(LimitsUnavailable):
        await door.lets_in(replace(limited, limits_down="closed"))
    assert await door.lets_in(route(Limit("l", ONCE, callers="unpaid")))  # there is nothing to count
    assert door.uncounted == [("r", "open"), ("r", "open"), ("r", "closed")]


class OnlyCaps(MemoryRateLimits):
    """Windows cannot be counted, requests under way can."""

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> Admitted:
        assert asks
        stands, leave, _ = await super().admit([], places)
        return Admitted(stands, leave, partly=True)


async def test_where_only_caps_can_be_counted_they_hold_and_the_route_says_the_rest(door: Door) -> None:
    limiter = Limiter()
    door.admit = door.over(OnlyCaps(door.clock, limiter))
    capped = route(Limit("l", ONCE), Limit("c", None, at_once=1))
    exchange = FakeExchange("/x")
    leave = await door.admit.admit(exchange, ANN, capped)
    assert dict(exchange.fields)["RateLimit"] == '"c";r=0'
    with pytest.raises(RateLimited) as refused:
        await door.admit.admit(FakeExchange("/x"), ANN, capped)
    assert refused.value.violated == ("c",)
    leave()
    with pytest.raises(LimitsUnavailable):
        await door.admit.admit(FakeExchange("/x"), ANN, replace(capped, limits_down="closed"))
    assert not limiter._under_way, "who was turned away holds no place"
    assert door.uncounted == [("r", "open"), ("r", "closed")]


async def test_what_a_caller_met_before_is_not_what_it_meets_after_something_has_changed(door: Door) -> None:
    """Each time one thing is another: the address, whether it paid, limits of the token, the route after a reload."""
    ann = replace(ANN, on_record=True)
    by_address = route(Limit("a", ONCE, per="address"), Limit("c", Rate(9, 60, "9/minute")), name="by-address")
    asked = [(ann, "192.0.2.1"), (ann, "192.0.2.1"), (ann, "192.0.2.2")]
    assert [await door.lets_in(by_address, *one) for one in asked] == [True, False, True]

    once_paid = route(Limit("u", ONCE, callers="unpaid"), price=FREE, name="once-paid")
    assert [await door.lets_in(once_paid, caller) for caller in (ann, ann, ANN, ANN)] == [True, True, True, False]

    open_to_all = route(name="open")
    narrowed = replace(ann, limits=(OwnLimit(Limit("own", ONCE), "own tok_1"),))
    assert [await door.lets_in(open_to_all, one) for one in (ann, ann, narrowed, narrowed)] == [True, True, True, False]

    before, after = (route(Limit("l", Rate(most, 60, f"{most}/minute")), name="reloaded") for most in (3, 1))
    assert [await door.lets_in(one, ann) for one in (before, before, after, after)] == [True, True, True, False]


async def test_a_limit_of_money_does_not_count_a_named_credit(door: Door) -> None:
    cent = Limit("m", Rate(10_000, 60, "0.01 usd/minute", currency="usd"))
    exports = route(cent, price=Price(Money(1_000_000, "unit:export")))
    ann = replace(ANN, on_record=True, limits=(OwnLimit(cent, "own tok_1"),))
    assert [await door.lets_in(exports, ann) for _ in "123"] == [True, True, True]


async def test_what_is_known_of_callers_is_bounded(door: Door) -> None:
    limited = route(Limit("l", Rate(2, 60, "2/minute")))
    for number in range(5_000):
        assert await door.lets_in(limited, Caller(f"acct_{number}", b"x", number, on_record=True))
    assert len(door.admit._known) <= 4_096
    assert [await door.lets_in(limited, Caller("acct_1", b"x", 1, on_record=True)) for _ in "12"] == [True, False]
