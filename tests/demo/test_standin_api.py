"""The API of the stand-in, as the official SDK sees it over a real socket."""

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, ClassVar, cast, get_args, get_origin

import aiohttp
import pytest
import stripe

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import API_VERSION, StandIn
from gateway.demo.standin.routes import ROUTES

KEY = "sk_test_standin"


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters, now=clock) as standin:
        yield standin


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


@pytest.fixture
async def api(standin: StandIn, http: aiohttp.ClientSession) -> stripe.StripeClient:
    return client_of(standin, http)


def client_of(standin: StandIn, http: aiohttp.ClientSession, key: str = KEY) -> stripe.StripeClient:
    client = stripe.AIOHTTPClient(session=http)
    return stripe.StripeClient(key, base_addresses={"api": standin.url}, http_client=client)


async def a_price(api: stripe.StripeClient, amount: int = 500, currency: str = "usd") -> stripe.Price:
    return await api.v1.prices.create_async(
        {"currency": currency, "unit_amount": amount, "product_data": {"name": "Requests"}}
    )


async def a_link(api: stripe.StripeClient, **more: Any) -> stripe.PaymentLink:
    price = await a_price(api)
    given = {"line_items": [{"price": price.id, "quantity": 1}], **more}
    return await api.v1.payment_links.create_async(cast(Any, given))


async def a_session(api: stripe.StripeClient, **more: Any) -> stripe.checkout.Session:
    price = await a_price(api)
    given = {
        "mode": "payment",
        "line_items": [{"price": price.id, "quantity": 1}],
        "success_url": "https://shop.example/back",
        **more,
    }
    return await api.v1.checkout.sessions.create_async(cast(Any, given))


async def refused(call: Any) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        await call
    return caught.value


def test_the_played_version_is_the_one_that_the_sdk_pins() -> None:
    assert stripe.api_version == API_VERSION


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_played_parameter_is_known_to_the_sdk(route: Any) -> None:
    known = parameters(route.method, route.path)
    assert known is not None
    assert set(route.takes["fields"]) <= set(known["fields"])


@pytest.mark.parametrize("key", ["sk_live_abc", "rk_live_abc"])
def test_a_stand_in_cannot_be_made_with_a_live_key(key: str) -> None:
    with pytest.raises(ValueError, match="live"):
        StandIn(api_key=key)


@pytest.mark.parametrize("key", ["", "pk_test_abc", "whatever"])
def test_a_stand_in_needs_a_test_key(key: str) -> None:
    with pytest.raises(ValueError, match="sk_test_"):
        StandIn(api_key=key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])  # noqa: S104  what must be refused
def test_a_stand_in_cannot_listen_beyond_the_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        StandIn(api_key=KEY, host=host)


async def test_a_stand_in_on_the_sixth_version_of_the_loopback_answers_too(http: aiohttp.ClientSession) -> None:
    async with StandIn(api_key=KEY, host="::1") as standin:
        assert standin.url.startswith("http://[::1]:")
        assert (await client_of(standin, http).v1.products.list_async()).data == []


@pytest.mark.parametrize(
    ("key", "said"),
    [("sk_test_other", "Invalid API Key"), ("sk_live_real", "no live keys"), ("rk_live_real", "no live keys")],
)
async def test_another_key_is_unauthorized(standin: StandIn, http: aiohttp.ClientSession, key: str, said: str) -> None:
    error = await refused(client_of(standin, http, key).v1.products.list_async())
    assert isinstance(error, stripe.AuthenticationError)
    assert said in str(error)
    assert key not in str(error)


async def test_a_request_without_a_key_is_unauthorized(standin: StandIn) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{standin.url}/v1/products") as answer:
        assert answer.status == 401
        assert answer.headers["Request-Id"].startswith("req_")
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_a_key_may_come_as_the_user_of_basic_auth(standin: StandIn) -> None:
    login = base64.b64encode(f"{KEY}:".encode()).decode()
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Basic {login}"}) as http,
        http.get(f"{standin.url}/v1/products") as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("header", ["Basic %%%", "Basic /w==", "Bearer", "Digest x", "Bearer  "])
