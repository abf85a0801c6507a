"""What is on record of an owner's account is what the provider said last, whatever its events say."""

import asyncio
from dataclasses import replace

import pytest

from gateway.adapters.memory_owners import MemoryOwners
from gateway.core.owning import AccountWish, OwnerAccount, PayoutAccount, Standing, payable
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.flows.follow_accounts import FollowAccounts
from tests.fakes import FakeClock, Trail

DAY = 86_400
RESTRICTED = Standing("acct_1", "restricted", ("a",))
ENABLED = Standing("acct_1", "enabled", (), True, True)
KEPT = OwnerAccount("anna", False, "v2", "name", 1, 0, 0, 0, RESTRICTED)


class Stripe:
    """Answers with how accounts stand, when it is let."""

    def __init__(self) -> None:
        self.stands = {"acct_1": RESTRICTED}
        self.asked = 0
        self.away = False
        self.go = asyncio.Event()
        self.go.set()

    async def standing(self, account: OwnerAccount) -> Standing:
        assert account.standing is not None
        self.asked += 1
        stands = self.stands[account.standing.account]
        await self.go.wait()
        if self.away:
            raise PaymentServiceUnavailable()
        return stands

    def account_notice(self, event: Event) -> str | None:
        return str(event.object["id"]) if event.type.startswith("v2.core.account") else None

    async def open_account(self, wish: AccountWish, *, idempotency_key: str, key: str) -> Standing:
        raise AssertionError

    async def find_opened(self, api: object, *, key: str) -> Standing | None:
        raise AssertionError

    async def account_link(self, account: OwnerAccount, *, return_url: str, refresh_url: str) -> str:
        raise AssertionError

    async def cannot_connect(self) -> str | None:
        raise AssertionError


class Desk:
    def __init__(self) -> None:
        self.stripe, self.book, self.clock, self.trail = Stripe(), MemoryOwners(), FakeClock(), Trail()
        self.book.kept["anna", False] = replace(KEPT, checked_ms=self.clock.now_ms())
        self.follow = FollowAccounts(
            {"carl": "acct_c"}, book=self.book, connects=self.stripe, witness=self.trail, live=False,
            clock=self.clock, report=lambda *_, **__: None,
        )  # fmt: skip

    @property
    def status(self) -> str:
        return self.book.kept["anna", False].status


def hint(id: str = "acct_1") -> Event:
    return Event("evt_1", "v2.core.account[requirements].updated", False, 1, {"id": id})


async def test_a_hint_makes_us_look_and_nothing_more() -> None:
    desk = Desk()
    assert await desk.follow.heard(hint())
    assert (desk.status, desk.trail.acts) == ("restricted", [])
    desk.stripe.stands["acct_1"] = ENABLED
    assert await desk.follow.heard(hint())
    assert desk.status == "enabled"
    [act] = desk.trail.acts
    assert (act.actor, act.role, act.action, act.object) == ("stripe", "provider", "owner.account.status", "anna")
    assert act.facts == {"account": "acct_1", "before": "restricted", "status": "enabled"}


async def test_nobody_looks_for_an_account_that_is_none_of_ours() -> None:
    desk = Desk()
    assert not await desk.follow.heard(hint("acct_9"))
    assert not await desk.follow.heard(Event("evt_1", "charge.succeeded", False, 1, {"id": "acct_1"}))
    desk.book.kept = {("anna", True): replace(KEPT, live=True)}
    assert not await desk.follow.heard(hint()), "of the other mode"
    assert desk.stripe.asked == 0


async def test_a_change_that_is_told_of_several_times_at_once_is_one() -> None:
    desk = Desk()
    desk.stripe.stands["acct_1"] = ENABLED
    await asyncio.gather(*(desk.follow.heard(hint()) for _ in range(5)))
    assert (desk.status, len(desk.trail.acts)) == ("enabled", 1)


async def test_what_an_earlier_look_found_does_not_overtake_a_later_one() -> None:
    """Of two processes: each is a flow of its own, and has asked before the other had its answer."""
    desk, other = Desk(), Desk()
    other.book.kept = desk.book.kept
    other.stripe.go.clear()
    earlier = asyncio.create_task(other.follow.heard(hint()))
    while not other.stripe.asked:
        await asyncio.sleep(0)
    desk.clock.pass_seconds(1)
    desk.stripe.stands["acct_1"] = ENABLED
    await desk.follow.heard(hint())
    other.stripe.go.set()
    assert await earlier
    assert desk.status == "enabled"


async def test_a_daily_look_finds_what_was_missed() -> None:
    desk = Desk()
    desk.stripe.stands["acct_1"] = ENABLED
    desk.clock.pass_seconds(DAY)
    await desk.follow.look_round()
    assert (desk.status, desk.stripe.asked) == ("restricted", 0)
    desk.clock.pass_seconds(1)
    desk.stripe.away = True
    await desk.follow.look_round()
    assert (desk.status, desk.stripe.asked) == ("restricted", 1)
    desk.stripe.away = False
    await desk.follow.look_round()
    await desk.follow.look_round()
    assert (desk.status, desk.stripe.asked) == ("enabled", 2)


@pytest.mark.parametrize(
    ("configured", "kept", "account", "reason"),
    [
        (None, None, None, "none"),
        (None, replace(KEPT, standing=None), None, "pending"),
        (None, KEPT, None, "restricted"),
        (None, replace(KEPT, standing=replace(RESTRICTED, status="pending")), None, "pending"),
        (None, replace(KEPT, standing=replace(RESTRICTED, status="rejected")), None, "rejected"),
        (None, replace(KEPT, standing=replace(RESTRICTED, status="deauthorised")), None, "deauthorised"),
        (None, replace(KEPT, standing=ENABLED), "acct_1", None),
        ("acct_c", None, "acct_c", None),
        ("acct_c", replace(KEPT, standing=ENABLED), "acct_c", None),
    ],
)
def test_who_can_be_paid(configured: str | None, kept: OwnerAccount | None, account: str | None, reason: str) -> None:
    assert payable(configured, kept) == PayoutAccount(account, reason)  # type: ignore[arg-type]


async def test_the_port_says_the_same() -> None:
    desk = Desk()
    found = [await desk.follow.payable(owner) for owner in ("anna", "bert", "carl")]
    assert [(one.account, one.reason) for one in found] == [(None, "restricted"), (None, "none"), ("acct_c", None)]
