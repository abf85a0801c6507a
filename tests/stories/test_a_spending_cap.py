"""An operator caps what an account may spend: exactly so much is served, on every worker and host, and told of."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientSession, TCPConnector
from click.testing import CliRunner

from gateway.cli import main
from gateway.core.money import Money
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from tests.callers import BROWSER, Funded, audited, funded
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts, test_many_workers
from tests.stories.test_an_account_is_frozen import Asking

SERVED = 42 + 19 + 67
UNLIMITED = [
    {"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": "0.002 usd"},
]


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else done.output


async def definite(session: ClientSession, host: Settings, caller: Funded) -> tuple[int, str]:
    """Ask, again as long as the gateway says that it does not know just now; the status and the code."""
    assert isinstance(host.listen, tuple)
    url = f"http://{host.listen[0]}:{host.listen[1]}/paid/oslo"
    while True:
        async with session.get(url, headers={**caller.headers, "Connection": "close"}) as answer:
            body = await answer.read()
            if answer.status != 503:
                return answer.status, "" if answer.status == 200 else json.loads(body)["code"]


async def spend_it_all(hosts: list[Settings], callers: list[Funded], *, each: int) -> Counter[tuple[str, int, str]]:
    """All callers at once, at every host: what each was answered."""
    async with ClientSession(connector=TCPConnector(limit=201)) as session:
        asked = [(hosts[number % len(hosts)], caller) for caller in callers for number in range(each)]
        answers = await asyncio.gather(*(definite(session, host, caller) for host, caller in asked))
    return Counter((caller.account, *answer) for (_, caller), answer in zip(asked, answers, strict=True))


async def set_caps(file: Path, callers: list[Funded]) -> None:
    """A total within a day's cap, which midnight cannot make smaller; a total alone; the third has none."""
    for caller, amount, per in ((0, "0.10 usd", "day"), (0, "0.084 usd", "total"), (1, "0.0399 usd", "total")):
        told = await types(file, "account", "cap", callers[caller].account, amount, "--per", per)
        assert told["changed"] is True


async def exactly_what_the_caps_allow(file: Path, hosts: list[Settings], callers: list[Funded]) -> None:
    """Of 67 requests each, all at once."""
    first, second, free = callers
    refused = "spend_cap_reached"
    assert await spend_it_all(hosts, callers, each=67) == Counter(
        {
            (first.account, 200, ""): 42,
            (first.account, 403, refused): 25,
            (second.account, 200, ""): 19,
            (second.account, 403, refused): 48,
            (free.account, 200, ""): 67,
        }
    )
    shown = (await types(file, "account", "show", first.account))["caps"]
    assert [row["per"] for row in shown] == ["day", "total"]
    assert shown[1].items() >= {"per": "total", "amount": "0.084 usd", "spent": "0.084 usd", "resets_at": None}.items()


async def test_two_hundred_at_once_get_exactly_what_the_caps_allow_from_four_workers(
    tmp_path: Path, upstream: ToyUpstream
) -> None:
    file, settings = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=4)
    callers = await fund(settings, "900.00 usd", count=3)
    async with running(file):  # makes the records
        await set_caps(file, callers)
    async with running(file) as process:
        await exactly_what_the_caps_allow(file, [settings], callers)
        assert await process.stop() == 0
    assert upstream.calls == SERVED
    assert test_many_workers.audited(settings) == SERVED * 2000


async def test_two_hundred_at_once_get_exactly_what_the_caps_allow_from_two_hosts_with_two_workers_each(
    tmp_path: Path, upstream: ToyUpstream, postgres: Server
) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]
    callers = await test_many_hosts.fund(hosts[0][1], "900.00 usd", count=3)
    async with running(hosts[0][0]):  # makes the records
        await set_caps(hosts[0][0], callers)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(file)) for file, _ in hosts]
        await exactly_what_the_caps_allow(hosts[0][0], [settings for _, settings in hosts], callers)
        for process in processes:
            assert await process.stop() == 0
    assert upstream.calls == SERVED
    await test_many_hosts.audited(hosts[0][1])


