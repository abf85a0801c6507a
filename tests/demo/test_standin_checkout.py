"""The hosted pages, driven as a browser without scripts would, and paying without a browser."""

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
import stripe

from gateway.demo.standin import ApiError, BadCard, PaymentDeclined, PaymentRefused, StandIn

KEY = "sk_test_standin"
FORM = {
    "method": "card",
    "email": "ada@example.com",
    "number": "4242 4242 4242 4242",
    "expiry": "12 / 34",
    "cvc": "123",
}


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
    async with StandIn(api_key=KEY, now=clock, business="Demo <shop>") as standin:
        yield standin


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def api(standin: StandIn, browser: aiohttp.ClientSession) -> stripe.StripeClient:
    client = stripe.AIOHTTPClient(session=browser)
    return stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)


async def a_link(
    api: stripe.StripeClient, amount: int | None = 500, currency: str = "usd", name: str = "Requests", **more: Any
) -> stripe.PaymentLink:
    given: Any = {"currency": currency, "product_data": {"name": name}}
    if amount is None:
        given["custom_unit_amount"] = {"enabled": True, "minimum": 500, "maximum": 5000, "preset": 2000}
    else:
        given["unit_amount"] = amount
    price = await api.v1.prices.create_async(given)
    return await api.v1.payment_links.create_async(
        cast(Any, {"line_items": [{"price": price.id, "quantity": 1}], **more})
    )


def redirect(url: str) -> dict[str, Any]:
    return {"type": "redirect", "redirect": {"url": url}}


async def get(browser: aiohttp.ClientSession, url: str) -> tuple[int, str, str]:
    """Status, page, and where it led."""
    async with browser.get(url, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers.get("Location", "")


async def post(browser: aiohttp.ClientSession, url: str, **form: str) -> tuple[int, str, str]:
    async with browser.post(url, data={**FORM, **form}, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers.get("Location", "")


def problem(page: str) -> str:
    match = re.search(r'role="alert">([^<]*)<', page)
    assert match is not None
    return match[1]


async def test_a_visitor_of_a_link_pays_and_comes_back(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api, after_completion=redirect("https://shop.example/back?session_id={CHECKOUT_SESSION_ID}"))
    status, _, checkout = await get(browser, f"{link.url}?client_reference_id=wallet_1&prefilled_promo_code=X")
    assert (status, checkout.startswith(f"{standin.url}/checkout/cs_test_")) == (303, True)
    status, page, _ = await get(browser, checkout)
    assert status == 200
    assert "Stand-in for Stripe: no real money moves" in page
    assert "Pay $5.00" in page
    assert "4242 4242 4242 4242" in page
    status, _, back = await post(browser, checkout)
    id = checkout.rpartition("/")[2]
    assert (status, back) == (303, f"https://shop.example/back?session_id={id}")

    session = await api.v1.checkout.sessions.retrieve_async(id, {"expand": ["payment_intent.payment_method"]})
    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert (session.amount_total, session.amount_subtotal, session.currency) == (500, 500, "usd")
    assert session.client_reference_id == "wallet_1"
    assert session.payment_link == link.id
    assert session.customer_details is not None
    assert session.customer_details.email == "ada@example.com"
    assert session.total_details is not None
    assert session.total_details.amount_tax == 0
    intent = cast(stripe.PaymentIntent, session.payment_intent)
    assert (intent.status, intent.amount_received) == ("succeeded", 500)
    assert cast(Any, intent.payment_method).card.last4 == "4242"
    (entry,) = standin.journal
    assert (entry.amount, entry.currency, entry.session, entry.client_reference_id) == (500, "usd", id, "wallet_1")


@pytest.mark.parametrize("reference", ["x" * 201, "a b", "a%2Fb", "%F0%9F%92%A9", ""])
async def test_a_reference_that_stripe_does_not_take_is_dropped_without_a_word(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, reference: str
) -> None:
    link = await a_link(api)
    status, _, _ = await get(browser, f"{link.url}?client_reference_id={reference}")
    assert status == 303
    assert standin.sessions[-1]["client_reference_id"] is None


async def test_every_visit_of_a_link_is_a_session_of_its_own(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api)
    first, second = await get(browser, link.url), await get(browser, link.url)
    assert first[2] != second[2]
    async with browser.head(link.url) as answer:
        assert answer.status == 405
    assert len(standin.sessions) == 2


async def test_a_prefilled_email_is_offered_and_can_be_changed(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api)
    _, _, checkout = await get(browser, f"{link.url}?prefilled_email=bob%40example.com")
    assert 'value="bob@example.com"' in (await get(browser, checkout))[1]
    await post(browser, checkout, email="ada@example.com")
    assert standin.sessions[-1]["customer_details"]["email"] == "ada@example.com"


async def test_the_email_of_a_session_is_kept_whatever_is_typed(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api)
    price = (await api.v1.payment_links.line_items.list_async(link.id)).data[0].price
    assert price is not None
    session = await api.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [{"price": price.id, "quantity": 2}],
            "success_url": "https://shop.example/?id={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/cancel",
            "customer_email": "fixed@example.com",
        }
    )
    _, page, _ = await get(browser, cast(str, session.url))
    assert 'href="https://shop.example/cancel"' in page
    assert "readonly" in page
    _, _, back = await post(browser, cast(str, session.url), email="other@example.com")
    assert back == f"https://shop.example/?id={session.id}"
    assert standin.sessions[-1]["customer_details"]["email"] == "fixed@example.com"
    assert standin.journal[-1].amount == 1000


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"number": "4242 4242 4242 4241"}, "Your card number is invalid."),
        ({"number": "4111 1111 1111 1111"}, "use a test card"),
        ({"expiry": "12 / 20"}, "in the past"),
        ({"cvc": "1"}, "security code is incomplete"),
        ({"email": "nobody"}, "e-mail address is incomplete"),
        ({"method": "link", "email": ""}, "e-mail address is incomplete"),
    ],
)
async def test_a_slip_of_the_pen_is_shown_on_the_page_and_charges_nothing(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, form: dict[str, str], said: str
) -> None:
    checkout = standin.open((await a_link(api)).id)["url"]
    status, page, _ = await post(browser, checkout, **form)
    assert status == 400
    assert said in problem(page.replace("&#39;", "'"))
    assert 'aria-invalid="true"' in page
    assert standin.journal == []
    assert not [event for event in standin.events if event["type"].startswith("charge.")]


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [
        ("4000 0000 0000 0002", "Your card was declined.", "generic_decline"),
        ("4000 0000 0000 9995", "Your card has insufficient funds.", "insufficient_funds"),
    ],
)
async def test_a_declined_card_can_be_followed_by_a_good_one(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, number: str, said: str, code: str
) -> None:
    opened = standin.open((await a_link(api)).id)
    status, page, _ = await post(browser, opened["url"], number=number)
    assert (status, problem(page)) == (402, said)
    assert [event["type"] for event in standin.events[-3:]] == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]
    failed = standin.events[-1]["data"]["object"]
    assert (failed["status"], failed["last_payment_error"]["decline_code"]) == ("requires_payment_method", code)
    assert standin.sessions[-1]["status"] == "open"
    assert standin.journal == []

    assert (await post(browser, opened["url"]))[0] == 303
    charges = (await api.v1.charges.list_async({"payment_intent": failed["id"]})).data
    assert [(charge.status, charge.paid) for charge in charges] == [("succeeded", True), ("failed", False)]
    assert len((await api.v1.payment_intents.list_async()).data) == 1
    assert len(standin.journal) == 1


