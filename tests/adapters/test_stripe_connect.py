"""Owners' accounts through the official SDK, with either of Stripe's APIs, against the stand-in."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.adapters.stripe import connect as adapter
from gateway.adapters.stripe.connect import StripeConnect
from gateway.adapters.stripe.parameters import parameters
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.owning import AccountWish, OwnerAccount, Standing
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret
from gateway.demo.standin import StandIn
from gateway.ports import ConnectRefused

KEY = "sk_test_" + "1a" * 20
V1, V2 = AccountWish("v1", "DE", "anna", "anna@example.com"), AccountWish("v2", "DE", "anna", "anna@example.com")
WISHES = pytest.mark.parametrize("wish", [V1, V2], ids=["v1", "v2"])
URLS = {"return_url": "http://127.0.0.1:1/back", "refresh_url": "http://127.0.0.1:1/fresh"}


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        yield stand_in


@pytest.fixture
async def connect(stand_in: StandIn) -> AsyncIterator[StripeConnect]:
    payments = StripePayments(
        secret_key=Secret(KEY),
        webhook_secrets=[Secret("whsec_x")],
        api_url=stand_in.url,
        tolerance_seconds=300,
        report=lambda *_, **__: None,
    )
    yield StripeConnect(payments)
    await payments.close()


async def opened(connect: StripeConnect, wish: AccountWish, key: str = "name-1") -> OwnerAccount:
    standing = await connect.open_account(wish, idempotency_key=f"k-{key}", key=key)
    return OwnerAccount("anna", False, wish.api, key, 1, 0, 0, 0, standing)


@WISHES
async def test_an_account_is_made_once_and_needs_something(
    connect: StripeConnect, stand_in: StandIn, wish: AccountWish
) -> None:
    first, second = await opened(connect, wish), await opened(connect, wish)
    assert first == second
    [made] = stand_in.accounts
    assert (made.country, made.email, made.name, made.transfers) == ("DE", "anna@example.com", "anna", True)
    stands = first.standing
    assert stands is not None
    assert (stands.account, stands.status, stands.transfers, stands.payouts) == (made.id, "restricted", False, False)
    assert stands.country == "DE"
    assert len(stands.due) == 5


@WISHES
async def test_an_account_is_found_by_our_name_among_all(
    connect: StripeConnect, stand_in: StandIn, wish: AccountWish
) -> None:
    made = [await opened(connect, wish, f"name-{number}") for number in range(3)]
    assert await connect.find_opened(wish.api, key="name-1") == made[1].standing
    assert await connect.find_opened(wish.api, key="name-9") is None


async def test_of_more_accounts_than_can_be_looked_through_nothing_is_said(
    connect: StripeConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_ACCOUNTS_MAX", 2)
    await opened(connect, V1, "name-1")
    await opened(connect, V1, "name-2")
    with pytest.raises(PaymentServiceUnavailable):
        await connect.find_opened("v1", key="name-3")


@WISHES
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"due": []}, "enabled"),
        ({"due": [], "verifying": True}, "pending"),
        ({"due": [1], "verifying": True}, "restricted"),
        ({"rejected": True}, "rejected"),
        ({"due": [], "transfers": False}, "restricted"),
    ],
)
async def test_how_an_account_stands_is_read(
    connect: StripeConnect, stand_in: StandIn, wish: AccountWish, how: dict[str, Any], status: str
) -> None:
    account = await opened(connect, wish)
    assert account.standing is not None
    stand_in.set_account(account.standing.account, **how)
    stands = await connect.standing(account)
    assert stands.status == status
    assert (stands.transfers, stands.payouts) == (status == "enabled", status == "enabled")
    assert len(stands.due) == len(how.get("due", range(5)))


@WISHES
async def test_an_account_out_of_reach_is_deauthorised_and_an_outage_says_nothing(
    connect: StripeConnect, stand_in: StandIn, wish: AccountWish
) -> None:
    account = await opened(connect, wish)
    assert account.standing is not None
    stand_in.fail_requests(3, 500)
    with pytest.raises(PaymentServiceUnavailable):
        await connect.standing(account)
    id = account.standing.account
    stand_in.deauthorise(id)
    assert await connect.standing(account) == Standing(id, "deauthorised")
    with pytest.raises(ConnectRefused):
        await connect.account_link(account, **URLS)


async def test_a_closed_account_is_deauthorised(connect: StripeConnect, stand_in: StandIn) -> None:
    account = await opened(connect, V2)
    assert account.standing is not None
    stand_in.close_account(account.standing.account)
    assert (await connect.standing(account)).status == "deauthorised"


@WISHES
async def test_a_link_opens_once_and_leads_back(connect: StripeConnect, stand_in: StandIn, wish: AccountWish) -> None:
    account = await opened(connect, wish)
    link = await connect.account_link(account, **URLS)
    assert link != await connect.account_link(account, **URLS)
    async with ClientSession() as browser:
        async with browser.get(link) as page:
            assert (page.status, 'name="due-0"' in await page.text()) == (200, True)
            policy = page.headers["Content-Security-Policy"]
            assert "form-action 'self' http://127.0.0.1:1" in policy
            assert "script" not in policy
        async with browser.get(link, allow_redirects=False) as again:
            assert (again.status, again.headers["Location"]) == (303, URLS["refresh_url"])
        given = {f"due-{number}": "x" for number in range(4)}
        async with browser.post(link, data=given, allow_redirects=False) as sent:
            assert (sent.status, sent.headers["Location"]) == (303, URLS["return_url"])
    stands = await connect.standing(account)
    assert (stands.status, len(stands.due)) == ("restricted", 1), "what was left empty is still due"


@WISHES
async def test_what_stripe_surely_has_not_done_is_refused(
    connect: StripeConnect, stand_in: StandIn, wish: AccountWish
) -> None:
    stand_in.enable_connect(False)
    with pytest.raises(ConnectRefused):
        await opened(connect, wish)
    assert "not enabled for Connect" in str(await connect.cannot_connect())
    stand_in.enable_connect(True)
    assert await connect.cannot_connect() is None
    stand_in.fail_requests(3, 429)
    with pytest.raises(PaymentServiceUnavailable):
        await opened(connect, replace(wish, name="bert"), "name-2")


def event(type: str, object: dict[str, Any], account: str = "") -> Event:
    return Event("evt_1", type, False, 1, object, account)


def test_an_event_names_the_account_that_it_is_about() -> None:
    connect = StripeConnect(None)  # type: ignore[arg-type]  # nobody is asked
    assert connect.account_notice(event("account.updated", {"id": "acct_2"}, "acct_1")) == "acct_1"
    assert connect.account_notice(event("account.application.deauthorized", {"id": "ca_1"}, "acct_1")) == "acct_1"
    thin = "v2.core.account[requirements].updated"
    assert connect.account_notice(event(thin, {"id": "acct_1", "type": "v2.core.account"})) == "acct_1"
    assert connect.account_notice(event("v2.core.account_person.updated", {"id": "person_1"})) is None
    assert connect.account_notice(event("account.updated", {"id": "acct_1"})) is None, "our own is no owner's"
    assert connect.account_notice(event("payout.paid", {"id": "po_1"}, "acct_1")) is None
    assert connect.account_notice(event(thin, {"id": 5})) is None
