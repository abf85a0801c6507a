"""Public ids: a prefix, 48 bits of milliseconds, then what makes them unique. They sort by time."""

import re

_REQUEST = re.compile("req_([0-9a-f]{12})([0-7][0-9a-f]{15})")
_NUMBER_MASK = (1 << 63) - 1  # fits a signed 64-bit column
_COUNTER_MASK = (1 << 47) - 1


class RequestId:
    """Names one request: `req_` + 12 hex digits of milliseconds + 16 of the number.

    `number` is the worker's slot and its counter. The ledger's records keep both parts, so that a statement line or an
    operator's refund finds the request that it belongs to.

    A value, though not a dataclass: one is made with every request, and a frozen one takes three times as long to make.
    """

    __slots__ = ("_text", "at_ms", "number")

    def __init__(self, at_ms: int, number: int) -> None:
        self.at_ms = at_ms
        self.number = number
        self._text = ""

    @classmethod
    def parse(cls, text: str) -> "RequestId":
        """What `str` makes of one. Raises ValueError."""
        found = _REQUEST.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a request's id: req_ and 28 hexadecimal digits")
        return cls(int(found[1], 16), int(found[2], 16))

    def __str__(self) -> str:
        if not self._text:  # asked for several times with each request
            self._text = f"req_{self.at_ms:012x}{self.number:016x}"
        return self._text

    def __repr__(self) -> str:
        return f"RequestId({self.at_ms}, {self.number})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RequestId):
            return NotImplemented
        return self.at_ms == other.at_ms and self.number == other.number

    def __hash__(self) -> int:
        return hash((self.at_ms, self.number))


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


def account_ms(account: str) -> int:
    """When it was made, in milliseconds since 1970; 0 of one that an outside provider vouches for."""
    return int(account[5:17], 16)
