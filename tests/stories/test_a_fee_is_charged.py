"""A refund is confirmed: the platform's fee is charged from a saved method, once, and the seller is paid."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.adapters.charging import ChargeRecords
from gateway.core.charges import Charge
from gateway.core.services import Service
from gateway.core.tokens import Peppers
from tests.callers import audited
from tests.forms import FORMS
from tests.stories.test_an_owner_is_onboarded import done, heard
from tests.stories.test_signing_in import Browser, Shop, shop

BELOW = "/-/api/v1/stripe/"
ANN = "amazon:amzn1.account.ANN"
PUBLISHABLE = "pk_test_" + "1a" * 20
SECRET = "fbs_" + "1a" * 32
DECLINED, CONFIRMS, GOOD = "4000000000000341", "4000002760003184", "4242424242424242"


class Market:
    """A platform where Ann acts for anna, and services that call it."""

    def __init__(self, here: Shop, session: ClientSession) -> None:
        self.here, self.stage, self.session = here, here.stage, session
        self.stand_in = here.stage.stand_in
        self.user = ""
        self.method = ""

    @property
    def book(self) -> ChargeRecords:
        return ChargeRecords(self.stage.gateway.records.ask)

    async def add_service(self, name: str, role: Any, secret: str = SECRET) -> None:
        gateway = self.stage.gateway
        digest = Peppers(gateway.settings.secrets.peppers).digest(secret)
        assert gateway.paying.charging is not None
        book = gateway.paying.charging.services._book
        await book.add_service(Service(name, role, digest, "", 0, 0))

    async def token(self, name: str = "refund-engine", secret: str = SECRET, **more: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret, **more}
        async with self.session.post(f"{self.stage.url}/-/oauth/token", data=form) as answer:
            return answer.status, await answer.json()

    async def bearer(self, name: str = "refund-engine") -> dict[str, str]:
        status, told = await self.token(name)
        assert status == 200, told
        return {"Authorization": f"Bearer {told['access_token']}"}

    async def call(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        method = "POST" if body is not None else "GET"
        url = self.stage.url + path
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def charge(self, refund: str = "rf_1", amount: Any = 10_000, **more: Any) -> tuple[int, Any]:
        wish = {"refund_id": refund, "user_id": self.user, "amount": amount, "currency": "usd", **more}
        return await self.call(f"{BELOW}charge-commission", wish, **await self.bearer())

    async def agree(self, ann: Browser, number: str = GOOD) -> dict[str, Any]:
        """Ann signs in, and saves a card on a page of the platform's."""
        await ann.sign_in()
        await done(self.stage)
        [row] = await self.stage.gateway.records.ask("SELECT id FROM users WHERE id NOT IN ('')")
        self.user = row[0]
        async with ann.session.post(f"{self.stage.url}{BELOW}create-customer-setup", json={}) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
        self.method = self.stand_in.save_method(told["setup_intent_id"], number)["payment_method"]
        await heard(self.stage)
        return told

    async def kept(self, refund: str = "rf_1") -> Charge:
        found = await self.book.charge_of(refund, live=False)
        assert found is not None
        return found

    async def later(self) -> None:
        """As if all times were over that something waits for."""
        await self.stage.gateway.records.ask("UPDATE stripe_transactions SET due = 0")
        await self.stage.gateway.records.ask("UPDATE sync_jobs SET due = 0 WHERE state IN ('waiting', 'running')")
        charging = self.stage.gateway.paying.charging
        assert charging is not None
        await charging.charge.sweep()
        await heard(self.stage)

    def fees(self) -> list[dict[str, Any]]:
        """The payment intents of charges."""
        return [one for one in self.stand_in.shelf("payment_intent") if "farebox_charge" in one["metadata"]]

    async def balance(self, holder: str) -> int:
        return (await self.stage.gateway.ledger.balance(holder, "usd")).available.micros


@asynccontextmanager
async def market(folder: Path, *, form: str = "relay", connect: bool = False, **charging: Any) -> AsyncIterator[Market]:
    more: dict[str, Any] = {"connect": {"country": "US"}, "payouts": {}} if connect else {}
    stripe = {"reconcile_seconds": 0, "publishable_key": PUBLISHABLE}
    owners = {"anna": {"signs_in": [ANN]}, "bert": {"charge_bps": 1000}}
    async with (
        shop(folder, form=form, owners=owners, stripe=stripe, charging=charging, **more) as here,
        ClientSession() as session,
    ):
        made = Market(here, session)
        await made.add_service("refund-engine", "commission")
        yield made


@pytest.mark.parametrize("form", FORMS)
async def test_a_refund_is_confirmed_and_its_fee_is_charged_once(form: str, tmp_path: Path) -> None:
    async with market(tmp_path, form=form) as here:
        ann = here.here.browser()
        told = await here.agree(ann)
        assert told["publishable_key"] == PUBLISHABLE
        assert told["client_secret"].startswith(told["setup_intent_id"])
        status, first = await here.charge()
        assert (status, first["status"], first["fee"], first["seller"]) == (200, "succeeded", 2000, "none")
        [intent] = here.fees()
        assert (intent["id"], intent["amount"], intent["amount_received"]) == (first["payment_intent_id"], 2000, 2000)
        answers = await asyncio.gather(*(here.charge() for _ in range(4)))
        assert {answer["transaction_id"] for _, answer in answers} == {first["transaction_id"]}
        assert len(here.fees()) == 1
        await heard(here.stage)
        assert await here.balance("platform") == 20_000_000
        status, said = await here.charge(amount=9_999)
        assert (status, said["code"]) == (409, "charge_conflict")
        audited(here.stage)
