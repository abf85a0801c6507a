"""The life of one request, top to bottom.

Each step returns or raises a `Refusal`. What a request costs is read off its meter, however it ended: the meter reads
zero until the upstream has answered, so a dead upstream, a refusal and a hang-up need no rules of their own. `settle`
awaits nothing, so no cancellation can land inside it and leave money on hold.

When the ledger is down a priced request is refused before it reaches the upstream; free routes go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial

from gateway.core import headers, targets
from gateway.core.answers import Answer
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.cors import Cors, is_preflight
from gateway.core.headers import Fields
from gateway.core.mcp import read_call
from gateway.core.meters import Follows
from gateway.core.money import Money
from gateway.core.places import Places
from gateway.core.pricing import LOOKED_AT_BYTES_MAX, AnyPrice, MeteredPrice, Price, first_hold
from gateway.core.refusals import INTERNAL_ERROR, CapReached, OriginRefused, PaymentRequired, Refusal
from gateway.core.routes import Durability, Route, RouteTable
from gateway.core.targets import Target
from gateway.core.use_meters import UseMeter
from gateway.ports import (
    Admits,
    AnswerCut,
    Exchange,
    FollowsLong,
    Hold,
    Identifies,
    Keeps,
    Ledger,
    Offers,
    SellsOnce,
    Served,
)


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
        now: Callable[[], float],
        places: Places | None = None,
        spent: Callable[[str, Hold], None] | None = None,
        screen: Callable[[str], Refusal | None] | None = None,
        once: SellsOnce | None = None,
        capped: Callable[[str, CapReached], None] | None = None,
        also_told: Callable[[Money], Fields] | None = None,
        plans: Callable[[str], Collection[str]] | None = None,
        cors: Cors | None = None,
        measured: Callable[[Exchange, UseMeter], None] | None = None,
        checkpoints: FollowsLong | None = None,
    ) -> None:
        self._plans = plans or _no_plans
        self._cors = cors
        self._capped = capped or _unheard
        self._measured = measured
        self._checkpoints = checkpoints
        self._also_told = also_told
        self._once = once
        self._now = now
        self._spent = spent
        self._screen = screen or _from_anywhere
        self.routes = routes
        self._callers = callers
        self._limits = limits
        self._ledger = ledger
        self._till = till
        self._served = served
        self._places = places or Places()

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request from first byte to settled account; never raises a Refusal."""
        caller, route, leave, plain = ANONYMOUS, None, None, exchange.fields
        try:
            if self._cors is not None:
                exchange.fields = plain + self._cors.fields(exchange.headers)
            exchange.check()
            target = targets.read(exchange.target, method=exchange.method, host=exchange.host)
            route = self.routes.match(target).for_method(exchange.method)
            if self._cors is not None:
                if route.cors == "upstream":
                    exchange.fields = plain
                if is_preflight(exchange.method, exchange.headers):
                    await self._tell_browser(exchange, route, target, self._cors)
                    return
            if route.calls is not None:
                exchange.call = read_call(await exchange.body_ahead(LOOKED_AT_BYTES_MAX, insist=True), exchange.headers)
                route = route.for_call(exchange.call)
            caller = await self._callers.identify(exchange, route)
            if route.plans:
                route = route.for_plans(self._plans(caller.account))
            if route.limits or caller.limits:
                # Before the hold: a request turned away must leave no money set aside.
                leave = await self._limits.admit(exchange, caller, route)
            if route.price.free:
                await self._relay(exchange, caller, route, target)
            else:
                sell = self._sell_once if route.once and exchange.has_key else self._sell
                try:
                    await sell(exchange, caller, route, target)
                except PaymentRequired:
                    # Another process may have joined this wallet to another, and the money with it.
                    moved = await self._callers.moved(caller)
                    if moved is None:
                        raise
                    caller = moved
                    await sell(exchange, caller, route, target)
        except Refusal as refusal:
            exchange.refusal_code = refusal.code
            if isinstance(refusal, PaymentRequired):
                refusal = self._screen(exchange.peer) or await self._till.offer(refusal, caller)
            elif isinstance(refusal, CapReached):
                self._capped(caller.account, refusal)
            await exchange.refuse(refusal, route)
        except AnswerCut:
            pass  # the connection is closed, and the meter has said what it did cost
        except Exception:
            exchange.refusal_code = INTERNAL_ERROR
            raise
        finally:
            if leave is not None:
                leave()
            self._served(exchange, route, caller)

    async def _relay(self, exchange: Exchange, caller: Caller, route: Route, target: Target) -> None:
        """A free route: forward and answer, nothing to record."""
        meter = route.price.meter(self._now, route.price.ceiling)
        self._places.take(route)
        try:
            await exchange.forward(route, route.upstream_target(target), meter, caller)
            await exchange.answer(meter, _nothing_to_record)
        finally:
            self._places.leave(route)

    async def _tell_browser(self, exchange: Exchange, route: Route, target: Target, cors: Cors) -> None:
        """A browser asks before it sends: nobody is asked who they are, and it costs nothing. Raises OriginRefused."""
        if route.cors == "upstream":
            route = _of_nobody(route)
            leave = await self._limits.admit(exchange, ANONYMOUS, route) if route.limits else None
            try:
                await self._relay(exchange, ANONYMOUS, route, target)
            finally:
                if leave is not None:
                    leave()
            return
        allowed = cors.preflight(exchange.headers)
        if allowed is None:
            raise OriginRefused()
        own = [field for field in exchange.fields if field[0] == "Gateway-Request-Id"]
        await exchange.replay(Answer(204, [*own, *allowed], b""))

    async def _sell_once(self, exchange: Exchange, caller: Caller, route: Route, target: Target) -> None:
        """The same for one who may ask for it again, with the same key."""
        if self._once is None:
            await self._sell(exchange, caller, route, target)
        else:
            await self._once.sell(exchange, caller, route, target, self._sell)

    def _sell(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, kept: Keeps | None = None
    ) -> Coroutine[None, None, None]:
        """A priced route. `kept`: for who may ask for it again."""
        sell = self._sell_in_steps if caller.fresh or route.steps else self._sell_at
        return sell(exchange, caller, route, target, kept)

    async def _sell_in_steps(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, kept: Keeps | None
    ) -> None:
        """At the first of its steps that has a call left; nothing to who has just been made."""
        most = route.price.ceiling
        if caller.fresh or (route.steps and not await self._ledger.funded(caller.account, most.currency)):
            # Nobody can have paid for a token that was made a moment ago: strangers do not reach the ledger.
            raise PaymentRequired(price=most, balance=Money.zero(most.currency))
        for step in route.steps[:-1]:
            try:
                await self._sell_at(exchange, caller, step, target, kept)
                return
            except CapReached as reached:
                if not reached.cap.counts_calls:
                    raise
        await self._sell_at(exchange, caller, route.steps[-1] if route.steps else route, target, kept)

    async def _sell_at(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, kept: Keeps | None
    ) -> None:
        """At this price: hold, forward, record, answer, settle."""
        price = route.price
        ceiling = await self._ceiling(exchange, caller, price) if price.looks_ahead else price.ceiling
        max_price, asks_event = None, False
        if exchange.asks_us:
            max_price = exchange.headers.get("Gateway-Max-Price")
            if max_price is not None and route.step is None:
                headers.agrees(max_price, ceiling)
            asks_event = headers.wants_cost_event(exchange.headers)
        held = ceiling if kept is not None or price.slice is None else first_hold(price, ceiling)
        hold = await self._hold(exchange, caller, route, held)
        sale = _Sale(exchange, route, hold, held, ceiling, self._now, asks_event=asks_event)
        try:
            if max_price is not None:
                headers.agrees(max_price, ceiling)  # of steps it is known only now which one it is
            self._places.take(route)
            try:
                await exchange.forward(route, route.upstream_target(target), sale.meter, caller)
                if kept is not None:
                    await kept.collect(exchange)
                await self._record(sale, route.durability if kept is None else "strict")
                begin = partial(self._begin, sale)
                await exchange.answer(sale.meter, begin if kept is None else await kept.keep(exchange, begin))
                if sale.paying is not None:
                    await sale.paying
            finally:
                self._places.leave(route)
        except BaseException:
            if not sale.begun:
                sale.void()
            raise
        finally:
            cost = self._settle(sale, caller)
        if sale.open_ended:
            await exchange.conclude(cost)

    def _hold(self, exchange: Exchange, caller: Caller, route: Route, held: Money) -> Awaitable[Hold]:
        """Set so much aside, and one call of a step that counts them."""
        count = route.step.cap(caller.account) if route.step is not None else None
        caps = caller.caps if count is None else (*caller.caps, count)
        return self._ledger.hold(
            caller.account, held, id=exchange.id, token=caller.token_tag, tariff=route.tariff, caps=caps
        )

    async def _record(self, sale: "_Sale", durability: Durability) -> None:
        """Say in the answer's fields what it costs, as far as that is known now.

        On a strict route this waits for the disk: no byte is answered before its price is on record. More of the answer
        may come meanwhile: it is told what is on record.
        """
        exchange, hold, known = sale.exchange, sale.hold, True
        if sale.used is not None:
            known = sale.known = _is_known(sale.used, sale.held, sale.ceiling)
        due, counted = sale.due()
        await self._ledger.start(hold, due, durability, counted=counted)
        told = headers.receipt(due, hold.balance_text) if known else headers.at_most(sale.ceiling)
        exchange.fields = sale.fields + told
        if sale.asks_event or not known:
            sale.open_ended = True
            exchange.leave_open(event=sale.asks_event, trailer=not known)
        if self._also_told is not None:
            exchange.fields += self._also_told(hold.balance)

    def _begin(self, sale: "_Sale") -> None:
        """The first byte of the answer has left: from here on it is paid for."""
        sale.begun = True
        sale.hold.started()
        price, used = sale.route.price, sale.used
        if used is not None and not sale.known and isinstance(price, MeteredPrice):
            if sale.held is not sale.ceiling:
                sale.paying = asyncio.create_task(self._pay_on(sale.exchange, sale.hold, used, price, sale.ceiling))
            elif self._checkpoints is not None:
                self._checkpoints.begin(used, sale.hold, price)

    def _settle(self, sale: "_Sale", caller: Caller) -> Money:
        """Charge what it did cost, however it ended. Awaits nothing."""
        exchange, used = sale.exchange, sale.used
        if sale.paying is not None:
            sale.paying.cancel()
        if used is not None:
            used.close()
            if self._checkpoints is not None:
                self._checkpoints.end(used)
        due, counted = sale.due()
        cost = exchange.cost = self._ledger.settle(sale.hold, due, counted=counted)
        if self._spent is not None:
            self._spent(caller.account, sale.hold)
        if used is not None and self._measured is not None and cost and not sale.route.price.flat:
            self._measured(exchange, used)
        return cost

    async def _pay_on(self, exchange: Exchange, hold: Hold, meter: UseMeter, price: MeteredPrice, most: Money) -> None:
        """A long answer goes on for as long as it can be paid: a slice at a time, before the last one is used up.

        If more came at once than was held, it waits. Ends with the answer, once all of it is paid.
        """
        assert price.slice is not None
        low = asyncio.Event()
        meter.watch(price.slice.micros, low=low.set, short=exchange.pause)
        try:
            while meter.ceiling < most.micros:
                if not (meter.is_short if meter.is_over else meter.is_low):
                    if meter.is_over:
                        return
                    low.clear()  # it may be of before the slice that has just been paid for
                    await _either(low, meter.seconds_left)
                    continue
                low.clear()
                due = price.cost(meter.units)
                ahead = min(price.slice.micros + meter.owed - meter.units, most.micros - due.micros)
                try:
                    await self._ledger.renew(hold, due, price.cost(ahead))
                except (PaymentRequired, CapReached) as refused:
                    if refused.left.micros <= 0:
                        raise
                    ahead = meter.ceiling - due.micros + refused.left.micros  # the last of it
                    await self._ledger.renew(hold, due, price.cost(ahead))
                meter.ceiling = max(meter.ceiling, due.micros + ahead)
                exchange.go_on()
            meter.unwatch()  # nothing more will be due, however long it goes on
        except Refusal as refusal:
            exchange.refusal_code = refusal.code
            exchange.end_early(refusal)

    async def _ceiling(self, exchange: Exchange, caller: Caller, price: AnyPrice) -> Money:
        """What this request can cost at most, by what it says. Nobody's body is waited for who never paid."""
        most = price.ceiling
        if not await self._ledger.funded(caller.account, most.currency):
            raise PaymentRequired(price=most, balance=Money.zero(most.currency))
        says = exchange.headers
        length = None if "Transfer-Encoding" in says else int(says.get("Content-Length", "0"))
        looks = price.looks_inside and says.get("Content-Encoding", "identity").lower() == "identity"
        return price.ceiling_for(length, await exchange.body_ahead(LOOKED_AT_BYTES_MAX) if looks else None)


