"""Many at once: exactly what is affordable is served, and everything served is debited."""

import asyncio
import random
from collections import Counter

from aiohttp import ClientSession, TCPConnector

from gateway.cli.stage import Stage
from tests.callers import audited, funded
from tests.conftest import StageMaker

UNLIMITED = [
    {"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": "0.002 usd"},
]


async def test_five_hundred_at_once_get_exactly_what_the_account_affords(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=UNLIMITED)
    [caller] = await funded(stage, "0.274 usd")  # 137 requests
    statuses: Counter[int] = Counter()
    async with ClientSession(connector=TCPConnector(limit=500)) as session:

        async def ask() -> None:
            async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
                statuses[answer.status] += 1
                await answer.read()

        await asyncio.gather(*(ask() for _ in range(500)))
    assert statuses == {200: 137, 402: 363}
    assert stage.upstreams[0].calls == 137
    assert audited(stage).totals["usd"].available == 0


async def test_ten_thousand_requests_of_a_thousand_callers_are_each_debited_once(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=UNLIMITED)
    callers = await funded(stage, "0.016 usd", count=1000)  # eight requests each, so that some are refused
    order = random.Random(7)
    served: Counter[str] = Counter()
    refused = 0
    asks = [order.choice(callers) for _ in range(10_000)]
    async with ClientSession(connector=TCPConnector(limit=64)) as session:

        async def connection(number: int) -> None:
            nonlocal refused
            for caller in asks[number::64]:
                async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
                    await answer.read()
                    if answer.status == 200:
                        served[caller.account] += 1
                    else:
                        assert answer.status == 402
                        refused += 1

        await asyncio.gather(*(connection(number) for number in range(64)))
    assert served.total() + refused == 10_000
    assert refused > 500
    assert stage.upstreams[0].calls == served.total()
    for caller in callers:
        balance = await stage.gateway.ledger.balance(caller.account, "usd")
        assert balance.available.micros == 16_000 - 2_000 * served[caller.account]
        assert balance.held.micros == 0
    report = audited(stage)
    assert report.records == served.total()
    assert report.totals["usd"].spent == 2_000 * served.total()


async def test_callers_that_hang_up_leave_no_hold(stage: Stage) -> None:
    [caller] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        for _ in range(20):
            answer = await session.get(stage.url + "/llm/chat", headers=caller.headers)
            await answer.content.readline()
            answer.close()
        async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
            assert answer.status == 200
    settings = stage.settings
    await stage.stop_gateway()
    await stage.start_gateway(settings)
    assert audited(stage).totals["usd"].spent == 20 * 10_000 + 2_000
