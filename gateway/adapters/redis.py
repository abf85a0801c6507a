"""Windows that hosts share, in Redis or Valkey, by the asynchronous storages and strategies of the `limits` library.

Requests under way are counted near: by this process, or this host's keeper. The windows are far, so each request costs
two or three round trips: ask all windows, count in all of them, see how they stand; one window that counts single
requests is not asked before. No step spans several windows, so when hosts meet at the edge of a limit, one of several
windows may count a request that another refuses. That admits less, never more.

Of the clients that the library knows it is redis-py, because the newest coredis keeps its connections in a task group
that the library does not open.

A server that is slow is as good as none: no request waits longer than the bound, and after a failure nobody asks for a
second, so that not every request waits for it. Then the routes say what becomes of requests. Nobody says so of our own
addresses (guesses at a password, calls to the payment provider): there each host counts alone. Requests under way are
counted near, so their caps hold without a server too.

Whether the server is back is tried once a second by itself, for where nobody asks, one late answer would else look like
an outage for hours. The try writes a key of its own, too: a server that is full, or a replica that is only read, still
answers questions. And the first connection is made before the first request, which else would have to pay for it within
its bound.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from gateway.core.limits import Ask, Place, Rate, Stand
from gateway.core.windows import Kind
from gateway.ports import Admitted, Clock, LimitsDown, RateLimits

T = TypeVar("T")

_AGAIN_MS = 1000
_TRIED = RateLimitItemPerSecond(1)
_TRY_SECONDS_MAX = 2.0
"""For one try without a request behind it: to connect may take longer than a request may wait."""
_PREFIX = "gateway"
_TRIED_KEY, _TRIED_MS = f"{_PREFIX}:tried", 10_000
_CONNECTIONS_MAX = 32
"""More requests than that wait for one another, within the bound."""


class RedisRateLimits:
    """Implements `ports.RateLimits`. `near` counts requests under way, and what may not go uncounted meanwhile."""

    def __init__(
        self, url: str, *, near: RateLimits, seconds_max: float, clock: Clock, again_seconds: float = _AGAIN_MS / 1000
    ) -> None:
        # Every wait is bounded here, in one place.
        unbounded: dict[str, None] = {"timeout": None, "socket_timeout": None}
        self._pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS_MAX, **unbounded)
        storage = RedisStorage(
            f"async+{url}", implementation="redispy", key_prefix=_PREFIX, wrap_exceptions=True,
            connection_pool=self._pool,  # type: ignore[arg-type]  # the library's options are of three types, and this
        )  # fmt: skip
        self._server = Redis(connection_pool=self._pool)
        self._strategies: dict[Kind, RateLimiter] = {
            "fixed": FixedWindowRateLimiter(storage),
            "moving": MovingWindowRateLimiter(storage),
            "sliding": SlidingWindowCounterRateLimiter(storage),
        }
        self._again_seconds = again_seconds
        self._trying: asyncio.Task[None] | None = None
        self._near = near
        self._seconds_max = seconds_max
        self._clock = clock
        self._down_ms: int | None = None
        self.failures = 0

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> Admitted:
        near = await self._near.admit([], places) if places else Admitted([], _nothing)
        has_place = all(stand.allowed for stand in near.stands)
        try:
            stands = await self._bounded(lambda: self._met(asks, count=has_place)) if asks else []
        except LimitsDown:
            if not places:
                raise
            return Admitted(near.stands, near.leave, partly=True)
        except BaseException:
            near.leave()
            raise
        if all(stand.allowed for stand in stands):
            return Admitted([*stands, *near.stands], near.leave)
        near.leave()
        back = [Stand(stand.allowed, stand.remaining + stand.allowed, 0) for stand in near.stands]
        return Admitted([*stands, *back], _nothing)

    async def hit(self, rate: Rate, subject: str) -> Stand:
        [stand] = await self.hit_all([Ask(rate, subject)])
        return stand

    async def hit_all(self, asks: Sequence[Ask]) -> Sequence[Stand]:
        try:
            return await self._bounded(lambda: self._met(asks, count=True))
        except LimitsDown:
            return await self._near.hit_all(asks)

    @property
    def down(self) -> bool:
        return self._down_ms is not None

    async def open(self) -> None:
        if not await self._answers():
            self._fails()

    async def close(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        await self._pool.disconnect()
        await self._near.close()

    async def _bounded(self, work: Callable[[], Awaitable[T]]) -> T:
        """Raises LimitsDown when it fails, takes too long, or has just failed."""
        now_ms = self._clock.now_ms()
        if self._down_ms is not None and 0 <= now_ms - self._down_ms < _AGAIN_MS:
            raise LimitsDown
        try:
            async with asyncio.timeout(self._seconds_max):
                done = await work()
        except (StorageError, OSError, TimeoutError) as error:
            self._fails()
            raise LimitsDown from error
        self._down_ms = None
        return done

    def _fails(self) -> None:
        self._down_ms = self._clock.now_ms()
        self.failures += 1
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try_again())

    async def _try_again(self) -> None:
        """Until it answers, whoever finds out."""
        while self.down:
            await asyncio.sleep(self._again_seconds)
            if await self._answers():
                self._down_ms = None

    async def _answers(self) -> bool:
        """A question of each kind, which counts nothing and brings the library's scripts there; then a write."""
        try:
            async with asyncio.timeout(max(_TRY_SECONDS_MAX, self._seconds_max)):
                await asyncio.gather(*(one.test(_TRIED, "tried") for one in self._strategies.values()))
                await self._server.set(_TRIED_KEY, 1, px=_TRIED_MS)
        except (StorageError, RedisError, OSError, TimeoutError):
            return False
        return True

    async def _met(self, asks: Sequence[Ask], *, count: bool) -> list[Stand]:
        alone = count and len(asks) == 1 and asks[0].cost == 1
        allowed = [True] if alone else await asyncio.gather(*map(self._would_fit, asks))
        if count and all(allowed):
            allowed = await asyncio.gather(*map(self._count, asks))
        return await asyncio.gather(*map(self._stand, asks, allowed))

    async def _would_fit(self, ask: Ask) -> bool:
        return not ask.cost or await self._strategies[ask.rate.window].test(_item(ask.rate), ask.key, cost=ask.cost)

    async def _count(self, ask: Ask) -> bool:
        return not ask.cost or await self._strategies[ask.rate.window].hit(_item(ask.rate), ask.key, cost=ask.cost)

    async def _stand(self, ask: Ask, allowed: bool) -> Stand:
        stats = await self._strategies[ask.rate.window].get_window_stats(_item(ask.rate), ask.key)
        reset_ms = int(stats.reset_time * 1000) - self._clock.now_ms()
        return Stand(allowed, max(0, stats.remaining), min(max(1, reset_ms), ask.rate.seconds * 1000))


@lru_cache(1024)
def _item(rate: Rate) -> RateLimitItem:
    return RateLimitItemPerSecond(rate.amount, rate.seconds)


def _nothing() -> None:
    """No place was taken."""