async def test_a_key_that_cannot_be_read_is_unauthorized(standin: StandIn, header: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": header}) as http,
        http.get(f"{standin.url}/v1/products") as answer,
    ):
        assert answer.status == 401


async def test_objects_have_the_ids_of_test_mode(api: stripe.StripeClient) -> None:
    link = await a_link(api)
    session = await a_session(api)
    customer = await api.v1.customers.create_async({})
    price = (await api.v1.prices.list_async()).data[0]
    assert link.id.startswith("plink_")
    assert session.id.startswith("cs_test_")
    assert customer.id.startswith("cus_")
    assert price.id.startswith("price_")
    assert cast(str, price.product).startswith("prod_")
    assert [thing.livemode for thing in (link, session, customer, price)] == [False] * 4


@pytest.mark.parametrize(
    ("kind", "optional"),
    [
        (stripe.PaymentLink, {"line_items"}),
        (stripe.checkout.Session, {"line_items"}),
        (stripe.PaymentIntent, set()),
        (stripe.Charge, set()),
        (stripe.Price, set()),
        (stripe.Product, set()),
        (stripe.Customer, set()),
        (stripe.Event, set()),
    ],
)
async def test_objects_have_every_field_that_the_sdk_expects_to_be_there(
    standin: StandIn, api: stripe.StripeClient, kind: Any, optional: set[str]
) -> None:
    await a_link(api)
    await api.v1.customers.create_async({})
    standin.pay((await a_link(api)).id)
    lists: dict[Any, Any] = {
        stripe.PaymentLink: api.v1.payment_links,
        stripe.checkout.Session: api.v1.checkout.sessions,
        stripe.PaymentIntent: api.v1.payment_intents,
        stripe.Charge: api.v1.charges,
        stripe.Price: api.v1.prices,
        stripe.Product: api.v1.products,
        stripe.Customer: api.v1.customers,
        stripe.Event: api.v1.events,
    }
    found = (await lists[kind].list_async()).data[0]
    needed = {
        name
        for name, hint in kind.__annotations__.items()
        if type(None) not in get_args(hint) and get_origin(hint) is not ClassVar
    }
    assert needed - optional <= set(found.to_dict())


async def test_a_price_has_a_fixed_amount_or_one_that_the_buyer_chooses(api: stripe.StripeClient) -> None:
    fixed = await a_price(api, 1234)
    chosen = await api.v1.prices.create_async(
        {
            "currency": "EUR",
            "product": cast(str, fixed.product),
            "custom_unit_amount": {"enabled": True, "minimum": 500, "preset": 1000},
        }
    )
    assert (fixed.unit_amount, fixed.custom_unit_amount, fixed.type) == (1234, None, "one_time")
    assert chosen.unit_amount is None
    assert chosen.currency == "eur"
    assert chosen.custom_unit_amount is not None
    assert chosen.custom_unit_amount.to_dict() == {"maximum": None, "minimum": 500, "preset": 1000}


