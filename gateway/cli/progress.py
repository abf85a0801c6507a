"""How far a long command is, on the standard error: nothing for the first seconds, then a line that renews itself.

Where nobody watches (a log, a pipe) it is a line of its own, and only every ten seconds.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click

_FIRST_SECONDS = 1.0
_EVERY_SECONDS = 0.2
_EVERY_SECONDS_UNWATCHED = 10.0


class Progress:
    """Told how much is done, and of how much. `what` reads like `audited {} of {} batches`.

    Where nobody knows of how much, `what` has one place, like `compared {} payments`, and `over` says that it is all.
    """

    def __init__(self, what: str, *, clock: Callable[[], float] = time.monotonic, watched: bool | None = None) -> None:
        self._what = what
        self._clock = clock
        self._watched = sys.stderr.isatty() if watched is None else watched
        self._begun = clock()
        self._next = self._begun + (_FIRST_SECONDS if self._watched else _EVERY_SECONDS_UNWATCHED)
        self._told = False

    def over(self, done: int) -> None:
        """That was all of it."""
        self(done, done)

    def __call__(self, done: int, total: int | None = None) -> None:
        now = self._clock()
        ended = total is not None and done >= total
        if now < self._next and not (ended and self._told):
            return
        self._next = now + (_EVERY_SECONDS if self._watched else _EVERY_SECONDS_UNWATCHED)
        self._told = not ended
        rate = done / max(now - self._begun, 0.001)
        left = "" if total is None or ended or not rate else f", about {(total - done) / rate:,.0f} s left"
        line = f"{self._what.format(f'{done:,}', f'{total or 0:,}')}, {rate:,.0f}/s{left}"
        if self._watched:
            click.echo(f"\r{line:<79}", nl=ended, err=True)
        else:
            click.echo(line, err=True)


@asynccontextmanager
async def taking_its_time(
    what: str, *, every_seconds: float | None = None, watched: bool | None = None
) -> AsyncIterator[None]:
    """Say how long it has been at it, for work of which nobody knows how much there is: `making files anew, 12 s`."""
    watched = sys.stderr.isatty() if watched is None else watched
    pause = every_seconds or (_FIRST_SECONDS if watched else _EVERY_SECONDS_UNWATCHED)
    begun, told = time.monotonic(), False

    async def tell() -> None:
        nonlocal told
        while True:
            await asyncio.sleep(pause)
            line, told = f"{what}, {time.monotonic() - begun:,.0f} s", True
            click.echo(f"\r{line:<79}" if watched else line, nl=not watched, err=True)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        if told and watched:
            click.echo(err=True)
