"""Every address of the API that is played: its method, its path, what it takes and what it does.

A call is given the world, the id in its path (or "") and the checked parameters, and returns the object to
answer with. Objects are copied and expanded by the caller, so a call may return what is on the shelf.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.demo.standin import (
    catalogue,
    connect,
    intents,
    played,
    portal,
    returns,
    sessions,
    subscriptions,
    transfers,
    views,
)
from gateway.demo.standin.errors import invalid, not_played
from gateway.demo.standin.shapes import Shape
from gateway.demo.standin.store import Json, World

Params = Mapping[str, Any]
Call = Callable[[World, str, Params], Json]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    takes: Shape
    call: Call


def _creates(make: Callable[[World, Params], Json]) -> Call:
    return lambda world, id, params: make(world, params)


def _retrieves(kind: str) -> Call:
    return lambda world, id, params: world.get(kind, id)


def _lists(kind: str, url: str) -> Call:
    def call(world: World, id: str, params: Params) -> Json:
        chosen = (item for item in world.shelf(kind).newest() if _matches(item, params))
        return views.page(chosen, params, url, kind)

    return call


def _items_of(kind: str) -> Call:
    return lambda world, id, params: views.line_items(world, world.get(kind, id), params)


def _lines_of_invoice(world: World, id: str, params: Params) -> Json:
    return views.page(world.lines[world.get("invoice", id)["id"]], params, f"/v1/invoices/{id}/lines", "line_item")


def _matches(item: Json, params: Params) -> bool:
    return all(_FILTERS[name](item, value) for name, value in params.items() if name in _FILTERS)


def _same(name: str) -> Callable[[Json, Any], bool]:
    return lambda item, value: bool(item[name] == value)


_FILTERS: Mapping[str, Callable[[Json, Any], bool]] = {
    "created": lambda item, value: views.created(value)(item),
    "customer_details": lambda item, value: (item["customer_details"] or {}).get("email") == value["email"],
    "delivery_success": lambda item, value: (item["pending_webhooks"] == 0) == value,
    "payment": lambda item, value: value.get("payment_intent") in (None, item["payment"]["payment_intent"]),
    "ids": lambda item, value: item["id"] in value,
    "lookup_keys": lambda item, value: item["lookup_key"] in value,
    "types": lambda item, value: item["type"] in value,
    **{
        name: _same(name)
        for name in (
            "active",
            "charge",
            "currency",
            "customer",
            "destination",
            "email",
            "invoice",
            "payment_intent",
            "payment_link",
            "product",
            "source",
            "status",
            "transfer_group",
        )
    },
    "type": lambda item, value: _type_matches(item["type"], value),
}


def _type_matches(type: str, wanted: str) -> bool:
    """An event's type, or a group of them: `charge.*`. Also a price's type."""
    return type.startswith(wanted[:-1]) if wanted.endswith(".*") else type == wanted


def _list_subscriptions(world: World, id: str, params: Params) -> Json:
    """Without a status, those that are not over; `all` is every one."""
    status, rest = params.get("status"), {name: value for name, value in params.items() if name != "status"}

    def among(one: Json) -> bool:
        return status == "all" or (one["status"] != "canceled" if status is None else one["status"] == status)

    chosen = (one for one in world.shelf("subscription").newest() if among(one) and _matches(one, rest))
    return views.page(chosen, params, "/v1/subscriptions", "subscription")


def _search_customers(world: World, id: str, params: Params) -> Json:
    """By address alone, however it is written."""
    found = re.fullmatch(r'email:"([^"\\]+)"', params["query"])
    if found is None:
        raise not_played([f"query={params['query']}"])
    wanted = found[1].lower()
    made = [one for one in world.shelf("customer").newest() if str(one["email"] or "").lower() == wanted]
    page = views.page(made, {"limit": params["limit"]} if "limit" in params else {}, "/v1/customers/search", "customer")
    return {**page, "object": "search_result", "next_page": None}


def _list_events(world: World, id: str, params: Params) -> Json:
    if "type" in params and "types" in params:
        raise invalid("Use only one of type and types", "types")
    if len(params.get("types", ())) > 20:
        raise invalid("types takes at most 20 names", "types")
    chosen = (one for one in world.shelf("event").newest() if "account" not in one and _matches(one, params))
    return views.page(chosen, params, "/v1/events", "event")


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/products", played.CREATE_PRODUCT, _creates(catalogue.create_product)),
    Route("GET", "/v1/products", played.LIST_PRODUCTS, _lists("product", "/v1/products")),
    Route("GET", "/v1/products/{id}", played.RETRIEVE, _retrieves("product")),
    Route("POST", "/v1/products/{id}", played.UPDATE_PRODUCT, catalogue.update_product),
    Route("POST", "/v1/prices", played.CREATE_PRICE, _creates(catalogue.create_price)),
    Route("GET", "/v1/prices", played.LIST_PRICES, _lists("price", "/v1/prices")),
    Route("GET", "/v1/prices/{id}", played.RETRIEVE, _retrieves("price")),
    Route("POST", "/v1/prices/{id}", played.UPDATE_PRICE, catalogue.update_price),
    Route("POST", "/v1/payment_links", played.CREATE_LINK, _creates(catalogue.create_payment_link)),
    Route("GET", "/v1/payment_links", played.LIST_LINKS, _lists("payment_link", "/v1/payment_links")),
    Route("GET", "/v1/payment_links/{id}", played.RETRIEVE, _retrieves("payment_link")),
    Route("POST", "/v1/payment_links/{id}", played.UPDATE_LINK, catalogue.update_payment_link),
    Route("GET", "/v1/payment_links/{id}/line_items", played.LIST_ITEMS, _items_of("payment_link")),
    Route("POST", "/v1/checkout/sessions", played.CREATE_SESSION, _creates(sessions.create)),
    Route("GET", "/v1/checkout/sessions", played.LIST_SESSIONS, _lists("checkout.session", "/v1/checkout/sessions")),
    Route("GET", "/v1/checkout/sessions/{id}", played.RETRIEVE, _retrieves("checkout.session")),
    Route(
        "POST",
        "/v1/checkout/sessions/{id}/expire",
        played.EXPIRE_SESSION,
        lambda world, id, params: sessions.expire(world, id),
    ),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", played.LIST_ITEMS, _items_of("checkout.session")),
    Route("GET", "/v1/payment_intents", played.LIST_INTENTS, _lists("payment_intent", "/v1/payment_intents")),
    Route("POST", "/v1/payment_intents", played.CREATE_INTENT, _creates(intents.create)),
    Route("GET", "/v1/payment_intents/{id}", played.RETRIEVE, _retrieves("payment_intent")),
    Route("GET", "/v1/charges", played.LIST_CHARGES, _lists("charge", "/v1/charges")),
    Route("GET", "/v1/charges/{id}", played.RETRIEVE, _retrieves("charge")),
    Route("POST", "/v1/refunds", played.CREATE_REFUND, _creates(returns.create_refund)),
    Route("GET", "/v1/refunds", played.LIST_REFUNDS, _lists("refund", "/v1/refunds")),
    Route("GET", "/v1/refunds/{id}", played.RETRIEVE, _retrieves("refund")),
    Route("GET", "/v1/disputes", played.LIST_DISPUTES, _lists("dispute", "/v1/disputes")),
    Route("GET", "/v1/disputes/{id}", played.RETRIEVE, _retrieves("dispute")),
    Route("POST", "/v1/disputes/{id}/close", played.CLOSE_DISPUTE, returns.accept_dispute),
    Route(
        "GET",
        "/v1/radar/early_fraud_warnings",
        played.LIST_WARNINGS,
        _lists("radar.early_fraud_warning", "/v1/radar/early_fraud_warnings"),
    ),
    Route("POST", "/v1/billing_portal/sessions", played.CREATE_PORTAL, _creates(portal.create)),
    Route("GET", "/v1/subscriptions", played.LIST_SUBSCRIPTIONS, _list_subscriptions),
    Route("GET", "/v1/subscriptions/{id}", played.RETRIEVE, _retrieves("subscription")),
    Route("POST", "/v1/subscriptions/{id}", played.UPDATE_SUBSCRIPTION, subscriptions.update),
    Route("DELETE", "/v1/subscriptions/{id}", played.CANCEL_SUBSCRIPTION, subscriptions.cancel),
    Route("GET", "/v1/invoices", played.LIST_INVOICES, _lists("invoice", "/v1/invoices")),
    Route("GET", "/v1/invoices/{id}", played.RETRIEVE, _retrieves("invoice")),
    Route("GET", "/v1/invoices/{id}/lines", played.LIST_ITEMS, _lines_of_invoice),
    Route(
        "GET", "/v1/invoice_payments", played.LIST_INVOICE_PAYMENTS, _lists("invoice_payment", "/v1/invoice_payments")
    ),
    Route("POST", "/v1/customers", played.CREATE_CUSTOMER, _creates(catalogue.create_customer)),
    Route("GET", "/v1/customers", played.LIST_CUSTOMERS, _lists("customer", "/v1/customers")),
    Route("GET", "/v1/customers/search", played.SEARCH_CUSTOMERS, _search_customers),
    Route("GET", "/v1/customers/{id}", played.RETRIEVE, _retrieves("customer")),
    Route("POST", "/v1/customers/{id}", played.UPDATE_CUSTOMER, catalogue.update_customer),
    Route("DELETE", "/v1/customers/{id}", played.DELETE_CUSTOMER, subscriptions.forget_customer),
    Route("GET", "/v1/payment_methods/{id}", played.RETRIEVE, _retrieves("payment_method")),
    Route("POST", "/v1/payment_methods/{id}/detach", played.DETACH_METHOD, intents.detach),
    Route("POST", "/v1/setup_intents", played.CREATE_SETUP, _creates(intents.set_up)),
    Route("POST", "/v1/payment_intents/{id}/confirm", played.CONFIRM_INTENT, intents.confirm),
    Route("POST", "/v1/payment_intents/{id}/cancel", played.CANCEL_INTENT, intents.cancel),
    Route("GET", "/v1/setup_intents/{id}", played.RETRIEVE, _retrieves("setup_intent")),
    Route("POST", "/v1/accounts", played.CREATE_ACCOUNT, _creates(connect.create)),
    Route("GET", "/v1/accounts", played.LIST_ACCOUNTS, connect.accounts),
    Route("GET", "/v1/accounts/{id}", played.RETRIEVE, connect.retrieve),
    Route("POST", "/v1/account_links", played.CREATE_ACCOUNT_LINK, _creates(connect.create_link)),
    Route("POST", "/v2/core/accounts", played.CREATE_ACCOUNT_V2, _creates(connect.create_v2)),
    Route("GET", "/v2/core/accounts", played.LIST_ACCOUNTS_V2, connect.accounts_v2),
    Route("GET", "/v2/core/accounts/{id}", played.RETRIEVE_ACCOUNT_V2, connect.retrieve_v2),
    Route("POST", "/v2/core/account_links", played.CREATE_ACCOUNT_LINK_V2, _creates(connect.create_link_v2)),
    Route("GET", "/v1/events", played.LIST_EVENTS, _list_events),
    Route("POST", "/v1/transfers", played.CREATE_TRANSFER, _creates(transfers.create)),
    Route("GET", "/v1/transfers", played.LIST_TRANSFERS, _lists("transfer", "/v1/transfers")),
    Route("GET", "/v1/transfers/{id}", played.RETRIEVE, _retrieves("transfer")),
    Route("POST", "/v1/transfers/{id}/reversals", played.REVERSE_TRANSFER, transfers.reverse),
    Route("GET", "/v1/balance", played.RETRIEVE, transfers.balance),
    Route(
        "GET",
        "/v1/balance_transactions",
        played.LIST_BALANCE,
        _lists("balance_transaction", "/v1/balance_transactions"),
    ),
    Route("GET", "/v1/balance_transactions/{id}", played.RETRIEVE, _retrieves("balance_transaction")),
    Route("GET", "/v1/events/{id}", played.RETRIEVE, _retrieves("event")),
)