async def test_a_product_can_bring_its_default_price(api: stripe.StripeClient) -> None:
    product = await api.v1.products.create_async(
        {"name": "Requests", "default_price_data": {"currency": "usd", "unit_amount": 500}, "expand": ["default_price"]}
    )
    assert isinstance(product.default_price, stripe.Price)
    assert product.default_price.unit_amount == 500


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"foo": 1}, "parameter_unknown", "foo"),
        ({"line_items": [{"price": "x", "quantity": 1, "foo": 1}]}, "parameter_unknown", "line_items[0][foo]"),
        ({"line_items": None}, "parameter_missing", "line_items"),
        ({"line_items": [{"price": "x"}]}, "parameter_missing", "line_items[0][quantity]"),
        ({"line_items": [{"price": "x", "quantity": "many"}]}, "parameter_invalid_integer", "line_items[0][quantity]"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "resource_missing", "line_items[0][price]"),
        ({"line_items": [{"quantity": 1}]}, "parameter_missing", "line_items[0][price]"),
        ({"customer_creation": "sometimes"}, None, "customer_creation"),
        ({"inactive_message": ""}, "parameter_invalid_empty", "inactive_message"),
        ({"after_completion": {"type": "redirect"}}, "parameter_missing", "after_completion[redirect]"),
        ({"automatic_tax": {"enabled": True}}, None, "automatic_tax"),
        ({"metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
        ({"restrictions": {"completed_sessions": {"limit": 0}}}, "parameter_invalid_integer", None),
        ({"currency": "eur"}, None, "line_items[0][price]"),
        ({"currency": "xyz"}, None, "currency"),
    ],
)
async def test_a_payment_link_with_a_bad_parameter_is_refused(
    api: stripe.StripeClient, params: dict[str, Any], code: str | None, param: str | None
) -> None:
    error = await refused(a_link(api, **params))
    assert isinstance(error, stripe.InvalidRequestError)
    assert (error.http_status, error.code) == (400, code)
    if param is not None:
        assert error.param == param
    assert str(error.request_id).startswith("req_")


@pytest.mark.parametrize("url", ["shop.example/back", "ftp://shop.example", "/back", "https://", "http://a b/", "x"])
async def test_a_redirect_needs_an_absolute_address(api: stripe.StripeClient, url: str) -> None:
    after = {"type": "redirect", "redirect": {"url": url}}
    assert (await refused(a_link(api, after_completion=after))).code == "url_invalid"
    assert (await refused(a_session(api, success_url=url))).code == "url_invalid"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"currency": "zzz", "unit_amount": 500}, None),
        ({"currency": "usd"}, "parameter_missing"),
        ({"currency": "usd", "unit_amount": -1}, "parameter_invalid_integer"),
        ({"currency": "usd", "unit_amount": 1.5}, "parameter_invalid_integer"),
        ({"currency": "usd", "unit_amount": 100_000_000}, "amount_too_large"),
        ({"currency": "kwd", "unit_amount": 1001}, None),
        ({"currency": "usd", "unit_amount": 500, "custom_unit_amount": {"enabled": True}}, None),
        ({"currency": "usd", "custom_unit_amount": {"enabled": True, "minimum": 10}}, "amount_too_small"),
        ({"currency": "usd", "custom_unit_amount": {"enabled": True, "minimum": 900, "maximum": 800}}, None),
        ({"currency": "usd", "custom_unit_amount": {"enabled": True, "minimum": 900, "preset": 800}}, None),
        ({"currency": "usd", "unit_amount": 500, "recurring": {"interval": "month", "usage_type": "metered"}}, None),
        ({"currency": "usd", "unit_amount": 500, "product": "prod_none"}, "parameter_missing"),
        ({"currency": "usd", "unit_amount": 500, "product": "prod_none", "product_data": None}, "resource_missing"),
    ],
)
async def test_a_price_that_cannot_be_charged_is_refused(
    api: stripe.StripeClient, params: dict[str, Any], code: str | None
) -> None:
    error = await refused(api.v1.prices.create_async(cast(Any, {"product_data": {"name": "Requests"}, **params})))
    assert (error.http_status, error.code) == (400, code)


async def test_a_call_that_is_refused_leaves_nothing_behind(standin: StandIn, api: stripe.StripeClient) -> None:
    inline = {"currency": "usd", "product_data": {"name": "Requests"}, "unit_amount": 10}
    error = await refused(a_link(api, line_items=[{"price_data": inline, "quantity": 1}]))
    assert error.code == "amount_too_small"
    assert [event["type"] for event in standin.events] == ["product.created", "price.created"]
    assert len((await api.v1.prices.list_async()).data) == 1


