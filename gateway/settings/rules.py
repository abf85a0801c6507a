"""What must agree between settings: addresses, money and routes. More is in `relay_rules`, and on secrets in `keys`.

Each rule reads the draft and reports; none depends on another, so one pass finds everything.
"""

from collections.abc import Callable

from gateway.core.routes import RESERVED_PREFIXES
from gateway.settings import forms, payable, relay_forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path
from gateway.settings.shapes.payments import STRIPE_API_URL
from gateway.settings.suggestions import did_you_mean

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound


def listeners_have_an_address_each(draft: Draft) -> None:
    listen, admin = draft.read(relay_forms.listener, "listen"), draft.read(forms.address, "admin")
    if isinstance(listen, tuple) and admin and listen[1] == admin[1] != 0 and overlap(listen[0], admin[0]):
        path = "admin" if draft.given("admin") else "listen"
        draft.report.add((path,), "listen and admin are the same address; give each its own port")


def overlap(one: str, other: str) -> bool:
    """Whether two hosts to listen on may be the same address."""
    either = {one, other}
    return (
        len(either) == 1
        or not either.isdisjoint(WILDCARDS)
        or ("localhost" in either and forms.is_loopback(one) and forms.is_loopback(other))
    )


def live_mode_is_reached_by_https(draft: Draft) -> None:
    public_url = draft.read(forms.origin, "public_url")
    if draft.text("mode") == "live" and public_url and public_url.scheme == "http" and not public_url.is_loopback:
        draft.report.add(("public_url",), "in mode live callers' tokens must not travel in the clear; write https://")


def an_environment_is_of_our_mode(draft: Draft) -> None:
    environment, mode = draft.text("environment"), draft.text("mode")
    if environment == "production" and mode == "test":
        draft.report.add(
            ("environment",), "production takes real money, but mode is test; write mode: live, or staging"
        )
    elif environment in ("development", "staging") and mode == "live":
        draft.report.add(("environment",), f"in {environment} no real money moves, but mode is live")


def secure_cookies_need_https(draft: Draft) -> None:
    cookie = draft.text("tokens", "cookie")
    if cookie and cookie.lower().startswith(("__host-", "__secure-")) and draft.public_is_plain():
        draft.report.add(("tokens", "cookie"), "browsers drop a cookie of this name unless public_url is https://")


def stand_ins_for_stripe_stay_at_home(draft: Draft) -> None:
    api_url = draft.read(forms.origin, "stripe", "api_url")
    if not api_url or str(api_url) == STRIPE_API_URL:
        return
    path = ("stripe", "api_url")
    if draft.text("mode") == "live":
        draft.report.add(path, f"in mode live payments go to {STRIPE_API_URL} only; remove this setting")
    elif api_url.scheme == "http" and not api_url.is_loopback:
        draft.report.add(path, "the key must not travel in the clear; http:// is for this machine only")


