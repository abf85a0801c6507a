"""What belongs to another account is not there: for every call of ours that names a thing, and not by luck of the id.

A call that is added, and whose address names a thing, fails here until somebody says how it is held to that.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.adapters.charging import ChargeRecords
from gateway.core.charges import Charge
from gateway.core.money import Money
from tests.stories.test_signing_in import Browser, shop
from tests.stories.test_subscriptions import PLANS, SUBSCRIPTIONS, heard

OPEN = {
    "/-/auth/{provider}/start",
    "/-/auth/{provider}/callback",
}
"""They name no thing of anybody's."""

THINGS = {
    "/-/api/v1/tokens/{id}": ("GET", "PATCH", "DELETE"),
    "/-/api/v1/tokens/{id}/rotate": ("POST",),
    "/-/api/v1/requests/{id}": ("GET",),
    "/-/api/v1/jobs/{id}": ("GET",),
    "/-/api/v1/subscriptions/{id}": ("DELETE",),
    "/-/api/v1/stripe/transactions/{id}": ("GET",),
    "/-/api/v1/integrations/{provider}": ("DELETE",),
    "/-/api/v1/owners/{owner}/routes": ("GET", "PUT"),
}


@dataclass
class Two:
    """Somebody who has one of everything, and somebody else who has not."""

    url: str
    things: dict[str, str]
    owner: Browser
    other: Browser
    app: web.Application

    async def asked(self, browser: Browser, method: str, path: str, thing: str) -> tuple[int, str]:
        url = self.url + re.sub(r"\{\w+\}", thing, path)
        fields = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": self.url}
        body = {"name": "renamed"} if method == "PATCH" else None
        async with browser.session.request(method, url, json=body, headers=fields) as answer:
            return answer.status, re.sub(r"(req|tok|job|sub|ses|txn)_[\w-]+", "ID", await answer.text())


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    routes = {"hosts": ["api.anna.example"], "price_max": "1.00 usd"}
    owners = {"anna": {"signs_in": ["amazon:amzn1.account.ANN"], "routes": routes}}
    more: dict[str, Any] = {
        "plans": PLANS,
        "owners": owners,
        "routes_folder": str(tmp_path / "routes.d"),
        "charging": {},
    }
    async with shop(tmp_path, **more, stripe={"reconcile_seconds": 0}, provider={"sync": True}) as here:
        here.stage.stand_in.recurring_price("price_month", 1000)
        owner, other = here.browser(), here.browser()
        await owner.sign_in()
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        await other.sign_in()
        things = await asyncio.wait_for(made_by(owner, here.stage), 30)
        app = web.Application()
        here.stage.gateway.add_own_to(app)
        yield Two(here.stage.url, things, owner, other, app)


async def made_by(owner: Browser, stage: Any) -> dict[str, str]:
    """One of each thing; its id, by the address that names it."""
    async with owner.session.post(f"{stage.url}{SUBSCRIPTIONS}", json={"plan": "monthly"}) as answer:
        told = await answer.json()
    stage.stand_in.pay(told["payment_url"])
    await heard(stage)
    _, held = await owner.api(SUBSCRIPTIONS)
    async with owner.session.post(f"{stage.url}/-/api/v1/tokens", json={"name": "laptop"}) as answer:
        token = (await answer.json())["token"]["id"]
    async with owner.session.get(f"{stage.url}/weather/oslo") as answer:
        assert answer.status == 200, await answer.text()
        request = answer.headers["Gateway-Request-Id"]
    jobs: dict[str, list[dict[str, str]]] = {"jobs": []}
    while not jobs["jobs"]:
        _, jobs = await owner.api("/-/api/v1/jobs")
    [(user,)] = await stage.gateway.records.ask(
        "SELECT min(user_id) FROM sync_jobs WHERE id = $1", jobs["jobs"][0]["id"]
    )
    fee = Charge(
        "txn_" + "1a" * 12, False, "rf_1", user, "", Money(10_000, "usd"), Money(10_000, "usd"), 2000, "cus_1", 1,
        state="failed",
    )  # fmt: skip
    await ChargeRecords(stage.gateway.records.ask).add_charge(fee, since_ms=0, count_max=9, micros_max=None)
    return {
        "/-/api/v1/stripe/transactions/{id}": fee.id,
        "/-/api/v1/tokens/{id}": token,
        "/-/api/v1/tokens/{id}/rotate": token,
        "/-/api/v1/requests/{id}": request,
        "/-/api/v1/jobs/{id}": jobs["jobs"][0]["id"],
        "/-/api/v1/subscriptions/{id}": held["subscriptions"][0]["id"],
        "/-/api/v1/integrations/{provider}": "amazon",
        "/-/api/v1/owners/{owner}/routes": "anna",
    }


def like(thing: str) -> str:
    """An id of the same form that nothing has."""
    return re.sub(r"[0-9a-f](?=[0-9a-f]{7})", "0", thing) if thing not in ("amazon", "anna") else "nobody"


async def test_every_address_that_names_a_thing_is_held_to_this(two: Two) -> None:
    named = {path for resource in two.app.router.resources() if "{" in (path := resource.canonical)}
    theirs = {path for path in named if path.startswith("/-/")} - OPEN
    assert {path for path in theirs if not path.endswith("{rest}")} == set(THINGS)


async def test_anothers_thing_is_not_there_and_looks_as_one_that_never_was(two: Two) -> None:
    for path, methods in THINGS.items():
        for method in methods:
            if path == "/-/api/v1/integrations/{provider}":
                continue  # of this each has its own
            status, said = await two.asked(two.other, method, path, two.things[path])
            assert status == 404, (method, path, said)
            assert (status, said) == await two.asked(two.other, method, path, like(two.things[path])), path


async def test_and_its_owner_still_has_it(two: Two) -> None:
    for path, methods in THINGS.items():
        for method in methods:
            await two.asked(two.other, method, path, two.things[path])
    assert (await two.asked(two.owner, "GET", "/-/api/v1/tokens/{id}", two.things["/-/api/v1/tokens/{id}"]))[0] == 200
    _, told = await two.owner.api("/-/api/v1/integrations")
    assert [one["status"] for one in told["integrations"]] == ["connected"], "who disconnects, disconnects themselves"
    _, held = await two.owner.api(SUBSCRIPTIONS)
    assert [one["ends_with_its_period"] for one in held["subscriptions"]] == [False]
    for path, methods in THINGS.items():
        status, said = await two.asked(two.owner, methods[0], path, two.things[path])
        assert status in (200, 201, 202, 204), (path, status, said)