async def derive(host: Settings, caller: Funded, caps: dict[str, str], parent: str | None = None) -> tuple[str, Funded]:
    """A token of the caller's account, under one of its tokens: its id, and it."""
    assert isinstance(host.listen, tuple)
    wanted = {"name": "agent", "caps": caps, **({} if parent is None else {"parent": parent})}
    async with ClientSession() as session:
        url = f"http://{host.listen[0]}:{host.listen[1]}/-/api/v1/tokens"
        async with session.post(url, json=wanted, headers=caller.headers) as answer:
            told = await answer.json()
            assert answer.status == 201, told
            return told["token"]["id"], Funded(told["access_token"], caller.account)


async def family(hosts: list[Settings], caller: Funded) -> list[Funded]:
    """A token that may spend 0.20, and two children of it that could spend 0.22 together."""
    parent, elder = await derive(hosts[0], caller, {"total": "0.20 usd"})
    children = [await derive(hosts[-1], elder, {"total": most}, parent) for most in ("0.13 usd", "0.09 usd")]
    return [child for _, child in children]


async def children_spend_exactly(hosts: list[Settings], children: list[Funded]) -> None:
    """What their parent may, two hundred requests at once; and neither more than itself may."""
    async with ClientSession(connector=TCPConnector(limit=200)) as session:
        answers = await asyncio.gather(
            *(definite(session, host, child) for child in children for host in hosts for _ in range(100 // len(hosts)))
        )
    elder, younger = Counter(answers[:100]), Counter(answers[100:])
    assert elder[200, ""] + younger[200, ""] == 100
    assert elder[200, ""] <= 65
    assert younger[200, ""] <= 45
    assert elder[403, "spend_cap_reached"] + younger[403, "spend_cap_reached"] == 100


async def test_two_hundred_at_once_spend_exactly_their_parents_cap_on_four_workers(
    tmp_path: Path, upstream: ToyUpstream
) -> None:
    file, settings = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=4)
    [caller] = await fund(settings, "900.00 usd", count=1)
    async with running(file) as process:
        await children_spend_exactly([settings], await family([settings], caller))
        assert await process.stop() == 0
    assert upstream.calls == 100
    assert test_many_workers.audited(settings) == 100 * 2000


async def test_two_hundred_at_once_spend_exactly_their_parents_cap_on_two_hosts_with_two_workers_each(
    tmp_path: Path, upstream: ToyUpstream, postgres: Server
) -> None:
    dsn = await postgres.schema()
    files = [test_many_hosts.write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]
    hosts = [settings for _, settings in files]
    [caller] = await test_many_hosts.fund(hosts[0], "900.00 usd", count=1)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(file)) for file, _ in files]
        await children_spend_exactly(hosts, await family(hosts, caller))
        for process in processes:
            assert await process.stop() == 0
    assert upstream.calls == 100
    await test_many_hosts.audited(hosts[0])


async def test_a_cap_is_set_raised_and_removed_while_the_gateway_runs(tmp_path: Path, upstream: ToyUpstream) -> None:
    file, settings = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "900.00 usd", count=1)
    async with running(file), Asking([settings], caller) as asking:
        await asking.only(200)
        assert (await types(file, "account", "cap", caller.account, "0.01 usd", "--per", "day"))["changed"]
        await asking.only(403)
        [shown] = (await types(file, "account", "show", caller.account))["caps"]
        assert shown["spent"] == "0.01 usd"
        dry = await types(file, "account", "cap", caller.account, "0.50 usd", "--per", "day", "--dry-run")
        assert (dry["changed"], dry["caps"]) == (False, [shown])
        assert (await types(file, "account", "cap", caller.account, "--remove", "--per", "day"))["changed"]
        await asking.only(200)
        assert not (await types(file, "account", "cap", caller.account, "--remove", "--per", "day"))["changed"]
    assert "currency" in await types(file, "account", "cap", caller.account, "1.00 eur", "--per", "day", code=2)
    assert "either" in await types(file, "account", "cap", caller.account, "--per", "day", code=2)


