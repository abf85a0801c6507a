"""Transfers, what comes back of them, and the balance at the stand-in, as the official SDK sees them."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import stripe

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn

KEY = "sk_test_standin"
ANNA = "acct_anna"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as standin:
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    """Of a shop that was paid 10.00 usd, of which 0.59 were kept."""
    async with aiohttp.ClientSession() as session:
        client = stripe.AIOHTTPClient(session=session)
        api = stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)
        price = await api.v1.prices.create_async(
            {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Requests"}}
        )
        link = await api.v1.payment_links.create_async({"line_items": [{"price": price.id, "quantity": 1}]})
        standin.take_fees(290, 30)
        standin.pay(link.url)
        yield api


async def test_a_transfer_leaves_the_balance_and_what_comes_back_is_there_again(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    standin.connect(ANNA)
    assert standin.balance == {"usd": 941}
    key = {"idempotency_key": "k"}
    asked = {"amount": 900, "currency": "usd", "destination": ANNA, "transfer_group": "g", "metadata": {"a": "b"}}
    made = await api.v1.transfers.create_async(asked, key)  # type: ignore[arg-type]
    again = await api.v1.transfers.create_async(asked, key)  # type: ignore[arg-type]
    assert (made.id, made.amount, made.reversed, made.metadata.to_dict()) == (again.id, 900, False, {"a": "b"})
    back = await api.v1.transfers.reversals.create_async(made.id, {"amount": 100})
    assert (back.transfer, back.amount) == (made.id, 100)
    await api.v1.transfers.reversals.create_async(made.id)
    found = await api.v1.transfers.retrieve_async(made.id)
    assert (found.amount_reversed, found.reversed) == (900, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await api.v1.transfers.reversals.create_async(made.id)
    assert refused.value.code == "transfer_already_reversed"
    assert [one.id for one in (await api.v1.transfers.list_async({"transfer_group": "g"})).data] == [made.id]
    assert (await api.v1.transfers.list_async({"transfer_group": "h"})).data == []
    lines = (await api.v1.balance_transactions.list_async()).data
    assert [(line.type, line.amount, line.fee, line.net) for line in lines] == [
        ("transfer_refund", 800, 0, 800),
        ("transfer_refund", 100, 0, 100),
        ("transfer", -900, 0, -900),
        ("charge", 1000, 59, 941),
    ]
    assert lines[2].source == made.id
    balance = await api.v1.balance.retrieve_async()
    assert [(part.amount, part.currency) for part in balance.available] == [(941, "usd")]
    types = [event["type"] for event in standin.events if event["type"].startswith("transfer.")]
    assert types == ["transfer.created", *["transfer.reversed", "transfer.updated"] * 2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"destination": "acct_nobody"}, "resource_missing"),
        ({"amount": 942}, "balance_insufficient"),
        ({"amount": 0}, "parameter_invalid_integer"),
        ({"currency": "eur"}, "balance_insufficient"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_nothing_moves(
    standin: StandIn, api: stripe.StripeClient, change: dict[str, object], code: str
) -> None:
    standin.connect(ANNA)
    asked = {"amount": 100, "currency": "usd", "destination": ANNA, **change}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await api.v1.transfers.create_async(asked)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert (standin.balance, standin.transfers) == ({"usd": 941}, [])


async def test_an_account_that_may_not_be_sent_to_is_not(standin: StandIn, api: stripe.StripeClient) -> None:
    standin.connect(ANNA, transfers=False)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await api.v1.transfers.create_async({"amount": 1, "currency": "usd", "destination": ANNA})
    assert refused.value.code == "insufficient_capabilities_for_transfer"


async def test_an_accounts_payout_is_told_in_its_own_name_and_not_listed_among_ours(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    standin.send_on(ANNA, 500)
    standin.send_on(ANNA, 400, succeed=False)
    told = [(event["type"], event["account"], event["data"]["object"]["status"]) for event in standin.events[-4:]]
    assert told == [
        ("payout.created", ANNA, "in_transit"),
        ("payout.paid", ANNA, "paid"),
        ("payout.created", ANNA, "in_transit"),
        ("payout.failed", ANNA, "failed"),
    ]
    assert (await api.v1.events.list_async({"type": "payout.paid"})).data == []
    assert standin.balance == {"usd": 941}


async def test_what_goes_back_leaves_the_balance_with_the_fee_of_a_dispute(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    [session] = standin.sessions
    dispute = standin.dispute(session["id"])
    assert standin.balance == {"usd": 941 - 1000 - 1500}
    standin.close_dispute(dispute["id"], won=True)
    assert standin.balance == {"usd": 941}


async def test_the_controls_steer_all_of_it(standin: StandIn, api: stripe.StripeClient) -> None:
    async with aiohttp.ClientSession() as session:

        async def steer(name: str, **given: object) -> dict[str, object]:
            async with session.post(f"{standin.url}/_standin/{name}", json=given) as answer:
                assert answer.status == 200, await answer.text()
                told: dict[str, object] = await answer.json()
                return told

        await steer("connect", account=ANNA)
        await steer("fees", basis_points=0, fixed=0)
        made = await api.v1.transfers.create_async({"amount": 900, "currency": "usd", "destination": ANNA})
        assert (await steer("reverse", transfer=made.id, amount=1))["amount"] == 1
        assert (await steer("send_on", account=ANNA, amount=7, currency="usd", succeed=False))["status"] == "failed"
        async with session.get(f"{standin.url}/_standin/state") as answer:
            assert (await answer.json())["balance"] == {"usd": 42}
