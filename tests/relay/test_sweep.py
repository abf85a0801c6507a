"""The look at everything that may take too long: it goes on, whatever it finds."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.relay import sweep
from gateway.relay.sweep import Sweep


@dataclass(eq=False)
class Late:
    """Late every time."""

    fails: bool
    expired: int = 0

    def late(self, now: float) -> bool:
        return True

    def expire(self) -> None:
        self.expired += 1
        if self.fails:
            raise asyncio.InvalidStateError


async def test_one_that_cannot_be_ended_keeps_no_other_from_it_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_EVERY_SECONDS", 0.001)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    looks, swept = Sweep(), [Late(fails=number % 2 == 0) for number in range(4)]
    for one in swept:
        looks.add(one)
    looks.start()
    async with asyncio.timeout(2):
        while min(one.expired for one in swept) < 3:
            await asyncio.sleep(0.001)
    looks.stop()
    assert {type(context["exception"]) for context in told} == {asyncio.InvalidStateError}
    seen = [one.expired for one in swept]
    await asyncio.sleep(0.01)
    assert [one.expired for one in swept] == seen
