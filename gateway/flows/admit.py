"""Holds a request against the limits of its route, before any money is set aside.

A token may have limits of its own, and those of the tokens that it came of; they count on every priced route, under the
token that has them.

Money tells callers apart: anybody can have any number of tokens that nothing was paid for, so a limit for each token
or account counts those callers by their address, and apart from those that have paid. What a window of money counts is
the most that the request can cost, which is what will be held for it.

A request that the ledger refuses afterwards was counted all the same: who cannot pay may not ask as often as they like.
"""

from collections.abc import Callable, Sequence

from gateway.core import headers
from gateway.core.callers import Caller
from gateway.core.limits import Ask, Limit, Place, Stand, network
from gateway.core.refusals import LimitsUnavailable, RateLimited
from gateway.core.routes import Route
from gateway.ports import Admitted, Exchange, Ledger, LimitsDown, RateLimits

_KNOWN_MAX = 4_096


class Admit:
    """Implements `ports.Admits`. `uncounted` hears of a route whose limits were down, and what it does then."""

    def __init__(self, *, limits: RateLimits, ledger: Ledger, uncounted: Callable[[str, str], None]) -> None:
        self._limits = limits
        self._ledger = ledger
        self._uncounted = uncounted
        self._known: dict[tuple[str, str, int], _Met] = {}

    async def admit(self, exchange: Exchange, caller: Caller, route: Route) -> Callable[[], None]:
        paid = route.tells_callers_apart and (caller.on_record or await self._has_paid(caller, route))
        met = self._known.get((route.name, caller.account, caller.token_tag))
        if met is None or not met.holds(exchange.peer, caller, route, paid):
            met = self._find(exchange.peer, caller, route, paid)
        if not met.limits:
            return _nothing_to_give_back
        try:
            admitted = await self._limits.admit(met.asks, met.places)
        except LimitsDown:
            admitted = Admitted([], _nothing_to_give_back, partly=True)
        if admitted.partly:
            return self._uncounted_but_for_caps(exchange, route, met, admitted)
        exchange.fields += headers.windows(met.policy, met.limits, admitted.stands)
        for stand in admitted.stands:
            if not stand.allowed:
                raise _refused(met.limits, admitted.stands)
        return admitted.leave

    def _uncounted_but_for_caps(
        self, exchange: Exchange, route: Route, met: "_Met", admitted: Admitted
    ) -> Callable[[], None]:
        """What the caps refuse is refused; of what they let in, the route says what becomes of it."""
        if admitted.stands:
            exchange.fields += headers.windows(met.policy_of_caps, met.caps, admitted.stands)
        if not all(stand.allowed for stand in admitted.stands):
            raise _refused(met.caps, admitted.stands)
        self._uncounted(route.name, route.limits_down)
        if route.limits_down == "closed":
            admitted.leave()
            raise LimitsUnavailable() from None
        return admitted.leave

    async def _has_paid(self, caller: Caller, route: Route) -> bool:
        if caller.fresh or not caller.account or route.price.free:
            return False
        return await self._ledger.funded(caller.account, route.price.ceiling.currency)

    def _find(self, peer: str, caller: Caller, route: Route, paid: bool) -> "_Met":
        """Kept for those who come again, which strangers do not: they have a token made for each request."""
        met = _Met(peer, caller, route, paid)
        if paid or caller.on_record:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[route.name, caller.account, caller.token_tag] = met
        return met


class _Met:
    """The limits that a caller meets on a route, and what is asked of them: to find that costs more than to ask it."""

    __slots__ = ("_own", "_paid", "_peer", "_route", "asks", "caps", "limits", "places", "policy", "policy_of_caps")

    def __init__(self, peer: str, caller: Caller, route: Route, paid: bool) -> None:
        self._peer, self._own, self._route, self._paid = peer, caller.limits, route, paid
        self.asks: list[Ask] = []
        self.places: list[Place] = []
        windows: list[Limit] = []
        caps: list[Limit] = []
        own = () if route.price.free else caller.limits
        for limit, subject in (*((limit, "") for limit in route.limits), *own):
            if not limit.is_met(paid=paid or bool(subject)):
                continue
            ceiling, currency = route.price.ceiling, limit.rate.currency if limit.rate is not None else ""
            if currency and currency != ceiling.currency:
                continue  # it counts money, and this is paid in a named credit
            key = subject or f"{limit.name} {_subject(limit, peer, caller, route, paid)}"
            if limit.rate is None:
                caps.append(limit)
                self.places.append(Place(key, limit.at_once))
            else:
                windows.append(limit)
                self.asks.append(Ask(limit.rate, key, ceiling.micros if currency else 1))
        self.limits = windows + caps
        self.caps = caps
        self.policy = ", ".join([limit.policy for limit in self.limits])
        self.policy_of_caps = ", ".join([limit.policy for limit in caps])

    def holds(self, peer: str, caller: Caller, route: Route, paid: bool) -> bool:
        """Whether it is still what they meet: a reload, another address or a change to the token makes it another."""
        return self._route is route and self._own is caller.limits and self._paid is paid and self._peer == peer


def _subject(limit: Limit, peer: str, caller: Caller, route: Route, paid: bool) -> str:
    if limit.per == "route":
        return route.name
    if limit.per == "owner":
        return route.owner
    if limit.per == "address" or not paid:
        return network(peer)
    return f"{caller.account} {caller.token_tag}" if limit.per == "token" else caller.account


def _refused(limits: Sequence[Limit], stands: Sequence[Stand]) -> RateLimited:
    violated = [(limit, stand) for limit, stand in zip(limits, stands, strict=True) if not stand.allowed]
    return RateLimited(
        policy=", ".join(limit.text for limit, _ in violated),
        retry_after_seconds=max(1, *(stand.reset_seconds for _, stand in violated)),
        violated=tuple(limit.name for limit, _ in violated),
    )


def _nothing_to_give_back() -> None:
    """No place was taken."""
