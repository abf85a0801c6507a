"""What the ports promise of services and charges on record, held against both databases."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.charging import ChargeRecords
from gateway.adapters.services import ServiceRecords
from gateway.core.charges import CHARGE_STATES, PAID, Agreed, Charge
from gateway.core.money import Money
from gateway.core.services import Service
from gateway.core.trail import Act, step_after
from tests.stored import KEYRING, Records

NOW = 1_800_000_000_000
ONE = Charge(
    "txn_1", False, "rf_1", "usr_1", "anna", Money(100, "usd"), Money(20, "usd"), 2000, "cus_1", NOW, due_ms=NOW,
    changed_ms=NOW, method="pm_1", seller="held",
)  # fmt: skip
BOUNDS: dict[str, Any] = {"since_ms": NOW - 10, "count_max": 9, "micros_max": None}


@pytest.fixture
def book(records: Records) -> ChargeRecords:
    return ChargeRecords(records.ask)


def numbered(number: int, **changes: Any) -> Charge:
    return replace(ONE, **{"id": f"txn_{number}", "refund": f"rf_{number}", "intent": None, **changes})


async def test_a_charge_is_kept_as_it_was_written_and_moved(book: ChargeRecords) -> None:
    assert await book.add_charge(ONE, **BOUNDS)
    assert await book.find_charge("txn_1") == await book.charge_of("rf_1", live=False) == ONE
    after = replace(
        ONE, state="succeeded", turn=3, tries=2, due_ms=NOW + 5, changed_ms=NOW + 4, method="pm_2", intent="pi_1",
        reason="so so", seller="paid", transfer="tr_1", back=1, dispute_fee=7,
    )  # fmt: skip
    assert await book.move_charge(ONE, after)
    assert await book.charge_by("pi_1") == after
    assert not await book.move_charge(ONE, replace(after, state="failed")), "somebody was faster"
    assert await book.charge_of("rf_1", live=True) is None
    assert await book.find_charge("txn_2") is None
    assert await book.charge_by("pi_2") is None


async def test_of_many_who_write_down_the_same_refund_one_does(book: ChargeRecords) -> None:
    same = [numbered(n, refund="rf_1") for n in range(5)]
    assert sorted(await asyncio.gather(*(book.add_charge(one, **BOUNDS) for one in same))) == [False] * 4 + [True]
    assert await book.add_charge(numbered(9, refund="rf_1", live=True), **BOUNDS), "the other mode is another world"


async def test_of_many_who_take_a_turn_one_does(book: ChargeRecords) -> None:
    await book.add_charge(ONE, **BOUNDS)
    afters = [replace(ONE, turn=1, state="sending", method=f"pm_{n}") for n in range(5)]
    assert sorted(await asyncio.gather(*(book.move_charge(ONE, one) for one in afters))) == [False] * 4 + [True]


async def test_what_a_person_may_be_charged_is_counted_since_then_but_for_what_failed(book: ChargeRecords) -> None:
    most = {**BOUNDS, "count_max": 2, "micros_max": 50}
    assert await book.add_charge(numbered(1, created_ms=NOW - 11), **most), "before that"
    assert await book.add_charge(numbered(2, state="failed"), **most)
    assert await book.add_charge(numbered(3), **most)
    assert await book.add_charge(numbered(4, user="usr_2"), **most)
    assert not await book.add_charge(numbered(5, fee=Money(31, "usd")), **most), "51 would be more than 50"
    assert await book.add_charge(numbered(6, fee=Money(30, "usd")), **most)
    assert not await book.add_charge(numbered(7, fee=Money(1, "usd")), **{**most, "micros_max": None})


async def test_what_is_due_is_what_something_is_to_be_done_about(book: ChargeRecords) -> None:
    number = 0
    for state in CHARGE_STATES:
        for seller in ("none", "held", "due", "sending", "paid"):
            for due in (NOW, NOW + 1):
                number += 1
                one = numbered(number, state=state, seller=seller, due_ms=due)
                await book.add_charge(one, since_ms=NOW + 1, count_max=1, micros_max=None)
    due_now = await book.due_charges(live=False, now_ms=NOW, count=99)
    found = {(one.state, one.seller) for one in due_now}
    every = {(state, seller) for state in ("planned", "sending", "retrying", "pending") for seller in
             ("none", "held", "due", "sending", "paid")}  # fmt: skip
    assert found == every | {(state, seller) for state in PAID for seller in ("held", "sending")}
    assert len(due_now) == len(found)
    assert await book.due_charges(live=True, now_ms=NOW, count=9) == []
    for reason, due in (("waiving", NOW), ("waived", NOW), ("waiving", NOW + 1)):
        number += 1
        one = numbered(number, state="failed", reason=reason, due_ms=due)
        await book.add_charge(one, since_ms=NOW + 1, count_max=1, micros_max=None)
    now_due = await book.due_charges(live=False, now_ms=NOW, count=99)
    assert [one.reason for one in now_due if one not in due_now] == ["waiving"], "its intent is still to be cancelled"


async def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(book: ChargeRecords) -> None:
    wanted = []
    for number in range(7):
        one = numbered(number, created_ms=NOW + number // 2, user=f"usr_{number % 2}")
        assert await book.add_charge(one, **BOUNDS)
        wanted.append(one)
    wanted.sort(key=lambda one: (one.created_ms, one.id), reverse=True)
    found, before = [], None
    while page := await book.charges(live=False, user=None, before=before, count=3):
        found += page
        before = page[-1]
    assert found == wanted
    assert await book.charges(live=False, user="usr_1", before=None, count=9) == [
        one for one in wanted if one.user == "usr_1"
    ]


async def test_a_customer_is_begun_once_and_keeps_what_is_heard(book: ChargeRecords) -> None:
    first = await book.begin_customer(Agreed("usr_1", False, "k1"), now_ms=NOW)
    assert await book.begin_customer(Agreed("usr_1", False, "k2"), now_ms=NOW) == first
    await book.keep_customer(first, "cus_1", now_ms=NOW)
    await book.keep_customer(first, "cus_2", now_ms=NOW)
    agreed = await book.agreed("usr_1", live=False)
    assert agreed is not None
    assert (agreed.customer, agreed.key) == ("cus_1", "k1")
    assert await book.keep_setup(agreed, "seti_1", now_ms=NOW)
    assert not await book.keep_setup(agreed, "seti_2", now_ms=NOW)
    await book.keep_method("cus_1", "pm_1", now_ms=NOW + 1)
    agreed = await book.agreed_by("cus_1")
    assert agreed == Agreed("usr_1", False, "k1", "cus_1", "pm_1", "seti_1", 1, NOW + 1)
    assert not await book.drop_method("pm_2", now_ms=NOW)
    assert await book.drop_method("pm_1", now_ms=NOW)
    agreed = await book.agreed("usr_1", live=False)
    assert agreed is not None
    assert agreed.method is None
    assert await book.agreed("usr_1", live=True) is None


async def test_a_service_is_added_once_rotated_by_whoever_saw_it_last_and_gone(records: Records) -> None:
    book = ServiceRecords(records.ask)
    one = Service("b-engine", "commission", b"\x01" * 32, "pep1", NOW, NOW)
    assert await book.add_service(one)
    assert not await book.add_service(replace(one, role="auditor"))
    await book.add_service(replace(one, name="a-engine"))
    after = replace(one, digest=b"\x02" * 32, pepper_id="pep2", rotated_ms=NOW + 1, older=one.digest, older_until_ms=9)
    assert await book.rotate_service(one, after)
    assert not await book.rotate_service(one, replace(after, digest=b"\x03" * 32))
    assert await book.find_service("b-engine") == after
    assert [service.name for service in await book.services()] == ["a-engine", "b-engine"]
    assert await book.drop_service("b-engine")
    assert not await book.drop_service("b-engine")
    assert await book.find_service("b-engine") is None


async def test_the_audit_of_transactions_shows_who_why_and_what_before_and_after(records: Records) -> None:
    for table in ("users", "oauth_tokens", "integration_status", "stripe_accounts", "stripe_customers",
                  "stripe_transactions", "sync_jobs"):  # fmt: skip
        assert list(await records.ask(f"SELECT * FROM {table}")) == []
    facts = {"before": "sending", "after": "pi_1", "fee": "2 usd"}
    acts = [
        Act("service:x", "service", "charge.planned", "txn_1", "api", "asked", facts),
        Act("a", "gateway", "token.make", "tok_1", "api"),
        Act("stripe", "provider", "payout.paid", "anna-usd-1", "api", "tr_1"),
        Act("ann", "operator", "request.refund", "req_1", "admin", "wrong"),
    ]
    last = None
    for act in acts:
        last = step_after(last, act, at_ms=NOW, keys=KEYRING)
        assert await records.trail.add_step(last, action=act.action, object=act.object)
    rows = await records.ask(
        "SELECT number, at, actor, role, action, object, reason, before_id, after_id FROM transaction_audit"
    )
    assert [tuple(row) for row in rows] == [
        (1, NOW, "service:x", "service", "charge.planned", "txn_1", "asked", "sending", "pi_1"),
        (3, NOW, "stripe", "provider", "payout.paid", "anna-usd-1", "tr_1", None, None),
        (4, NOW, "ann", "operator", "request.refund", "req_1", "wrong", None, None),
    ]
