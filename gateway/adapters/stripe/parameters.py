"""Which parameters Stripe's API takes, read from the types of the pinned SDK.

The SDK describes every request as a `TypedDict`. `parameters("POST", "/v1/payment_links")` turns the one behind
an address into plain nested data, so that something that must not import the SDK (the stand-in of the demo) can
refuse what Stripe would refuse. The vocabulary is

    {"type": "string" | "integer" | "number" | "boolean" | "any"}      {"type": "enum", "values": (…)}
    {"type": "array", "item": …}   {"type": "map", "value": …}         {"type": "union", "of": (…)}
    {"type": "object", "fields": {…}, "required": (…)}

Two things are read between the lines. The SDK types a closed list as `Literal[…] | str`, so that a program
survives values that are added later; the API takes the listed values only, so the list wins, except where it
holds nothing but the empty string, which means "may be unset". And the fields that every TypedDict inherits (the
key, the idempotency key, …) are options of the client, never parameters.

Importing the SDK costs a third of a second and a checkout session has some hundred nested types, so nothing is
imported before the first question and `fields` resolves a type when it is looked at, once.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final, Literal, Union, get_args, get_origin

import typing_extensions

Shape = Mapping[str, Any]

STRING: Final[Shape] = {"type": "string"}
ANY: Final[Shape] = {"type": "any"}
SCALARS: Final[Mapping[object, Shape]] = {
    str: STRING,
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "number"},
    bool: {"type": "boolean"},
}

#: The module below `stripe.params` and the class of every request, by method and path.
REQUESTS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("POST", "/v1/products"): ("_product_create_params", "ProductCreateParams"),
    ("GET", "/v1/products"): ("_product_list_params", "ProductListParams"),
    ("GET", "/v1/products/{id}"): ("_product_retrieve_params", "ProductRetrieveParams"),
    ("POST", "/v1/products/{id}"): ("_product_update_params", "ProductUpdateParams"),
    ("POST", "/v1/prices"): ("_price_create_params", "PriceCreateParams"),
    ("GET", "/v1/prices"): ("_price_list_params", "PriceListParams"),
    ("GET", "/v1/prices/{id}"): ("_price_retrieve_params", "PriceRetrieveParams"),
    ("POST", "/v1/prices/{id}"): ("_price_update_params", "PriceUpdateParams"),
    ("POST", "/v1/payment_links"): ("_payment_link_create_params", "PaymentLinkCreateParams"),
    ("GET", "/v1/payment_links"): ("_payment_link_list_params", "PaymentLinkListParams"),
    ("GET", "/v1/payment_links/{id}"): ("_payment_link_retrieve_params", "PaymentLinkRetrieveParams"),
    ("POST", "/v1/payment_links/{id}"): ("_payment_link_update_params", "PaymentLinkUpdateParams"),
    ("GET", "/v1/payment_links/{id}/line_items"): (
        "_payment_link_line_item_list_params",
        "PaymentLinkLineItemListParams",
    ),
    ("POST", "/v1/checkout/sessions"): ("checkout._session_create_params", "SessionCreateParams"),
    ("GET", "/v1/checkout/sessions"): ("checkout._session_list_params", "SessionListParams"),
    ("GET", "/v1/checkout/sessions/{id}"): ("checkout._session_retrieve_params", "SessionRetrieveParams"),
    ("POST", "/v1/checkout/sessions/{id}/expire"): ("checkout._session_expire_params", "SessionExpireParams"),
    ("GET", "/v1/checkout/sessions/{id}/line_items"): (
        "checkout._session_line_item_list_params",
        "SessionLineItemListParams",
    ),
    ("GET", "/v1/payment_intents"): ("_payment_intent_list_params", "PaymentIntentListParams"),
    ("POST", "/v1/payment_intents"): ("_payment_intent_create_params", "PaymentIntentCreateParams"),
    ("GET", "/v1/payment_intents/{id}"): ("_payment_intent_retrieve_params", "PaymentIntentRetrieveParams"),
    ("GET", "/v1/charges"): ("_charge_list_params", "ChargeListParams"),
    ("GET", "/v1/charges/{id}"): ("_charge_retrieve_params", "ChargeRetrieveParams"),
    ("POST", "/v1/refunds"): ("_refund_create_params", "RefundCreateParams"),
    ("GET", "/v1/refunds"): ("_refund_list_params", "RefundListParams"),
    ("GET", "/v1/refunds/{id}"): ("_refund_retrieve_params", "RefundRetrieveParams"),
    ("GET", "/v1/disputes"): ("_dispute_list_params", "DisputeListParams"),
    ("GET", "/v1/disputes/{id}"): ("_dispute_retrieve_params", "DisputeRetrieveParams"),
    ("POST", "/v1/disputes/{id}/close"): ("_dispute_close_params", "DisputeCloseParams"),
    ("GET", "/v1/radar/early_fraud_warnings"): (
        "radar._early_fraud_warning_list_params",
        "EarlyFraudWarningListParams",
    ),
    ("POST", "/v1/billing_portal/sessions"): ("billing_portal._session_create_params", "SessionCreateParams"),
    ("GET", "/v1/subscriptions"): ("_subscription_list_params", "SubscriptionListParams"),
    ("GET", "/v1/subscriptions/{id}"): ("_subscription_retrieve_params", "SubscriptionRetrieveParams"),
    ("POST", "/v1/subscriptions/{id}"): ("_subscription_update_params", "SubscriptionUpdateParams"),
    ("DELETE", "/v1/subscriptions/{id}"): ("_subscription_cancel_params", "SubscriptionCancelParams"),
    ("GET", "/v1/invoices"): ("_invoice_list_params", "InvoiceListParams"),
    ("GET", "/v1/invoices/{id}"): ("_invoice_retrieve_params", "InvoiceRetrieveParams"),
    ("GET", "/v1/invoices/{id}/lines"): ("_invoice_line_item_list_params", "InvoiceLineItemListParams"),
    ("GET", "/v1/invoice_payments"): ("_invoice_payment_list_params", "InvoicePaymentListParams"),
    ("POST", "/v1/customers"): ("_customer_create_params", "CustomerCreateParams"),
    ("GET", "/v1/customers"): ("_customer_list_params", "CustomerListParams"),
    ("GET", "/v1/customers/search"): ("_customer_search_params", "CustomerSearchParams"),
    ("GET", "/v1/customers/{id}"): ("_customer_retrieve_params", "CustomerRetrieveParams"),
    ("POST", "/v1/customers/{id}"): ("_customer_update_params", "CustomerUpdateParams"),
    ("DELETE", "/v1/customers/{id}"): ("_customer_delete_params", "CustomerDeleteParams"),
    ("GET", "/v1/payment_methods/{id}"): ("_payment_method_retrieve_params", "PaymentMethodRetrieveParams"),
    ("POST", "/v1/payment_methods/{id}/detach"): ("_payment_method_detach_params", "PaymentMethodDetachParams"),
    ("POST", "/v1/payment_intents/{id}/confirm"): ("_payment_intent_confirm_params", "PaymentIntentConfirmParams"),
    ("POST", "/v1/payment_intents/{id}/cancel"): ("_payment_intent_cancel_params", "PaymentIntentCancelParams"),
    ("POST", "/v1/setup_intents"): ("_setup_intent_create_params", "SetupIntentCreateParams"),
    ("GET", "/v1/setup_intents/{id}"): ("_setup_intent_retrieve_params", "SetupIntentRetrieveParams"),
    ("POST", "/v1/accounts"): ("_account_create_params", "AccountCreateParams"),
    ("GET", "/v1/accounts"): ("_account_list_params", "AccountListParams"),
    ("GET", "/v1/accounts/{id}"): ("_account_retrieve_params", "AccountRetrieveParams"),
    ("POST", "/v1/account_links"): ("_account_link_create_params", "AccountLinkCreateParams"),
    ("POST", "/v2/core/accounts"): ("v2.core._account_create_params", "AccountCreateParams"),
    ("GET", "/v2/core/accounts"): ("v2.core._account_list_params", "AccountListParams"),
    ("GET", "/v2/core/accounts/{id}"): ("v2.core._account_retrieve_params", "AccountRetrieveParams"),
    ("POST", "/v2/core/account_links"): ("v2.core._account_link_create_params", "AccountLinkCreateParams"),
    ("POST", "/v1/transfers"): ("_transfer_create_params", "TransferCreateParams"),
    ("GET", "/v1/transfers"): ("_transfer_list_params", "TransferListParams"),
    ("GET", "/v1/transfers/{id}"): ("_transfer_retrieve_params", "TransferRetrieveParams"),
    ("POST", "/v1/transfers/{id}/reversals"): ("_transfer_reversal_create_params", "TransferReversalCreateParams"),
    ("GET", "/v1/balance"): ("_balance_retrieve_params", "BalanceRetrieveParams"),
    ("GET", "/v1/balance_transactions"): ("_balance_transaction_list_params", "BalanceTransactionListParams"),
    ("GET", "/v1/balance_transactions/{id}"): (
        "_balance_transaction_retrieve_params",
        "BalanceTransactionRetrieveParams",
    ),
    ("GET", "/v1/events"): ("_event_list_params", "EventListParams"),
    ("GET", "/v1/events/{id}"): ("_event_retrieve_params", "EventRetrieveParams"),
}


@lru_cache(maxsize=256)
def parameters(method: str, path: str) -> Shape | None:
    """What an address takes; ids in its path are written `{id}`. None for an address that is not listed."""
    where = REQUESTS.get((method, path))
    if where is None:
        return None
    module, name = where
    return _object(getattr(import_module(f"stripe.params.{module}"), name))


class _Fields(Mapping[str, Shape]):
    """The fields of one type. Their names are known at once, their shapes when somebody looks."""

    def __init__(self, annotations: Mapping[str, Any], module: str) -> None:
        self._annotations = annotations
        self._module = module
        self._shapes: dict[str, Shape] = {}

    def __getitem__(self, name: str) -> Shape:
        if name not in self._shapes:
            # One field at a time: the inherited options name types that exist for type checkers only.
            alone = types.SimpleNamespace(__annotations__={name: self._annotations[name]})
            names = vars(import_module(self._module))
            self._shapes[name] = _shape(typing_extensions.get_type_hints(alone, names)[name])
        return self._shapes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._annotations

    def __iter__(self) -> Iterator[str]:
        return iter(self._annotations)

    def __len__(self) -> int:
        return len(self._annotations)


@cache
def _options() -> frozenset[str]:
    """What a request inherits from the client's options."""
    options: Any = import_module("stripe._request_options").RequestOptions
    return frozenset(options.__annotations__)


