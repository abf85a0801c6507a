"""`currency` was changed over books that hold money: who looks, and who starts, is told so."""

import json
from pathlib import Path

import pytest

from tests import programs
from tests.gateway_process import fund, running, write_config

TOLD = "currency: it is eur, and callers have 5.00 usd in the books"


@pytest.fixture
async def changed(tmp_path: Path) -> Path:
    """The configuration, of eur; its books hold usd, and what is no money."""
    settings = write_config(tmp_path, "http://127.0.0.1:9")
    await fund(settings, "5.00 usd", count=1)
    await fund(settings, "3 unit:export", count=1)
    config = tmp_path / "gateway.yaml"
    assert "callers have" not in said(config, "check")
    config.write_text(config.read_text().replace('"currency": "usd"', '"currency": "eur"').replace("2 usd", "2 eur"))
    return config


def said(config: Path, *command: str, code: int = 0) -> str:
    done = programs.run(*command, "--config", str(config))
    assert done.returncode == code, done.stderr
    return done.stdout


async def test_check_names_both_currencies_and_the_sum(changed: Path) -> None:
    assert f"note: {TOLD}, which pays for nothing here" in said(changed, "check")
    assert any(TOLD in note for note in json.loads(said(changed, "check", "--json"))["notes"])


async def test_the_start_warns_and_is_not_refused_and_doctor_notes_it(changed: Path) -> None:
    log = changed.parent / "events.log"
    async with running(changed, environ={"GATEWAY_LOG__FILE": str(log)}) as process:
        assert await process.stop() == 0
    [event] = [one for line in log.read_text().splitlines() if TOLD in (one := json.loads(line)).get("problem", "")]
    assert event["level"] == "warning"
    assert any(line.startswith("note") and TOLD in line for line in said(changed, "doctor", code=1).splitlines())
