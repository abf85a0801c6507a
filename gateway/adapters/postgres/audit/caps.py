"""The caps: what it proves is that each counts, commit by commit, just what the requests under it did cost.

A cap's balance is an account like any other and proved as one. What is left is that its records, which are known by a
tariff of no route, are those of the money: they are written in one step, and so stand in one batch.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator

Key = tuple[int, int]
"""Time and number of a request."""


def miscounted(records: Iterable[tuple[int, ...]], caps: Container[int]) -> Iterator[str]:
    """What is wrong with the caps in a batch, in words; `caps` are the tariffs of theirs."""
    paid: Counter[Key] = Counter()
    counted: defaultdict[int, Counter[Key]] = defaultdict(Counter)
    for _, tariff, account, _, micros, *request in records:
        key = request[0], request[1]
        (counted[account] if tariff in caps else paid)[key] += micros
    for account, requests in counted.items():
        for key, micros in requests.items():
            if micros != paid[key]:
                yield f"counts {micros} of a request under the cap {account}, and {paid[key]} was paid"
