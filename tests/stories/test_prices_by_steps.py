"""A price that goes by how many calls an account made in a period: exact for any number at once, said beforehand."""

import asyncio
import sqlite3
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, TCPConnector

from gateway.cli.stage import Stage
from gateway.core.money import Money
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from tests.callers import Funded, audited, funded
from tests.cli.test_payments import Operator
from tests.forms import FORMS, staged
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.relay.scenes import until
from tests.settings.asking import full, settings
from tests.stories import test_many_hosts, test_many_workers
from tests.stories.test_prices_by_plan import quoted, shop
from tests.stories.test_subscriptions import PLANS, subscribed
from tests.stories.test_the_readme import blocks, section

STEPS = [{"up_to": 3, "price": "free"}, {"up_to": 5, "price": "0.003 usd"}, {"price": "0.001 usd"}]
SENTENCE = "3 free a month, then 0.003 usd, from the 6th 0.001 usd"
PRICE = {"period": "month", "steps": STEPS}
WEATHER: dict[str, Any] = {
    "name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": PRICE,
}  # fmt: skip
ECHO: dict[str, Any] = {"name": "echo", "match": "/echo/", "upstream": "echo", "strip_prefix": True, "price": PRICE}
AT_ONCE = {
    "period": "month",
    "steps": [{"up_to": 60, "price": "free"}, {"up_to": 130, "price": "0.003 usd"}, {"price": "0.001 usd"}],
}


async def costs(stage: Stage, client: ClientSession, caller: Funded, path: str = "/weather/oslo", **asks: Any) -> str:
    """What a call costs as its head says; with the status if it is no success."""
    headers = {**caller.headers, **asks.pop("headers", {})}
    async with client.request(asks.pop("method", "GET"), stage.url + path, headers=headers, **asks) as answer:
        await answer.read()
        said = str(answer.headers.get("Gateway-Cost") or answer.headers.get("Gateway-Error"))
        return said if answer.status == 200 else f"{answer.status} {said}"


async def balance(stage: Stage, caller: Funded) -> int:
    await stage.gateway.ledger.durable()
    return (await stage.gateway.ledger.balance(caller.account, "usd")).available.micros


@pytest.mark.parametrize("form", FORMS)
async def test_each_call_costs_what_its_step_says(form: str, tmp_path: Path) -> None:
    async with staged(form, tmp_path, routes=[WEATHER]) as stage, ClientSession() as client:
        ann, bob = await funded(stage, "1.00 usd", count=2)
        found = [await costs(stage, client, ann) for _ in range(7)]
        assert found == ["0.00 usd"] * 3 + ["0.003 usd"] * 2 + ["0.001 usd"] * 2
        assert await balance(stage, ann) == 1_000_000 - 8_000
        assert await costs(stage, client, bob) == "0.00 usd"
        audited(stage)


async def test_only_who_has_paid_has_free_calls(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[WEATHER]) as stage, ClientSession() as client:
        stranger = stage.gateway.identity.callers.fresh()
        assert stranger.fresh is not None
        for headers in ({}, {"Authorization": f"Bearer {stranger.fresh.reveal()}"}):
            async with client.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
                assert answer.status == 402
                assert (await answer.json())["price"]["amount"] == "0.003"
        [ann] = await funded(stage, "0.003 usd")
        found = [await costs(stage, client, ann) for _ in range(5)]
        assert found == ["0.00 usd"] * 3 + ["0.003 usd", "402 payment_required"]
        async with client.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
            assert (await answer.json())["balance"]["amount"] == "0.00"


