"""Accounts that spend as they never did, found by what each usually does (`core/anomalies.py`).

The hour that goes on is judged in every round: only who spent enough in it to be worth a word is looked up. An hour
that is over is judged once more and then learned, some hundreds of accounts a round, and its sums are dropped; what is
left of an account is its habit. So what is kept is bounded by the accounts that spend, and a restart loses nothing.
"""

from collections.abc import Mapping, Sequence

from gateway.core.alerts import Sign
from gateway.core.anomalies import HOUR_MS, Habit, Newcomers, Oddity
from gateway.core.transfers import hour_of
from gateway.ports import Counted

LATE_MS = 120_000
"""What a process counted of an hour is written by then."""
_ACCOUNTS_A_STEP = 500
_STEPS_A_ROUND = 10
_NEWCOMERS = "=newcomers"
_HOLDS_MS: Mapping[Oddity, int] = {"leak": 26 * HOUR_MS}
_HOLDS_USUALLY_MS = 2 * HOUR_MS


class WatchSpending:
    """`least` is what an account must spend in an hour for anything to be said of it, in micros of the currency."""

    def __init__(self, counts: Counted, *, least: int, factor: float) -> None:
        self._counts = counts
        self._least = least
        self._factor = factor

    async def look(self, now_ms: int) -> list[Sign]:
        """Who is odd just now. Raises RecordsUnavailable."""
        high = (await self._counts.habits([_NEWCOMERS])).get(_NEWCOMERS)
        newcomers = Newcomers.unpacked(high) if high else Newcomers()
        signs = await self._learn(now_ms, newcomers)
        hour, after = hour_of(now_ms), ""
        for _ in range(_STEPS_A_ROUND):
            rows = await self._counts.spent(hour, least=self._least, after=after, count=_ACCOUNTS_A_STEP)
            habits = await self._habits([account for account, _ in rows], hour // HOUR_MS)
            signs += self._judged(rows, habits, hour // HOUR_MS, newcomers)
            if len(rows) < _ACCOUNTS_A_STEP:
                break
            after = rows[-1][0]
        return signs

    async def _learn(self, now_ms: int, newcomers: Newcomers) -> list[Sign]:
        """Hours that are over, the earliest first, some accounts of them."""
        signs: list[Sign] = []
        for _ in range(_STEPS_A_ROUND):
            hour_ms = await self._counts.unlearned(before_ms=hour_of(now_ms - LATE_MS))
            if hour_ms is None:
                break
            rows = await self._counts.spent(hour_ms, least=0, after="", count=_ACCOUNTS_A_STEP)
            hour, accounts = hour_ms // HOUR_MS, [account for account, _ in rows]
            habits = await self._habits(accounts, hour)
            signs += self._judged(rows, habits, hour, newcomers)
            for account, micros in rows:
                if not habits[account].is_known:
                    newcomers.learn(micros)
                habits[account].learn(hour, micros)
            states = {account: habit.packed() for account, habit in habits.items()}
            await self._counts.keep_habits({**states, _NEWCOMERS: newcomers.packed()}, now_ms=now_ms)
            await self._counts.learned(hour_ms, accounts)
        return signs

    async def _habits(self, accounts: Sequence[str], hour: int) -> dict[str, Habit]:
        kept = await self._counts.habits(accounts)
        return {one: Habit.unpacked(kept[one]) if one in kept else Habit(hour) for one in accounts}

    def _judged(
        self, rows: Sequence[tuple[str, int]], habits: Mapping[str, Habit], hour: int, newcomers: Newcomers
    ) -> list[Sign]:
        signs, sane = [], newcomers.sane(self._least)
        for account, micros in rows:
            odd = habits[account].judge(hour, micros, least=self._least, factor=self._factor, sane=sane)
            if odd is not None:
                facts = {"why": odd, "micros": micros, "hour": hour * HOUR_MS}
                signs.append(Sign("account_spend", account, facts, holds_ms=_HOLDS_MS.get(odd, _HOLDS_USUALLY_MS)))
        return signs
