"""What a container asks of the gateway beside it."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli import main
from tests.gateway_process import running, write_config


async def asked(file: Path, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["health", *words, "--config", str(file)])


async def test_a_gateway_that_serves_is_healthy_and_one_that_is_not_there_is_not(tmp_path: Path) -> None:
    settings, file = write_config(tmp_path, "http://127.0.0.1:9"), tmp_path / "gateway.yaml"
    async with running(file):
        for words in ((), ("--live",)):
            done = await asked(file, *words)
            assert (done.exit_code, done.stdout) == (0, "ok\n")
        assert json.loads((await asked(file, "--json")).stdout)["ledger"] is True
    done = await asked(file)
    assert done.exit_code == 1
    assert f"ConnectionRefusedError at 127.0.0.1:{settings.admin[1]}" in done.stderr


async def test_who_does_not_speak_our_protocol_is_not_healthy(tmp_path: Path) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n")
        await writer.drain()
        writer.close()

    settings = write_config(tmp_path, "http://127.0.0.1:9")
    async with await asyncio.start_server(babble, *settings.admin):
        done = await asked(tmp_path / "gateway.yaml")
    assert (done.exit_code, "BadStatusLine" in done.stderr) == (1, True)
