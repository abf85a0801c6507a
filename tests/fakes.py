"""Time and chance that a test decides, and a store whose every turn it can count."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

from gateway.core.idempotency import Claim
from gateway.core.trail import Act


class FakeClock:
    """Implements `ports.Clock`; moves when it is told to."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def pass_seconds(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class Trail:
    """Implements `ports.Witnesses` and `ports.WitnessesOnce`; what was written is looked at."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    async def write(self, act: Act) -> None:
        self.acts.append(act)

    async def write_once(self, act: Act, *, by: str = "") -> bool:
        like_it = [one for one in self.acts if (one.action, one.object) == (act.action, act.object)]
        if any(not by or one.facts.get(by) == act.facts[by] for one in like_it):
            return False
        self.acts.append(act)
        return True


class SeededRandomness:
    """Implements `ports.Randomness`; the same in every run."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class MemoryKeyClaims:
    """Implements `ports.KeyClaims`; every call gives the loop a turn before and after, as a database would."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], Claim] = {}

    async def claim(self, claim: Claim, *, now_ms: int) -> Claim | None:
        await asyncio.sleep(0)
        there = self.rows.get((claim.account, claim.key))
        if there is None or there.is_over(now_ms):
            self.rows[claim.account, claim.key], there = claim, None
        await asyncio.sleep(0)
        return there

    async def used_by(self, accounts: Sequence[str], key: bytes, *, now_ms: int) -> str | None:
        await asyncio.sleep(0)
        there = (self.rows.get((account, key)) for account in accounts)
        return next((row.account for row in there if row is not None and not row.is_over(now_ms)), None)

    async def take_over(self, claim: Claim, *, of: str, now_ms: int) -> bool:
        return await self._change(claim, of=of, lapsed_ms=now_ms)

    async def renew(self, holder: str, lease_ms: int) -> None:
        await asyncio.sleep(0)
        for key, row in self.rows.items():
            if row.holder == holder and row.state == "open":
                self.rows[key] = replace(row, lease_ms=lease_ms)

    async def end(self, ended: Claim, *, lapsed_ms: int | None = None) -> bool:
        return await self._change(ended, of=ended.request, lapsed_ms=lapsed_ms)

    async def _change(self, to: Claim, *, of: str, lapsed_ms: int | None) -> bool:
        await asyncio.sleep(0)
        row = self.rows.get((to.account, to.key))
        is_open = row is not None and row.state == "open" and row.request == of
        lapsed = row is not None and (lapsed_ms is None or row.lease_ms <= lapsed_ms)
        if is_open and lapsed:
            self.rows[to.account, to.key] = to
        await asyncio.sleep(0)
        return is_open and lapsed

    async def free(self, claim: Claim) -> None:
        await asyncio.sleep(0)
        row = self.rows.get((claim.account, claim.key))
        if row is not None and row.state == "open" and row.request == claim.request:
            del self.rows[claim.account, claim.key]

    async def drop_expired(self, *, now_ms: int, count: int) -> int:
        old = [key for key, row in self.rows.items() if row.is_over(now_ms)][:count]
        for key in old:
            del self.rows[key]
        return len(old)

    async def forget_answers(self, *, bytes_max: int, count: int) -> int:
        kept = sorted((row for row in self.rows.values() if row.state == "kept"), key=lambda row: row.expires_ms)
        too_much, forgotten = sum(len(row.answer) for row in kept) - bytes_max, 0
        for row in kept[:count]:
            if too_much > 0:
                self.rows[row.account, row.key] = replace(row, state="not_kept", sealed_by="", answer=b"")
                too_much, forgotten = too_much - len(row.answer), forgotten + 1
        return forgotten
