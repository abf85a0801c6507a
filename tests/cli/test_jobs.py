"""`gateway jobs`: what is done for people who signed in, as an operator sees it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.adapters.jobs import JobBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.cli import main
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from tests.fakes import SeededRandomness

NOW = 1_800_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a gateway that has run: a job waits, and one is a dead letter."""
    keys = {"sealing_keys": ["0123456789abcdef" * 3], "peppers": ["fedcba9876543210" * 3]}
    made = tmp_path / "gateway.yaml"
    made.write_text(json.dumps({"store": f"sqlite:{tmp_path}/gateway.db", "secrets": keys}))

    async def fill() -> None:
        keyring = Keyring([Secret(keys["sealing_keys"][0])])
        records = SqliteRecords(tmp_path / "gateway.records.db", keyring=keyring, randomness=SeededRandomness())
        await records.open()
        book = JobBook(records.ask, shared=False)
        for number in (1, 2):
            own = {"id": f"job_{number}", "cause": str(number), "now_ms": NOW + number}
            await book.put_job("first_sync", "usr_1", "amazon", **own)  # type: ignore[arg-type]
        job = await book.take_job(now_ms=NOW + 5, lease_ms=100)
        assert job is not None
        await book.note_progress(job, {"pages": 3, "cursor": "secret-next"}, now_ms=NOW + 5, lease_ms=100)
        await book.close_job(job, "failed", due_ms=NOW, error="it answered 500", now_ms=NOW + 6)
        await records.close()

    asyncio.run(fill())
    return made


def ran(config: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["jobs", *words, "--config", str(config)])
    return done.exit_code, done.output


def states(config: Path) -> list[tuple[str, str]]:
    code, text = ran(config, "list", "--json")
    assert code == 0
    return [(one["id"], one["state"]) for one in json.loads(text)]


def test_dead_letters_are_listed_shown_and_tried_again(config: Path) -> None:
    assert states(config) == [("job_2", "waiting"), ("job_1", "failed")]
    code, text = ran(config, "list", "--state", "failed")
    assert (code, "it answered 500" in text, "job_2" in text) == (0, True, False)
    code, text = ran(config, "show", "job_1", "--json")
    shown: dict[str, Any] = json.loads(text)
    assert (code, shown["user"], shown["progress"]) == (0, "usr_1", {"pages": 3})
    assert "secret-next" not in text
    assert "pages" in ran(config, "show", "job_1")[1]
    code, _ = ran(config, "retry", "--failed", "--dry-run")
    assert (code, states(config)[1]) == (0, ("job_1", "failed"))
    code, text = ran(config, "retry", "--failed")
    assert (code, "job_1" in text, "job_2" in text) == (0, True, False)
    assert states(config)[1] == ("job_1", "waiting")
    log = CliRunner().invoke(main, ["audit", "log", "--json", "--config", str(config)])
    assert ("job.retry" in log.output, "job_1" in log.output) == (True, True), log.output
    assert "there are none" in ran(config, "retry", "--failed")[1]


def test_a_job_that_is_not_there_is_said_so_before_anything_is_done(config: Path) -> None:
    for words in (("show", "job_9"), ("retry", "job_1", "job_9")):
        code, text = ran(config, *words)
        assert (code, "job_9: there is no such job" in text) == (3, True)
    assert states(config)[1] == ("job_1", "failed")
    assert ran(config, "retry")[0] == 2
