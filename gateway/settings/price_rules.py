"""What must agree within a metered price: currencies, bounds, units, and that it is a price at all.

Rules as in `rules`.
"""

from collections.abc import Callable, Iterator

from gateway.core.pricing import COUNTED, REQUEST_BYTES, UNITS
from gateway.core.usage import ROWS
from gateway.settings import forms, price_forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path
from gateway.settings.suggestions import did_you_mean


def _metered(draft: Draft) -> Iterator[Path]:
    for number in draft.numbers("routes"):
        for path in draft.prices(number):
            if draft.is_mapping(*path) and not draft.report.is_bad(path):
                yield path


def metered_amounts_are_of_one_currency(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    for path in _metered(draft):
        amounts = {
            (*path, name): draft.read(forms.amount, *path, name) for name in ("base", "minimum", "maximum", "slice")
        }
        for unit in draft.names(*path, "per"):
            per = draft.read(price_forms.amount_per, *path, "per", unit)
            amounts[(*path, "per", unit)] = per.amount if per else None
        for at, amount in amounts.items():
            if amount is not None and currency and amount.currency != currency:
                draft.report.add(at, f"this is in {amount.currency}, but `currency` is {currency}")


def metered_prices_are_bounded(draft: Draft) -> None:
    for path in _metered(draft):
        base, least, most = (draft.read(forms.amount, *path, name) for name in ("base", "minimum", "maximum"))
        adds = draft.names(*path, "per") or draft.truth(*path, "reported")
        if any(draft.report.is_bad((*path, name)) for name in draft.names(*path)):
            continue
        if not adds and not draft.given(*path, "base"):
            draft.report.add(path, "this adds up to nothing; give it a `base`, or units in `per`")
        elif adds and not draft.given(*path, "maximum"):
            words = "say in `maximum` what an answer costs at most: so much is held before a request is forwarded"
            draft.report.add((*path, "maximum"), words)
        slice = draft.read(forms.amount, *path, "slice")
        if slice is not None:
            said = [unit for unit in draft.names(*path, "per") if unit not in (*COUNTED, ROWS)]
            if said or draft.truth(*path, "reported"):
                words = f"{shown(said[0]) if said else 'what is reported'} is known only at the end of an answer"
                draft.report.add((*path, "slice"), f"{words}, so it cannot be paid for as it comes")
            for name, amount in (("base", base), ("minimum", least)):
                if amount is not None and amount.currency == slice.currency and slice < amount:
                    draft.report.add((*path, "slice"), f"this is less than `{name}`, {amount}")
                    break
        for name, amount in (("base", base), ("minimum", least)):
            if most is not None and amount is not None and most.currency == amount.currency and most < amount:
                draft.report.add((*path, "maximum"), f"this is less than `{name}`, {amount}")
                break


def metered_units_are_known(draft: Draft) -> None:
    for path in _metered(draft):
        own, priced = draft.names(*path, "fields"), draft.names(*path, "per")
        for unit in priced:
            per = draft.read(price_forms.amount_per, *path, "per", unit)
            if unit not in UNITS and unit not in own:
                hint = (
                    did_you_mean(unit, [*UNITS, *own]) or f"; say in `fields` where it stands, or write one of {_KNOWN}"
                )
                draft.report.add((*path, "per", unit), f"there is no unit {shown(unit)}{hint}", at_key=True)
            elif per is not None and (words := per.problem(unit)):
                draft.report.add((*path, "per", unit), words)
        for unit in own:
            if unit not in priced and not draft.report.is_bad((*path, "fields", unit)):
                draft.report.add((*path, "fields", unit), "it has no price in `per`, so it is not read", at_key=True)
        for unit in draft.names(*path, "bounds"):
            if unit not in priced or unit == REQUEST_BYTES:
                words = "the length of a request bounds it" if unit == REQUEST_BYTES else "it has no price in `per`"
                draft.report.add((*path, "bounds", unit), f"{words}, so nothing need be bounded", at_key=True)
        if draft.given(*path, "rows") and ROWS not in priced:
            draft.report.add((*path, "rows"), "rows have no price in `per`, so they are not counted")


def steps_follow_one_another(draft: Draft) -> None:
    for number in draft.numbers("routes"):
        for path in draft.whole_prices(number):
            places = [(*path, "steps", one) for one in draft.numbers(*path, "steps")]
            if len(places) == 1:
                draft.report.add((*path, "steps"), "one step alone is a price without steps; write it as that")
                continue
            before = 0
            for place in places[:-1]:
                up_to = draft.number(*place, "up_to")
                if draft.report.is_bad(place) or draft.report.is_bad((*place, "up_to")):
                    continue
                if up_to is None:
                    draft.report.add((*place, "up_to"), "another step follows, so say up to which call this one holds")
                elif up_to <= before:
                    draft.report.add((*place, "up_to"), f"this is not more than that of the step before, {before}")
                before = up_to or before
            for last in places[-1:]:
                if draft.given(*last, "up_to"):
                    draft.report.add((*last, "up_to"), "the last step has no end: what would more calls cost?")
                if draft.text(*last, "price") == forms.FREE:
                    words = "the last step cannot be free: then all would be; write more with less, or `free`"
                    draft.report.add((*last, "price"), words)


def what_is_free_is_not_charged(draft: Draft) -> None:
    for number in draft.numbers("routes"):
        is_free = all(draft.text(*path) == forms.FREE for path in draft.prices(number))
        if is_free and draft.given("routes", number, "charge_when"):
            draft.report.add(("routes", number, "charge_when"), "the route is free, so nothing is charged when")


def prices_by_plan_are_of_plans(draft: Draft) -> None:
    """They name plans that are sold, and something that others pay for."""
    sold = draft.names("plans")
    for number in draft.numbers("routes"):
        route = ("routes", number)
        methods = draft.names(*route, "methods")
        for plan in draft.names(*route, "plans"):
            place = (*route, "plans", plan)
            if draft.report.is_bad(place):
                continue
            if plan not in sold:
                hint = did_you_mean(plan, sold) or "; plans are sold by `plans`"
                draft.report.add(place, f"there is no plan {shown(plan)}{hint}", at_key=True)
            own = draft.names(*place, "methods")
            if not draft.names(*place):
                draft.report.add(place, "this changes nothing; give it a `price`, or `methods`")
            prices: list[tuple[Path, Path]] = [((*place, "price"), (*route, "price"))]
            for one in own:
                same: Path = ("methods", one) if one in methods else ("price",)
                prices.append(((*place, "methods", one), (*route, *same)))
            for path, others in prices:
                if draft.given(*path) and draft.text(*others) == forms.FREE != draft.text(*path):
                    draft.report.add(path, "others have this for nothing, so nobody would say that they have a plan")


def calls_have_one_price(draft: Draft) -> None:
    for number in draft.numbers("routes"):
        for name in ("methods", "plans"):
            if draft.given("routes", number, "mcp") and draft.given("routes", number, name):
                words = f"prices of tools cannot be joined with `{name}`; write one of the two"
                draft.report.add(("routes", number, name), words, at_key=True)


_KNOWN = ", ".join(UNITS)

ALL: tuple[Callable[[Draft], None], ...] = (
    metered_amounts_are_of_one_currency,
    metered_prices_are_bounded,
    metered_units_are_known,
    steps_follow_one_another,
    what_is_free_is_not_charged,
    prices_by_plan_are_of_plans,
    calls_have_one_price,
)