async def test_what_was_spent_under_a_cap_outlives_kill_9(tmp_path: Path, upstream: ToyUpstream) -> None:
    """What was answered just before may be given away; it counts under the cap as little as it was charged."""
    file, settings = tmp_path / "gateway.yaml", write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "900.00 usd", count=1)
    async with running(file):  # makes the records
        assert (await types(file, "account", "cap", caller.account, "0.04 usd", "--per", "total"))["changed"]
    async with running(file) as process:
        before = await spend_it_all([settings], [caller], each=12)
        await process.kill()
    assert before == Counter({(caller.account, 200, ""): 12})
    async with running(file) as process:
        after = await spend_it_all([settings], [caller], each=30)
        assert await process.stop() == 0
    assert 8 <= after[caller.account, 200, ""] <= 20
    assert after[caller.account, 403, "spend_cap_reached"] == 30 - after[caller.account, 200, ""]
    assert test_many_workers.audited(settings) == 40_000


async def test_who_is_refused_for_a_cap_is_told_which_and_when_it_begins_anew(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=UNLIMITED, caps={"time_zone": "Europe/Berlin"})
    [caller] = await funded(stage, "1.00 usd")
    caps = stage.gateway.identity.caps
    await caps.set(caller.account, "day", Money.parse("0.003 usd"))
    url = stage.url + "/weather/oslo"
    async with ClientSession() as session:
        async with session.get(url, headers=caller.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.998 usd")
        async with session.get(url, headers=caller.headers) as answer:
            told = await answer.json()
            assert (answer.status, told["code"], told["charged"]) == (403, "spend_cap_reached", False)
            assert answer.headers["Gateway-Error"] == "spend_cap_reached"
        async with session.get(url, headers={**caller.headers, **BROWSER}) as page:
            assert (page.status, page.content_type) == (403, "text/html")
            assert "The spending cap is reached" in await page.text()
    [cap] = caps.of(caller.account)
    assert told["cap"] == {"node": caller.account, "per": "day", "amount": "0.003", "currency": "usd"}
    assert told["left"] == {"amount": "0.001", "currency": "usd"}
    resets = datetime.fromisoformat(told["resets_at"])
    assert resets.astimezone(ZoneInfo("Europe/Berlin")).time() == time(0)
    assert resets.timestamp() * 1000 == cap.resets_ms(stage.gateway.clock.now_ms())
    assert "payment_url" not in told
    assert audited(stage).totals["usd"].spent == 2000


async def test_a_budget_is_told_of_and_refuses_nothing(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings, file = write_config(tmp_path, upstream.url), tmp_path / "gateway.yaml"
    [caller] = await fund(settings, "9.00 usd", count=1)
    budget = ("account", "cap", caller.account, "--per", "month", "--tell-at", "0.003 usd", "--time-zone", "Asia/Tokyo")
    async with running(file), ClientSession() as session:
        [told] = (await types(file, *budget))["caps"]
        assert (told["amount"], told["tell_at"], told["time_zone"]) == (None, "0.003 usd", "Asia/Tokyo")
        begins = datetime.fromisoformat(told["resets_at"]).astimezone(ZoneInfo("Asia/Tokyo"))
        assert (begins.day, begins.time()) == (1, time())
        while True:  # until it is known there, and was crossed
            assert await definite(session, settings, caller) == (200, "")
            [told] = (await types(file, "account", "show", caller.account))["caps"]
            if Money.parse(told["spent"]).micros > 6_000:
                break
    assert "no time zone" in await types(file, *budget[:-1], "Asia/Nowhere", code=2)
