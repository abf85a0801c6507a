"""Records that are gone are missed: nobody who was frozen, and no token that was revoked, is good again by that."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import settings as configuration
from gateway.app.stores import records_path, trail_head_path
from gateway.cli import main
from tests.gateway_process import running, write_config

FROZEN = "acct_0000000000000000000000000000000a"


async def typed(config: Path, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--config", str(config)])


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    write_config(tmp_path, "http://127.0.0.1:9")
    config = tmp_path / "gateway.yaml"
    async with running(config) as process:
        assert await process.stop() == 0
    shown = await typed(config, "account", "freeze", FROZEN, "--reason", "leaked")
    assert shown.exit_code == 0, shown.output
    return config


def missing(config: Path) -> Path:
    """The records' file, which has just gone."""
    settings = configuration.load(config, {}, make_secrets=False)
    path = records_path(settings.store_path)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return path


async def test_without_its_records_it_does_not_begin(config: Path) -> None:
    path = missing(config)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "run", "--config", str(config), stderr=pipe
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 3, said
    assert b"is gone, and gateway.trail.head says that there was one" in said, said
    assert not path.exists()
    settings = configuration.load(config, {}, make_secrets=False)
    trail_head_path(settings).rename(config.with_name("put aside"))
    async with running(config) as again:
        assert await again.stop() == 0
    assert path.exists()


async def test_its_head_is_found_wherever_the_gateway_listens_and_under_its_older_name(config: Path) -> None:
    settings = configuration.load(config, {}, make_secrets=False)
    head, older = trail_head_path(settings), settings.secrets_path.with_name(f"{settings.host_name}.trail.head")
    assert (head.name, head.exists(), older.exists()) == ("gateway.trail.head", True, False)
    head.rename(older)
    assert (await typed(config, "audit", "verify")).exit_code == 0, "as it was written once"
    assert (await typed(config, "account", "freeze", FROZEN[:-1] + "b", "--reason", "leaked")).exit_code == 0
    assert (head.exists(), older.exists()) == (True, False)
    values = json.loads(config.read_text())
    host, _, port = values["listen"].rpartition(":")
    config.write_text(json.dumps({**values, "listen": f"{host}:{int(port) + 1}"}))
    shown = await typed(config, "audit", "verify")
    assert shown.exit_code == 0, shown.output
