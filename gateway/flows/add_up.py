"""What routes took up to now, tariff by tariff: the folded hours from their sums, the others from the batches."""

from collections.abc import Callable

from gateway.core.dues import Sold, Taking
from gateway.core.ledger import Kind, Record
from gateway.ports import StatementSource

_COUNTS = {Kind.CAPTURE: 1, Kind.GATED_CAPTURE: 1, Kind.VOID: -1}
_PROGRESS_EVERY = 256


def takings(source: StatementSource, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Taking]:
    """Of every tariff that took something, in every unit in which it did. Raises BooksRefused."""
    chains = list(source.chains())
    tariffs = {key: (owner, route) for key, owner, route in source.tariffs() if route}
    points = dict(source.commissions())
    folded = list(source.sold({chain.keeper: chain.folded for chain in chains}))
    units: dict[int, str] = {}
    open: dict[tuple[int, int, str], list[int]] = {}
    for chain in chains:
        last = source.last_batch(chain.keeper)
        for seq, _, _, payload in source.batches(chain.keeper, chain.folded + 1, ()):
            for kind, tariff, account, _, micros, _, _ in Record.unpacked(payload):
                if (chain.keeper, tariff) not in tariffs:
                    continue  # what a cap counts is nobody's
                if account not in units:
                    units[account] = source.account(account)[1]
                sum = open.setdefault((chain.keeper, tariff, units[account]), [0, 0])
                sum[0] += _COUNTS.get(Kind(kind), 0)
                sum[1] += micros
            if not seq % _PROGRESS_EVERY:
                progress(seq - chain.folded, last - chain.folded)
    closed = {(one.keeper, one.tariff, one.unit): one for one in folded if (one.keeper, one.tariff) in tariffs}
    found = []
    for keeper, tariff, unit in sorted(closed.keys() | open.keys()):
        before = closed.get((keeper, tariff, unit), Sold(keeper, tariff, unit, 0, 0))
        requests, micros = open.get((keeper, tariff, unit), (0, 0))
        terms = (*tariffs[keeper, tariff], points[keeper, tariff])
        found.append(Taking(*terms, unit, before.requests + requests, before.micros + micros, micros))
    return found
