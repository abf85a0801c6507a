"""Credits and reversals as lists of JSON, on their way between the processes."""

from collections.abc import Sequence
from typing import Any

from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money
from gateway.core.purses import Purse


def told(entry: Credit | Reversal) -> list[object]:
    """Its columns."""
    amount, purse = entry.amount, entry.purse
    more = [entry.at_most, entry.into] if isinstance(entry, Reversal) else []
    texts = [entry.ref, entry.account, entry.kind, entry.reason]
    return [*texts, amount.micros, amount.currency, purse.priority, purse.expires_ms, *more]


def credit(columns: Sequence[Any]) -> Credit:
    """What `told` was told of. Raises ValueError."""
    return Credit(*_shared(columns))


def reversal(columns: Sequence[Any]) -> Reversal:
    """What `told` was told of. Raises ValueError."""
    return Reversal(*_shared(columns), at_most=columns[8], into=columns[9])


def _shared(columns: Sequence[Any]) -> tuple[str, str, Money, str, str, Purse]:
    ref, account, kind, reason, micros, currency, priority, expires_ms = columns[:8]
    return ref, account, Money(micros, currency), kind, reason, Purse(priority, expires_ms)
