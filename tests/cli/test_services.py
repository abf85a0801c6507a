"""`gateway service`: secrets are shown once, kept as digests, and rotated with a grace."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.stories.test_a_fee_is_charged import market
from tests.stories.test_a_market_is_opened import file_of


async def gateway(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["service", *words])


async def told(*words: str) -> Any:
    ran = await gateway(*words, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


async def test_a_service_has_one_secret_and_for_a_while_two_and_then_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with market(tmp_path) as here:
        config = ["--config", file_of(here.stage, tmp_path)]
        for words in (["rotate", "claims"], ["remove", "claims"]):
            ran = await gateway(*words, *config)
            assert (ran.exit_code, "there is no service claims" in ran.output) == (3, True)
        dry = await told("add", "claims", "--role", "auditor", "--dry-run", *config)
        assert dry == {"client_id": "claims", "role": "auditor", "client_secret": None}
        first = (await told("add", "claims", "--role", "auditor", *config))["client_secret"]
        assert (await gateway("add", "claims", "--role", "monitor", *config)).exit_code == 3, "there is one"
        assert (await gateway("add", "Claims", "--role", "monitor", *config)).exit_code == 3
        assert (await gateway("add", "x", "--role", "owner", *config)).exit_code == 2
        assert (await here.token("claims", first))[0] == 200
        assert (await told("rotate", "claims", "--dry-run", *config))["client_secret"] is None
        second = (await told("rotate", "claims", *config))["client_secret"]
        assert [(await here.token("claims", one))[0] for one in (first, second)] == [200, 200]
        [one, other] = await told("list", *config)
        assert (one["name"], one["role"], one["apis"]) == ("claims", "auditor", ["transactions"])
        assert (one["older_until"] is not None, other["older_until"]) == (True, None)
        third = (await told("rotate", "claims", "--grace-hours", "0", *config))["client_secret"]
        statuses = [(await here.token("claims", one))[0] for one in (first, second, third)]
        assert statuses == [401, 401, 200]
        assert not (await told("remove", "claims", "--dry-run", *config))["removed"]
        assert (await told("remove", "claims", *config))["removed"]
        assert (await here.token("claims", third))[0] == 401
        everything = b"".join(one.read_bytes() for one in tmp_path.glob("gateway.*"))
        for secret in (first, second, third):
            assert secret.encode() not in everything
        steps = await here.stage.gateway.records.trail.steps_before(2**62, action=None, object="claims", count=20)
        assert [step.act.action for step in steps if step.act.role == "operator"] == [
            "service.remove", "service.rotate", "service.rotate", "service.add"
        ]  # fmt: skip
