"""How often Stripe is asked: never faster than it allows, and hardly at all while it does not answer.

A bucket spaces the calls of this process (Stripe allows 25 a second in a sandbox and 100 with real money,
https://docs.stripe.com/rate-limits); who would wait for longer than a moment is refused instead. A breaker opens after
three failures in a row: then everybody is refused at once, but for one every few seconds who tries whether it is back.
"""

import asyncio
from collections.abc import Callable

from gateway.core.refusals import PaymentServiceUnavailable

PER_SECOND = 20.0
BURST = 10
FAILURES_MAX = 3
REST_SECONDS = 5.0
WAIT_SECONDS_MAX = 2.0


class Pace:
    """One for all calls of a process; `share` is how many processes there are."""

    def __init__(self, *, share: int = 1, now: Callable[[], float] | None = None) -> None:
        self._gap = share / PER_SECOND
        self._slack = (BURST - 1) * self._gap
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._due = 0.0
        self._failures = 0
        self._closed_until = 0.0

    def reserve(self) -> float:
        """Take the next place; in how many seconds it is. Raises PaymentServiceUnavailable."""
        now = self._now()
        if self.resting:
            if now < self._closed_until:
                raise PaymentServiceUnavailable()
            self._closed_until = now + REST_SECONDS  # this one tries for all
        due = max(now, self._due)
        wait = max(0.0, due - now - self._slack)
        if wait > WAIT_SECONDS_MAX:
            raise PaymentServiceUnavailable()
        self._due = due + self._gap
        return wait

    @property
    def resting(self) -> bool:
        """Whether everybody is refused but for who tries."""
        return self._failures >= FAILURES_MAX

    async def enter(self) -> None:
        """Until it is our turn. Raises PaymentServiceUnavailable."""
        wait = self.reserve()
        if wait:
            await asyncio.sleep(wait)

    def answered(self) -> None:
        """Stripe is there, whatever it said."""
        self._failures = 0

    def failed(self) -> None:
        """It did not answer, or not as it should."""
        self._failures += 1
        if self._failures == FAILURES_MAX:
            self._closed_until = self._now() + REST_SECONDS
