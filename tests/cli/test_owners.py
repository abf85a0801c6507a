"""`gateway owners list|show`, on books with two owners, one of whom was given back to."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.core.ledger import CAP_TARIFF, Kind, Tariff
from gateway.settings import load
from tests.batches import HOUR, NOON, Batches
from tests.gateway_process import write_config

SEARCH, EXPORT = Tariff("search", "anna", 2000, "p"), Tariff("export", "anna", 1000, "q")
OURS = Tariff("weather", "operator", 0, "r")


@pytest.fixture
def config(tmp_path: Path) -> str:
    write_config(tmp_path, "http://127.0.0.1:1")
    path = tmp_path / "gateway.yaml"
    values = json.loads(path.read_text()) | {"owners": {"anna": {}, "bert": {"commission_bps": 1500}}}
    path.write_text(json.dumps(values))
    settings = load(path, {}, make_secrets=True)
    settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    books = Batches(settings.store_path)
    books.credit("stripe:cs_1", 5_000_000)
    first = books.record(Kind.CAPTURE, 2000, SEARCH)
    books.record(Kind.CAPTURE, 500, OURS)
    books.record(Kind.CAPTURE, 9_000, CAP_TARIFF)
    books.commit(NOON)
    fold = books.folding()
    while fold(NOON + HOUR):
        pass
    books.record(Kind.CORRECTION, -1000, SEARCH, request=first)
    books.record(Kind.CAPTURE, 300, EXPORT)
    books.commit(NOON + HOUR)
    books.close()
    return str(path)


def gateway(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def told(*arguments: str) -> Any:
    shown = gateway(*arguments, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


def test_the_list_has_everybodys_dues_and_what_the_platform_kept(config: str) -> None:
    found = told("owners", "list", "--config", config)
    anna, bert, operator = found["owners"]
    assert anna == {
        "owner": "anna", "commission_bps": 2000, "routes": ["export", "search"],
        "dues": [{"unit": "usd", "requests": 2, "sold": "0.0013 usd", "commission": "0.00023 usd",
                  "share": "0.00107 usd", "freed": "0.00 usd", "paid_out": "0.00 usd", "clawed_back": "0.00 usd",
                  "due": "0.00107 usd", "not_folded": "-0.00053 usd"}],
    }  # fmt: skip
    assert (bert["commission_bps"], bert["dues"]) == (1500, [])
    assert (operator["commission_bps"], operator["dues"][0]["due"]) == (0, "0.0005 usd")
    assert found["platform"] == [{"unit": "usd", "commission": "0.00023 usd"}]


def test_one_owner_is_shown_by_rate_and_by_route(config: str) -> None:
    found = told("owners", "show", "anna", "--config", config)
    assert [(one["commission_bps"], one["commission"], one["share"]) for one in found["rates"]] == [
        (1000, "0.00003 usd", "0.00027 usd"), (2000, "0.0002 usd", "0.0008 usd"),
    ]  # fmt: skip
    assert [(one["route"], one["sold"]) for one in found["took"]] == [
        ("export", "0.0003 usd"), ("search", "0.001 usd"),
    ]  # fmt: skip


def test_both_can_be_read(config: str) -> None:
    shown = gateway("owners", "list", "--config", config).stdout
    assert "anna  2000 bps  routes: export, search" in shown
    assert "due 0.00107 usd (-0.00053 usd of it in hours that are not over)" in shown
    assert "the platform's commissions: 0.00023 usd" in shown
    assert "search at 2000 bps: 1 requests" in gateway("owners", "show", "anna", "--config", config).stdout


def test_nobody_of_that_name_is_an_error(config: str) -> None:
    shown = gateway("owners", "show", "eve", "--config", config)
    assert shown.exit_code == 3
    assert "there is no owner eve" in shown.stderr


def test_a_statement_has_a_line_for_each_day_and_route(config: str) -> None:
    shown = gateway("owners", "statement", "anna", "--config", config)
    assert list(csv.DictReader(io.StringIO(shown.stdout))) == [
        {"day": "2026-09-21", "route": "export", "unit": "usd", "commission_bps": "1000", "requests": "1",
         "sold": "0.0003", "commission": "0.00003", "share": "0.00027", "entry": ""},
        {"day": "2026-09-21", "route": "search", "unit": "usd", "commission_bps": "2000", "requests": "1",
         "sold": "0.001", "commission": "0.0002", "share": "0.0008", "entry": ""},
    ]  # fmt: skip
    arguments = ("owners", "statement", "anna", "--format", "jsonl", "--config", config)
    lines = [json.loads(line) for line in gateway(*arguments, "--from", "2026-09-21").stdout.splitlines()]
    assert [line["share"] for line in lines] == ["0.00027", "0.0008"]
    assert gateway(*arguments, "--from", "2026-09-22").stdout == ""
    assert gateway(*arguments, "--to", "2026-09-21").stdout == ""
    assert gateway("owners", "statement", "eve", "--config", config).exit_code == 3
