"""How everything stands: what is seen without waiting, and the records within their bound."""

import asyncio

from gateway.adapters.memory import MemoryRecords
from gateway.core.payments import Event
from gateway.core.readiness import Check
from gateway.core.refusals import RecordsUnavailable
from gateway.flows.check_up import LATE_SECONDS, CheckUp
from gateway.ports import InboxStanding
from tests.fakes import FakeClock


class Hanging(MemoryRecords):
    async def inbox_standing(self) -> InboxStanding:
        await asyncio.Event().wait()
        raise AssertionError


class Broken(MemoryRecords):
    async def inbox_standing(self) -> InboxStanding:
        raise RecordsUnavailable()


def check_up(inbox: MemoryRecords, clock: FakeClock, *, seconds: float = 60, hears: bool = True) -> CheckUp:
    return CheckUp(parts=lambda: {"ledger": Check(True, "x")}, inbox=inbox, hears=hears, clock=clock, seconds=seconds)


async def test_records_that_hang_or_fail_are_told_and_the_rest_is_told_with_them() -> None:
    slow = await check_up(Hanging(), FakeClock(), seconds=0).checks()
    failed = await check_up(Broken(), FakeClock()).checks()
    for checks, why in ((slow, "no answer within 0 s"), (failed, "they cannot be read")):
        assert checks["ledger"] == Check(True, "x")
        assert checks["records"] == Check(False, why)
        assert not checks["webhooks"].ok


async def test_an_event_may_wait_for_its_turn_and_not_for_longer() -> None:
    clock, inbox = FakeClock(), MemoryRecords()
    asked = check_up(inbox, clock)
    assert (await asked.checks())["webhooks"] == Check(True, "none has come yet; 0 waiting; 0 parked")
    await inbox.claim(Event("evt_1", "x", False, 1, {}), now_ms=clock.now_ms())
    clock.pass_seconds(LATE_SECONDS)
    assert (await asked.checks())["webhooks"].ok
    clock.pass_seconds(1)
    late = (await asked.checks())["webhooks"]
    assert late == Check(False, "the newest came 5 min ago; 1 waiting, for 5 min; 0 parked")
    await inbox.close_event("evt_1", "done")
    assert (await asked.checks())["webhooks"] == Check(True, "the newest came 5 min ago; 0 waiting; 0 parked")


async def test_a_parked_event_needs_somebody_and_without_a_provider_there_is_none() -> None:
    clock, inbox = FakeClock(), MemoryRecords()
    await inbox.claim(Event("evt_1", "x", False, 1, {}), now_ms=clock.now_ms())
    await inbox.close_event("evt_1", "parked", error="odd")
    assert not (await check_up(inbox, clock).checks())["webhooks"].ok
    assert (await check_up(inbox, clock, hears=False).checks())["webhooks"].ok