@pytest.mark.parametrize("reference", ["x" * 201, "a b", "ä", "a.b", "a/b"])
async def test_a_session_with_a_reference_that_stripe_does_not_take_is_refused(
    api: stripe.StripeClient, reference: str
) -> None:
    error = await refused(a_session(api, client_reference_id=reference))
    assert error.param == "client_reference_id"  # type: ignore[attr-defined]


async def test_a_session_keeps_the_longest_reference(api: stripe.StripeClient) -> None:
    reference = "aZ0_-" * 40
    assert (await a_session(api, client_reference_id=reference)).client_reference_id == reference


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"mode": "subscription"}, "line_items"),
        ({"mode": None}, "mode"),
        ({"success_url": None}, "success_url"),
        ({"customer": "cus_none"}, "customer"),
        ({"customer_email": "nobody"}, "customer_email"),
        ({"expires_at": 1_800_000_000 + 60}, "expires_at"),
        ({"expires_at": 1_800_000_000 + 86401}, "expires_at"),
        ({"payment_method_types": ["card"]}, "payment_method_types"),
        ({"line_items": []}, "line_items"),
    ],
)
async def test_a_session_with_a_bad_parameter_is_refused(
    api: stripe.StripeClient, params: dict[str, Any], param: str
) -> None:
    error = await refused(a_session(api, **params))
    assert (error.http_status, error.param) == (400, param)  # type: ignore[attr-defined]


async def test_a_session_for_a_known_customer_uses_no_other_email(api: stripe.StripeClient) -> None:
    customer = await api.v1.customers.create_async({"email": "a@example.com"})
    assert (await a_session(api, customer=customer.id)).customer == customer.id
    await refused(a_session(api, customer=customer.id, customer_email="b@example.com"))


async def test_an_open_session_is_expired_once(standin: StandIn, api: stripe.StripeClient) -> None:
    session = await a_session(api)
    assert (await api.v1.checkout.sessions.expire_async(session.id)).status == "expired"
    assert standin.events[-1]["type"] == "checkout.session.expired"
    await refused(api.v1.checkout.sessions.expire_async(session.id))


async def test_a_session_expires_by_itself_after_a_day(
    standin: StandIn, api: stripe.StripeClient, clock: Clock
) -> None:
    session = await a_session(api)
    clock.time += 24 * 3600 - 1
    assert (await api.v1.checkout.sessions.retrieve_async(session.id)).status == "open"
    clock.time += 1
    assert (await api.v1.checkout.sessions.retrieve_async(session.id)).status == "expired"
    assert standin.events[-1]["type"] == "checkout.session.expired"


async def test_a_payment_link_can_be_changed_and_says_what_it_was(standin: StandIn, api: stripe.StripeClient) -> None:
    link = await a_link(api, metadata={"a": "1", "b": "2"})
    changed = await api.v1.payment_links.update_async(
        link.id, {"active": False, "inactive_message": "Gone", "metadata": {"a": "", "c": "3"}}
    )
    assert (changed.active, changed.inactive_message) == (False, "Gone")
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert standin.events[-1]["type"] == "payment_link.updated"
    assert standin.events[-1]["data"]["previous_attributes"]["active"] is True


async def test_what_an_object_was_stays_in_its_events(standin: StandIn, api: stripe.StripeClient) -> None:
    customer = await api.v1.customers.create_async({"email": "old@example.com", "metadata": {"a": "1"}})
    await api.v1.customers.update_async(customer.id, {"email": "new@example.com", "metadata": {"a": "2"}})
    first = standin.events[0]["data"]["object"]
    assert (first["email"], first["metadata"]) == ("old@example.com", {"a": "1"})


