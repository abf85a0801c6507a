"""The parameters that the stand-in plays, route by route.

What Stripe itself knows comes from the SDK's types; this is the smaller list of what has an effect here. With
both lists, a parameter that Stripe knows and the stand-in does not play is an error that says so: a test that
relies on it must not pass by accident. With this list alone, any other name is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.demo.standin.shapes import Shape

STRING: Shape = {"type": "string"}
INTEGER: Shape = {"type": "integer"}
NUMBER: Shape = {"type": "number"}
BOOLEAN: Shape = {"type": "boolean"}
UNSET: Shape = {"type": "enum", "values": ("",)}


def enum(*values: str) -> Shape:
    return {"type": "enum", "values": values}


def array(item: Shape) -> Shape:
    return {"type": "array", "item": item}


def either(*shapes: Shape) -> Shape:
    return {"type": "union", "of": shapes}


def fields(required: Sequence[str] = (), /, **named: Shape) -> Shape:
    return {"type": "object", "fields": named, "required": tuple(required)}


METADATA = either({"type": "map", "value": STRING}, UNSET)
CLEARABLE = either(STRING, UNSET)
EXPAND = array(STRING)
NOTE = either(fields(["message"], message=STRING), UNSET)
CUSTOM_TEXT = fields(after_submit=NOTE, submit=NOTE, shipping_address=NOTE, terms_of_service_acceptance=NOTE)
CREATED = either(INTEGER, fields(gt=INTEGER, gte=INTEGER, lt=INTEGER, lte=INTEGER))

_PRODUCT = {
    "active": BOOLEAN,
    "description": CLEARABLE,
    "images": array(STRING),
    "metadata": METADATA,
    "statement_descriptor": STRING,
    "tax_code": STRING,
    "unit_label": CLEARABLE,
    "url": CLEARABLE,
}
_AMOUNT = {"currency": STRING, "unit_amount": INTEGER, "unit_amount_decimal": NUMBER}
_PRODUCT_DATA = fields(["name"], name=STRING, **_PRODUCT)
_TAX_BEHAVIOR = enum("exclusive", "inclusive", "unspecified")
_CUSTOM_UNIT_AMOUNT = fields(["enabled"], enabled=BOOLEAN, maximum=INTEGER, minimum=INTEGER, preset=INTEGER)
_LINE = fields(
    price=STRING,
    price_data=fields(["currency"], product=STRING, product_data=_PRODUCT_DATA, tax_behavior=_TAX_BEHAVIOR, **_AMOUNT),
    quantity=INTEGER,
)
_INTENT_DATA = fields(
    description=CLEARABLE,
    metadata=METADATA,
    receipt_email=STRING,
    setup_future_usage=enum("off_session", "on_session"),
    statement_descriptor=CLEARABLE,
    statement_descriptor_suffix=CLEARABLE,
    transfer_group=CLEARABLE,
)
_LINK = {
    "after_completion": fields(
        ["type"],
        type=enum("hosted_confirmation", "redirect"),
        hosted_confirmation=fields(custom_message=STRING),
        redirect=fields(["url"], url=STRING),
    ),
    "billing_address_collection": enum("auto", "required"),
    "custom_text": CUSTOM_TEXT,
    "customer_creation": enum("always", "if_required"),
    "expand": EXPAND,
    "inactive_message": CLEARABLE,
    "metadata": METADATA,
    "payment_intent_data": _INTENT_DATA,
    "restrictions": either(fields(["completed_sessions"], completed_sessions=fields(["limit"], limit=INTEGER)), UNSET),
    "submit_type": enum("auto", "book", "donate", "pay"),
}
_ADDRESS = fields(**dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), STRING))
_CUSTOMER = {
    "address": either(_ADDRESS, UNSET),
    "description": CLEARABLE,
    "email": CLEARABLE,
    "expand": EXPAND,
    "metadata": METADATA,
    "name": CLEARABLE,
    "phone": CLEARABLE,
    "preferred_locales": array(STRING),
}

RETRIEVE = fields(expand=EXPAND)
CREATE_PRODUCT = fields(
    ["name"],
    name=STRING,
    expand=EXPAND,
    default_price_data=fields(["currency"], custom_unit_amount=_CUSTOM_UNIT_AMOUNT, metadata=METADATA, **_AMOUNT),
    **_PRODUCT,
)
UPDATE_PRODUCT = fields(name=STRING, expand=EXPAND, default_price=STRING, **_PRODUCT)
CREATE_PRICE = fields(
    ["currency"],
    active=BOOLEAN,
    billing_scheme=enum("per_unit"),
    recurring=fields(["interval"], interval=enum("day", "week", "month", "year"), interval_count=INTEGER),
    custom_unit_amount=_CUSTOM_UNIT_AMOUNT,
    expand=EXPAND,
    lookup_key=STRING,
    metadata=METADATA,
    nickname=STRING,
    product=STRING,
    product_data=_PRODUCT_DATA,
    tax_behavior=_TAX_BEHAVIOR,
    **_AMOUNT,
)
UPDATE_PRICE = fields(active=BOOLEAN, expand=EXPAND, lookup_key=STRING, metadata=METADATA, nickname=CLEARABLE)
CREATE_LINK = fields(
    ["line_items"],
    currency=STRING,
    line_items=array(_LINE),
    payment_method_types=array(enum("card", "link", "us_bank_account", "sepa_debit", "bacs_debit")),
    **_LINK,
)
UPDATE_LINK = fields(active=BOOLEAN, **_LINK)
CREATE_SESSION = fields(
    allowed_payment_method_types=array(STRING),
    billing_address_collection=enum("auto", "required"),
    cancel_url=STRING,
    client_reference_id=STRING,
    currency=STRING,
    custom_text=CUSTOM_TEXT,
    customer=STRING,
    customer_creation=enum("always", "if_required"),
    customer_email=STRING,
    expand=EXPAND,
    expires_at=INTEGER,
    line_items=array(_LINE),
    locale=STRING,
    metadata=METADATA,
    mode=STRING,
    payment_intent_data=_INTENT_DATA,
    submit_type=enum("auto", "book", "donate", "pay"),
    subscription_data=fields(metadata=METADATA, trial_period_days=INTEGER, description=STRING),
    success_url=STRING,
    ui_mode=enum("hosted_page"),
)
EXPIRE_SESSION = RETRIEVE
CONFIRM_INTENT = fields(expand=EXPAND, off_session=BOOLEAN, payment_method=STRING, return_url=STRING)
CANCEL_INTENT = fields(
    cancellation_reason=enum("abandoned", "duplicate", "fraudulent", "requested_by_customer"), expand=EXPAND
)
CREATE_SETUP = fields(
    allowed_payment_method_types=array(enum("card", "link")),
    customer=STRING,
    expand=EXPAND,
    metadata=METADATA,
    usage=STRING,
)
CREATE_INTENT = fields(
    ["amount", "currency"],
    allowed_payment_method_types=array(enum("card", "link")),
    amount=INTEGER,
    automatic_payment_methods=fields(["enabled"], enabled=BOOLEAN, allow_redirects=enum("always", "never")),
    confirm=BOOLEAN,
    currency=STRING,
    customer=STRING,
    description=STRING,
    expand=EXPAND,
    metadata=METADATA,
    off_session=BOOLEAN,
    payment_method=STRING,
    receipt_email=STRING,
    statement_descriptor_suffix=STRING,
)
DETACH_METHOD = RETRIEVE
CREATE_PORTAL = fields(customer=STRING, expand=EXPAND, locale=STRING, return_url=STRING)
CREATE_REFUND = fields(
    amount=INTEGER,
    charge=STRING,
    expand=EXPAND,
    metadata=METADATA,
    payment_intent=STRING,
    reason=enum("duplicate", "fraudulent", "requested_by_customer"),
)
CLOSE_DISPUTE = RETRIEVE
CREATE_CUSTOMER = fields(**_CUSTOMER)
UPDATE_CUSTOMER = CREATE_CUSTOMER
DELETE_CUSTOMER = fields()


def listing(**filters: Shape) -> Shape:
    return fields(expand=EXPAND, limit=INTEGER, starting_after=STRING, ending_before=STRING, **filters)


LIST_ITEMS = listing()
LIST_PRODUCTS = listing(active=BOOLEAN, created=CREATED, ids=array(STRING))
LIST_PRICES = listing(
    active=BOOLEAN,
    created=CREATED,
    currency=STRING,
    lookup_keys=array(STRING),
    product=STRING,
    type=enum("one_time", "recurring"),
)
LIST_LINKS = listing(active=BOOLEAN)
LIST_SESSIONS = listing(
    created=CREATED,
    customer=STRING,
    customer_details=fields(["email"], email=STRING),
    payment_intent=STRING,
    payment_link=STRING,
    status=enum("complete", "expired", "open"),
)
LIST_INTENTS = listing(created=CREATED, customer=STRING)
UPDATE_SUBSCRIPTION = fields(cancel_at_period_end=BOOLEAN, expand=EXPAND, metadata=METADATA)
CANCEL_SUBSCRIPTION = RETRIEVE
LIST_SUBSCRIPTIONS = listing(customer=STRING, status=STRING)
LIST_INVOICES = listing(created=CREATED, customer=STRING, status=enum("draft", "open", "paid", "uncollectible", "void"))
LIST_INVOICE_PAYMENTS = listing(
    invoice=STRING,
    payment=fields(["type"], type=enum("payment_intent", "payment_record"), payment_intent=STRING),
    status=enum("canceled", "open", "paid"),
)
LIST_CHARGES = listing(created=CREATED, customer=STRING, payment_intent=STRING)
LIST_REFUNDS = listing(charge=STRING, created=CREATED, payment_intent=STRING)
LIST_DISPUTES = LIST_REFUNDS
LIST_WARNINGS = LIST_REFUNDS
LIST_CUSTOMERS = listing(created=CREATED, email=STRING)
SEARCH_CUSTOMERS = fields(["query"], expand=EXPAND, limit=INTEGER, page=STRING, query=STRING)
CREATE_TRANSFER = fields(
    ["currency", "destination"],
    amount=INTEGER,
    currency=STRING,
    description=STRING,
    destination=STRING,
    expand=EXPAND,
    metadata=METADATA,
    transfer_group=STRING,
)
LIST_TRANSFERS = listing(created=CREATED, destination=STRING, transfer_group=STRING)
REVERSE_TRANSFER = fields(amount=INTEGER, description=STRING, expand=EXPAND, metadata=METADATA)
LIST_BALANCE = listing(created=CREATED, currency=STRING, source=STRING, type=STRING)
LIST_EVENTS = listing(created=CREATED, delivery_success=BOOLEAN, type=STRING, types=array(STRING))

_REQUESTED = fields(["requested"], requested=BOOLEAN)
_URLS = {"refresh_url": STRING, "return_url": STRING}
CREATE_ACCOUNT = fields(
    business_profile=fields(name=STRING),
    capabilities=fields(transfers=fields(requested=BOOLEAN)),
    controller=fields(
        fees=fields(payer=enum("account", "application")),
        losses=fields(payments=enum("application", "stripe")),
        requirement_collection=enum("application", "stripe"),
        stripe_dashboard=fields(type=enum("express", "full", "none")),
    ),
    country=STRING,
    email=STRING,
    expand=EXPAND,
    metadata=METADATA,
    type=enum("custom", "express", "standard"),
)
LIST_ACCOUNTS = listing(created=CREATED)
CREATE_ACCOUNT_LINK = fields(
    ["account", "type"],
    account=STRING,
    collection_options=fields(fields=enum("currently_due", "eventually_due")),
    type=enum("account_onboarding", "account_update"),
    **_URLS,
)
_INCLUDE = array(STRING)
CREATE_ACCOUNT_V2 = fields(
    configuration=fields(
        recipient=fields(capabilities=fields(stripe_balance=fields(stripe_transfers=_REQUESTED))),
    ),
    contact_email=STRING,
    dashboard=enum("express", "full", "none"),
    defaults=fields(
        responsibilities=fields(
            ["fees_collector", "losses_collector"],
            fees_collector=enum("application", "stripe"),
            losses_collector=enum("application", "stripe"),
        )
    ),
    display_name=STRING,
    identity=fields(country=STRING),
    include=_INCLUDE,
    metadata={"type": "map", "value": STRING},
)
RETRIEVE_ACCOUNT_V2 = fields(include=_INCLUDE)
LIST_ACCOUNTS_V2 = fields(applied_configurations=array(STRING), closed=BOOLEAN, limit=INTEGER)
_FLOW = fields(["refresh_url"], collection_options=fields(fields=enum("currently_due", "eventually_due")), **_URLS)
CREATE_ACCOUNT_LINK_V2 = fields(
    ["account", "use_case"],
    account=STRING,
    use_case=fields(
        ["type"], type=enum("account_onboarding", "account_update"), account_onboarding=_FLOW, account_update=_FLOW
    ),
)
