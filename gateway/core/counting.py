"""Plain numbers that are counted beside the work, and told to whoever asks: nothing here knows how they are shown."""

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Up to how many seconds each bucket goes; what took longer is in the one after the last."""


class Durations:
    """How often something took how long. Buckets are apart here; whoever shows them adds them up."""

    __slots__ = ("buckets", "seconds")

    def __init__(self, buckets: Sequence[int] = (0,) * (len(SECONDS) + 1), seconds: float = 0.0) -> None:
        self.buckets = list(buckets)
        self.seconds = seconds

    def count(self, seconds: float) -> None:
        """One more, which took so long."""
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: "Durations") -> None:
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds
