"""A frozen account spends nothing, and everybody knows."""

from dataclasses import replace

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.money import Money
from gateway.core.refusals import AccountFrozen
from gateway.core.reversals import Credited, Notice
from gateway.flows.freeze import LOOK_SECONDS, Freezes
from gateway.flows.take_back import TakeBack
from gateway.ports import Freeze
from tests.fakes import FakeClock, Trail
from tests.flows.test_identify import FREE, PAID, Door, coming
from tests.tills import MemoryTill

ACCOUNT = "acct_" + "1a" * 16
WARNING = Notice("evt_w", "pi_1", "warning", "issfr_1", Money(0, "xxx"), True, 7, False)
CREDITED = Credited("pi_1", "cs_1", ACCOUNT, Money(5, "usd"), Money(5, "usd"))


def freezes(records: MemoryRecords, told: list[str] | None = None) -> Freezes:
    report = lambda what, **_: (told if told is not None else []).append(what)  # noqa: E731
    return Freezes(book=records, clock=FakeClock(), report=report)


async def test_who_looks_sees_what_another_froze_and_unfroze() -> None:
    records = MemoryRecords()
    one, other = freezes(records), freezes(records)
    assert await one.freeze(ACCOUNT, "why")
    assert one.holds(ACCOUNT)
    assert not other.holds(ACCOUNT)
    await other.look()
    assert other.holds(ACCOUNT)
    assert await other.unfreeze(ACCOUNT, "sorted out")
    await one.look()
    assert not one.holds(ACCOUNT)
    assert [(row.frozen, row.reason) for row in await records.freezes_of(ACCOUNT)] == [
        (True, "why"),
        (False, "sorted out"),
    ]


async def test_a_row_that_is_committed_after_a_later_one_is_seen_too() -> None:
    records = MemoryRecords()
    one = freezes(records)
    assert await one.freeze("acct_" + "2b" * 16, "first")
    late = Freeze(1, ACCOUNT, frozen=True, reason="why", at_ms=7)
    records.freeze_rows[0] = (replace(records.freeze_rows[0][0], number=2), None)
    await one.look()
    records.freeze_rows.insert(0, (late, None))
    await one.look()
    assert one.holds(ACCOUNT)


async def test_freezing_twice_is_freezing_once() -> None:
    records = MemoryRecords()
    assert not await freezes(records).unfreeze(ACCOUNT, "it never was")
    assert await freezes(records).freeze(ACCOUNT, "why")
    assert not await freezes(records).freeze(ACCOUNT, "why")
    assert len(await records.freezes_of(ACCOUNT)) == 1


async def test_a_frozen_account_is_refused_where_it_costs_something_and_served_where_it_does_not() -> None:
    door = Door()
    token = door.token()
    exchange = coming({"X-Api-Key": token})
    account = door.mint_account(token)
    await door.freezes.freeze(account, "why")
    with pytest.raises(AccountFrozen) as refused:
        await door.callers.identify(exchange, PAID)
    assert refused.value.account == account
    assert (await door.callers.identify(exchange, FREE)).account == account
    await door.freezes.unfreeze(account, "sorted out")
    assert (await door.callers.identify(exchange, PAID)).account == account


async def test_a_warning_freezes_once_and_not_again_after_the_operator_has_looked() -> None:
    till, told = MemoryTill(), list[str]()
    frozen = freezes(till.records, told)
    take_back = TakeBack(
        receipts=till.records,
        ledger=till.ledger,
        lines=till.store,
        live=False,
        report=lambda *_, **__: None,
        witness=Trail(),
        warned=frozen.warned,
    )
    await take_back.heard(WARNING)
    assert not frozen.holds(ACCOUNT), "nobody knows yet whose payment it is"
    await till.records.keep_credited(CREDITED)
    await take_back.settle(CREDITED)
    assert frozen.holds(ACCOUNT)
    assert told == ["account frozen"]
    await frozen.unfreeze(ACCOUNT, "a mistake")
    await take_back.heard(Notice("evt_w2", "pi_1", "warning", "issfr_1", Money(0, "xxx"), True, 8, False))
    assert not frozen.holds(ACCOUNT)
    await take_back.heard(Notice("evt_x", "pi_1", "warning", "issfr_2", Money(0, "xxx"), True, 9, False))
    assert frozen.holds(ACCOUNT)


def test_two_looks_fit_into_two_seconds() -> None:
    assert 2 * LOOK_SECONDS <= 2