async def test_what_is_not_charged_does_not_count(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[WEATHER]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        for _ in range(4):
            assert await costs(stage, client, ann, "/weather/gone") == "404 0.00 usd"
            assert await costs(stage, client, ann, "/weather/fail") == "500 0.00 usd"
        found = [await costs(stage, client, ann) for _ in range(6)]
        assert found == ["0.00 usd"] * 3 + ["0.003 usd"] * 2 + ["0.001 usd"]
        audited(stage)


async def test_what_a_route_charges_counts_and_nothing_else(tmp_path: Path) -> None:
    route = {**WEATHER, "charge_when": {"statuses": [404]}}
    async with staged("relay", tmp_path, routes=[route]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        for _ in range(4):
            await costs(stage, client, ann)
        for _ in range(4):
            await costs(stage, client, ann, "/weather/gone")
        assert await balance(stage, ann) == 1_000_000 - 3_000
        audited(stage)


async def test_methods_and_plans_count_their_own_calls(tmp_path: Path) -> None:
    own = {"period": "day", "steps": [{"up_to": 1, "price": "free"}, {"price": {"base": "0.02 usd"}}]}
    route = {**ECHO, "methods": {"POST": own}, "plans": {"monthly": {"price": own}}}
    async with (
        staged("relay", tmp_path, routes=[route], plans=PLANS, stripe={"reconcile_seconds": 0}) as stage,
        ClientSession() as client,
    ):
        shop(stage)
        [ann] = await funded(stage, "1.00 usd")
        found = [await costs(stage, client, ann, "/echo/x", method="POST") for _ in range(2)]
        assert found == ["0.00 usd", "0.02 usd"]
        assert await costs(stage, client, ann, "/echo/x") == "0.00 usd"
        headers, account = await subscribed(stage, client)
        await stage.gateway.identity.plans.look()
        cid = Funded(headers["Authorization"].split()[1], account)
        found = [await costs(stage, client, cid, "/echo/x") for _ in range(2)]
        assert found == ["0.00 usd", "0.02 usd"]
        assert (await quoted(stage, client, headers))["rule"] == "0.02 usd (plan monthly, from the 2nd call of a day)"


async def test_a_call_that_may_not_cost_so_much_is_refused_at_its_step_alone(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[WEATHER]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        careful = {"Gateway-Max-Price": "0.002 usd"}
        found = [await costs(stage, client, ann, headers=careful) for _ in range(4)]
        assert found == ["0.00 usd"] * 3 + ["412 price_too_high"]
        assert [await costs(stage, client, ann) for _ in range(2)] == ["0.003 usd"] * 2  # the refused one took no call
        assert await costs(stage, client, ann, headers=careful) == "0.001 usd"


async def test_a_call_that_a_cap_leaves_no_room_for_is_not_sold_at_the_next_price(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[WEATHER]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        await stage.gateway.identity.caps.set(ann.account, "total", Money.parse("0.005 usd"))
        found = [await costs(stage, client, ann) for _ in range(6)]
        assert found == ["0.00 usd"] * 3 + ["0.003 usd"] + ["403 spend_cap_reached"] * 2
        audited(stage)


async def test_asked_twice_with_one_key_it_is_one_call(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[ECHO]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        for number in range(5):
            for _ in range(2):
                key = {"Idempotency-Key": f"k{number}"}
                said = await costs(stage, client, ann, "/echo/x", method="POST", headers=key)
                assert said == ("0.00 usd" if number < 3 else "0.003 usd")
        assert await costs(stage, client, ann, "/echo/x") == "0.001 usd"
        audited(stage)


async def test_a_quote_and_the_command_say_which_step_a_call_is_of_and_what_is_left(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[ECHO]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        told = await quoted(stage, client, {})
        assert (told["at_most"], told["exact"], told["step"], told["rule"]) == ("0.003 usd", False, None, SENTENCE)
        assert SENTENCE in told["says"]
        assert [(step["from"], step["up_to"], step["per"]) for step in told["steps"]] == [
            (1, 3, "month"), (4, 5, "month"), (6, None, "month"),
        ]  # fmt: skip
        for made, (cost, step, left) in enumerate(
            (("0.00 usd", 1, 3), ("0.00 usd", 1, 2), ("0.00 usd", 1, 1), ("0.003 usd", 4, 2), ("0.003 usd", 4, 1))
        ):
            told = await quoted(stage, client, ann.headers)
            assert (told["at_most"], told["step"]) == (cost, {"from": step, "left": left}), made
            assert await costs(stage, client, ann, "/echo/x") == cost
            await stage.gateway.ledger.durable()
        told = await quoted(stage, client, ann.headers)
        assert (told["at_most"], told["exact"], told["step"]) == ("0.001 usd", True, {"from": 6, "left": None})
        assert told["says"].endswith(f"{SENTENCE}; the next call is of this step: from the 6th call of a month.")
        operator = Operator(stage, tmp_path)
        told = await operator.asks("explain", "GET", "/echo/x", "--token", ann.token)
        assert (told["at_most"], told["step"]) == ("0.001 usd", {"from": 6, "left": None})
        assert (await operator.asks("explain", "GET", "/echo/x"))["rule"] == SENTENCE


async def test_a_request_is_explained_by_the_step_that_it_was_of(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[ECHO]) as stage, ClientSession() as client:
        [ann] = await funded(stage, "1.00 usd")
        free = id = ""
        for _ in range(4):
            async with client.get(f"{stage.url}/echo/x", headers=ann.headers) as answer:
                free, id = id, answer.headers["Gateway-Request-Id"]
        await stage.gateway.ledger.durable()
        async with client.get(f"{stage.url}/-/api/v1/requests/{free}", headers=ann.headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "unknown_request")
            assert "a free call of a quota, too" in await answer.text()
        async with client.get(f"{stage.url}/-/api/v1/requests/{id}", headers=ann.headers) as answer:
            told = await answer.json()
        assert (told["cost"], told["rule"]) == ("0.003 usd", "0.003 usd (calls 4 to 5 of a month)")
        assert told["held_at_most"] == "0.003 usd"


def test_the_example_in_the_readme_says_what_stands_beside_it(tmp_path: Path) -> None:
    text = section("### Free calls, and prices by volume", "### Prices in a file of their own")
    [block] = blocks(text, "yaml")
    values = full(upstreams={"files": {"url": "http://127.0.0.1:9001"}}, **yaml.safe_load(textwrap.dedent(block)))
    [tiles] = settings(tmp_path, values).routes.routes
    assert f"`{tiles.costs}`" in text
    assert f"`{tiles.steps[1].rule}`" in text.replace("\n", " ")


async def test_everybody_can_read_the_steps(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=[ECHO]) as stage, ClientSession() as client:
        async with client.get(f"{stage.url}/.well-known/pricing.json") as answer:
            [told] = (await answer.json())["routes"]
        assert (told["price"]["mode"], told["price"]["rule"]) == ("stepped", SENTENCE)
        assert [step["price"].get("amount") for step in told["price"]["steps"]] == [None, "0.003 usd", "0.001 usd"]
        async with client.get(f"{stage.url}/-/openapi.json") as answer:
            found = (await answer.json())["paths"]["/echo/{rest}"]["get"]
        price = {"currency": "USD", "mode": "dynamic", "min": "0.00", "max": "0.003"}
        assert (found["x-payment-info"]["price"], found["x-payment-info"]["rule"]) == (price, SENTENCE)
        assert SENTENCE in found["description"]
        for page in ("/-/pricing", "/-/llms.txt"):
            async with client.get(stage.url + page) as answer:
                assert SENTENCE in await answer.text()


# --- many at once ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def definite(session: ClientSession, host: Settings, caller: Funded, city: str) -> str:
    """Ask, again as long as the gateway says that it does not know just now; the cost, or the status if it has none."""
    assert isinstance(host.listen, tuple)
    url = f"http://{host.listen[0]}:{host.listen[1]}/paid/{city}"
    while True:
        async with session.get(url, headers={**caller.headers, "Connection": "close"}) as answer:
            await answer.read()
            if answer.status != 503:
                return answer.headers["Gateway-Cost"] if answer.status == 200 else str(answer.status)


async def two_hundred_at_once(hosts: list[Settings], caller: Funded) -> None:
    """Just as many get each price as it has calls, whoever comes first."""
    async with ClientSession(connector=TCPConnector(limit=200)) as session:
        asked = [hosts[number % len(hosts)] for number in range(200)]
        found = Counter(await asyncio.gather(*(definite(session, host, caller, "oslo") for host in asked)))
    assert found == {"0.00 usd": 60, "0.003 usd": 70, "0.001 usd": 70}


SPENT = 70 * 3000 + 70 * 1000


async def test_two_hundred_at_once_get_each_price_as_often_as_it_has_calls_on_four_workers(
    tmp_path: Path, upstream: ToyUpstream
) -> None:
    file, host = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=4, price=AT_ONCE)
    [caller] = await fund(host, "900.00 usd", count=1)
    async with running(file) as process:
        await two_hundred_at_once([host], caller)
        assert await process.stop() == 0
    assert upstream.calls == 200
    assert test_many_workers.audited(host) == SPENT


async def test_two_hundred_at_once_get_each_price_as_often_as_it_has_calls_on_two_hosts_with_two_workers_each(
    tmp_path: Path, upstream: ToyUpstream, postgres: Server
) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url, workers=2, price=AT_ONCE) for name in ("a", "b")]
    [caller] = await test_many_hosts.fund(hosts[0][1], "900.00 usd", count=1)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(file)) for file, _ in hosts]
        await two_hundred_at_once([host for _, host in hosts], caller)
        for process in processes:
            assert await process.stop() == 0
    assert upstream.calls == 200
    await test_many_hosts.audited(hosts[0][1])


def all_begun(books: Path) -> bool:
    """Whether it is on record that every answer has begun: nothing that was charged so far can be given away."""
    newest = "SELECT started >= first + count - 1 FROM batch ORDER BY seq DESC LIMIT 1"
    with closing(sqlite3.connect(books)) as sql:
        return bool(sql.execute(newest).fetchone() == (1,))


async def test_calls_that_were_made_outlive_kill_9_and_what_was_given_away_is_counted_as_little(
    tmp_path: Path, upstream: ToyUpstream
) -> None:
    steps = {"period": "month", "steps": [{"up_to": 12, "price": "free"}, {"price": "0.001 usd"}]}
    file, host = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=2, price=steps)
    [caller] = await fund(host, "900.00 usd", count=1)
    async with ClientSession() as session:
        async with running(file) as process:
            before = [await definite(session, host, caller, "oslo") for _ in range(6)]
            await until(lambda: all_begun(host.store_path), seconds=30)
            before += [await definite(session, host, caller, "oslo") for _ in range(2)]
            assert before == ["0.00 usd"] * 8
            await process.kill()
        async with running(file) as process:
            after = Counter([await definite(session, host, caller, "oslo") for _ in range(20)])
            assert await process.stop() == 0
    assert 4 <= after["0.00 usd"] <= 6
    assert after["0.001 usd"] == 20 - after["0.00 usd"]
    assert test_many_workers.audited(host) == Money(1000 * after["0.001 usd"], "usd").micros
