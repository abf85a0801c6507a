"""An operator asks how everything stands: each trouble is told by name, and only the ledger takes callers away."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.adapters.stripe.pace import FAILURES_MAX
from gateway.cli.stage import Stage
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from tests.callers import funded
from tests.conftest import StageMaker
from tests.gateway_process import PROMISED, running, write_config
from tests.ports import own_port

README = (Path(__file__).parents[2] / "README.md").read_text()
LISTED = set(
    re.findall(r"^\| `(\w+)` \|", README.partition("\n### How everything stands\n")[2].partition("\n### ")[0], re.M)
)


async def asked(admin: str, path: str) -> tuple[int, dict[str, Any]]:
    async with ClientSession() as session, session.get(admin + path) as answer:
        told: dict[str, Any] = await answer.json()
        return answer.status, told


def ill(told: dict[str, Any]) -> list[str]:
    return [name for name, check in told["checks"].items() if not check["ok"]]


async def stands(stage: Stage) -> tuple[int, dict[str, Any]]:
    assert stage.running is not None
    return await asked(stage.running.admin_address, "/readyz?verbose")


async def test_a_gateway_that_is_well_says_so_of_every_part_of_the_table(stage: Stage) -> None:
    assert stage.running is not None
    status, told = await stands(stage)
    assert (status, told["status"], ill(told)) == (200, "ok", [])
    assert {*told["checks"], "workers"} == LISTED
    assert all(check["why"] for check in told["checks"].values())
    assert (await asked(stage.running.admin_address, "/healthz"))[1].keys() == told.keys()
    assert "checks" not in (await asked(stage.running.admin_address, "/readyz"))[1], "what is asked often stays cheap"


async def test_a_parked_event_and_a_silent_provider_are_told_and_it_stays_ready(stage: Stage) -> None:
    inbox, payments = stage.gateway.records, stage.gateway.paying.payments
    await inbox.claim(Event("evt_odd", "x", False, 1, {}), now_ms=stage.gateway.clock.now_ms())
    await inbox.close_event("evt_odd", "parked", error="odd")
    await stage.stand_in.stop()
    assert payments is not None
    for _ in range(FAILURES_MAX):
        with pytest.raises(PaymentServiceUnavailable):
            await payments.find_payment("cs_test_1")
    status, told = await stands(stage)
    assert (status, sorted(ill(told))) == (200, ["provider", "webhooks"])
    assert "1 parked" in told["checks"]["webhooks"]["why"]


async def test_a_server_that_is_left_out_is_told_by_its_upstream_and_not_by_its_address(stage: Stage) -> None:
    [caller] = await funded(stage, "1.00 usd")
    url = stage.upstreams[0].url
    await stage.upstreams[0].stop()
    told: dict[str, Any] = {"checks": {}}
    async with ClientSession() as session:
        for _ in range(10):
            async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
                assert answer.status >= 500
        status, told = await stands(stage)
    assert (status, ill(told)) == (200, ["upstreams"])
    assert told["checks"]["upstreams"]["why"] == "weather: 1 of 1 servers left out"
    assert url.rpartition(":")[2] not in str(told)


async def test_a_ledger_that_cannot_commit_is_the_one_that_counts(make_stage: StageMaker) -> None:
    stage = await make_stage(timeouts={"ledger": PROMISED})
    [caller] = await funded(stage, "1.00 usd")
    assert stage.running is not None
    async with ClientSession() as session:
        with closing(sqlite3.connect(stage.settings.store_path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            async with session.get(stage.url + "/echo/x", headers=caller.headers) as answer:
                assert answer.status == 503
            status, told = await stands(stage)
            stranger.execute("ROLLBACK")
    assert (status, told["status"], ill(told)) == (503, "not ready", ["ledger"])


async def test_workers_tell_what_they_see(tmp_path: Path) -> None:
    settings = write_config(tmp_path, f"http://127.0.0.1:{own_port()}", workers=2)
    admin = f"http://{settings.admin[0]}:{settings.admin[1]}"
    async with running(tmp_path / "gateway.yaml"), ClientSession() as session:
        status, told = await asked(admin, "/healthz")
        assert (status, ill(told), set(told["checks"])) == (200, [], LISTED)
        assert told["checks"]["workers"]["why"] == "2 of 2 are there"
        for _ in range(20):
            async with session.get(settings.public_url + "/free/x") as answer:
                assert answer.status >= 500
        async with asyncio.timeout(20):  # each tells once a second
            while ill((await asked(admin, "/healthz"))[1]) != ["upstreams"]:
                pass
