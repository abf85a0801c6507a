"""What the meter of one request read, as it is kept: enough to say what it would cost at another price.

Numbers, a status and a method: nothing of a body, a path, a caller or an account. Whose request it was stands in the
books, under the same id.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields


@dataclass(frozen=True, slots=True)
class Measured:
    """One request's. `looked_for` are the units that its answer was read for, whether it spoke of them or not."""

    method: str
    status: int
    used: Mapping[str, int]
    looked_for: tuple[str, ...] = ()
    input_without_cached: int | None = None
    reported: int | None = None
    empty: bool = False
    cut: bool = False
    bodiless: bool = False
    waited_ms: int = 0
    """Until the head of the answer was there."""

    def packed(self) -> str:
        """Without what is as usual."""
        told = {"method": self.method, "status": self.status, "used": self.used}
        for name, usual in _USUAL:
            if (value := getattr(self, name)) != usual:
                told[name] = value
        return _encoded(told)

    @classmethod
    def unpacked(cls, text: str) -> "Measured":
        told = json.loads(text)
        return cls(**{**told, "looked_for": tuple(told.get("looked_for", ()))})


_encoded = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_USUAL = [(field.name, field.default) for field in fields(Measured) if field.default is not MISSING]