@pytest.mark.parametrize("kind", ["products", "prices", "payment_links", "payment_intents", "charges", "customers"])
async def test_an_object_that_is_not_there_is_not_found(api: stripe.StripeClient, kind: str) -> None:
    error = await refused(getattr(api.v1, kind).retrieve_async("nothing"))
    assert (error.http_status, error.code) == (404, "resource_missing")
    assert "No such" in str(error)


async def test_customers_are_found_by_the_exact_email(api: stripe.StripeClient) -> None:
    for email in ("Ada+1@example.com", "ada+1@example.com"):
        await api.v1.customers.create_async({"email": email})
    found = await api.v1.customers.list_async({"email": "ada+1@example.com"})
    assert [customer.email for customer in found.data] == ["ada+1@example.com"]


async def test_pages_are_walked_forwards_and_backwards(api: stripe.StripeClient) -> None:
    made = [(await api.v1.customers.create_async({"name": str(n)})).id for n in range(5)]
    newest = list(reversed(made))
    first = await api.v1.customers.list_async({"limit": 2})
    assert ([item.id for item in first.data], first.has_more) == (newest[:2], True)
    second = await api.v1.customers.list_async({"limit": 3, "starting_after": newest[1]})
    assert ([item.id for item in second.data], second.has_more) == (newest[2:], False)
    back = await api.v1.customers.list_async({"limit": 2, "ending_before": newest[3]})
    assert ([item.id for item in back.data], back.has_more) == (newest[1:3], True)
    assert [item.id async for item in first.auto_paging_iter()] == newest


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"starting_after": "cus_none"},
        {"starting_after": "a", "ending_before": "b"},
    ],
)
async def test_a_page_that_cannot_be_found_is_refused(api: stripe.StripeClient, params: dict[str, Any]) -> None:
    assert (await refused(api.v1.customers.list_async(cast(Any, params)))).http_status == 400


async def test_events_are_listed_by_time_and_type(standin: StandIn, api: stripe.StripeClient, clock: Clock) -> None:
    await api.v1.customers.create_async({})
    clock.time += 10
    standin.pay((await a_link(api)).id)
    later = int(clock.time)

    async def types(params: Any) -> list[str]:
        return [event.type async for event in (await api.v1.events.list_async(params)).auto_paging_iter()]

    assert "customer.created" not in await types({"created": {"gte": later}})
    assert await types({"created": {"lt": later}}) == ["customer.created"]
    assert await types({"created": {"lte": later - 1}}) == ["customer.created"]
    assert await types({"created": {"gt": later - 11, "lt": later}}) == ["customer.created"]
    assert await types({"created": {"gt": later - 10, "lt": later}}) == []
    assert await types({"created": later - 10}) == ["customer.created"]
    assert await types({"type": "charge.*"}) == ["charge.succeeded"]
    assert await types({"type": "charge.succeeded"}) == ["charge.succeeded"]
    both = ["checkout.session.completed", "charge.succeeded"]
    assert await types({"types": both}) == both
    assert (await refused(api.v1.events.list_async({"type": "a", "types": ["b"]}))).http_status == 400


async def test_sessions_are_listed_by_what_they_belong_to(standin: StandIn, api: stripe.StripeClient) -> None:
    link = await a_link(api)
    paid = standin.pay(link.id)
    opened = standin.open(link.id)

    async def ids(params: Any) -> list[str]:
        return [session.id for session in (await api.v1.checkout.sessions.list_async(params)).data]

    assert await ids({"payment_link": link.id}) == [opened["id"], paid["id"]]
    assert await ids({"payment_intent": paid["payment_intent"]}) == [paid["id"]]
    assert await ids({"status": "open"}) == [opened["id"]]
    assert await ids({"customer_details": {"email": "buyer@example.com"}}) == [paid["id"]]


