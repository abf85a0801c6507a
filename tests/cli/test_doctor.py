"""`gateway doctor`: each trouble is found by itself, and what mends it is named."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import records, records_path, trail_head_path
from gateway.cli import main
from gateway.cli.doctor import CLOCK_MS_MAX, DISK_BYTES_MIN
from gateway.cli.records import Records
from gateway.core.keyring import Keyring
from gateway.core.payments import Event
from gateway.settings import Settings
from tests.gateway_process import running, write_config
from tests.ports import own_port


def examined(folder: Path, *, code: int = 1) -> dict[str, str]:
    """By part, what is wrong and what mends it."""
    done = CliRunner().invoke(main, ["doctor", "--json", "--config", str(folder / "gateway.yaml")])
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    assert told["ok"] is (code == 0)
    wrong = [finding for finding in told["findings"] if finding["state"] == "wrong"]
    assert all(finding["mend"] for finding in wrong)
    return {finding["part"]: f"{finding['what']} | {finding['mend']}" for finding in wrong}


async def begun(folder: Path) -> Settings:
    """A gateway has run here, and does not any more."""
    settings = write_config(folder, "http://127.0.0.1:9")
    async with running(folder / "gateway.yaml") as process:
        assert await process.stop() == 0
    return settings


async def filled(settings: Settings, fill: Callable[[Records], Awaitable[Any]]) -> None:
    here = records(settings, Keyring(settings.secrets.sealing_keys), SystemRandomness())
    await here.open()
    await fill(here)
    await here.close()


async def test_a_gateway_that_runs_and_is_well_needs_no_hand_and_no_secret_is_told(tmp_path: Path) -> None:
    settings = write_config(tmp_path, "http://127.0.0.1:9")
    async with running(tmp_path / "gateway.yaml"):
        assert await asyncio.to_thread(examined, tmp_path, code=0) == {}
        command = ["doctor", "--config", str(tmp_path / "gateway.yaml")]
        shown = (await asyncio.to_thread(CliRunner().invoke, main, command)).output
    assert "well   gateway: it answers" in shown
    secrets = settings.secrets
    assert secrets.operator_token is not None
    assert not [one for one in (secrets.operator_token, *secrets.sealing_keys) if one.reveal() in shown]


async def test_each_trouble_is_found_and_what_mends_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await begun(tmp_path)
    alone = await asyncio.to_thread(examined, tmp_path)
    assert list(alone) == ["gateway"]
    assert alone["gateway"].endswith("| gateway run")
    settings.store_path.chmod(0o640)
    assert (await asyncio.to_thread(examined, tmp_path))["modes"].endswith(f"| chmod 600 {settings.store_path}")
    settings.store_path.chmod(0o600)
    for free, wrong in ((DISK_BYTES_MIN - 1, True), (DISK_BYTES_MIN, False)):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            assert ("disk" in await asyncio.to_thread(examined, tmp_path)) is wrong

    async def fill(here: Records) -> None:
        await here.claim(Event("evt_1", "x", False, 1, {}), now_ms=SystemClock().now_ms() + 10 * CLOCK_MS_MAX)
        await here.close_event("evt_1", "parked", error="odd")
        await here.freezes.add_freeze("acct_1", frozen=True, reason="a test", now_ms=1)
        first = await here.outbox.take(now_ms=2, lease_ms=1)
        assert first is not None
        await here.outbox.put_off(first.id, due_ms=None, error="it answered 500")

    await filled(settings, fill)
    assert trail_head_path(settings).exists(), "prices were noted at the start"
    trail_head_path(settings).unlink()
    found = await asyncio.to_thread(examined, tmp_path)
    assert set(found) == {"gateway", "clock", "webhooks", "notices", "trail"}
    assert "is 9 min ahead" in found["clock"]
    assert found["notices"] == "1 could not be delivered | gateway notices replay --failed"
    assert "is not there" in found["trail"]


async def test_a_file_that_cannot_be_read_is_told_and_stays_as_it_is(tmp_path: Path) -> None:
    settings = write_config(tmp_path, "http://127.0.0.1:9")
    settings.store_path.write_bytes(b"no database at all" * 100)
    found = await asyncio.to_thread(examined, tmp_path)
    assert "files" in found
    assert settings.store_path.read_bytes() == b"no database at all" * 100


async def test_books_that_somebody_else_has_are_told(tmp_path: Path) -> None:
    write_config(tmp_path, "http://127.0.0.1:9")
    async with running(tmp_path / "gateway.yaml"):
        file = tmp_path / "gateway.yaml"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "admin": f"127.0.0.1:{own_port()}"}))
        found = await asyncio.to_thread(examined, tmp_path)
    assert "somebody has the books" in found["gateway"]


async def test_what_is_pending_is_told_and_stays_pending(tmp_path: Path) -> None:
    settings = write_config(tmp_path, "http://127.0.0.1:9")
    with closing(sqlite3.connect(records_path(settings.store_path))) as older:
        older.execute("CREATE TABLE older (number)")
        found = await asyncio.to_thread(examined, tmp_path)
        assert found["files"].endswith("| gateway db migrate, or start the gateway anew")
        assert older.execute("SELECT name FROM sqlite_schema").fetchall() == [("older",)]
