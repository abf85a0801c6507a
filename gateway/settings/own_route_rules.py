"""Within what bounds owners' own routes are. Rules as in `rules`."""

import ipaddress
from collections.abc import Callable

from gateway.core.hosts import is_public
from gateway.core.money import Money
from gateway.core.routes import RESERVED_PREFIXES
from gateway.settings import forms, relay_forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path


def prefixes_are_of_one_owner(draft: Draft) -> None:
    first: dict[str, str] = {}
    for owner in draft.names("owners"):
        path = ("owners", owner, "routes")
        prefix = _prefix(draft, owner) if draft.given(*path) else None
        if prefix is None:
            continue
        if not prefix.endswith("/") or prefix == "/" or prefix.startswith(RESERVED_PREFIXES):
            draft.report.add((*path, "prefix"), "write a folder of theirs alone, such as /anna/")
            continue
        for other, theirs in first.items():
            if prefix.startswith(theirs) or theirs.startswith(prefix):
                words = f"this is in the same place as that of {shown(other)}; each owner has their own"
                draft.report.add((*path, "prefix") if draft.given(*path, "prefix") else path, words)
                break
        else:
            first[owner] = prefix


def bounds_are_of_our_currency(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    for owner in draft.names("owners"):
        path = ("owners", owner, "routes")
        bounds = {name: draft.read(forms.amount, *path, name) for name in ("price_min", "price_max")}
        for name, amount in bounds.items():
            if amount is not None and currency and amount.currency != currency:
                draft.report.add((*path, name), f"this is in {amount.currency}, but `currency` is {currency}")
        least, most = bounds["price_min"], bounds["price_max"]
        if least is not None and most is not None and least.currency == most.currency and most < least:
            draft.report.add((*path, "price_max"), f"this is less than price_min, {least}")


def own_routes_are_within_their_prefix(draft: Draft) -> None:
    for number, owner in draft.owned.routes.items():
        path, prefix = ("routes", number, "match"), _prefix(draft, owner)
        match = draft.read(forms.match, *path)
        if match is not None and prefix is not None and not match.startswith(prefix):
            draft.report.add(path, f"paths of yours begin with {shown(prefix)}")


def own_routes_are_not_too_many(draft: Draft) -> None:
    for owner in dict.fromkeys(draft.owned.routes.values()):
        most = draft.number("owners", owner, "routes", "routes_max") or 20
        numbers = [number for number, whose in draft.owned.routes.items() if whose == owner]
        if len(numbers) > most:
            draft.report.add(("routes", numbers[most], "name"), f"you may have {most} routes")


def own_routes_lead_to_own_upstreams(draft: Draft) -> None:
    """Never to the operator's: those are inside, and have credentials."""
    for number, owner in draft.owned.routes.items():
        path = ("routes", number, "upstream")
        name = draft.read(forms.name, *path)
        if name is not None and draft.owned.upstreams.get(name) != owner:
            draft.report.add(path, "name one of the upstreams in this file")


def own_upstreams_are_where_they_may_be(draft: Draft) -> None:
    for name, owner in draft.owned.upstreams.items():
        servers = [("upstreams", name, "servers", number) for number in draft.numbers("upstreams", name, "servers")]
        for path in (("upstreams", name, "url"), *servers):
            if draft.given(*path) and (words := _misplaced(draft, owner, path)):
                draft.report.add(path, words)


def _misplaced(draft: Draft, owner: str, path: Path) -> str | None:
    server = draft.read(relay_forms.server, *path)
    if server is None:
        return None
    if server.socket:
        return "an upstream of yours is a host, not a socket of this machine"
    allowed = [
        draft.read(forms.own_host, "owners", owner, "routes", "hosts", number)
        for number in draft.numbers("owners", owner, "routes", "hosts")
    ]
    if not any(host is not None and _is_of(server.host, host) for host in allowed):
        return "the operator does not allow this host; ask them for it"
    try:
        inside = not is_public(str(ipaddress.ip_address(server.host)))
    except ValueError:
        inside = server.host == "localhost"
    if inside and not draft.truth("owners", owner, "routes", "private_addresses"):
        return "this is no address of the internet"
    return None


def _is_of(host: str, allowed: str) -> bool:
    host = host.lower().rstrip(".")
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def own_prices_are_within_bounds(draft: Draft) -> None:
    for number, owner in draft.owned.routes.items():
        bounds = ("owners", owner, "routes")
        least, most = (draft.read(forms.amount, *bounds, name) for name in ("price_min", "price_max"))
        for path in draft.prices(number):
            if not draft.report.is_bad(path) and (words := _out_of_bounds(draft, path, least, most)):
                draft.report.add(path, words)


def _out_of_bounds(draft: Draft, path: Path, least: Money | None, most: Money | None) -> str | None:
    if draft.is_mapping(*path):
        base = draft.read(forms.amount, *path, "base")
        highest = draft.read(forms.amount, *path, "maximum") or base
        lowest = draft.read(forms.amount, *path, "minimum") or base
    else:
        highest = lowest = draft.read(forms.price, *path)
        if highest is None and draft.text(*path) != forms.FREE:
            return None
    if highest is not None and most is not None and (highest.currency != most.currency or most < highest):
        return f"a call of yours costs {most} at most"
    if least is not None and (lowest is None or lowest.currency != least.currency or lowest < least):
        return f"a call of yours costs {least} at least"
    return None


def _prefix(draft: Draft, owner: str) -> str | None:
    path = ("owners", owner, "routes", "prefix")
    return draft.read(forms.match, *path) if draft.given(*path) else f"/{owner}/"


ALL: tuple[Callable[[Draft], None], ...] = (
    prefixes_are_of_one_owner,
    bounds_are_of_our_currency,
    own_routes_are_within_their_prefix,
    own_routes_are_not_too_many,
    own_routes_lead_to_own_upstreams,
    own_upstreams_are_where_they_may_be,
    own_prices_are_within_bounds,
)
