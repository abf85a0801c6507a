"""Limits that the keeper's process counts for all workers: one question for each request, whatever it has to meet.

The keeper decides, so the workers together admit exactly what one process would. What is refused is cheaper: until the
first window that refused it has room again nobody can be admitted, so the worker says no by itself, and a caller that
does not stop costs the keeper nothing.

Places are held by the number of the question that took them. A worker gives them back by that number, also when it did
not wait for the answer; a worker that ends has left all of its places; and a keeper that is new is told which are held,
and gives none away before all workers that were there have told.
"""

import asyncio
import struct
from collections.abc import Sequence
from typing import NamedTuple, get_args

from gateway.adapters.interprocess import frames
from gateway.adapters.interprocess.frames import Kind
from gateway.adapters.interprocess.worker import Line
from gateway.core import windows
from gateway.core.limits import Ask, Limiter, Place, Rate, Stand
from gateway.ports import Admitted, Clock, LimitsDown, StoreFailed

_HEAD = struct.Struct(">qBB")  # number of the question, how many windows, how many caps
_ASK = struct.Struct(">qqqBH")  # amount, seconds, cost, kind of window, bytes of the key
_PLACE = struct.Struct(">qH")  # the most, bytes of the key
_STAND = struct.Struct(">?qq")  # allowed, remaining, reset
_KINDS: tuple[windows.Kind, ...] = get_args(windows.Kind)
_ANSWER_SECONDS_MAX = 1.0
_REFUSALS_MAX = 4096


class _Refused(NamedTuple):
    """A refusal that stands by itself for a while."""

    asks: Sequence[Ask]
    stands: Sequence[Stand]
    at_ms: int
    until_ms: int


class SharedRateLimits:
    """Implements `ports.RateLimits` in a worker."""

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._held: dict[int, list[str]] = {}
        self._refused: dict[tuple[str, ...], _Refused] = {}
        line.handlers[Kind.ADMITTED] = line.answered
        line.held = lambda: list(self._held.items())

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> Admitted:
        known = self._known_refusal(asks) if not places else None
        if known is not None:
            return Admitted(known, _nothing)
        number, stands = await self._ask(asks, places)
        if not all(stand.allowed for stand in stands):
            self._remember(asks, stands)
            return Admitted(stands, _nothing)
        if not places:
            return Admitted(stands, _nothing)
        self._held[number] = [place.key for place in places]
        return Admitted(stands, lambda: self._leave(number))

    async def hit(self, rate: Rate, subject: str) -> Stand:
        [stand] = await self.hit_all([Ask(rate, subject)])
        return stand

    async def hit_all(self, asks: Sequence[Ask]) -> Sequence[Stand]:
        try:
            return (await self.admit(asks, [])).stands
        except LimitsDown:
            return [Stand(True, ask.rate.amount - 1, ask.rate.seconds * 1000) for ask in asks]

    @property
    def down(self) -> bool:
        return False

    @property
    def failures(self) -> int:
        return 0

    async def open(self) -> None:
        """Nothing is connected."""

    async def close(self) -> None:
        """The line is another's."""

    async def _ask(self, asks: Sequence[Ask], places: Sequence[Place]) -> tuple[int, list[Stand]]:
        try:
            with self._line.question() as (number, answer):
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                        self._line.send(frames.frame(Kind.ADMIT, _question(number, asks, places)))
                        return number, _stands(await answer)
                except BaseException:
                    if places:
                        self._say_left(number)  # it may have been granted meanwhile
                    raise
        except (StoreFailed, TimeoutError) as error:
            raise LimitsDown from error

    def _leave(self, number: int) -> None:
        if self._held.pop(number, None) is not None:
            self._say_left(number)

    def _say_left(self, number: int) -> None:
        self._line.say(frames.frame(Kind.LEAVE, number.to_bytes(8)))

    def _known_refusal(self, asks: Sequence[Ask]) -> list[Stand] | None:
        known = self._refused.get(tuple([ask.key for ask in asks]))
        if known is None or known.asks != asks:
            return None
        now_ms = self._clock.now_ms()
        if not known.at_ms <= now_ms < known.until_ms:
            return None
        passed_ms = now_ms - known.at_ms
        return [Stand(stand.allowed, stand.remaining, max(0, stand.reset_ms - passed_ms)) for stand in known.stands]

    def _remember(self, asks: Sequence[Ask], stands: Sequence[Stand]) -> None:
        waits = [stand.reset_ms for stand in stands[: len(asks)] if not stand.allowed]
        if not waits or len(stands) > len(asks):
            return
        if len(self._refused) >= _REFUSALS_MAX:
            self._refused.clear()
        now_ms = self._clock.now_ms()
        self._refused[tuple([ask.key for ask in asks])] = _Refused(asks, stands, now_ms, now_ms + min(waits))


class Counting:
    """The keeper's side of one worker."""

    def __init__(self, limiter: Limiter, clock: Clock) -> None:
        self._limiter = limiter
        self._clock = clock
        self._held: dict[int, list[str]] = {}

    def admit(self, contents: bytes) -> bytes:
        """The answer to a question."""
        number, asks, places = _asked(contents)
        stands = self._limiter.admit(asks, places, self._clock.now_ms())
        if places and all(stand.allowed for stand in stands):
            self._held[number] = [place.key for place in places]
        told = b"".join([_STAND.pack(stand.allowed, stand.remaining, stand.reset_ms) for stand in stands])
        return frames.frame(Kind.ADMITTED, number.to_bytes(8) + told)

    def leave(self, number: int) -> None:
        """Its request has ended, or was never let in."""
        self._limiter.leave(self._held.pop(number, ()))

    def holds(self, held: Sequence[tuple[int, list[str]]]) -> None:
        """What it holds, admitted by a keeper before this one."""
        for number, keys in held:
            self._held[number] = keys
            self._limiter.occupy(keys)

    def end(self) -> None:
        """The worker is gone, and its requests with it."""
        for number in list(self._held):
            self.leave(number)


def asks_for_places(contents: bytes) -> bool:
    """Whether a question is about caps, too."""
    places: int = _HEAD.unpack_from(contents)[2]
    return places > 0


def _question(number: int, asks: Sequence[Ask], places: Sequence[Place]) -> bytes:
    parts = [_HEAD.pack(number, len(asks), len(places))]
    for rate, key, cost in asks:
        text = key.encode()
        parts += [_ASK.pack(rate.amount, rate.seconds, cost, _KINDS.index(rate.window), len(text)), text]
    for key, most in places:
        text = key.encode()
        parts += [_PLACE.pack(most, len(text)), text]
    return b"".join(parts)


def _asked(contents: bytes) -> tuple[int, list[Ask], list[Place]]:
    number, windows_count, places_count = _HEAD.unpack_from(contents)
    at, asks, places = _HEAD.size, [], []
    for _ in range(windows_count):
        amount, seconds, cost, kind, length = _ASK.unpack_from(contents, at)
        at += _ASK.size + length
        asks.append(Ask(Rate(amount, seconds, "", _KINDS[kind]), contents[at - length : at].decode(), cost))
    for _ in range(places_count):
        most, length = _PLACE.unpack_from(contents, at)
        at += _PLACE.size + length
        places.append(Place(contents[at - length : at].decode(), most))
    return number, asks, places


def _stands(contents: bytes) -> list[Stand]:
    return [Stand(*columns) for columns in _STAND.iter_unpack(contents[8:])]


def _nothing() -> None:
    """No place was taken."""
