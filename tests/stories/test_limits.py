"""Callers run into limits, through real sockets."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.cli.stage import Stage
from tests.callers import BROWSER, audited, funded
from tests.conftest import StageMaker
from tests.fakes import FakeClock
from tests.gateway_process import fund, running, write_config
from tests.raw import RawUpstream, Visit
from tests.redis_server import RedisServer
from tests.relay.scenes import until
from tests.stories.test_many_workers import ask, edit
from tests.stories.test_the_readme import blocks, section


def still(stage: Stage) -> FakeClock:
    """Limits count by a clock that stands still."""
    limits = stage.gateway.limits
    assert isinstance(limits, MemoryRateLimits)
    clock = FakeClock()
    limits._clock = clock
    return clock


async def statuses(stage: Stage, path: str, times: int, headers: dict[str, str]) -> list[int]:
    async with ClientSession() as session:
        found = []
        for _ in range(times):
            async with session.get(stage.url + path, headers=headers) as answer:
                found.append(answer.status)
        return found


def weather(*limits: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": "0.002 usd"}
    return {**base, "limits": list(limits), **more}


async def test_the_limits_of_the_readme_hold(make_stage: StageMaker) -> None:
    text, _ = blocks(section("### Limits", "### Prices"), "yaml")
    config = yaml.safe_load(text)
    config["routes"][0]["upstream"] = "weather"
    stage = await make_stage(**config)
    clock = still(stage)
    [ann] = await funded(stage, "1.00 usd")
    assert await statuses(stage, "/forecast/oslo", 4, ann.headers) == [200, 200, 200, 429]
    clock.pass_seconds(61)
    async with ClientSession() as session:
        async with session.get(stage.url + "/forecast/oslo", headers=ann.headers) as answer:
            assert answer.status == 200
        async with session.get(stage.url + "/forecast/oslo", headers=ann.headers) as answer:
            assert (await answer.json())["violated-policies"] == ["budget"]
            assert int(answer.headers["Retry-After"]) == 86_400 - 61
    clock.pass_seconds(86_400)
    assert await statuses(stage, "/forecast/oslo", 2, ann.headers) == [200, 200]
    assert await statuses(stage, "/forecast/oslo", 3, {}) == [402, 402, 429]


async def test_a_program_is_told_which_limit_it_has_met(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=[weather({"rate": "1/hour"}, {"rate": "5/day"})])
    still(stage)
    [ann] = await funded(stage, "1.00 usd")
    async with ClientSession(headers=ann.headers) as session:
        async with session.get(stage.url + "/weather/oslo") as answer:
            assert answer.status == 200
            assert answer.headers["RateLimit-Policy"] == (
                '"weather-caller-hour";q=1;w=3600, "weather-caller-day";q=5;w=86400'
            )
            assert re.fullmatch(r'"weather-caller-hour";r=0;t=\d+, .*;r=4;t=\d+', answer.headers["RateLimit"])
            assert "Retry-After" not in answer.headers
        async with session.get(stage.url + "/weather/oslo") as answer:
            body = await answer.json()
        assert (answer.status, body["code"], body["charged"]) == (429, "rate_limited", False)
        assert (body["policy"], body["violated-policies"]) == ("1/hour", ["weather-caller-hour"])
        assert f't={answer.headers["Retry-After"]}, "weather-caller-day";r=4' in answer.headers["RateLimit"]
        async with session.get(stage.url + "/weather/oslo", headers=BROWSER) as answer:
            assert (answer.status, answer.content_type) == (429, "text/html")
    report = audited(stage)
    assert (report.records, report.totals["usd"].spent) == (1, 2_000)
    assert (await stage.gateway.ledger.balance(ann.account, "usd")).held.micros == 0


async def test_who_cannot_pay_is_told_to_pay_and_who_asks_too_often_to_wait(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=[weather({"rate": "2/hour"})])
    still(stage)
    async with ClientSession() as session:
        for status in (402, 402, 429):
            async with session.get(stage.url + "/weather/oslo") as answer:
                body = await answer.json()
            assert answer.status == status
            assert ("payment_url" in body, "Retry-After" in answer.headers) == (status == 402, status == 429)
            assert ("violated-policies" in body) == (status == 429)


@pytest.mark.parametrize("ending", ["answered", "hung up", "broken off"])
async def test_a_place_is_free_again_however_its_request_ended(make_stage: StageMaker, ending: str) -> None:
    upstream, go_on = RawUpstream(), asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        if ending == "broken off":
            visit.writer.transport.abort()
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.script = script
    await upstream.start()
    narrow = weather({"concurrent": 1, "per": "token"}, upstream="raw")
    stage = await make_stage(upstreams={"raw": {"url": upstream.url, "retries": 0}}, routes=[narrow])
    ann, bob = await funded(stage, "1.00 usd", count=2)
    async with ClientSession() as session, ClientSession() as other:
        first = asyncio.create_task(_status(session, stage, ann.headers))
        await upstream.visited.wait()
        async with other.get(stage.url + "/weather/x", headers=ann.headers) as answer:
            body = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (body["policy"], body["violated-policies"]) == ("1 at once", ["weather-token-at-once"])
        assert answer.headers["RateLimit-Policy"] == '"weather-token-at-once";q=1;qu="concurrent-requests"'
        assert answer.headers["RateLimit"] == '"weather-token-at-once";r=0'
        if ending == "hung up":
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await until(lambda: not stage.gateway.limiter._under_way)
            go_on.set()
        else:
            go_on.set()
            assert await first == (200 if ending == "answered" else 502)
        assert await _status(other, stage, bob.headers) == (502 if ending == "broken off" else 200)
        assert await _status(other, stage, ann.headers) == (502 if ending == "broken off" else 200)
    assert (await stage.gateway.ledger.balance(ann.account, "usd")).held.micros == 0
    await upstream.stop()


async def _status(session: ClientSession, stage: Stage, headers: dict[str, str]) -> int:
    async with session.get(stage.url + "/weather/x", headers=headers) as answer:
        return answer.status


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


def shared(redis: RedisServer) -> dict[str, Any]:
    """Two routes with a limit for everybody, counted in Redis; the second one is closed when that is down."""
    few = {"rate": "3/day", "per": "route", "window": "fixed"}
    return {
        "limits": {"storage": redis.url, "storage_timeout": "20s"},
        "routes": [
            weather(few),
            weather(few, {"concurrent": 5}, name="strict", match="/strict/", limits_down="closed"),
        ],
    }


async def test_hosts_count_together_in_redis_and_each_route_says_what_happens_without_it(
    make_stage: StageMaker, redis: RedisServer
) -> None:
    one, other = await make_stage(**shared(redis)), await make_stage(**shared(redis))
    [ann], [bob] = await funded(one, "1.00 usd"), await funded(other, "1.00 usd")
    for path in ("/weather/oslo", "/strict/oslo"):
        assert await statuses(one, path, 2, ann.headers) == [200, 200]
        assert await statuses(other, path, 2, bob.headers) == [200, 429]
    await redis.kill()
    assert await statuses(one, "/weather/oslo", 2, ann.headers) == [200, 200]
    async with ClientSession() as session:
        async with session.get(one.url + "/strict/oslo", headers=ann.headers) as answer:
            body = await answer.json()
        assert (answer.status, body["code"], body["charged"]) == (503, "limits_unavailable", False)
        assert answer.headers["Retry-After"] == "1"
        assert one.running is not None
        async with session.get(one.running.admin_address + "/metrics") as answer:
            metrics = await answer.text()
    assert 'gateway_limits_down_total{outcome="open",route="weather"} 2.0' in metrics
    assert 'gateway_limits_down_total{outcome="closed",route="strict"} 1.0' in metrics
    assert "gateway_limits_forgotten_total 0.0" in metrics
    assert not one.gateway.limiter._under_way
    assert (await one.gateway.ledger.balance(ann.account, "usd")).held.micros == 0


async def test_workers_count_in_redis_as_well(tmp_path: Path, redis: RedisServer) -> None:
    upstream = RawUpstream()
    await upstream.start()
    few = [{"rate": "7/day", "per": "account", "window": "moving"}, {"concurrent": 50, "per": "account"}]
    written = write_config(tmp_path, upstream.url, workers=2, limits=few, limits_down="closed")
    edit(tmp_path / "gateway.yaml", lambda config: config.update(limits={"storage": "${REDIS}"}))
    [caller] = await fund(written, "1.00 usd", count=1)
    async with running(
        tmp_path / "gateway.yaml", environ={"REDIS": redis.url, "GATEWAY_LIMITS__STORAGE_TIMEOUT": "9s"}
    ):
        answers = [await asyncio.gather(*(ask(written, caller) for _ in range(5))) for _ in range(4)]
    assert Counter(status for round in answers for status, _, _ in round) == {200: 7, 429: 13}
    await upstream.stop()


async def test_payments_have_tight_limits_of_their_own(make_stage: StageMaker) -> None:
    own = {"checkouts": "2/hour", "checkouts_altogether": "9/hour", "payment_looks": "2/hour"}
    stage = await make_stage(limits=own, routes=[weather({"rate": "9/day", "per": "address"}, name="checkouts")])
    clock = still(stage)
    async with ClientSession() as session:
        for expected in (201, 201, 429):
            async with session.post(stage.url + "/-/api/v1/top-ups", json={"amount": "7.00"}) as answer:
                body = await answer.json()
            assert answer.status == expected
        assert (body["code"], body["policy"], body["violated-policies"]) == ("rate_limited", "2/hour", ["checkouts"])
        clock.pass_seconds(int(answer.headers["Retry-After"]))
        async with session.post(stage.url + "/-/api/v1/top-ups", json={"amount": "7.00"}) as answer:
            assert answer.status == 201
        found = [await session.get(stage.url + "/-/paid?session_id=cs_none") for _ in range(3)]
        assert [answer.status for answer in found] == [404, 404, 200]  # the last one is asked to wait


async def test_all_payments_together_have_a_limit(make_stage: StageMaker) -> None:
    stage = await make_stage(limits={"checkouts_altogether": "1/hour"})
    still(stage)
    async with ClientSession() as session:
        for expected in (201, 429):
            async with session.post(stage.url + "/-/api/v1/top-ups", json={"amount": "7.00"}) as answer:
                body = await answer.json()
            assert answer.status == expected
    assert body["violated-policies"] == ["checkouts_altogether"]
