"""Events on their way from the stand-in to an endpoint: signed, repeated, late, twice, never, out of order."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

from gateway.demo.standin import Endpoint, StandIn

KEY = "sk_test_standin"
SECRET = "whsec_endpoint"
NOW = 1_800_000_000


class Receiver:
    """An endpoint that keeps what it gets and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, Any], bytes, Any]] = []
        self.answers: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append((json.loads(body), body, request.headers.copy()))
        self.reached.set()
        await self.open.wait()
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    @property
    def types(self) -> list[str]:
        return [event["type"] for event, _, _ in self.got]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event, _, _ in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    yield receiver
    await runner.cleanup()


class Naps:
    """Waiting that takes no time and is written down."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
async def standin(receiver: Receiver, naps: Naps) -> AsyncIterator[StandIn]:
    async with StandIn(
        api_key=KEY,
        webhooks=[Endpoint(receiver.url, SECRET)],
        now=lambda: NOW,
        retry_delays_seconds=(1, 2, 4),
        sleep=naps,
        shuffler=random.Random(7),
    ) as standin:
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    async with aiohttp.ClientSession() as http:
        client = stripe.AIOHTTPClient(session=http)
        yield stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)


async def customers(api: stripe.StripeClient, count: int) -> list[str]:
    return [(await api.v1.customers.create_async({"name": str(n)})).id for n in range(count)]


async def a_link(api: stripe.StripeClient) -> str:
    link = await api.v1.payment_links.create_async(
        {
            "line_items": [
                {
                    "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Requests"}},
                    "quantity": 1,
                }
            ]
        }
    )
    return link.id


async def test_a_delivery_is_signed_and_worded_like_stripes(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    await customers(api, 1)
    await standin.settled()
    ((event, body, headers),) = receiver.got
    assert stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], SECRET, tolerance=None)
    assert headers["Stripe-Signature"].startswith(f"t={NOW},v1=")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["User-Agent"].startswith("Stripe/1.0")
    assert body == json.dumps(event, indent=2, ensure_ascii=False).encode()
    assert event["pending_webhooks"] == 1
    assert event["data"]["object"]["object"] == "customer"


async def test_an_event_names_the_request_that_caused_it(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    made = await api.v1.customers.create_async({}, {"idempotency_key": "once"})
    standin.pay(await a_link(api))
    await standin.settled()
    by_type = {event["type"]: event for event, _, _ in receiver.got}
    assert made.last_response is not None
    assert by_type["customer.created"]["request"] == {
        "id": made.last_response.request_id,
        "idempotency_key": "once",
    }
    assert by_type["charge.succeeded"]["request"] == {"id": None, "idempotency_key": None}


async def test_a_payment_rings_for_everything_that_it_made(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.pay(await a_link(api))
    await standin.settled()
    assert sorted(receiver.types) == sorted(
        [
            "product.created",
            "price.created",
            "payment_link.created",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "checkout.session.completed",
        ]
    )


async def test_an_endpoint_that_fails_is_tried_again_later_and_later(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver, naps: Naps
) -> None:
    receiver.answers = [500, 302, 404, 204]
    await customers(api, 1)
    await standin.settled()
    assert len(set(receiver.ids)) == 1
    assert [attempt.status for attempt in standin.attempts] == [500, 302, 404, 204]
    assert naps.seconds == [1, 2, 4]
    (event,) = (await api.v1.events.list_async()).data
    assert event.pending_webhooks == 0


async def test_an_endpoint_that_never_takes_an_event_is_left_alone_in_the_end(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver, naps: Naps
) -> None:
    receiver.answers = [500] * 4
    await customers(api, 1)
    await standin.settled()
    assert len(receiver.got) == 4
    listed = await api.v1.events.list_async({"delivery_success": False})
    assert [event.pending_webhooks for event in listed.data] == [1]


async def test_an_endpoint_that_is_not_there_counts_as_a_failure(naps: Naps) -> None:
    async with StandIn(api_key=KEY, retry_delays_seconds=(1,), sleep=naps) as standin, aiohttp.ClientSession() as http:
        standin.add_endpoint(Endpoint("http://127.0.0.1:1/webhook", SECRET))
        client = stripe.AIOHTTPClient(session=http)
        await customers(stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client), 1)
        await standin.settled()
        assert [attempt.status for attempt in standin.attempts] == [None, None]


async def test_every_attempt_is_signed_afresh(receiver: Receiver, naps: Naps) -> None:
    times = iter(range(NOW, NOW + 1000))
    async with (
        StandIn(api_key=KEY, now=lambda: next(times), retry_delays_seconds=(1, 1), sleep=naps) as standin,
        aiohttp.ClientSession() as http,
    ):
        standin.add_endpoint(Endpoint(receiver.url, SECRET))
        receiver.answers = [500, 500]
        client = stripe.AIOHTTPClient(session=http)
        await customers(stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client), 1)
        await standin.settled()
    signatures = [headers["Stripe-Signature"] for _, _, headers in receiver.got]
    assert len(set(signatures)) == 3
    for (_, body, _), signature in zip(receiver.got, signatures, strict=True):
        assert stripe.WebhookSignature.verify_header(body, signature, SECRET)


async def test_an_endpoint_gets_only_the_types_it_wants(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    other = receiver.url + "/paid"
    standin.add_endpoint(Endpoint(other, SECRET, ("checkout.session.completed",)))
    standin.pay(await a_link(api))
    await standin.settled()
    assert [attempt.type for attempt in standin.attempts if attempt.url == other] == ["checkout.session.completed"]


async def test_a_slow_endpoint_holds_up_no_other_event(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.open.clear()
    await customers(api, 3)
    assert standin.pending == 3
    receiver.open.set()
    await standin.settled()
    assert standin.pending == 0
    assert len(receiver.got) == 3


async def test_an_event_can_be_delivered_many_times_at_once(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    await customers(api, 1)
    await standin.settled()
    standin.deliver_again(receiver.ids[0], times=49)
    await standin.settled()
    assert receiver.ids == [receiver.ids[0]] * 50


async def test_events_can_be_kept_back_and_released_late(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.hold()
    await customers(api, 3)
    await standin.settled()
    assert receiver.got == []
    assert standin.held == [event["id"] for event in standin.events]
    assert standin.release() == [event["id"] for event in standin.events]
    await standin.settled()
    assert receiver.ids == [event["id"] for event in standin.events]
    await customers(api, 1)
    await standin.settled()
    assert len(receiver.got) == 4


async def test_only_the_named_types_are_kept_back(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    link = await a_link(api)
    standin.hold(["checkout.session.completed"])
    standin.pay(link)
    await standin.settled()
    assert "charge.succeeded" in receiver.types
    assert "checkout.session.completed" not in receiver.types
    standin.release()
    await standin.settled()
    assert receiver.types[-1] == "checkout.session.completed"


async def test_events_can_be_released_in_any_order(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.hold()
    await customers(api, 6)
    ids = [event["id"] for event in standin.events]
    chosen = [ids[4], ids[1]]
    assert standin.release(chosen) == [*chosen, ids[0], ids[2], ids[3], ids[5]]
    await standin.settled()
    assert receiver.ids == [*chosen, ids[0], ids[2], ids[3], ids[5]]
    for order in ("reversed", "shuffled"):
        receiver.got.clear()
        standin.hold()
        await customers(api, 6)
        made = [event["id"] for event in standin.events[-6:]]
        released = standin.release(order)
        await standin.settled()
        assert receiver.ids == released
        assert released != made
        assert sorted(released) == sorted(made)


async def test_a_release_in_order_goes_on_after_an_event_that_fails(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.hold()
    await customers(api, 2)
    receiver.answers = [500]
    standin.release()
    await standin.settled()
    first, second = (event["id"] for event in standin.events)
    assert receiver.ids[0] == first
    assert sorted(receiver.ids[1:]) == sorted([first, second])


async def test_an_event_that_is_dropped_never_arrives(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.drop_next(2, ["customer.created"])
    await customers(api, 3)
    await standin.settled()
    assert receiver.ids == [standin.events[2]["id"]]
    standin.hold()
    await customers(api, 1)
    assert standin.drop(standin.held[0])
    standin.release()
    await standin.settled()
    assert len(receiver.got) == 1
    assert not standin.drop("evt_none")
    assert len((await api.v1.events.list_async()).data) == 4


async def test_dropping_an_event_ends_its_repetition(receiver: Receiver) -> None:
    asleep = asyncio.Event()

    async def forever(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    async with StandIn(api_key=KEY, sleep=forever) as standin, aiohttp.ClientSession() as http:
        standin.add_endpoint(Endpoint(receiver.url, SECRET))
        receiver.answers = [500]
        client = stripe.AIOHTTPClient(session=http)
        await customers(stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client), 1)
        await asleep.wait()
        assert standin.drop(standin.events[0]["id"])
        await standin.settled()
    assert len(receiver.got) == 1


async def test_a_release_goes_on_when_the_event_under_way_is_dropped(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver
) -> None:
    standin.hold()
    await customers(api, 3)
    first, second, third = standin.release()
    receiver.open.clear()
    await receiver.reached.wait()
    assert standin.pending == 2  # the first event, and the release that waits for its answer
    assert standin.drop(first)
    receiver.open.set()
    await standin.settled()
    assert receiver.ids == [first, second, third]


@pytest.mark.parametrize("how", ["body", "secret", "unsigned", "garbled"])
async def test_a_forged_event_does_not_verify(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver, how: Any
) -> None:
    standin.pay(await a_link(api))
    await standin.settled()
    completed = standin.events[-1]
    assert await standin.tamper(completed["id"], how) == [200]
    event, body, headers = receiver.got[-1]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body, headers.get("Stripe-Signature"), SECRET)
    if how == "body":
        assert event["data"]["object"]["amount_total"] == 100 * completed["data"]["object"]["amount_total"]


@pytest.mark.parametrize(("how", "age"), [("stale", 360), ("future", -360)])
async def test_an_event_from_another_time_is_signed_for_that_time(
    standin: StandIn, api: stripe.StripeClient, receiver: Receiver, how: Any, age: int
) -> None:
    await customers(api, 1)
    await standin.settled()
    await standin.tamper(receiver.ids[0], how)
    _, body, headers = receiver.got[-1]
    assert headers["Stripe-Signature"].startswith(f"t={NOW - age},")
    assert stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], SECRET)


async def test_stopping_gives_up_what_is_under_way(receiver: Receiver) -> None:
    receiver.open.clear()
    async with aiohttp.ClientSession() as http:
        async with StandIn(api_key=KEY, webhooks=[Endpoint(receiver.url, SECRET)]) as standin:
            client = stripe.AIOHTTPClient(session=http)
            await customers(stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client), 20)
            assert standin.pending == 20
        assert standin.pending == 0
        await standin.settled()
    receiver.open.set()
    assert len(standin.events) == 20


@pytest.mark.parametrize(("url", "secret"), [("/webhook", SECRET), ("ftp://x", SECRET), ("http://x/", "secret")])
def test_an_endpoint_needs_an_address_and_a_secret_of_the_right_kind(url: str, secret: str) -> None:
    with pytest.raises(ValueError, match="webhook endpoint"):
        Endpoint(url, secret)
