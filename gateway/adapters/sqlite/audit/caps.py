"""The caps: what it proves is that each counts, commit by commit, just what the requests under it did cost.

A cap's balance is an account like any other, so `books` proves that what it has spent is the sum of its records, and
`chain` that this was never more than the cap as it was then. What is left is that its records are those of the money:
of each request in a batch, what a cap counts is what the other accounts paid. They stand in one commit, for they are
written in one step; a cap's records are known by their tariff, which is of no route. A count of calls takes one where
something was paid, and gives it back where all of that was; a free one takes one of a request that paid nothing.
"""

from collections.abc import Iterator

from gateway.adapters.sqlite.audit.layout import Row, records_of


def miscounted(batch: Row, tariffs: dict[int, Row]) -> Iterator[str]:
    """What is wrong with the caps in a batch, in words."""
    caps = {id for id, tariff in tariffs.items() if not tariff["route"]}
    paid: dict[tuple[int, int], int] = {}
    counted: dict[tuple[int, int, int, int], int] = {}
    for _, (_, _, tariff, account, _, micros, at_ms, request) in records_of(batch) if caps else ():
        if tariff in caps:
            key = at_ms, request, account, tariff
            counted[key] = counted.get(key, 0) + micros
        else:
            paid[at_ms, request] = paid.get((at_ms, request), 0) + micros
    for (at_ms, request, account, tariff), micros in counted.items():
        cost = paid.get((at_ms, request), 0)
        if not _is_right(tariffs[tariff]["price"], micros, cost):
            name = f"req_{at_ms & (1 << 64) - 1:012x}{request & (1 << 64) - 1:016x}"
            yield f"counts {micros} of request {name} under the cap {account}, and {cost} was paid"


def _is_right(price: str, counted: int, paid: int) -> bool:
    """Whether so much may be counted in one batch; of which kind it is, is written where others have a price."""
    if price == "quota":
        return counted == 0 or (counted in (1, -1) and counted * paid > 0)
    if price == "free quota":
        return counted in (-1, 0, 1) and paid == 0
    return counted == paid
