"""What a reader sees: pages of a shelf, and objects with other objects expanded inside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.demo.standin.errors import ApiError, invalid, no_such
from gateway.demo.standin.store import Json, World

PAGE_DEFAULT = 10
PAGE_MAX = 100
EXPAND_DEPTH_MAX = 4

#: Which fields of which object hold the id of another one, and of what kind.
REFERENCES: Mapping[str, Mapping[str, str]] = {
    "product": {"default_price": "price"},
    "price": {"product": "product"},
    "checkout.session": {
        "customer": "customer",
        "payment_intent": "payment_intent",
        "subscription": "subscription",
        "payment_link": "payment_link",
        "setup_intent": "setup_intent",
    },
    "setup_intent": {"customer": "customer", "payment_method": "payment_method"},
    "payment_intent": {
        "customer": "customer",
        "latest_charge": "charge",
        "payment_method": "payment_method",
    },
    "charge": {"customer": "customer", "payment_intent": "payment_intent"},
    "payment_method": {"customer": "customer"},
    "subscription": {"customer": "customer", "latest_invoice": "invoice"},
    "invoice": {"customer": "customer"},
    "refund": {"charge": "charge", "payment_intent": "payment_intent"},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
    "radar.early_fraud_warning": {"charge": "charge", "payment_intent": "payment_intent"},
}
WITH_ITEMS = ("checkout.session", "payment_link")

Filter = Callable[[Json], bool]


def page(items: Iterable[Json], params: Mapping[str, Any], url: str, kind: str) -> Json:
    """One page of items that come newest first. Raises `ApiError` for a bad limit or an unknown cursor."""
    limit = _limit(params.get("limit", PAGE_DEFAULT))
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid("starting_after and ending_before cannot be used together", "ending_before")
    rows = list(items)
    if before:
        rows = rows[: _position(rows, before, kind, "ending_before")]
        chosen, more = rows[max(0, len(rows) - limit) :], len(rows) > limit
    else:
        start = _position(rows, after, kind, "starting_after") + 1 if after else 0
        chosen, more = rows[start : start + limit], len(rows) > start + limit
    return {"object": "list", "data": [copy.deepcopy(row) for row in chosen], "has_more": more, "url": url}


def _limit(limit: int) -> int:
    if 1 <= limit <= PAGE_MAX:
        return limit
    bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {PAGE_MAX}"
    raise invalid(f"Invalid integer: limit must be {bound}", "limit", "parameter_invalid_integer")


def _position(rows: Sequence[Json], id: str, kind: str, param: str) -> int:
    for at, row in enumerate(rows):
        if row["id"] == id:
            return at
    raise no_such(kind, id[:100], param, 400)


def created(bounds: int | Mapping[str, int] | None) -> Filter:
    """The filter behind `created=…` and `created[gte]=…`."""
    if bounds is None:
        return lambda item: True
    if isinstance(bounds, int):
        return lambda item: bool(item["created"] == bounds)
    low = max(bounds.get("gte", 0), bounds.get("gt", -1) + 1)
    high = min(bounds.get("lte", 2**63), bounds.get("lt", 2**63 + 1) - 1)
    return lambda item: bool(low <= item["created"] <= high)


def expanded(world: World, item: Json, paths: Sequence[str]) -> Json:
    """A copy of an object or a page with every path expanded. Raises `ApiError` for one that cannot be."""
    copied = copy.deepcopy(item)
    for path in paths:
        segments = path.split(".")
        depth = len(segments) - (segments[0] == "data")
        if depth > EXPAND_DEPTH_MAX:
            raise invalid(f"{path[:100]} is nested deeper than {EXPAND_DEPTH_MAX} levels", "expand")
        _expand(world, copied, segments, path)
    return copied


def _expand(world: World, node: Json, segments: Sequence[str], path: str) -> None:
    name, rest = segments[0], segments[1:]
    if node.get("object") == "list" and name == "data":
        for child in node["data"]:
            if rest:
                _expand(world, child, rest, path)
        return
    kind = REFERENCES.get(node.get("object", ""), {}).get(name)
    if name == "line_items" and node.get("object") in WITH_ITEMS:
        node.setdefault(name, line_items(world, node, {}))
    elif kind is not None:
        _replace(world, node, name, kind)
    elif not (rest and isinstance(node.get(name), dict)):
        raise _cannot(path)
    child = node.get(name)
    if rest and isinstance(child, dict):
        _expand(world, child, rest, path)


def _replace(world: World, node: Json, name: str, kind: str) -> None:
    if isinstance(node.get(name), str):
        found = world.shelf(kind).get(node[name])
        if found is not None:
            node[name] = copy.deepcopy(found)


def _cannot(path: str) -> ApiError:
    return invalid(f"This property cannot be expanded ({path[:100]}).", "expand")


def line_items(world: World, owner: Json, params: Mapping[str, Any]) -> Json:
    base = "checkout/sessions" if owner["object"] == "checkout.session" else "payment_links"
    return page(world.items.get(owner["id"], []), params, f"/v1/{base}/{owner['id']}/line_items", "line_item")
