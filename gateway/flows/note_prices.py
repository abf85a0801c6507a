"""Prices that are others than before go on the trail: at the start of a gateway, and when it is reloaded.

At a start it is only known whether they are those of the last entry, by its digest; then all of them are written down.
One process of a gateway does this, and several hosts that start with the same prices write one entry.
"""

from collections.abc import Iterable

from gateway.core.price_changes import DIGEST, changes, digest, prices_of
from gateway.core.routes import Route
from gateway.core.trail import NEWEST, Act, Origin
from gateway.ports import TrailBook, Witnesses

ACTION = "prices.serve"


class NotePrices:
    """`first`: whether it is this process's business."""

    def __init__(self, *, book: TrailBook, witness: Witnesses, first: bool) -> None:
        self._book = book
        self._witness = witness
        self._first = first

    async def begin(self, routes: Iterable[Route]) -> None:
        """Serving begins with these. Raises RecordsUnavailable."""
        if not self._first:
            return
        prices = prices_of(routes)
        last = await self._book.steps_before(NEWEST, count=1, action=ACTION)
        if not last or last[0].act.facts.get(DIGEST) != digest(prices):
            await self._write({}, prices, "start")

    async def changed(self, before: Iterable[Route], after: Iterable[Route]) -> None:
        """Serving goes on with others. Raises RecordsUnavailable."""
        was, now = prices_of(before), prices_of(after)
        if self._first and was != now:
            await self._write(was, now, "reload")

    async def _write(self, before: dict[str, str], after: dict[str, str], origin: Origin) -> None:
        await self._witness.write(Act("gateway", "gateway", ACTION, "prices", origin, facts=changes(before, after)))
