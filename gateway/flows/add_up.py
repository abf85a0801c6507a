"""What routes took up to now, by hour and tariff: from the folded sums, and from the batches that come after them."""

from collections.abc import Callable, Iterator, Mapping

from gateway.core.dues import Sold, Taking
from gateway.core.ledger import Kind, Record
from gateway.core.statements import Chain
from gateway.core.transfers import hour_of
from gateway.ports import StatementSource

_COUNTS = {Kind.CAPTURE: 1, Kind.GATED_CAPTURE: 1, Kind.VOID: -1}
_PROGRESS_EVERY = 256
_Tariffs = Mapping[tuple[int, int], tuple[str, str]]


def takings(source: StatementSource, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Taking]:
    """Of every tariff that took something, in every unit and hour in which it did. Raises BooksRefused."""
    chains = list(source.chains())
    tariffs = {key: (owner, route) for key, owner, route in source.tariffs() if route}  # what a cap counts is nobody's
    points = dict(source.commissions())
    folded = ((one, 0) for one in source.sold({chain.keeper: chain.folded for chain in chains}))
    found = []
    for sold, open in (*folded, *((one, one.micros) for one in _open(source, chains, tariffs, progress))):
        key = sold.keeper, sold.tariff
        if key in tariffs:
            found.append(Taking(sold.hour, *tariffs[key], points[key], sold.unit, sold.requests, sold.micros, open))
    return found


def _open(
    source: StatementSource, chains: list[Chain], tariffs: _Tariffs, progress: Callable[[int, int], None]
) -> Iterator[Sold]:
    """The same of what is not folded yet."""
    units: dict[int, str] = {}
    sums: dict[tuple[int, int, int, str], list[int]] = {}
    for chain in chains:
        last = source.last_batch(chain.keeper)
        for seq, at_ms, _, payload in source.batches(chain.keeper, chain.folded + 1, ()):
            for kind, tariff, account, _, micros, _, _ in Record.unpacked(payload):
                if (chain.keeper, tariff) not in tariffs:
                    continue
                if account not in units:
                    units[account] = source.account(account)[1]
                sum = sums.setdefault((hour_of(at_ms), chain.keeper, tariff, units[account]), [0, 0])
                sum[0] += _COUNTS.get(Kind(kind), 0)
                sum[1] += micros
            if not seq % _PROGRESS_EVERY:
                progress(seq - chain.folded, last - chain.folded)
    yield from (Sold(*key, *sum) for key, sum in sorted(sums.items()))
