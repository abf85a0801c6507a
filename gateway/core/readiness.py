"""How each part of the gateway stands, for whoever operates it: a yes or no and why.

Several workers each see their own connections and their own provider; what one of them cannot do is not well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One part. `why` is for people, says what was seen in either case, and names no address and no secret."""

    ok: bool
    why: str

    def told(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {"ok": self.ok, "why": self.why}

    @staticmethod
    def heard(told: Mapping[str, Any]) -> "Check":
        """What `told` said."""
        return Check(told["ok"], told["why"])


def over_all(workers: Iterable[Mapping[str, Check]]) -> dict[str, Check]:
    """What several workers see, as one: by name, the first that is not well, else the first."""
    merged: dict[str, Check] = {}
    for seen in workers:
        for name, check in seen.items():
            if name not in merged or (merged[name].ok and not check.ok):
                merged[name] = check
    return merged


def age(seconds: float) -> str:
    """A time that has passed, as one says it."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
