"""What the README says of fees by agreement is typed here, and its configuration is one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import yaml

from gateway.settings import from_mapping
from tests.stories.test_a_fee_is_charged import market
from tests.stories.test_a_market_is_opened import file_of
from tests.stories.test_the_readme import blocks, script, section


def text() -> str:
    return section("### Fees are charged by agreement", "### Statements, and how long requests are kept")


async def test_the_commands_charge_a_fee_as_they_stand(tmp_path: Path) -> None:
    (commands,) = blocks(text(), "sh")
    async with market(tmp_path, older_paths=False) as here:
        await here.stage.gateway.records.ask("DELETE FROM service")
        await here.agree(here.here.browser())
        known = {"GATEWAY": here.stage.url, "CONFIG": file_of(here.stage, tmp_path), "PERSON": here.user}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ran = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", script(commands)], cwd=tmp_path, env={**os.environ, **known, "PATH": path},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (await here.kept()).state == "succeeded"


async def test_the_configuration_is_one(tmp_path: Path) -> None:
    said = {name: one for block in blocks(text(), "yaml") for name, one in yaml.safe_load(block).items()}
    async with market(tmp_path) as here:
        config = here.stage._config(1, 2)
        config["stripe"]["publishable_key"] = "pk_test_" + "1a" * 20
        given = {"charging": said["charging"], "services": said["services"]}
        environ = {"REFUND_ENGINE_SECRET": "fbs_" + "1a2b3c4d" * 4}
        settings = from_mapping(config | given, base=tmp_path, environ=environ, make_secrets=True)
        [service] = settings.services
        assert (service.name, service.role, service.older) == ("refund-engine", "commission", None)
        assert settings.charging is not None
        assert settings.charging.terms.retry_ms == (86_400_000, 259_200_000, 432_000_000)
