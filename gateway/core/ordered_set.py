"""A set that is gone through in the order in which its members came.

Where tasks lie in memory is another in each run, and with it the order in which a `set` of them is gone through. What
is simulated from a seed has to happen in the same order each time, or a failing run cannot be run again.
"""

from typing import TypeVar

T = TypeVar("T")


class OrderedSet(dict[T, None]):
    """Adds and discards like `set`, in constant time."""

    def add(self, one: T) -> None:
        self[one] = None

    def discard(self, one: T) -> None:
        self.pop(one, None)
