"""What is for sale and to whom: products, prices, payment links and customers, made and changed.

Every function is one API call: it checks what only it can know, changes the shelves, rings the bell for
the event that Stripe sends, and returns the object.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gateway.demo.standin import currencies, objects
from gateway.demo.standin.errors import ApiError, empty, invalid, missing, not_played
from gateway.demo.standin.store import Json, World

LINK_ITEMS_MAX = 20
QUANTITY_MAX = 999_999

Params = Mapping[str, Any]


def create_product(world: World, params: Params) -> Json:
    made = objects.product(world.id("prod", 14), world.seconds(), _fresh(params))
    world.keep(made)
    world.emit("product.created", made)
    if "default_price_data" in params:
        price = create_price(world, {**params["default_price_data"], "product": made["id"]})
        made["default_price"] = price["id"]
    return made


def update_product(world: World, id: str, params: Params) -> Json:
    if params.get("default_price"):
        world.get("price", params["default_price"], "default_price", 400)
    return _update(world, world.get("product", id), params, updated=world.seconds())


def create_price(world: World, params: Params) -> Json:
    currency = currencies.known(params["currency"])
    amounts = _amounts(params, currency)
    owner = _product_of(world, params, "product")
    if params.get("lookup_key"):
        _free_lookup_key(world, params["lookup_key"])
    made = objects.price(
        world.id("price"),
        world.seconds(),
        owner["id"],
        currency,
        {**_fresh(params), **amounts},
    )
    world.keep(made)
    world.emit("price.created", made)
    return made


def update_price(world: World, id: str, params: Params) -> Json:
    price = world.get("price", id)
    if params.get("lookup_key") and params["lookup_key"] != price["lookup_key"]:
        _free_lookup_key(world, params["lookup_key"])
    return _update(world, price, params)


def create_payment_link(world: World, params: Params) -> Json:
    if len(params["line_items"]) > LINK_ITEMS_MAX:
        raise invalid(f"line_items takes at most {LINK_ITEMS_MAX} items", "line_items")
    items, currency = basket(world, params["line_items"], params.get("currency"))
    id = world.id("plink")
    given = dict(_fresh(params))
    given["after_completion"] = _after_completion(params.get("after_completion"))
    given["restrictions"] = _restrictions(params.get("restrictions"), 0)
    world.items[id] = items
    made = world.keep(objects.payment_link(id, f"{world.origin}/pay/{id}", currency, given))
    world.emit("payment_link.created", made)
    return made


def update_payment_link(world: World, id: str, params: Params) -> Json:
    link = world.get("payment_link", id)
    changes = dict(params)
    if "after_completion" in changes:
        changes["after_completion"] = _after_completion(changes["after_completion"])
    if "restrictions" in changes:
        completed = ((link["restrictions"] or {}).get("completed_sessions") or {}).get("count", 0)
        changes["restrictions"] = _restrictions(changes["restrictions"], completed)
    if "custom_text" in changes:
        changes["custom_text"] = objects.custom_text({**link["custom_text"], **changes["custom_text"]})
    return _update(world, link, changes)


def create_customer(world: World, params: Params) -> Json:
    prefix = world.token(8).upper()
    made = world.keep(objects.customer(world.id("cus", 14), world.seconds(), _fresh(params), prefix))
    world.emit("customer.created", made)
    return made


def update_customer(world: World, id: str, params: Params) -> Json:
    return _update(world, world.get("customer", id), params)


def basket(world: World, lines: Sequence[Params], currency: str | None) -> tuple[list[Json], str]:
    """Line items in the order given, and the one currency they share."""
    if not lines:
        raise missing("line_items")
    items = [_line(world, line, f"line_items[{at}]") for at, line in enumerate(lines)]
    custom = [item for item in items if item["price"]["custom_unit_amount"]]
    if custom and (len(items) > 1 or items[0]["quantity"] != 1):
        raise invalid("A price with custom_unit_amount must be the only line item, with a quantity of 1", "line_items")
    shared = currencies.known(currency) if currency else items[0]["currency"]
    for at, item in enumerate(items):
        if item["currency"] != shared:
            raise invalid(
                f"All line items must be in one currency, {shared}; the price {item['price']['id']} is in "
                f"{item['currency']}",
                f"line_items[{at}][price]",
            )
    if not custom:
        currencies.chargeable(sum(item["amount_total"] for item in items), shared, "line_items")
    return items, shared


def _line(world: World, line: Params, path: str) -> Json:
    quantity = line.get("quantity", 1)
    if not 1 <= quantity <= QUANTITY_MAX:
        raise invalid(f"Invalid quantity: {quantity}", f"{path}[quantity]", "parameter_invalid_integer")
    if ("price" in line) == ("price_data" in line):
        raise invalid("Exactly one of price and price_data is required", f"{path}[price]", "parameter_missing")
    if "price" in line:
        price = world.get("price", line["price"], f"{path}[price]", 400)
        if not price["active"]:
            raise invalid(f"The price {price['id']} is inactive", f"{path}[price]")
    else:
        price = _inline_price(world, line["price_data"], f"{path}[price_data]")
    product = world.get("product", price["product"], f"{path}[price]", 400)
    amount = (price["unit_amount"] or 0) * quantity
    return objects.line_item(world.id("li"), copy.deepcopy(price), product["name"], amount, quantity)


def _inline_price(world: World, data: Params, path: str) -> Json:
    currency = currencies.known(data["currency"], f"{path}[currency]")
    if ("product" in data) == ("product_data" in data):
        raise invalid("Exactly one of product and product_data is required", f"{path}[product]", "parameter_missing")
    if "unit_amount" not in data and "unit_amount_decimal" not in data:
        raise missing(f"{path}[unit_amount]")
    # As with Stripe, a price made in passing is not offered again.
    return create_price(world, {**data, "currency": currency, "active": False})


def _product_of(world: World, params: Params, param: str) -> Json:
    if ("product" in params) == ("product_data" in params):
        raise invalid("Exactly one of product and product_data is required", param, "parameter_missing")
    if "product_data" in params:
        return create_product(world, params["product_data"])
    return world.get("product", params["product"], param, 400)


def _amounts(params: Params, currency: str) -> Json:
    ways = [name for name in ("unit_amount", "unit_amount_decimal", "custom_unit_amount") if name in params]
    if not ways:
        raise missing("unit_amount")
    if len(ways) > 1:
        raise invalid(f"Use only one of {' and '.join(ways)}", ways[1])
    if "custom_unit_amount" in params:
        return {"custom_unit_amount": _custom_amount(params["custom_unit_amount"], currency)}
    if "unit_amount" in params:
        return {"unit_amount": currencies.checked(params["unit_amount"], currency, "unit_amount")}
    number = params["unit_amount_decimal"]
    if number != int(number):
        raise not_played(["unit_amount_decimal with a fraction"])
    return {"unit_amount": currencies.checked(int(number), currency, "unit_amount_decimal")}


def _custom_amount(params: Params, currency: str) -> Json:
    if not params["enabled"]:
        raise invalid("custom_unit_amount[enabled] must be true", "custom_unit_amount[enabled]")
    bounds = {
        name: currencies.checked(params[name], currency, f"custom_unit_amount[{name}]") if name in params else None
        for name in ("maximum", "minimum", "preset")
    }
    low, high, preset = bounds["minimum"], bounds["maximum"], bounds["preset"]
    if low is not None:
        currencies.chargeable(low, currency, "custom_unit_amount[minimum]")
    if low is not None and high is not None and low > high:
        raise invalid("The minimum must not be above the maximum", "custom_unit_amount[minimum]")
    if preset is not None and not (low or 0) <= preset <= (high or currencies.AMOUNT_MAX):
        raise invalid("The preset must lie between the minimum and the maximum", "custom_unit_amount[preset]")
    return bounds


def _free_lookup_key(world: World, key: str) -> None:
    for price in world.shelf("price"):
        if price["lookup_key"] == key:
            raise invalid(f"The price {price['id']} already uses the lookup key {key[:200]}", "lookup_key")


def _after_completion(params: Params | None) -> Json:
    if params is None or params["type"] == "hosted_confirmation":
        message = (params or {}).get("hosted_confirmation", {}).get("custom_message")
        return {"hosted_confirmation": {"custom_message": message}, "type": "hosted_confirmation"}
    if "redirect" not in params:
        raise missing("after_completion[redirect]")
    url = absolute(params["redirect"]["url"], "after_completion[redirect][url]")
    return {"redirect": {"url": url}, "type": "redirect"}


def _restrictions(params: Params | str | None, completed: int) -> Json | None:
    if not isinstance(params, Mapping):
        return None
    limit = params["completed_sessions"]["limit"]
    if limit < 1:
        param = "restrictions[completed_sessions][limit]"
        raise invalid("The limit must be at least 1", param, "parameter_invalid_integer")
    return {"completed_sessions": {"count": completed, "limit": limit}}


def absolute(url: str, param: str) -> str:
    """An address that a browser can be sent to. Raises `ApiError` for any other."""
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise bad_url(param)
    return url


def bad_url(param: str) -> ApiError:
    return invalid("Not a valid URL: an explicit scheme (such as https) must be provided.", param, "url_invalid")


def _fresh(params: Params) -> Params:
    """Parameters of something new: metadata with an empty value is metadata that is not there."""
    if not isinstance(params.get("metadata"), Mapping):
        return {name: value for name, value in params.items() if name != "metadata"}
    return {**params, "metadata": {key: value for key, value in params["metadata"].items() if value != ""}}


def _update(world: World, item: Json, params: Params, **also: Any) -> Json:
    changes = {name: None if value == "" else value for name, value in params.items()}
    if "metadata" in changes:
        changes["metadata"] = _merged(item["metadata"], changes["metadata"])
    for name in ("name", "active"):
        if name in changes and changes[name] is None and item["object"] != "customer":
            raise empty(name)
    before = {name: item[name] for name, value in changes.items() if item[name] != value}
    if before:
        item.update({**changes, **also})
        world.emit(f"{item['object']}.updated", item, previous_attributes=copy.deepcopy(before))
    return item


def _merged(current: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    merged = {**current, **given} if given else {}
    return {key: value for key, value in merged.items() if value != ""}
