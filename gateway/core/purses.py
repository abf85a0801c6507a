"""Purses: what a holder has of one unit, apart by when it is spent and how long it lasts.

What a holder pays in goes into the plain purse: drawn at priority 0, kept for ever. Promotion credit, plan credit and
free quota are purses of their own: an account each, with its own row, so that records, slices, voids and refunds know
nothing of purses. A request draws on the purse with the lowest priority number first, of those on the one that expires
soonest, and on a second one only if the first is short.

Wherever an account is named by holder and unit, a purse's *name* stands for the holder: `acct_x` is the plain purse,
`acct_x#-10@1767225600000` one that is drawn before it and ends with the year. So no holder's name has a `#`.
"""

from dataclasses import dataclass

from gateway.core.money import Money

PRIORITY_MAX = 1000
EXPIRES_MS_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Purse:
    """When it is spent, lowest first, and until when it can be; `expires_ms` 0 means for ever."""

    priority: int = 0
    expires_ms: int = 0

    def __post_init__(self) -> None:
        if not -PRIORITY_MAX <= self.priority <= PRIORITY_MAX:
            raise ValueError(f"a priority is a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}")
        if not 0 <= self.expires_ms <= EXPIRES_MS_MAX:
            raise ValueError(f"{self.expires_ms} is no time at which a purse could expire")

    @property
    def order(self) -> tuple[int, int]:
        """Sorts purses as they are drawn on. The same everywhere: who takes of two takes of the same one first."""
        return self.priority, self.expires_ms or EXPIRES_MS_MAX + 1

    def named(self, holder: str) -> str:
        """How this purse of a holder is named."""
        return holder if self == PLAIN else f"{holder}#{self.priority}@{self.expires_ms}"

    def over(self, now_ms: int) -> bool:
        """Whether it can be drawn on no more."""
        return 0 < self.expires_ms <= now_ms


PLAIN = Purse()
"""Where payments go."""


@dataclass(frozen=True, slots=True)
class Share:
    """What of a credit goes into one purse of several."""

    purse: Purse
    amount: Money


def parted(name: str, amount: Money, shares: "tuple[Share, ...]") -> dict[str, Money]:
    """The entries of a credit by their names: one of all of it, or one for each purse."""
    return {share.purse.named(name): share.amount for share in shares} or {name: amount}


def purse_named(name: str) -> tuple[str, Purse]:
    """The holder and the purse of a name. Raises ValueError for one that is none."""
    holder, mark, rest = name.partition("#")
    if not mark:
        return name, PLAIN
    priority, _, expires = rest.partition("@")
    purse = Purse(int(priority), int(expires))
    if purse.named(holder) != name:
        raise ValueError(f"{name!r} names no purse")
    return holder, purse