async def test_a_session_pays_once(standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession) -> None:
    checkout = standin.open((await a_link(api)).id)["url"]
    assert (await post(browser, checkout))[0] == 303
    for form in ({}, {"method": "link"}, {"number": "4000 0000 0000 0002"}, {"number": "nonsense"}):
        status, page, _ = await post(browser, checkout, **form)
        assert status == 409
        assert "Nothing was charged again" in page
    assert "Thank you: $5.00 paid" in (await get(browser, checkout))[1]
    assert len(standin.journal) == 1


async def test_paying_with_link_leaves_an_email_instead_of_a_card(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    checkout = standin.open((await a_link(api)).id)["url"]
    await post(browser, checkout, method="link", email="link@example.com", number="")
    intent = await api.v1.payment_intents.retrieve_async(
        standin.journal[0].payment_intent, {"expand": ["payment_method"]}
    )
    method = cast(stripe.PaymentMethod, intent.payment_method)
    assert (method.type, cast(Any, method.link).email) == ("link", "link@example.com")
    assert (await api.v1.payment_methods.retrieve_async(method.id)).id == method.id


@pytest.mark.parametrize("succeed", [True, False])
async def test_a_bank_debit_completes_the_session_and_settles_later(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, succeed: bool
) -> None:
    opened = standin.open((await a_link(api)).id)
    _, _, thanks = await post(browser, opened["url"], method="later")
    assert "on its way" in (await get(browser, thanks))[1]
    completed = standin.events[-1]
    assert completed["type"] == "checkout.session.completed"
    assert completed["data"]["object"]["payment_status"] == "unpaid"
    assert standin.journal == []

    settled = standin.settle(opened["id"], succeed=succeed)
    assert settled["payment_status"] == ("paid" if succeed else "unpaid")
    assert standin.events[-1]["type"] == f"checkout.session.async_payment_{'succeeded' if succeed else 'failed'}"
    assert len(standin.journal) == succeed
    with pytest.raises(PaymentRefused):
        standin.settle(opened["id"])


@pytest.mark.parametrize(
    ("amount", "currency", "shown"), [(500, "jpy", "Pay ¥500"), (1500, "kwd", "Pay KWD 1.500"), (1234, "eur", "€12.34")]
)
async def test_amounts_are_shown_in_the_decimals_of_their_currency(
    standin: StandIn,
    api: stripe.StripeClient,
    browser: aiohttp.ClientSession,
    amount: int,
    currency: str,
    shown: str,
) -> None:
    checkout = standin.open((await a_link(api, amount, currency)).id)["url"]
    _, page, _ = await get(browser, checkout)
    assert shown in page
    assert ("(arrives later)" in page) == (currency != "kwd")


@pytest.mark.parametrize("amount", ["4.99", "50.01", "1.234", "x", "", "-5"])
async def test_an_amount_out_of_bounds_is_refused_on_the_page(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, amount: str
) -> None:
    checkout = standin.open((await a_link(api, None)).id)["url"]
    status, page, _ = await post(browser, checkout, amount=amount)
    assert status == 400
    assert "Enter an amount" in problem(page)
    assert standin.journal == []


@pytest.mark.parametrize(("typed", "amount"), [("5", 500), ("50.00", 5000), ("12,5", 1250)])
async def test_the_buyer_chooses_the_amount_within_its_bounds(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, typed: str, amount: int
) -> None:
    opened = standin.open((await a_link(api, None)).id)
    _, page, _ = await get(browser, opened["url"])
    assert 'value="20.00"' in page
    assert "$5.00 to $50.00" in page
    assert (await post(browser, opened["url"], amount=typed))[0] == 303
    assert standin.journal[0].amount == amount
    assert standin.sessions[0]["amount_total"] == amount
    (item,) = (await api.v1.checkout.sessions.line_items.list_async(opened["id"])).data
    assert item.amount_total == amount


async def test_a_link_that_is_turned_off_says_so(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api)
    opened = standin.open(link.id)
    await api.v1.payment_links.update_async(link.id, {"active": False, "inactive_message": "We moved <away>."})
    status, page, _ = await get(browser, link.url)
    assert (status, "deactivated" in page, "We moved &lt;away&gt;." in page) == (410, True, True)
    assert (await post(browser, opened["url"]))[0] == 409
    assert standin.journal == []


async def test_a_link_closes_when_enough_sessions_are_complete(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api, restrictions={"completed_sessions": {"limit": 2}})
    opened = standin.open(link.id)
    standin.pay(link.id)
    assert (await get(browser, link.url))[0] == 303
    standin.pay(link.id)
    assert (await get(browser, link.url))[0] == 410
    assert (await post(browser, opened["url"]))[0] == 409
    counted = (await api.v1.payment_links.retrieve_async(link.id)).restrictions
    assert counted is not None
    assert counted.completed_sessions.to_dict() == {"count": 2, "limit": 2}


async def test_an_expired_session_can_no_longer_be_paid(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession, clock: Clock
) -> None:
    opened = standin.open((await a_link(api)).id)
    clock.time += 24 * 3600
    status, page, _ = await post(browser, opened["url"])
    assert (status, "has expired" in page) == (409, True)
    assert (await get(browser, opened["url"]))[0] == 200
    assert standin.journal == []


async def test_without_a_redirect_the_thanks_are_hosted(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    after = {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "Enjoy <it>"}}
    opened = standin.open((await a_link(api, after_completion=after)).id)
    _, page, _ = await get(browser, opened["url"])
    assert f'href="/checkout/{opened["id"]}/cancelled"' in page
    _, _, thanks = await post(browser, opened["url"])
    assert thanks == f"{standin.url}/checkout/{opened['id']}/paid"
    status, page, _ = await get(browser, thanks)
    assert (status, "Enjoy &lt;it&gt;" in page) == (200, True)


async def test_thanks_are_not_said_before_the_payment(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    opened = standin.open((await a_link(api)).id)
    assert (await get(browser, opened["url"] + "/paid"))[0] == 404
    status, page, _ = await get(browser, opened["url"] + "/cancelled")
    assert (status, "You may close this page" in page) == (200, True)


@pytest.mark.parametrize("path", ["/pay/plink_none", "/checkout/cs_test_none", "/checkout/cs_test_none/paid"])
async def test_a_page_that_is_not_there_is_not_found(
    standin: StandIn, browser: aiohttp.ClientSession, path: str
) -> None:
    status, page, _ = await get(browser, standin.url + path)
    assert (status, "There is no such" in page) == (404, True)
    assert (await post(browser, standin.url + path.removesuffix("/paid")))[0] in (404, 405)


async def test_nothing_from_outside_becomes_markup(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    link = await a_link(api, name="<script>alert(1)</script>", custom_text={"submit": {"message": "<b>note</b>"}})
    opened = standin.open(link.id)
    _, page, _ = await post(browser, opened["url"], email='"><script>', number='"><img src=x>')
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "Demo &lt;shop&gt;" in page


async def test_pages_forbid_scripts_frames_and_foreign_content(
    standin: StandIn, api: stripe.StripeClient, browser: aiohttp.ClientSession
) -> None:
    opened = standin.open((await a_link(api, after_completion=redirect("https://me:pw@shop.example:8443/x"))).id)
    async with browser.get(opened["url"]) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert policy.endswith("form-action 'self' https://shop.example:8443")
    assert "style=" not in page
    async with browser.get(f"{standin.url}/standin.css") as answer:
        assert answer.content_type == "text/css"
    assert (await get(browser, standin.url + "/"))[0] == 200


async def test_a_customer_is_made_when_the_link_wants_one(standin: StandIn, api: stripe.StripeClient) -> None:
    guest = standin.pay((await a_link(api)).id, email="a@example.com")
    known = standin.pay((await a_link(api, customer_creation="always")).id, email="b@example.com")
    assert (guest["customer"], guest["customer_creation"]) == (None, "if_required")
    customer = await api.v1.customers.retrieve_async(known["customer"])
    assert customer.email == "b@example.com"
    charge = await api.v1.charges.retrieve_async(standin.journal[-1].charge)
    assert charge.customer == customer.id


async def test_a_link_hands_its_details_on_to_the_payment(standin: StandIn, api: stripe.StripeClient) -> None:
    data = {"description": "Top-up", "metadata": {"k": "v"}, "setup_future_usage": "off_session"}
    link = await a_link(api, payment_intent_data=data, metadata={"m": "n"}, customer_creation="always")
    paid = standin.pay(link.id)
    assert paid["metadata"] == {"m": "n"}
    intent = await api.v1.payment_intents.retrieve_async(paid["payment_intent"], {"expand": ["payment_method"]})
    assert (intent.description, intent.metadata.to_dict()) == ("Top-up", {"k": "v"})
    assert cast(Any, intent.payment_method).customer == paid["customer"]


async def test_the_same_card_has_the_same_fingerprint(standin: StandIn, api: stripe.StripeClient) -> None:
    link = (await a_link(api)).id
    for card in ("4242424242424242", "4242 4242 4242 4242", "5555555555554444", "378282246310005"):
        standin.pay(link, card=card)
    prints = [
        cast(Any, (await api.v1.charges.retrieve_async(entry.charge)).payment_method_details).card.fingerprint
        for entry in standin.journal
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


async def test_paying_without_a_browser_takes_links_addresses_and_sessions(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    link = await a_link(api)
    assert standin.pay(link.id, client_reference_id="one")["client_reference_id"] == "one"
    assert standin.pay(f"{link.url}?client_reference_id=two")["client_reference_id"] == "two"
    assert standin.pay(link.url, client_reference_id="not valid")["client_reference_id"] is None
    opened = standin.open(link.id)
    assert standin.pay(opened["url"])["id"] == opened["id"]
    assert standin.pay((await a_link(api, None)).id)["amount_total"] == 2000
    assert standin.pay((await a_link(api, None)).id, amount=500)["amount_total"] == 500


async def test_paying_without_a_browser_fails_as_it_would_with_one(standin: StandIn, api: stripe.StripeClient) -> None:
    link, custom = await a_link(api), await a_link(api, None)
    with pytest.raises(PaymentDeclined) as declined:
        standin.pay(link.id, card="4000000000009995")
    assert declined.value.decline_code == "insufficient_funds"
    with pytest.raises(BadCard):
        standin.pay(link.id, card="4242424242424241")
    for amount in (499, 5001):
        with pytest.raises(PaymentRefused):
            standin.pay(custom.id, amount=amount)
    with pytest.raises(PaymentRefused):
        standin.pay(link.id, amount=501)
    with pytest.raises(PaymentRefused):
        standin.pay((await a_link(api, 1500, "kwd")).id, method="later")
    with pytest.raises(ApiError):
        standin.pay("plink_none")
    assert standin.journal == []


async def test_what_is_handed_out_can_be_changed_without_harm(standin: StandIn, api: stripe.StripeClient) -> None:
    paid = standin.pay((await a_link(api)).id)
    paid["amount_total"] = 1
    standin.sessions[0]["amount_total"] = 1
    standin.events[-1]["data"]["object"]["amount_total"] = 1
    assert standin.sessions[0]["amount_total"] == 500
    assert standin.events[-1]["data"]["object"]["amount_total"] == 500
