"""Public ids: a prefix, 48 bits of milliseconds, then what makes them unique. They sort by time."""

from dataclasses import dataclass, field

_NUMBER_MASK = (1 << 63) - 1  # fits a signed 64-bit column
_COUNTER_MASK = (1 << 47) - 1


@dataclass(frozen=True, slots=True)
class RequestId:
    """Names one request: `req_` + 12 hex digits of milliseconds + 16 of the number.

    `number` is the worker's slot and its counter. The ledger's records keep both parts, so that a statement line or an
    operator's refund finds the request that it belongs to.
    """

    at_ms: int
    number: int
    _text: str = field(default="", init=False, compare=False, repr=False)

    def __str__(self) -> str:
        if not self._text:  # asked for several times with each request
            object.__setattr__(self, "_text", f"req_{self.at_ms:012x}{self.number:016x}")
        return self._text


class RequestNumbers:
    """Numbers for one worker's requests: its slot in the top bits, a counter that starts at random below."""

    __slots__ = ("_next",)

    def __init__(self, *, slot: int, start: int) -> None:
        self._next = (slot << 48 | start & _COUNTER_MASK) & _NUMBER_MASK

    def next(self) -> int:
        self._next += 1
        return self._next


def account_id(at_ms: int, digest: bytes) -> str:
    """`acct_` + milliseconds + the first ten bytes of a keyed digest."""
    return f"acct_{at_ms:012x}{digest[:10].hex()}"