class _Sale:
    """A request that is being sold: what was agreed on before it was forwarded, and what has become of it."""

    # What is so of most requests stands here, and not in `__init__`: a sale is made with every request that costs.
    used: UseMeter | None = None
    counts: bool = False
    """Whether it is free and takes a call of its step."""
    begun: bool = False
    known: bool = True
    """Whether what it costs was known before its answer began."""
    open_ended: bool = False
    """Whether the end of its answer says what it did cost."""
    paying: asyncio.Task[None] | None = None

    def __init__(
        self,
        exchange: Exchange,
        route: Route,
        hold: Hold,
        held: Money,
        ceiling: Money,
        now: Callable[[], float],
        *,
        asks_event: bool,
    ) -> None:
        price = route.price
        self.exchange = exchange
        self.route = route
        self.hold = hold
        self.held = held
        self.ceiling = ceiling
        self.asks_event = asks_event
        self.fields = exchange.fields
        """Without what is said of the price."""
        if route.step is not None and price.free and (counter := route.step.counter) is not None:
            self.counts, self.meter = True, counter.meter(now, counter.ceiling)
        else:
            self.meter = price.meter(now, held)
        if isinstance(self.meter, UseMeter):
            self.used = self.meter

    def due(self) -> tuple[Money, bool]:
        """What it costs by now, and whether it takes a call of its step."""
        units = self.meter.units
        return self.route.price.cost(units), self.counts and units > 0

    def void(self) -> None:
        """Not a byte of the answer has left: whoever is to blame, it costs nothing, nor is anybody told that it did."""
        self.meter.void()
        self.exchange.fields = self.fields


def _of_nobody(route: Route) -> Route:
    """The same for a browser that asks before it sends, where the upstream tells it: free, and of nobody."""
    return replace(
        route, price=Price(Money.zero(route.price.ceiling.currency)), methods={}, plans={}, pass_claims=(), inject=None
    )


async def _either(event: asyncio.Event, seconds: float | None) -> None:
    """Until it has happened, or so much time has passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _is_known(meter: Follows, held: Money, ceiling: Money) -> bool:
    """Whether what a request costs is known before its answer begins."""
    return meter.is_over and (held is ceiling or not meter.is_short)


def _unheard(account: str, refusal: CapReached) -> None:
    """Nobody is told of caps."""


def _no_plans(account: str) -> Collection[str]:
    """Nobody subscribes to anything."""
    return ()


def _from_anywhere(peer: str) -> None:
    """Everybody is offered a way to pay."""


def _nothing_to_record() -> None:
    """The answer of a free route has started."""
