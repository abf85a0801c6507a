"""`gateway ledger export`, `gateway ledger fold` and `gateway db prune`, on books of three hours."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.adapters.sqlite import prune as prune_module
from gateway.adapters.sqlite.ledger import Head
from gateway.app import HEAD_KEY_PURPOSE
from gateway.cli import main
from gateway.core.keyring import Keyring
from gateway.core.ledger import Kind, Tariff
from gateway.settings import load
from tests.batches import HOUR, NOON, Batches
from tests.gateway_process import write_config

SEARCH = Tariff("search", "anna", 1000, "p")
ACCOUNT = "acct_a"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(prune_module, "BATCHES_KEPT", 1)
    write_config(tmp_path, "http://127.0.0.1:1")
    path = tmp_path / "gateway.yaml"
    settings = load(path, {}, make_secrets=True)
    settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    books = Batches(settings.store_path)
    books.credit("stripe:cs_1", 5_000_000, ACCOUNT)
    for hour in range(3):
        books.record(Kind.CAPTURE, 2000, SEARCH, ACCOUNT)
        books.commit(NOON + hour * HOUR)
    books.close()
    key = Keyring(settings.secrets.sealing_keys).keys[0].subkey(HEAD_KEY_PURPOSE)
    Head(settings.store_path, key).write(3, books._hash)
    return str(path)


def gateway(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_statement_is_csv_with_a_head_line(config: str) -> None:
    shown = gateway("ledger", "export", "--account", ACCOUNT, "--config", config)
    assert shown.exit_code == 0, shown.output
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert [row["type"] for row in rows] == ["credit", "request", "request", "request"]
    assert rows[0]["credited"] == "5.00"
    assert rows[1] == {
        "type": "request", "id": f"req_{NOON + 1:012x}{1:016x}", "time": "2026-09-21T14:00:00.000+00:00",
        "account": ACCOUNT, "owner": "anna", "route": "search", "requests": "1", "cost": "0.002", "credited": "0.00",
        "unit": "usd", "token": "0000000000000007", "state": "charged",
    }  # fmt: skip


def test_a_statement_of_an_owner_is_json_lines_within_a_period(config: str) -> None:
    shown = gateway(
        "ledger", "export", "--owner", "anna", "--format", "jsonl", "--from", "2026-09-21T15:00",
        "--to", "2026-09-21T16:00+00:00", "--config", config,
    )  # fmt: skip
    (line,) = map(json.loads, shown.stdout.splitlines())
    assert (line["type"], line["cost"], line["time"]) == ("request", "0.002", "2026-09-21T15:00:00.000+00:00")


def test_fold_prune_audit_and_summary_go_together(config: str, tmp_path: Path) -> None:
    assert json.loads(gateway("ledger", "fold", "--config", config, "--json").stdout) == {
        "batches": 3, "records": 3, "transfers": 7,
    }  # fmt: skip
    dry = json.loads(
        gateway("db", "prune", "--before", "2026-09-21T15:00", "--dry-run", "--json", "--config", config).stdout
    )
    assert (dry["dry_run"], dry["batches"], dry["last"]) == (True, 1, 1)
    shown = gateway("db", "prune", "--before", "2026-09-21T15:00", "--config", config)
    assert "1 batches up to 1 dropped" in shown.stdout
    assert "nothing to drop" in gateway("db", "prune", "--before", "2026-09-21T15:00", "--config", config).stdout
    audited = json.loads(gateway("audit", "--config", config, "--json").stdout)
    assert (audited["clean"], audited["first_batch"], audited["folded"]) == (True, 2, 3)
    assert "the books sum to zero" in gateway("audit", "--config", config).stdout
    states = [
        json.loads(line)["state"]
        for line in gateway(
            "ledger", "export", "--owner", "anna", "--format", "jsonl", "--config", config
        ).stdout.splitlines()
    ]
    assert states == ["pruned", "charged", "charged"]
    hours = gateway("ledger", "export", "--owner", "anna", "--summary", "--format", "jsonl", "--config", config)
    assert [json.loads(line)["state"] for line in hours.stdout.splitlines()] == ["folded"] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ledger", "export"), 2, "--account or --owner"),
        (("ledger", "export", "--account", "a", "--owner", "b"), 2, "--account or --owner, not both"),
        (("ledger", "export", "--account", "a", "--from", "yesterday"), 2, "--from: 'yesterday' is no date"),
        (("ledger", "export", "--account", "eve"), 3, "there is no account eve"),
        (("ledger", "export", "--account", "eve", "--store", "gone.db"), 3, "there is no ledger at gone.db"),
        (("ledger", "export", "--account", "a", "--from", "2026-02-01", "--to", "2026-01-01"), 2, "is not before --to"),
        (("owners", "statement", "anna", "--from", "2026-02-01", "--to", "2026-02-01"), 2, "is not before --to"),
        (("db", "prune"), 2, "say what to keep"),
        (("db", "prune", "--before", "2026-01-01", "--keep-days", "3"), 2, "not both"),
    ],
)
def test_what_cannot_be_done_is_said_in_plain_words(
    config: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    shown = gateway(*arguments, "--config", config)
    assert shown.exit_code == code
    assert words in shown.stderr
    assert shown.stdout == ""
