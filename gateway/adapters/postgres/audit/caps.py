"""The caps: what it proves is that each counts, commit by commit, just what the requests under it did cost.

A cap's balance is an account like any other and proved as one. What is left is that its records, which are known by a
tariff of no route, are those of the money: they are written in one step, and so stand in one batch. A count of
calls takes one where something was paid and gives one back where that was; one of free calls where nothing was.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

Key = tuple[int, int]
"""Time and number of a request."""


def miscounted(records: Iterable[tuple[int, ...]], caps: Mapping[int, str]) -> Iterator[str]:
    """What is wrong with the caps in a batch, in words; `caps` are the tariffs of theirs, and their prices."""
    paid: Counter[Key] = Counter()
    counted: defaultdict[tuple[int, int], Counter[Key]] = defaultdict(Counter)
    for _, tariff, account, _, micros, *request in records:
        key = request[0], request[1]
        (counted[account, tariff] if tariff in caps else paid)[key] += micros
    for (account, tariff), requests in counted.items():
        for key, micros in requests.items():
            if micros not in _rightly(caps[tariff], paid[key]):
                yield f"counts {micros} of a request under the cap {account}, and {paid[key]} was paid"


def _rightly(kind: str, paid: int) -> tuple[int, ...]:
    """What may be counted in a batch in which a request paid so much."""
    match kind:
        case "quota":
            return 0, (paid > 0) - (paid < 0)
        case "free quota":
            return (-1, 0, 1) if paid == 0 else ()
        case _:
            return (paid,)
