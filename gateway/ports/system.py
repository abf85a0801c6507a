"""The machine: time and randomness, which nothing else may ask for."""

from typing import Protocol


class Clock(Protocol):
    """The time of day, as an argument to everything that depends on it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""


class Randomness(Protocol):
    """Bytes that nobody can guess."""

    def bytes(self, count: int) -> bytes: ...
