"""Callers run into limits, through real sockets."""

import asyncio
import re
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.cli.stage import Stage
from tests.callers import BROWSER, audited, funded
from tests.conftest import StageMaker
from tests.fakes import FakeClock
from tests.raw import RawUpstream, Visit
from tests.relay.scenes import until
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
    [text] = blocks(section("### Limits", "### Inside your own aiohttp application"), "yaml")
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