def amounts_are_of_one_currency(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    for number in draft.numbers("routes"):
        for path in draft.prices(number):
            price = draft.read(forms.price, *path)
            if price and price.named:
                if "steps" in path:
                    draft.report.add(path, f"{price.currency} is no money, and steps are of money")
            elif price and currency and price.currency != currency:
                draft.report.add(path, f"the price is in {price.currency}, but `currency` is {currency}")


def a_top_up_can_be_paid(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    path = ("stripe", "top_up")
    if not currency or not draft.given("stripe") or draft.report.is_bad(path):
        return
    if not draft.given(*path):
        if payable.usual(currency) is None:
            draft.report.add(path, f'say what a payment link sells, such as "500 {currency}"')
        return
    top_up = draft.read(forms.amount, *path)
    if top_up is None:
        return
    if top_up.currency != currency:
        draft.report.add(path, f"the top-up is in {top_up.currency}, but `currency` is {currency}")
    elif words := payable.problem(top_up):
        draft.report.add(path, words)


def choices_can_be_paid(draft: Draft) -> None:
    """Amounts to choose from, and their bounds: payable, of our currency, and none outside the bounds."""
    currency = draft.read(forms.currency, "currency")
    if not currency:
        return
    presets = [("stripe", "amounts", number) for number in draft.numbers("stripe", "amounts")]
    least, most = ("stripe", "amount_min"), ("stripe", "amount_max")
    amounts = {}
    for path in (*presets, least, most):
        amount = draft.read(forms.amount, *path) if draft.given(*path) else None
        if amount is None:
            continue
        if amount.currency != currency:
            draft.report.add(path, f"this is in {amount.currency}, but `currency` is {currency}")
        elif words := payable.problem(amount):
            draft.report.add(path, words)
        else:
            amounts[path] = amount
    if least in amounts and most in amounts and amounts[most] < amounts[least]:
        draft.report.add(most, f"this is less than stripe.amount_min, {amounts[least]}")
    for path in presets:
        if path in amounts and least in amounts and amounts[path] < amounts[least]:
            draft.report.add(path, f"this is less than stripe.amount_min, {amounts[least]}")
        if path in amounts and most in amounts and amounts[most] < amounts[path]:
            draft.report.add(path, f"this is more than stripe.amount_max, {amounts[most]}")


def a_link_suggests_what_can_be_chosen(draft: Draft) -> None:
    top_up, currency = draft.read(forms.amount, "stripe", "top_up"), draft.read(forms.currency, "currency")
    if currency and not draft.given("stripe", "top_up"):
        top_up = payable.usual(currency)
    if draft.text("stripe", "payment_link") != "choose" or top_up is None or top_up.currency != currency:
        return
    for name in ("amount_min", "amount_max"):
        bound = draft.read(forms.amount, "stripe", name)
        if bound is None or bound.currency != currency:
            continue
        if top_up < bound if name == "amount_min" else bound < top_up:
            draft.report.add(("stripe", name), f"the payment link suggests stripe.top_up, {top_up}, which is outside")


def a_day_is_of_our_currency_and_holds_a_payment(draft: Draft) -> None:
    currency, path = draft.read(forms.currency, "currency"), ("stripe", "amount_day_max")
    day, most = draft.read(forms.amount, *path), draft.read(forms.amount, "stripe", "amount_max")
    if day is not None and currency and day.currency != currency:
        draft.report.add(path, f"this is in {day.currency}, but `currency` is {currency}")
    elif day is not None and most is not None and day.currency == most.currency and day < most:
        draft.report.add(path, f"this is less than stripe.amount_max, {most}")


def ceilings_are_of_our_currency(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    day, month = (draft.read(forms.amount, "stripe", "auto_top_up", name) for name in ("per_day", "per_month"))
    for name, amount in (("per_day", day), ("per_month", month)):
        if amount is not None and currency and amount.currency != currency:
            path = ("stripe", "auto_top_up", name)
            draft.report.add(path, f"this is in {amount.currency}, but `currency` is {currency}")
    if day is not None and month is not None and day.currency == month.currency and month < day:
        draft.report.add(("stripe", "auto_top_up", "per_month"), f"this is less than per_day, {day}")


def plans_are_sold_in_our_currency(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    first: dict[str, str] = {}
    for name in draft.names("plans"):
        path = ("plans", name)
        for amount, form in (("costs", forms.amount), ("grants", forms.grant)):
            money = draft.read(form, *path, amount)
            if money is not None and not money.named and currency and money.currency != currency:
                draft.report.add((*path, amount), f"this is in {money.currency}, but `currency` is {currency}")
        price = draft.read(forms.price_id, *path, "price")
        if price is not None:
            _one_plan_each(draft, first, price, name, (*path, "price"))
        if not draft.given("stripe"):
            draft.report.add(path, "a plan is sold by Stripe; add `stripe`", at_key=True)
    for name in draft.names("plans"):
        for older in draft.names("plans", name, "older_prices"):
            place = ("plans", name, "older_prices", older)
            _one_plan_each(draft, first, older, f"{name} (older)", place)
            costs = draft.read(forms.amount, *place)
            if costs is not None and currency and costs.currency != currency:
                draft.report.add(place, f"this is in {costs.currency}, but `currency` is {currency}")


def _one_plan_each(draft: Draft, first: dict[str, str], price: str, whose: str, path: Path) -> None:
    if first.setdefault(price, whose) != whose:
        words = f"{shown(first[price])} has the same price, and one price can be one plan"
        draft.report.add(path, words)


def notices_leave_by_https(draft: Draft) -> None:
    url = draft.read(forms.endpoint, "notices", "url")
    if url and not draft.truth("notices", "private_addresses"):
        if url.startswith("http://"):
            words = "what is told of accounts must not travel in the clear; write https://, or private_addresses: true"
            draft.report.add(("notices", "url"), words)
        elif forms.is_private(url):
            draft.report.add(("notices", "url"), "this is no address of the internet; see private_addresses")
    currency, line = draft.read(forms.currency, "currency"), draft.read(forms.amount, "notices", "low_balance")
    if currency and line and line.currency != currency:
        path = ("notices", "low_balance")
        draft.report.add(path, f"this is in {line.currency}, but `currency` is {currency}")


def one_answer_fits_among_all_that_are_kept(draft: Draft) -> None:
    path = ("idempotency", "answers_max")
    one, together = draft.read(forms.body_size, "idempotency", "answer_max"), draft.read(forms.body_size, *path)
    if one is not None and together is not None and together < one:
        draft.report.add(path, "this is less than idempotency.answer_max, so the largest answer would not be kept")


def routes_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, int] = {}
    for number in draft.numbers("routes"):
        name = draft.read(forms.name, "routes", number, "name")
        if name is None:
            continue
        spelling = name.replace("-", "_")
        if spelling in first:
            other = draft.text("routes", first[spelling], "name")
            same = "has this name" if other == name else f"is called {shown(other)}, which is the same in a variable"
            draft.report.add(("routes", number, "name"), f"routes[{first[spelling]}] {same}")
        first.setdefault(spelling, number)


def upstreams_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, str] = {}
    for name in draft.names("upstreams"):
        other = first.setdefault(name.replace("-", "_"), name)
        if other != name:
            words = f"{shown(other)} and {shown(name)} are the same name in a variable; rename one"
            draft.report.add(("upstreams", name), words, at_key=True)


def routes_lead_to_an_upstream(draft: Draft) -> None:
    known = draft.names("upstreams")
    for number in draft.numbers("routes"):
        upstream = draft.read(forms.name, "routes", number, "upstream")
        if upstream is not None and upstream not in known and not draft.report.is_bad(("upstreams",)):
            hint = did_you_mean(upstream, known)
            draft.report.add(("routes", number, "upstream"), f"there is no upstream {shown(upstream)}{hint}")


def routes_do_not_shadow_one_another(draft: Draft) -> None:
    first: dict[str, int] = {}
    for number in draft.numbers("routes"):
        match = draft.read(forms.match, "routes", number, "match")
        if match is None:
            continue
        other = first.setdefault(match.lower(), number)
        if other == number:
            continue
        name = draft.text("routes", other, "name")
        which = f"routes[{other}]" + (f" ({shown(name)})" if name else "")
        if draft.text("routes", other, "match") == match:
            words = f"{which} has the same match, so one of the two would never be reached"
        else:
            words = f"{which} differs only in capital letters, which many servers take for the same path"
        draft.report.add(("routes", number, "match"), words)


def routes_leave_our_own_addresses_alone(draft: Draft) -> None:
    aliases = [draft.text("stripe", "webhook_aliases", number) for number in draft.numbers("stripe", "webhook_aliases")]
    for number in draft.numbers("routes"):
        match = draft.read(forms.match, "routes", number, "match")
        if match is None:
            continue
        for reserved in RESERVED_PREFIXES:
            if (match.lower().rstrip("/") + "/").startswith(reserved):
                words = f"addresses under {reserved} belong to the gateway itself"
                draft.report.add(("routes", number, "match"), words)
        if match.rstrip("/") in aliases:
            draft.report.add(("routes", number, "match"), "stripe.webhook_aliases receives webhooks on this path")


def the_price_list_hides_nothing_of_an_upstream(draft: Draft) -> None:
    for alias in draft.numbers("price_list", "aliases"):
        path = draft.text("price_list", "aliases", alias)
        for number in draft.numbers("routes"):
            match = draft.read(forms.match, "routes", number, "match")
            if path and match and (match == path or (match.endswith("/") and path.startswith(match))):
                which = shown(draft.text("routes", number, "name") or f"routes[{number}]")
                draft.report.add(("price_list", "aliases", alias), f"the route {which} serves this path")
                break


def a_database_is_shared_as_it_can_be(draft: Draft) -> None:
    url = draft.read(forms.database, "store")
    if url is None:
        for name in ("store_password", "host_name"):
            if draft.given(name) and not draft.report.is_bad(("store",)):
                draft.report.add((name,), "this is for a store at postgresql://… only")
        return
    if draft.given("store_password") and forms.password_of(url):
        draft.report.add(("store_password",), "the address in `store` holds a password as well; write it once")


ALL: tuple[Callable[[Draft], None], ...] = (
    listeners_have_an_address_each,
    live_mode_is_reached_by_https,
    an_environment_is_of_our_mode,
    secure_cookies_need_https,
    stand_ins_for_stripe_stay_at_home,
    amounts_are_of_one_currency,
    a_top_up_can_be_paid,
    choices_can_be_paid,
    a_link_suggests_what_can_be_chosen,
    a_day_is_of_our_currency_and_holds_a_payment,
    ceilings_are_of_our_currency,
    plans_are_sold_in_our_currency,
    notices_leave_by_https,
    one_answer_fits_among_all_that_are_kept,
    routes_have_names_of_their_own,
    upstreams_have_names_of_their_own,
    routes_lead_to_an_upstream,
    routes_do_not_shadow_one_another,
    routes_leave_our_own_addresses_alone,
    the_price_list_hides_nothing_of_an_upstream,
    a_database_is_shared_as_it_can_be,
)