def _object(typed: Any) -> Shape:
    annotations = {name: hint for name, hint in typed.__annotations__.items() if name not in _options()}
    required = tuple(name for name in annotations if name in typed.__required_keys__)
    return {"type": "object", "fields": _Fields(annotations, typed.__module__), "required": required}


def _shape(annotation: Any) -> Shape:
    if annotation in SCALARS:
        return SCALARS[annotation]
    if typing_extensions.is_typeddict(annotation):
        return _object(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (typing_extensions.NotRequired, typing_extensions.Required):
        return _shape(args[0])
    if origin is Literal or origin is typing_extensions.Literal:
        return {"type": "enum", "values": args}
    if origin in (Union, types.UnionType):
        return _union([part for part in args if part is not type(None)])
    if origin is list:
        return {"type": "array", "item": _shape(args[0])}
    if origin is dict:
        return {"type": "map", "value": _shape(args[1])}
    return ANY


def _union(parts: list[Any]) -> Shape:
    shapes = [_shape(part) for part in parts if not _is_response_object(part)]
    values = tuple(value for shape in shapes if shape["type"] == "enum" for value in shape["values"])
    others = [shape for shape in shapes if shape["type"] != "enum"]
    if any(values):
        others = [shape for shape in others if shape != STRING]
    if values:
        others.insert(0, {"type": "enum", "values": values})
    return others[0] if len(others) == 1 else {"type": "union", "of": tuple(others)}


def _is_response_object(part: Any) -> bool:
    """The SDK lets an answer's metadata be sent back as it came; for the wire it is the dict beside it."""
    named = get_origin(part) or part
    return getattr(named, "__module__", "").startswith("stripe._stripe_object")