async def test_ids_are_expanded_into_objects_on_request(standin: StandIn, api: stripe.StripeClient) -> None:
    link = await a_link(api, customer_creation="always")
    paid = standin.pay(link.id)
    session = await api.v1.checkout.sessions.retrieve_async(
        paid["id"],
        {
            "expand": [
                "customer",
                "line_items",
                "line_items.data.price.product",
                "payment_intent",
                "payment_intent.latest_charge",
                "payment_intent.payment_method",
                "payment_link",
            ]
        },
    )
    assert isinstance(session.customer, stripe.Customer)
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    assert isinstance(session.payment_intent.latest_charge, stripe.Charge)
    assert isinstance(session.payment_intent.payment_method, stripe.PaymentMethod)
    assert isinstance(session.payment_link, stripe.PaymentLink)
    assert session.line_items is not None
    (item,) = session.line_items.data
    assert item.price is not None
    assert isinstance(item.price.product, stripe.Product)
    listed = await api.v1.checkout.sessions.list_async({"expand": ["data.payment_intent"]})
    assert isinstance(listed.data[0].payment_intent, stripe.PaymentIntent)
    plain = await api.v1.checkout.sessions.retrieve_async(paid["id"])
    assert plain.payment_intent == session.payment_intent.id


@pytest.mark.parametrize("path", ["amount_total", "nothing", "payment_intent.amount", "a.b.c.d.e"])
async def test_what_is_no_reference_cannot_be_expanded(standin: StandIn, api: stripe.StripeClient, path: str) -> None:
    paid = standin.pay((await a_link(api)).id)
    error = await refused(api.v1.checkout.sessions.retrieve_async(paid["id"], {"expand": [path]}))
    assert (error.http_status, error.param) == (400, "expand")  # type: ignore[attr-defined]


async def test_line_items_are_listed_for_links_and_sessions(api: stripe.StripeClient) -> None:
    link, session = await a_link(api), await a_session(api)
    of_link = await api.v1.payment_links.line_items.list_async(link.id)
    of_session = await api.v1.checkout.sessions.line_items.list_async(session.id)
    for items in (of_link, of_session):
        assert [(item.description, item.amount_total, item.quantity) for item in items.data] == [("Requests", 500, 1)]


async def test_a_replayed_idempotency_key_returns_the_first_answer(
    standin: StandIn, http: aiohttp.ClientSession
) -> None:
    async def post(name: str) -> tuple[int, str | None, bytes]:
        headers = {"Idempotency-Key": "once"}
        async with http.post(f"{standin.url}/v1/products", data={"name": name}, headers=headers) as answer:
            return answer.status, answer.headers.get("Idempotent-Replayed"), await answer.read()

    status, replayed, first = await post("Requests")
    assert (status, replayed) == (200, None)
    assert await post("Requests") == (200, "true", first)
    assert len(standin.events) == 1
    status, _, body = await post("Others")
    assert (status, json.loads(body)["error"]["type"]) == (400, "idempotency_error")


async def test_an_idempotency_key_belongs_to_one_address(api: stripe.StripeClient) -> None:
    await api.v1.products.create_async({"name": "Requests"}, {"idempotency_key": "once"})
    error = await refused(api.v1.customers.create_async({"name": "Requests"}, {"idempotency_key": "once"}))
    assert isinstance(error, stripe.IdempotencyError)


async def test_a_refused_request_leaves_its_idempotency_key_free(api: stripe.StripeClient) -> None:
    await refused(api.v1.products.create_async(cast(Any, {}), {"idempotency_key": "once"}))
    made = await api.v1.products.create_async({"name": "Requests"}, {"idempotency_key": "once"})
    assert made.name == "Requests"


async def test_the_twin_of_a_request_under_way_is_told_to_come_back(standin: StandIn, api: stripe.StripeClient) -> None:
    standin.hold_requests()
    first = asyncio.create_task(api.v1.products.create_async({"name": "Requests"}, {"idempotency_key": "once"}))
    await standin.requests_waiting()
    error = await refused(api.v1.products.create_async({"name": "Requests"}, {"idempotency_key": "once"}))
    assert error.http_status == 409
    assert cast(Any, error.json_body)["error"]["code"] == "idempotency_key_in_use"
    standin.release_requests()
    assert (await first).name == "Requests"


