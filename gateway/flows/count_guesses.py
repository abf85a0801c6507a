"""Credentials that were not good are counted by the address that they came from.

Nobody guesses 128 random bits; but whoever tries costs us work, and some of what is tried may come from a leak. After
too many, what an address shows for the first time is not even looked at until its window has room again: it is told
429, whether it is good or not. Tokens that are known here by then go on.
"""

from collections.abc import Callable

from gateway.core.limits import Rate, network
from gateway.core.refusals import RateLimited
from gateway.ports import Clock, RateLimits

_SHUT_MAX = 10_000


class CountGuesses:
    """Implements `ports.Guesses`."""

    def __init__(self, *, limits: RateLimits, rate: Rate, clock: Clock, report: Callable[..., None]) -> None:
        self._limits = limits
        self._rate = rate
        self._clock = clock
        self._report = report
        self._shut: dict[str, int] = {}

    def check(self, peer: str) -> None:
        if not self._shut or not peer:
            return
        subject = network(peer)
        until_ms = self._shut.get(subject)
        if until_ms is None:
            return
        left_ms = until_ms - self._clock.now_ms()
        if left_ms > 0:
            raise self._refused(left_ms)
        del self._shut[subject]

    async def failed(self, peer: str) -> None:
        if not peer:
            return
        subject = network(peer)
        stand = await self._limits.hit(self._rate, f"-/credentials {subject}")
        if not stand.allowed:
            if subject not in self._shut:
                self._report("too many credentials that are not good", level="warning", network=subject)
            if len(self._shut) >= _SHUT_MAX:
                del self._shut[next(iter(self._shut))]
            self._shut[subject] = self._clock.now_ms() + stand.reset_ms
            raise self._refused(stand.reset_ms)

    def _refused(self, left_ms: int) -> RateLimited:
        return RateLimited(policy=self._rate.text, retry_after_seconds=max(1, -(-left_ms // 1000)))
