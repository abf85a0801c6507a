"""Who paid, as far as a payment proves it: a card, or a Link account. What was typed proves nothing."""

from dataclasses import dataclass
from typing import Literal

MAIL_PURPOSE = "payer's address"
"""What Link's e-mail address is sealed for, beside its digest."""
Kind = Literal["card", "link"]
Standing = Literal["coded", "waiting", "known", "joined", "nobody"]
"""How a return from a checkout stands: a code was shown; it counts soon; the payer is known now; an old wallet was
found; it counts for nobody."""


@dataclass(frozen=True, slots=True)
class Payer:
    """A card by its fingerprint, or a Link account by its e-mail address."""

    kind: Kind
    value: str

    @property
    def name(self) -> str:
        """What is digested. No token has a space, so no token's digest is a payer's."""
        return f"payer {self.kind} {self.value.strip().lower() if self.kind == 'link' else self.value}"

    @classmethod
    def named(cls, name: str) -> "Payer":
        """The other way round. Raises ValueError."""
        _, kind, value = name.split(" ", 2)
        if kind not in ("card", "link"):
            raise ValueError("a payer is a card or a Link account")
        return cls("card" if kind == "card" else "link", value)


@dataclass(frozen=True, slots=True)
class Homecoming:
    """The first browser that came back from a checkout, and what came of it.

    `browser` tells it from others; `account` is the one that was paid for. `sealed` is the payer, until it is settled.
    """

    session: str
    browser: bytes
    account: str
    at_ms: int
    state: Standing
    key_id: str | None = None
    sealed: bytes | None = None


def masked(address: str) -> str:
    """`ann@example.org` as `a…@e….org`."""
    local, _, host = address.rpartition("@")
    name, dot, top = host.rpartition(".")
    return f"{local[:1]}…@{name[:1]}…{dot}{top}"