async def test_idempotency_keys_are_forgotten_after_a_day(
    standin: StandIn, api: stripe.StripeClient, clock: Clock
) -> None:
    options: Any = {"idempotency_key": "once"}
    first = await api.v1.products.create_async({"name": "Requests"}, options)
    clock.time += 24 * 3600 - 1
    assert (await api.v1.products.create_async({"name": "Requests"}, options)).id == first.id
    clock.time += 2
    assert (await api.v1.products.create_async({"name": "Requests"}, options)).id != first.id


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/payouts"), ("DELETE", "/v1/products"), ("GET", "/other")])
async def test_an_address_that_is_not_played_is_unrecognized(
    standin: StandIn, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with http.request(method, standin.url + path) as answer:
        assert answer.status == 404
        error = (await answer.json())["error"]
        assert error == {"message": f"Unrecognized request URL ({method}: {path}).", "type": "invalid_request_error"}


async def test_a_json_body_is_refused(standin: StandIn, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{standin.url}/v1/products", json={"name": "x"}) as answer:
        assert answer.status == 400
        assert "x-www-form-urlencoded" in (await answer.json())["error"]["message"]


async def test_a_body_beyond_the_limit_is_refused_in_stripes_shape(
    standin: StandIn, http: aiohttp.ClientSession
) -> None:
    body, headers = io.BytesIO(b"name=" + b"x" * 1_100_000), {"Content-Type": "application/x-www-form-urlencoded"}
    async with http.post(f"{standin.url}/v1/products", data=body, headers=headers) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_the_single_account_has_no_connected_ones(api: stripe.StripeClient) -> None:
    error = await refused(api.v1.products.list_async({}, {"stripe_account": "acct_1"}))
    assert error.http_status == 403


async def test_a_bug_inside_answers_without_telling_about_it(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(method: str, path: str) -> None:
        raise ZeroDivisionError("secret")

    async with StandIn(api_key=KEY, parameters=broken) as standin:
        with caplog.at_level(logging.CRITICAL):
            async with http.get(f"{standin.url}/v1/products") as answer:
                assert answer.status == 500
                body = await answer.text()
    assert json.loads(body)["error"]["type"] == "api_error"
    assert "secret" not in body


async def test_without_the_sdks_types_unknown_parameters_are_ignored(http: aiohttp.ClientSession) -> None:
    async with StandIn(api_key=KEY) as standin:
        api = client_of(standin, http)
        made = await api.v1.products.create_async(cast(Any, {"name": "Requests", "foo": "1", "active": False}))
        assert (made.name, made.active) == ("Requests", False)
        assert (await refused(a_price(api, cast(int, "x")))).code == "parameter_invalid_integer"


async def test_the_oldest_objects_make_room_for_new_ones(http: aiohttp.ClientSession) -> None:
    async with StandIn(api_key=KEY, objects_max=3, events_max=2) as standin:
        api = client_of(standin, http)
        made = [(await api.v1.customers.create_async({})).id for _ in range(5)]
        kept = [customer.id for customer in (await api.v1.customers.list_async()).data]
        assert kept == made[:1:-1]
        assert [event["data"]["object"]["id"] for event in standin.events] == made[3:]


async def test_a_page_can_be_walked_to_its_end_while_new_objects_arrive(api: stripe.StripeClient) -> None:
    made = [(await api.v1.customers.create_async({})).id for _ in range(4)]
    first = await api.v1.customers.list_async({"limit": 2})
    await api.v1.customers.create_async({})
    rest = await api.v1.customers.list_async({"limit": 2, "starting_after": first.data[-1].id})
    assert [item.id for item in (*first.data, *rest.data)] == made[::-1]
