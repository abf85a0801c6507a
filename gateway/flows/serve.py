"""The life of one request, top to bottom.

Each step returns or raises a `Refusal`. What a request costs is read off its meter, however it ended: the meter reads
zero until the upstream has answered, so a dead upstream, a refusal and a hang-up need no rules of their own. `settle`
awaits nothing, so no cancellation can land inside it and leave money on hold.

When the ledger is down a priced request is refused before it reaches the upstream; free routes go on.
"""

from collections.abc import Callable

from gateway.core import headers, targets
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.money import Money
from gateway.core.places import Places
from gateway.core.refusals import PaymentRequired, Refusal
from gateway.core.routes import Route, RouteTable
from gateway.core.targets import Target
from gateway.ports import Admits, AnswerCut, Exchange, Hold, Identifies, Ledger, Offers, Served


class Serve:
    """Serves requests by a table of routes, which may be swapped for another at any time."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        callers: Identifies,
        limits: Admits,
        ledger: Ledger,
        till: Offers,
        served: Served,
        places: Places | None = None,
        spent: Callable[[str, Hold], None] = lambda account, hold: None,
    ) -> None:
        self._spent = spent
        self.routes = routes
        self._callers = callers
        self._limits = limits
        self._ledger = ledger
        self._till = till
        self._served = served
        self._places = places or Places()

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request from first byte to settled account; never raises a Refusal."""
        caller, route, leave = ANONYMOUS, None, None
        try:
            exchange.check()
            target = targets.read(exchange.target, method=exchange.method, host=exchange.host)
            route = self.routes.match(target)
            caller = await self._callers.identify(exchange, route)
            if route.limits:
                # Before the hold: a request turned away must leave no money set aside.
                leave = await self._limits.admit(exchange, caller, route)
            if route.price.free:
                await self._relay(exchange, caller, route, target)
            else:
                await self._sell(exchange, caller, route, target)
        except Refusal as refusal:
            if isinstance(refusal, PaymentRequired):
                refusal = await self._till.offer(refusal, caller)
            await exchange.refuse(refusal, route)
        except AnswerCut:
            pass  # the connection is closed, and the meter has said what it did cost
        finally:
            if leave is not None:
                leave()
            self._served(exchange, route, caller)

    async def _relay(self, exchange: Exchange, caller: Caller, route: Route, target: Target) -> None:
        """A free route: forward and answer, nothing to record."""
        meter = route.price.meter()
        self._places.take(route)
        try:
            await exchange.forward(route, route.upstream_target(target), meter, caller)
            await exchange.answer(meter, _nothing_to_record)
        finally:
            self._places.leave(route)

    async def _sell(self, exchange: Exchange, caller: Caller, route: Route, target: Target) -> None:
        """A priced route: hold, forward, record, answer, settle."""
        price, meter = route.price, route.price.meter()
        if caller.fresh:
            # Nobody can have paid for a token that was made a moment ago: strangers do not reach the ledger.
            raise PaymentRequired(price=price.ceiling, balance=Money.zero(price.ceiling.currency))
        hold = await self._ledger.hold(
            caller.account, price.ceiling, id=exchange.id, token=caller.token_tag, tariff=route.tariff
        )
        begun, fields = False, exchange.fields

        def started() -> None:
            nonlocal begun
            begun = True
            hold.started()

        try:
            self._places.take(route)
            try:
                await exchange.forward(route, route.upstream_target(target), meter, caller)
                # On a strict route this waits for the disk: no byte is answered before its price is on record.
                due = price.cost(meter.units)
                await self._ledger.start(hold, due, route.durability)
                exchange.fields = [*fields, *headers.receipt(due, hold.balance)]
                await exchange.answer(meter, started)
            finally:
                self._places.leave(route)
        except BaseException:
            if not begun:
                meter.cut()  # not a byte of the answer has left: whoever is to blame, it costs nothing
                exchange.fields = fields  # nor does a refusal say that it did
            raise
        finally:
            exchange.cost = self._ledger.settle(hold, price.cost(meter.units))
            self._spent(caller.account, hold)


def _nothing_to_record() -> None:
    """The answer of a free route has started."""
