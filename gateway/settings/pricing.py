"""From the checked shapes of a price and its `charge_when` to the price of a route."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.core.charging import ChargeWhen
from gateway.core.money import Money
from gateway.core.pricing import AnyPrice, MeteredPrice, Price, UnitPrice
from gateway.core.steps import PriceStep, SteppedPrice
from gateway.settings import forms, price_forms
from gateway.settings.shapes.routes import (
    ChargeShape,
    MeteredPriceShape,
    PlanPricesShape,
    RouteShape,
    SteppedPriceShape,
)

RoutePrice = AnyPrice | SteppedPrice


@dataclass(frozen=True, slots=True)
class MethodPrices:
    """What a method costs, and what it costs by plan."""

    price: RoutePrice
    plans: Mapping[str, RoutePrice]


@dataclass(frozen=True, slots=True)
class RoutePrices(MethodPrices):
    """All prices of a route: of the methods without one of their own, and of those that have one."""

    methods: Mapping[str, MethodPrices]
    tools: Mapping[str, AnyPrice]
    calls: Mapping[str, AnyPrice]
    """Of an MCP server's tools, and of its other methods."""
    counter: AnyPrice
    """By whose meter it is known whether an answer at no price would be charged."""


def of_route(route: RouteShape, currency: str, *, in_cents: bool, zone: str) -> RoutePrices:
    """What a plan does not name costs its accounts what it costs others."""

    def made(shape: str | MeteredPriceShape | SteppedPriceShape) -> RoutePrice:
        if isinstance(shape, SteppedPriceShape):
            steps = tuple(PriceStep(single(step.price), step.up_to) for step in shape.steps)
            return SteppedPrice(shape.period, zone, steps)
        return single(shape)

    def single(shape: str | MeteredPriceShape) -> AnyPrice:
        found = price(shape, route.charge_when, currency)
        return replace(found, in_cents=in_cents) if isinstance(found, MeteredPrice) and found.reported else found

    def of_method(method: str) -> MethodPrices:
        plans = {name: found for name, plan in route.plans.items() if (found := of_plan(method, plan)) is not None}
        return MethodPrices(made(route.methods.get(method, route.price)), plans)

    def of_plan(method: str, plan: PlanPricesShape) -> RoutePrice | None:
        shape = plan.methods.get(method, None if method in route.methods else plan.price)
        return None if shape is None else made(shape)

    others = of_method("")
    methods = dict.fromkeys([*route.methods, *(method for plan in route.plans.values() for method in plan.methods)])
    counter = price(f"0.000001 {currency}", route.charge_when, currency)
    tools = {name: single(one) for name, one in route.mcp.tools.items()} if route.mcp else {}
    calls = {name: single(one) for name, one in route.mcp.methods.items()} if route.mcp else {}
    by_method = {method: of_method(method) for method in methods}
    return RoutePrices(others.price, others.plans, by_method, tools, calls, counter)


def price(shape: str | MeteredPriceShape, charge: ChargeShape, currency: str) -> AnyPrice:
    """A route that says nothing of when it charges has the plain price of a call, which costs the least to serve."""
    if isinstance(shape, MeteredPriceShape):
        return _metered(shape, _charge(charge, cut=100), currency)
    flat = forms.price(shape)
    if flat is None:
        return Price(Money.zero(currency))
    if charge == ChargeShape():
        return Price(flat)
    return MeteredPrice(maximum=flat, base=flat, charge=_charge(charge, cut=0))


def _metered(shape: MeteredPriceShape, charge: ChargeWhen, currency: str) -> MeteredPrice:
    base = forms.amount(shape.base) if shape.base else Money.zero(currency)
    return MeteredPrice(
        maximum=forms.amount(shape.maximum) if shape.maximum else base,
        base=base,
        per=tuple(_per(unit, text) for unit, text in shape.per.items()),
        minimum=forms.amount(shape.minimum) if shape.minimum else None,
        fields=MappingProxyType(dict(shape.fields)),
        rows_at=shape.rows or "",
        reported=shape.reported,
        unreported=shape.unreported,
        slice=forms.amount(shape.slice) if shape.slice else None,
        bounds=MappingProxyType({unit: tuple(paths) for unit, paths in shape.bounds.items()}),
        charge=charge,
    )


def _per(unit: str, text: str) -> UnitPrice:
    per = price_forms.amount_per(text)
    return UnitPrice(unit, per.amount, per.counted(unit), text)


def _charge(shape: ChargeShape, *, cut: int) -> ChargeWhen:
    late = shape.late
    return ChargeWhen(
        statuses=frozenset().union(*(price_forms.statuses(text) for text in shape.statuses)),
        empty=price_forms.percent(shape.empty),
        cut=price_forms.percent(shape.cut) if shape.cut else cut,
        late=price_forms.percent(late.due) if late else 100,
        late_seconds=forms.duration(late.after) if late else None,
    )
