"""From the settings of owners to what their routes carry."""

from gateway.core.charges import ChargeTerms
from gateway.core.payouts import WEEKDAYS, PayoutTerms
from gateway.core.transfers import HOUR_MS
from gateway.settings import forms
from gateway.settings.shapes import GatewayShape
from gateway.settings.shapes.owners import OwnerPayoutsShape, OwnRoutesShape, PayoutsShape
from gateway.settings.shapes.routes import RouteShape
from gateway.settings.values import (
    ChargingSettings,
    ConnectSettings,
    OwnerSettings,
    OwnRoutesSettings,
    PayoutSettings,
    ServiceSettings,
)

OPERATOR = "operator"
"""Whose routes are the platform's own: what they take is not shared with anybody."""


def owners(shape: GatewayShape) -> dict[str, OwnerSettings]:
    """All that the file names, and those that its routes do."""
    names = dict.fromkeys((*shape.owners, *(route.owner for route in shape.routes)))
    return {name: _owner(name, shape) for name in names}


def payouts(shape: GatewayShape) -> PayoutSettings | None:
    """How owners are paid."""
    if shape.payouts is None:
        return None
    return PayoutSettings(_terms(shape.payouts, None), owners_bear=shape.payouts.claw_back == "owners")


def _owner(name: str, shape: GatewayShape) -> OwnerSettings:
    own = shape.owners.get(name)
    if own is None:
        return OwnerSettings(name, _of_owner(name, shape), named=False)
    people = tuple(forms.subject(text) for text in own.signs_in)
    terms = None if shape.payouts is None else _terms(shape.payouts, own.payouts)
    routes = own_routes(name, own.routes) if own.routes else None
    return OwnerSettings(name, _of_owner(name, shape), True, people, own.country, own.stripe_account, terms, routes)


def own_routes(name: str, given: OwnRoutesShape) -> OwnRoutesSettings:
    """Within which an owner may have routes of their own."""
    return OwnRoutesSettings(
        hosts=tuple(forms.own_host(text) for text in given.hosts),
        price_max=forms.amount(given.price_max),
        price_min=forms.amount(given.price_min) if given.price_min else None,
        prefix=given.prefix or f"/{name}/",
        routes_max=given.routes_max,
        private_addresses=given.private_addresses,
    )


def connect(shape: GatewayShape) -> ConnectSettings | None:
    given = shape.connect
    return ConnectSettings(given.country, given.api, given.older_paths) if given is not None else None


def charging(shape: GatewayShape) -> ChargingSettings | None:
    """How fees of refunds are charged."""
    given = shape.charging
    if given is None:
        return None
    own = {name: owner.charge_bps for name, owner in shape.owners.items() if owner.charge_bps is not None}
    terms = ChargeTerms(
        points=given.commission_bps,
        of_owners=own,
        currency=shape.currency,
        maximum=forms.amount(given.maximum) if given.maximum else None,
        per_day=forms.amount(given.per_day) if given.per_day else None,
        count_per_day=given.count_per_day,
        retry_ms=tuple(hours * HOUR_MS for hours in given.retry_hours),
        hold_proceeds=given.hold_proceeds,
    )
    return ChargingSettings(terms, given.older_paths)


def services(shape: GatewayShape) -> tuple[ServiceSettings, ...]:
    """Programs that call us, by name."""
    return tuple(
        ServiceSettings(name, one.role, one.owner or "", one.secret, one.older_secret)
        for name, one in sorted(shape.services.items())
    )


def _terms(usual: PayoutsShape, own: OwnerPayoutsShape | None) -> PayoutTerms:
    """What is said of one owner, and of the rest what is said of all."""
    said = {} if own is None else own.model_dump(exclude_none=True)
    shape = usual.model_copy(update=said)
    least = {} if shape.minimum is None else {(amount := forms.amount(shape.minimum)).currency: amount}
    day = WEEKDAYS.index(shape.weekday) if shape.every == "weekly" else shape.day
    return PayoutTerms(shape.every, day, least, shape.hold_back_days, shape.reserve_bps, shape.reserve_days)


def commission(route: RouteShape, shape: GatewayShape) -> int:
    """In basis points: what the route says, or its owner, or what is said of all."""
    return _of_owner(route.owner, shape) if route.commission_bps is None else route.commission_bps


def _of_owner(name: str, shape: GatewayShape) -> int:
    if name == OPERATOR:
        return 0
    own = shape.owners[name].commission_bps if name in shape.owners else None
    return shape.commission_bps if own is None else own
