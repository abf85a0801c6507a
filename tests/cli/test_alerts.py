"""`gateway alerts`: what an operator has to know of, from the command line."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.alerts import AlertBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.cli import main
from gateway.core.alerts import Sign
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from tests.fakes import SeededRandomness

NOW = 1_800_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a gateway that has run: one alert is open, one has ended."""
    keys = {"sealing_keys": ["0123456789abcdef" * 3], "peppers": ["fedcba9876543210" * 3]}
    made = tmp_path / "gateway.yaml"
    made.write_text(json.dumps({"store": f"sqlite:{tmp_path}/gateway.db", "secrets": keys}))

    async def fill() -> None:
        keyring = Keyring([Secret(keys["sealing_keys"][0])])
        records = SqliteRecords(tmp_path / "gateway.records.db", keyring=keyring, randomness=SeededRandomness())
        await records.open()
        book = AlertBook(records.ask)
        await book.note(Sign("ledger_stuck", "host-1"), now_ms=NOW, tells=False)
        await book.end(now_ms=NOW + 2, before_ms=NOW + 1)
        await book.note(Sign("disk_low", "host-1", {"free_bytes": 3}), now_ms=NOW + 5, tells=False)
        await records.close()

    asyncio.run(fill())
    return made


def ran(config: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["alerts", *words, "--config", str(config)])
    return done.exit_code, done.output


def test_alerts_are_listed_and_acknowledged(config: Path) -> None:
    code, text = ran(config, "list", "--json")
    [told] = json.loads(text)["alerts"]
    assert (code, told["alert"], told["about"], told["acknowledged"]) == (0, "disk_low", "host-1", None)
    _, text = ran(config, "list")
    assert "page  disk_low host-1  open: free_bytes 3" in text
    _, text = ran(config, "list", "--all")
    assert "ledger_stuck host-1  ended 20" in text
    code, text = ran(config, "ack", told["id"])
    assert (code, "open, acknowledged" in text) == (0, True)
    assert json.loads(ran(config, "ack", told["id"], "--json")[1])["acknowledged"] is not None
    code, text = ran(config, "ack", "alr_0")
    assert (code, "no alert of this id is open" in text) == (3, True)


def test_a_name_is_muted_for_a_while_and_no_longer(config: Path) -> None:
    assert ran(config, "mute", "disk_low", "--for", "2h")[0] == 0
    _, text = ran(config, "list")
    assert "disk_low is muted until " in text
    assert ran(config, "mute", "disk_low", "--for", "0")[0] == 0
    assert "muted" not in ran(config, "list")[1]
    for words, said in (
        (("disc_low", "--for", "2h"), "is no alert"), (("disk_low", "--for", "2 years"), "write so many"),
        (("disk_low", "--for", "31d"), "30d at most"), (("disk_low",), "--for"),
    ):  # fmt: skip
        code, text = ran(config, "mute", *words)
        assert (code, said in text) == (2, True), text


def test_a_test_needs_somebody_who_is_told(config: Path) -> None:
    code, text = ran(config, "test")
    assert (code, "set alerts.url, or alerts.mail_to" in text) == (2, True)


def test_what_operators_do_about_alerts_is_on_the_trail(config: Path) -> None:
    ran(config, "mute", "disk_low", "--for", "30m")
    ran(config, "ack", json.loads(ran(config, "list", "--json")[1])["alerts"][0]["id"])
    done = CliRunner().invoke(main, ["audit", "log", "--config", str(config)])
    assert "alert.mute" in done.output
    assert "alert.ack" in done.output
