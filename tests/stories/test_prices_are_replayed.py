"""An operator asks what the requests on record would have earned at other prices."""

import json
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.demo.upstreams import ToyUpstream, weather
from tests.callers import funded
from tests.cli.test_payments import Operator
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts
from tests.stories.test_a_spending_cap import types

BY_USE = {"per": {"answer_bytes": "0.000001 usd"}, "base": "0.001 usd", "maximum": "0.50 usd"}
DEARER = {"per": {"answer_bytes": "0.000003 usd"}, "base": "0.001 usd", "maximum": "0.50 usd"}
ROUTES: list[dict[str, Any]] = [
    {"name": "echo", "match": "/echo/", "upstream": "echo", "strip_prefix": True, "price": BY_USE},
    {"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": "0.002 usd"},
]


class Replays(Operator):
    """One who tries prices: the stage's configuration with others."""

    def __init__(self, stage: Stage, folder: Path, prices: dict[str, Any]) -> None:
        super().__init__(stage, folder)
        config = json.loads(self._config.read_text())
        for route in config["routes"]:
            route["price"] = prices.get(route["name"], route["price"])
        self._config.write_text(json.dumps(config))


async def replayed(operator: Operator) -> dict[str, Any]:
    told = await operator.asks("prices", "replay", "--since", "2020-01-01")
    return {row["route"]: row for row in told["routes"]}


async def test_what_was_used_is_replayed_under_other_prices(make_stage: StageMaker, tmp_path: Path) -> None:
    stage = await make_stage(routes=ROUTES)
    [ann] = await funded(stage, "1.00 usd")
    sizes = []
    async with ClientSession() as session:
        for place in ("a", "bb", "ccc"):
            async with session.get(f"{stage.url}/echo/{place}", headers=ann.headers) as answer:
                sizes.append(len(await answer.read()))
        for city in ("oslo", "gone"):
            async with session.get(f"{stage.url}/weather/{city}", headers=ann.headers) as answer:
                await answer.read()
    await stage.gateway.ledger.durable()
    meters = stage.gateway.record_meters
    assert meters is not None
    await meters.write()
    left = (await stage.gateway.ledger.balance(ann.account, "usd")).available.micros
    earned = 3_000 + sum(sizes)
    assert left == 1_000_000 - earned - 2_000

    same = await replayed(Operator(stage, tmp_path))
    assert (same["echo"]["requests"], same["echo"]["difference"]) == (3, "0.00")
    assert (same["weather"]["requests"], same["weather"]["difference"]) == (1, "0.00")

    operator = Replays(stage, tmp_path, {"echo": DEARER, "weather": "0.005 usd"})
    told = await replayed(operator)
    assert told["echo"] == {
        "route": "echo", "requests": 3, "earned": f"{earned / 1e6:.6f}".rstrip("0"),
        "would_have_earned": f"{(earned + 2 * sum(sizes)) / 1e6:.6f}".rstrip("0"),
        "difference": f"{2 * sum(sizes) / 1e6:.6f}".rstrip("0"), "not_replayed": {"requests": 0, "earned": "0.00"},
    }  # fmt: skip
    assert (told["weather"]["earned"], told["weather"]["would_have_earned"]) == ("0.002", "0.005")

    operator = Replays(stage, tmp_path, {"weather": DEARER})
    told = await replayed(operator)
    assert told["weather"]["not_replayed"] == {"requests": 1, "earned": "0.002"}  # nobody measured it


async def test_nothing_is_kept_where_nothing_is_to_be(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=ROUTES, retention={"readings_days": 0})
    assert stage.gateway.record_meters is None


async def test_hosts_with_workers_are_replayed_together(tmp_path: Path, postgres: Server) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, toy.url, workers=2, price=BY_USE) for name in ("a", "b")]
    [caller] = await test_many_hosts.fund(hosts[0][1], "900.00 usd", count=1)
    spent = 0
    async with ClientSession() as session, running(hosts[0][0]) as one, running(hosts[1][0]) as two:
        for number in range(8):
            listen = hosts[number % 2][1].listen
            assert isinstance(listen, tuple)
            url = f"http://{listen[0]}:{listen[1]}/paid/oslo"
            async with session.get(url, headers={**caller.headers, "Connection": "close"}) as answer:
                spent += 1_000 + len(await answer.read())
        assert (await one.stop(), await two.stop()) == (0, 0)
    await toy.stop()
    [row] = (await types(hosts[0][0], "prices", "replay", "--since", "2020-01-01"))["routes"]
    assert (row["requests"], row["earned"], row["difference"]) == (8, f"{spent / 1e6:.6f}".rstrip("0"), "0.00")


async def test_a_kill_loses_readings_and_the_replay_says_so(tmp_path: Path) -> None:
    """Of a file; what was charged stands in the books all the same."""
    toy = ToyUpstream("toy", weather)
    await toy.start()
    host = write_config(tmp_path, toy.url, price=BY_USE)
    [caller] = await fund(host, "900.00 usd", count=1)
    assert isinstance(host.listen, tuple)
    url = f"http://{host.listen[0]}:{host.listen[1]}/paid/oslo"
    async with ClientSession() as session, running(tmp_path / "gateway.yaml") as process:
        for _ in range(5):
            async with session.get(url, headers={**caller.headers, "Connection": "close"}) as answer:
                await answer.read()
        await process.kill()
    await toy.stop()
    [row] = (await types(tmp_path / "gateway.yaml", "prices", "replay", "--since", "2020-01-01"))["routes"]
    assert row["requests"] + row["not_replayed"]["requests"] in range(3, 6)  # the last commit or two are given away
    assert row["difference"] == "0.00"
