"""Accounts of others at the stand-in: how they are asked for, told of, and filled in."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.adapters.stripe import webhooks
from gateway.adapters.stripe.parameters import parameters
from gateway.core.secrets import Secret
from gateway.demo.standin import Endpoint, StandIn

KEY = "sk_test_" + "1a" * 20
HEADERS = {"Authorization": f"Bearer {KEY}"}
RECIPIENT = {"recipient": {"capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}}}
WISH: dict[str, Any] = {
    "contact_email": "anna@example.com",
    "identity": {"country": "us"},
    "configuration": RECIPIENT,
    "metadata": {"name": "anna"},
}


class Receiver:
    """Endpoints that remember what came, by the path that it came to."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.came.append((request.path, await request.read(), request.headers["Stripe-Signature"]))
        return web.Response()

    def types(self, path: str) -> list[str]:
        return [json.loads(body)["type"] for where, body, _ in self.came if where == path]


class Now:
    """A clock that is moved."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_post("/{any}", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
async def standin(receiver: Receiver, now: Now) -> AsyncIterator[StandIn]:
    endpoints = [
        Endpoint(f"{receiver.url}/own", "whsec_own"),
        Endpoint(f"{receiver.url}/connected", "whsec_connected", hears="connected"),
        Endpoint(f"{receiver.url}/thin", "whsec_thin", hears="thin"),
    ]
    async with StandIn(api_key=KEY, parameters=parameters, webhooks=endpoints, now=now) as standin:
        yield standin


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        yield session


async def asked(http: aiohttp.ClientSession, url: str, **body: Any) -> tuple[int, Any]:
    async with http.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def made(http: aiohttp.ClientSession, standin: StandIn) -> str:
    status, account = await asked(http, f"{standin.url}/v2/core/accounts", **WISH)
    assert status == 200, account
    return str(account["id"])


async def test_each_endpoint_hears_of_its_own_kind_by_its_own_secret(
    standin: StandIn, http: aiohttp.ClientSession, receiver: Receiver, now: Now
) -> None:
    id = await made(http, standin)
    standin.give_what_is_due(id)
    standin.deauthorise(id)
    await standin.settled()
    assert receiver.types("/own") == []
    assert receiver.types("/connected") == ["account.updated", "account.application.deauthorized"]
    assert sorted(set(receiver.types("/thin"))) == [
        "v2.core.account.created",
        "v2.core.account[configuration.recipient].capability_status_updated",
        "v2.core.account[requirements].updated",
    ]
    for path, body, signature in receiver.came:
        secrets = [Secret(f"whsec_{path[1:]}")]
        event = webhooks.verify(body, signature, secrets=secrets, now=int(now()), tolerance=300)
        assert event.created == int(now())
        assert (event.account, event.object.get("id")) in ((id, id), (id, "ca_standin"), ("", id))
        assert (path == "/thin") == (set(json.loads(body)) == {
            "id", "object", "type", "created", "livemode", "context", "changes", "reason", "related_object"
        }), "a thin event says where to look, and nothing of what is there"  # fmt: skip


@pytest.mark.parametrize("how", ["body", "secret", "stale", "future", "unsigned", "garbled"])
async def test_a_thin_event_can_be_tampered_with(
    standin: StandIn, http: aiohttp.ClientSession, receiver: Receiver, how: Any
) -> None:
    await made(http, standin)
    await standin.settled()
    [event] = standin.thin_events
    standin.deliver_again(event["id"])
    await standin.settled()
    assert receiver.types("/thin") == ["v2.core.account.created"] * 2
    if how != "unsigned":
        assert await standin.tamper(event["id"], how) == [200], "the receiver of this test believes everything"


async def test_what_the_second_api_does_not_take_is_refused(standin: StandIn, http: aiohttp.ClientSession) -> None:
    url = f"{standin.url}/v2/core/accounts"
    for change, param in (
        ({"identity": {}}, "identity.country"),
        ({"colour": "red"}, "colour"),
        ({"dashboard": "huge"}, "dashboard"),
        ({"configuration": {"recipient": "x"}}, "configuration[recipient]"),
    ):
        status, said = await asked(http, url, **{**WISH, **change})
        assert (status, said["error"]["param"]) == (400, param)
    without = {name: value for name, value in WISH.items() if name != "contact_email"}
    assert (await asked(http, url, **without))[1]["error"]["param"] == "contact_email"
    async with http.post(url, data={"contact_email": "x"}) as answer:
        assert answer.status == 400
    for body in ("{", "[]"):
        async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 400
    assert standin.accounts == []
    status, said = await asked(http, f"{standin.url}/v2/core/account_links", account="acct_none", use_case={})
    assert status == 400


async def test_the_same_key_is_the_same_account_and_another_wish_is_refused(
    standin: StandIn, http: aiohttp.ClientSession
) -> None:
    async def post(**change: Any) -> tuple[int, Any]:
        url = f"{standin.url}/v2/core/accounts"
        async with http.post(url, json={**WISH, **change}, headers={"Idempotency-Key": "k1"}) as answer:
            return answer.status, await answer.json()

    assert await post() == await post()
    status, said = await post(display_name="another")
    assert (status, said["error"]["type"]) == (400, "idempotency_error")
    assert len(standin.accounts) == 1


async def test_a_link_that_is_too_old_leads_to_a_fresh_one(
    standin: StandIn, http: aiohttp.ClientSession, now: Now
) -> None:
    id = await made(http, standin)
    form = {
        "account": id, "type": "account_onboarding", "return_url": "https://a.example/back",
        "refresh_url": "https://a.example/fresh",
    }  # fmt: skip
    async with http.post(f"{standin.url}/v1/account_links", data=form) as answer:
        link = await answer.json()
    assert link["expires_at"] == now() + 300
    now.seconds += 300
    async with http.get(link["url"], allow_redirects=False) as page:
        assert (page.status, page.headers["Location"]) == (303, "https://a.example/fresh")
    for method in ("GET", "POST"):
        async with http.request(method, f"{standin.url}/connect/nothing") as page:
            assert page.status == 404


async def test_a_control_call_says_what_becomes_of_an_account(standin: StandIn, http: aiohttp.ClientSession) -> None:
    id, url = await made(http, standin), f"{standin.url}/_standin/account"
    assert await asked(http, url, account=id, due=[1], verifying=True) == (200, {"account": id})
    [account] = standin.accounts
    assert (account.due, account.verifying) == ([1], True)
    await asked(http, url, account=id, give=True, deauthorise=True, close=True)
    [account] = standin.accounts
    assert (account.due, account.deauthorised, account.closed) == ([], True, True)
    assert (await asked(http, url, account="acct_none", give=True))[0] == 404
    assert (await asked(http, url, account=id, colour="red"))[0] == 400


async def test_the_oldest_accounts_and_links_are_forgotten(http: aiohttp.ClientSession) -> None:
    async with StandIn(api_key=KEY, parameters=parameters, objects_max=2) as small:
        ids = [await made(http, small) for _ in range(3)]
        assert [one.id for one in small.accounts] == ids[1:]
        use: dict[str, Any] = {"type": "account_onboarding", "account_onboarding": {"refresh_url": "https://a.example"}}
        links = [
            (await asked(http, f"{small.url}/v2/core/account_links", account=ids[1], use_case=use))[1]["url"]
            for _ in range(3)
        ]
        await made(http, small)
        for link in links:
            async with http.get(link) as page:
                assert page.status == 404
