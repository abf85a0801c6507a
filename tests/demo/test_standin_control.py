"""What can be asked of the stand-in over HTTP that nobody could ask of Stripe."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.demo.standin import StandIn

KEY = "sk_test_standin"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY) as standin:
        yield standin


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def link(standin: StandIn, http: aiohttp.ClientSession) -> str:
    form = {
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "500",
        "line_items[0][price_data][product_data][name]": "Requests",
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    async with http.post(f"{standin.url}/v1/payment_links", data=form, headers=headers) as answer:
        return str((await answer.json())["url"])


@pytest.fixture
def ask(standin: StandIn, http: aiohttp.ClientSession) -> Any:
    async def ask(command: str, **given: Any) -> tuple[int, Any]:
        async with http.post(f"{standin.url}/_standin/{command}", json=given) as answer:
            return answer.status, await answer.json()

    return ask


async def test_a_payment_can_be_made_and_is_in_the_journal(
    standin: StandIn, http: aiohttp.ClientSession, ask: Any, link: str
) -> None:
    status, session = await ask("pay", link=link, client_reference_id="wallet")
    assert (status, session["payment_status"], session["client_reference_id"]) == (200, "paid", "wallet")
    async with http.get(f"{standin.url}/_standin/state") as answer:
        state = await answer.json()
    assert state["sessions"] == 1
    assert state["held"] == []
    assert [(entry["amount"], entry["session"]) for entry in state["journal"]] == [(500, session["id"])]


async def test_a_payment_that_arrives_later_can_be_settled(ask: Any, link: str) -> None:
    _, session = await ask("pay", link=link, method="later")
    assert session["payment_status"] == "unpaid"
    _, settled = await ask("settle", session=session["id"])
    assert settled["payment_status"] == "paid"
    assert (await ask("settle", session=session["id"]))[0] == 409


async def test_deliveries_can_be_steered(standin: StandIn, ask: Any, link: str) -> None:
    event = standin.events[0]["id"]
    assert await ask("hold", types=["charge.succeeded"]) == (200, {"holding": ["charge.succeeded"]})
    assert await ask("hold") == (200, {"holding": "all"})
    assert await ask("release", order="shuffled") == (200, {"released": []})
    assert await ask("release", order=["evt_1"]) == (200, {"released": []})
    assert await ask("deliver", event=event, times=2) == (200, {"delivered": event, "times": 2})
    assert await ask("drop", event=event) == (200, {"dropped": False})
    assert await ask("drop", count=2) == (200, {"dropping": 2})
    assert await ask("tamper", event=event, how="body") == (200, {"statuses": []})


@pytest.mark.parametrize(
    ("command", "given", "status"),
    [
        ("pay", {}, 400),
        ("pay", {"link": "plink_none"}, 404),
        ("pay", {"link": "cs_test_none"}, 404),
        ("settle", {"session": "cs_test_none"}, 404),
        ("deliver", {"event": "evt_none"}, 404),
        ("deliver", {"event": "evt_none", "times": 0}, 400),
        ("deliver", {"event": "evt_none", "times": 1001}, 400),
        ("release", {"order": "sideways"}, 400),
        ("tamper", {"event": "evt_none", "how": "gently"}, 400),
        ("hold", {"foo": 1}, 400),
        ("nothing", {}, 404),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(
    ask: Any, command: str, given: dict[str, Any], status: int
) -> None:
    answered, body = await ask(command, **given)
    assert answered == status
    assert body["error"]["type"] == "invalid_request_error"


async def test_a_payment_that_fails_says_why(ask: Any, link: str) -> None:
    declined, body = await ask("pay", link=link, card="4000000000000002")
    assert (declined, body["error"]["type"], body["error"]["code"]) == (402, "card_error", "card_declined")
    assert (await ask("pay", link=link, card="4242"))[0] == 409
    assert (await ask("pay", link=link, amount=700))[0] == 409


async def test_a_page_in_a_browser_cannot_steer_the_stand_in(standin: StandIn, http: aiohttp.ClientSession) -> None:
    url = f"{standin.url}/_standin/hold"
    async with http.post(url, data="{}", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415
    async with http.post(url, json={}, headers={"Host": "attacker.example"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(
    standin: StandIn, http: aiohttp.ClientSession, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{standin.url}/_standin/hold", data=body, headers=headers) as answer:
        assert answer.status == 400
