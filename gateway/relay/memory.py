"""What comes again is remembered; what comes once leaves nothing but a mark.

A signature, a date, a length of its own: much of what passes comes never again, and to keep it would push out what
does. So the first time only a hash is noted, and what is made of a key is kept from the second time on. It is kept in
two generations: when the younger is full it becomes the older, and what was in that and was not asked for meanwhile is
forgotten. So memory is bounded and soon at its bound, what is in use stays, and not all is made anew at once.
"""

from typing import Final, Generic, TypeVar

KEY_BYTES_MAX: Final = 4096
_ONCE_MAX: Final = 4096
Made = TypeVar("Made")


class Memory(Generic[Made]):
    """By bytes. `size` is how many one generation has; twice as many are kept at most."""

    __slots__ = ("_older", "_once", "_size", "younger")

    def __init__(self, size: int) -> None:
        self._size = size
        self.younger: dict[bytes, Made] = {}
        """To be looked into first, by whoever looks with every request: it has what is asked for often."""
        self._older: dict[bytes, Made] = {}
        self._once: set[int] = set()

    def __len__(self) -> int:
        return len(self.younger) + len(self._older)

    def older(self, key: bytes) -> Made | None:
        """What the younger generation does not have; from now on it does."""
        made = self._older.pop(key, None)
        if made is not None:
            self._put(key, made)
        return made

    def keep(self, key: bytes, made: Made) -> None:
        """Called for each key that was not found; of one that is longer than `KEY_BYTES_MAX` nothing is kept."""
        if len(key) > KEY_BYTES_MAX:
            return
        mark = hash(key)
        if mark not in self._once:
            if len(self._once) >= _ONCE_MAX:
                self._once.clear()
            self._once.add(mark)
            return
        self._once.discard(mark)
        self._put(key, made)

    def _put(self, key: bytes, made: Made) -> None:
        if len(self.younger) >= self._size:
            self._older, self.younger = self.younger, {}
        self.younger[key] = made
