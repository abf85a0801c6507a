"""The machine's clock and its random source."""

import os
import time


class SystemClock:
    """Implements `ports.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemRandomness:
    """Implements `ports.Randomness`."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
