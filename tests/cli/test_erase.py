"""`gateway erase`: what is kept of a person goes, the books stay, and it is on the trail that it was done."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.cli import main
from tests.cli import test_subscriptions as subscribed
from tests.cli.test_auto_top_up import ACCOUNT

of_saved_card, without_books, OLD = subscribed.of_saved_card, subscribed.config, subscribed.OLD


@pytest.fixture
async def config(without_books: Path) -> Path:
    books = SqliteLedgerStore(without_books.parent / "gateway.db", head_key=b"k" * 32)
    await books.open()
    await books.close()
    return without_books


def typed(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)])


def erased(config: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = typed(config, "erase", "--account", *words, "--json")
    assert done.exit_code == code, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_dry_run_says_what_would_be_and_does_nothing(config: Path) -> None:
    would = erased(config, OLD, "--dry-run")
    assert (would["accounts"], would["erased"], would["erased_before"]) == ([ACCOUNT, OLD], False, None)
    assert would["rows"]["auto_top_up"] == 1
    assert would["customers_at_stripe"] == ["cus_1"]
    assert erased(config, OLD, "--dry-run") == would
    assert json.loads(typed(config, "audit", "log", "--json").stdout) == []


def test_what_was_done_is_told_with_what_is_kept_and_why(config: Path) -> None:
    would, did = erased(config, ACCOUNT, "--dry-run"), erased(config, ACCOUNT, "--reason", "a letter of 3 May")
    assert did["erased"] is True
    assert would["rows"].keys() == did["rows"].keys() - {"freezes"}
    [kept] = [one for one in did["kept"] if "payments" in one["what"]]
    assert "books must be kept" in kept["why"]
    assert any("backups" in line for line in did["elsewhere"])
    [entry] = json.loads(typed(config, "audit", "log", "--action", "account.erase", "--json").stdout)
    assert (entry["object"], entry["reason"], entry["facts"]) == (ACCOUNT, "a letter of 3 May", {})
    frozen = json.loads(typed(config, "account", "frozen", "--json").stdout)
    assert [(one["account"], one["reason"]) for one in frozen] == [(ACCOUNT, "erased")]
    again = erased(config, ACCOUNT)
    assert again["erased_before"] == entry["at"]
    assert again["rows"] == {}, "there was nothing left"


def test_people_read_it_too(config: Path) -> None:
    said = typed(config, "erase", "--account", ACCOUNT).stdout
    assert "is erased" in said
    assert "Stripe still knows (--at-stripe) cus_1" in said
    assert "was erased before" in typed(config, "erase", "--account", ACCOUNT).stdout


def test_a_reason_that_names_somebody_is_refused(config: Path) -> None:
    refused = typed(config, "erase", "--account", ACCOUNT, "--reason", "ann@example.org wrote")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert json.loads(typed(config, "audit", "log", "--json").stdout) == []


def test_stripe_is_asked_by_a_job_if_there_is_stripe(config: Path) -> None:
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({name: part for name, part in settings.items() if name not in ("stripe", "plans")}))
    assert typed(config, "erase", "--account", ACCOUNT, "--at-stripe").exit_code == 2
    config.write_text(json.dumps(settings))
    assert erased(config, ACCOUNT, "--at-stripe")["stripe_is_asked"] is True
    [job] = json.loads(typed(config, "jobs", "list", "--json").stdout)
    assert (job["kind"], job["state"]) == ("erase_customer", "waiting")


def test_while_a_saved_card_is_charged_nothing_is_erased(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "gateway.records.db")) as sql:
        charge = "INSERT INTO refill VALUES (?, 99, 'key 99', 'usd', 5000000, 'cus_1', 'pm_1', 'ref', 1, 'asked')"
        sql.execute(charge, (ACCOUNT,))
        sql.commit()
    refused = typed(config, "erase", "--account", ACCOUNT)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert json.loads(typed(config, "audit", "log", "--json").stdout) == []
