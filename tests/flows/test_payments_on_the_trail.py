"""Each state change of a caller's payment is one entry of the trail, however often it is told, whatever is killed."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import Act
from tests.fakes import Trail
from tests.tills import ACCOUNT, MemoryTill, dispute, invoice, line, paid, part, refund, sealed

Told = tuple[str, str, str, str, str]


def told(trail: Trail) -> list[Told]:
    return [(one.action, one.object, one.facts["before"], one.facts["after"], one.reason) for one in trail.acts]


async def test_a_payment_and_what_goes_back_of_it_are_on_the_trail_with_the_ids_before_and_after() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid(), refund("re_1", 200), dispute("created", "needs_response", amount=300, at=3))
    await till.hear(dispute("closed", "won", amount=300, at=4))
    assert told(till.trail) == [
        ("payment.credited", "stripe:cs_test_1", "pi_1", "stripe:cs_test_1", "checkout cs_test_1"),
        ("payment.taken_back", "stripe:pi_1:1", "stripe:cs_test_1", "stripe:pi_1:1", "refund of cs_test_1"),
        ("payment.taken_back", "stripe:pi_1:2", "stripe:pi_1:1", "stripe:pi_1:2", "refund and dispute of cs_test_1"),
        ("payment.given_back", "stripe:pi_1:3", "stripe:pi_1:2", "stripe:pi_1:3", "refund and dispute of cs_test_1"),
    ]
    assert {(one.actor, one.role, one.origin) for one in till.trail.acts} == {("stripe", "provider", "api")}
    assert {one.facts["account"] for one in till.trail.acts} == {ACCOUNT}
    assert [one.facts["amount"] for one in till.trail.acts] == ["5.00 usd", "2.00 usd", "3.00 usd", "3.00 usd"]
    assert sealed() not in str(till.trail.acts)
    await till.ledger.close()


async def test_a_subscription_is_on_the_trail_when_it_grants_and_when_it_gives_back() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(invoice(line()))
    await till.hear(invoice(part("price_month", -1000), part("price_ends", 200), number=2, at=3))
    assert [one[:2] for one in told(till.trail)] == [
        ("payment.credited", "stripe:in_1"),
        ("payment.lessened", "stripe:in_2"),
    ]
    assert till.trail.acts[0].reason == "subscription in_1"
    await till.ledger.close()


async def test_a_payment_for_nobody_is_on_the_trail_and_again_when_it_is_assigned() -> None:
    till = MemoryTill()
    await till.ledger.open()
    nobody = paid(client_reference_id="nobody's")
    await till.hear(nobody)
    await till.webhooks.act(nobody)
    [aside] = till.trail.acts
    assert (aside.action, aside.object, aside.facts["before"]) == ("payment.set_aside", "cs_test_1", nobody.id)
    assert aside.reason == "it names no account that this gateway can open"
    payment = till.provider.payment(nobody)
    assert payment is not None
    await till.top_up.assign(payment, ACCOUNT)
    await till.webhooks.act(nobody)
    assert [one.action for one in till.trail.acts] == ["payment.set_aside", "payment.credited"]
    await till.ledger.close()


async def test_what_goes_back_of_another_currency_is_set_aside_on_the_trail() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid(), refund("re_1", 100, currency="eur"), refund("re_2", 100, currency="eur"))
    aside = [one for one in till.trail.acts if one.action == "payment.set_aside"]
    assert [one.object for one in aside] == ["evt_re_1_created_succeeded", "evt_re_2_created_succeeded"]
    assert {one.facts["after"] for one in aside} == {"pi_1"}
    await till.ledger.close()


class Torn(Trail):
    """Dies at the entry of this number, before it is written; then it is whole again."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self.left = dies_at

    async def write_once(self, act: Act, *, by: str = "") -> bool:
        self.left -= 1
        if self.left == 0:
            raise Killed
        return await super().write_once(act, by=by)


class Killed(BaseException):
    """As a kill: nobody handles it."""


@pytest.mark.parametrize("dies_at", [1, 2, 3])
async def test_a_kill_between_the_books_and_the_trail_is_made_good_by_the_next_telling(dies_at: int) -> None:
    till = MemoryTill()
    await till.ledger.open()
    torn = Torn(dies_at)
    _exchange(till, torn)
    events = (paid(), refund("re_1", 200), dispute("created", "needs_response", amount=300, at=3))

    async def tell() -> None:
        for event in events:
            payment, notice = till.provider.payment(event), till.provider.notice(event)
            if payment is not None:
                await till.top_up.fulfil(payment)
            if notice is not None:
                await till.take_back.heard(notice)

    assert await _killed(tell)
    booked = {*till.store.credits, *till.store.reversals}
    assert {one.object for one in torn.acts} <= booked, "no entry is of what is not in the books"
    await tell()
    await till.take_back.resume()
    assert sorted(one.object for one in torn.acts) == ["stripe:cs_test_1", "stripe:pi_1:1", "stripe:pi_1:2"]
    assert till.net() == 0
    await till.ledger.close()


async def test_while_the_trail_cannot_be_written_a_payment_stays_to_be_told_again() -> None:
    class Full(Trail):
        async def write_once(self, act: Act, *, by: str = "") -> bool:
            raise RecordsUnavailable()

    till = MemoryTill()
    await till.ledger.open()
    _exchange(till, Full())
    payment = till.provider.payment(paid())
    assert payment is not None
    with pytest.raises(RecordsUnavailable):
        await till.top_up.fulfil(payment)
    assert till.net() == 5_000_000, "the money is there all the same"
    await till.ledger.close()


def _exchange(till: MemoryTill, trail: Trail) -> None:
    for flow in (till.top_up, till.take_back, till.webhooks):
        setattr(flow, "_witness", trail)  # noqa: B010 -- the till has none of its own making to hand in


async def _killed(work: Callable[[], Awaitable[Any]]) -> bool:
    try:
        await work()
    except Killed:
        return True
    return False
