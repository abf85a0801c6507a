"""`gateway account export`: what is kept of a person, printed for them, and that it was asked for."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.cli import main
from gateway.cli.admin import login
from tests.cli import test_subscriptions as subscribed
from tests.cli.test_auto_top_up import ACCOUNT

of_saved_card, config, OLD = subscribed.of_saved_card, subscribed.config, subscribed.OLD


def typed(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)])


@pytest.mark.parametrize("named", [ACCOUNT, OLD])
def test_it_is_told_with_all_that_it_is_one_with(config: Path, named: str) -> None:
    told = json.loads(typed(config, "account", "export", named, "--json").stdout)
    assert (told["account"], told["accounts"]) == (named, [ACCOUNT, OLD])
    assert [row["id"] for row in told["subscriptions"]] == ["sub_1", "sub_2", "sub_5"]
    assert told["statements"] == [f"gateway ledger export --account {one}" for one in (ACCOUNT, OLD)]
    assert "payment provider" in told["elsewhere"][0]


def test_people_read_it_too(config: Path) -> None:
    said = typed(config, "account", "export", ACCOUNT).stdout
    assert "charges of saved cards:\n  account acct_1a" in said
    assert "label visa 4242" in said
    assert "people:" not in said, "of what there is none, nothing is said"


def test_it_is_on_the_trail_before_it_is_told(config: Path) -> None:
    assert typed(config, "account", "export", ACCOUNT).exit_code == 0
    [entry] = json.loads(typed(config, "audit", "log", "--of", ACCOUNT, "--json").stdout)
    assert (entry["actor"], entry["action"]) == (f"operator:{login()}", "account.export")
    with closing(sqlite3.connect(config.parent / "gateway.records.db")) as sql:
        sql.execute("CREATE TRIGGER no_more BEFORE INSERT ON trail BEGIN SELECT raise(ABORT, 'no'); END")
        sql.commit()
    refused = typed(config, "account", "export", ACCOUNT, "--json")
    assert (refused.exit_code, refused.stdout) == (3, "")


def test_what_is_no_account_is_refused(config: Path) -> None:
    refused = typed(config, "account", "export", "ann@example.org")
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    ("words", "action", "object"),
    [
        (("account", "show", ACCOUNT), "account.show", ACCOUNT),
        (("subscriptions", ACCOUNT), "subscription.list", ACCOUNT),
        (("subscriptions",), "subscription.list", "everyone"),
        (("payments", "list"), "payment.list", "everyone"),
        (("payments", "parked"), "payment.parked", "everyone"),
        (("webhooks", "list"), "webhook.list", "everyone"),
        (("notices", "list"), "notice.list", "everyone"),
        (("token", "list", ACCOUNT), "token.list", ACCOUNT),
    ],
)
async def test_whoever_looks_at_payments_is_on_the_trail_first(
    config: Path, words: tuple[str, ...], action: str, object: str
) -> None:
    books = SqliteLedgerStore(config.parent / "gateway.db", head_key=b"k" * 32)
    await books.open()
    await books.close()
    looked = await asyncio.to_thread(typed, config, *words)
    assert looked.exit_code == 0, looked.output
    [entry] = json.loads((await asyncio.to_thread(typed, config, "audit", "log", "--json")).stdout)
    assert (entry["action"], entry["object"]) == (action, object)
    with closing(sqlite3.connect(config.parent / "gateway.records.db")) as sql:
        sql.execute("CREATE TRIGGER no_more BEFORE INSERT ON trail BEGIN SELECT raise(ABORT, 'no'); END")
        sql.commit()
    refused = await asyncio.to_thread(typed, config, *words, "--json")
    assert (refused.exit_code, refused.stdout) == (3, "")


async def test_whoever_takes_a_statement_from_the_books_is_on_the_trail_first(config: Path) -> None:
    credit = ("credit", ACCOUNT, "1.00 usd", "--reason", "x")
    assert (await asyncio.to_thread(typed, config, *credit)).exit_code == 0
    words = ("ledger", "export", "--account", ACCOUNT)
    for asked in (("ledger", "export", "--owner", "anna"), words):  # of whom there is nothing, nobody sees anything
        await asyncio.to_thread(typed, config, *asked)
    _, entry = json.loads((await asyncio.to_thread(typed, config, "audit", "log", "--json")).stdout)
    assert (entry["action"], entry["object"]) == ("ledger.export", ACCOUNT)
    with closing(sqlite3.connect(config.parent / "gateway.records.db")) as sql:
        sql.execute("CREATE TRIGGER no_more BEFORE INSERT ON trail BEGIN SELECT raise(ABORT, 'no'); END")
        sql.commit()
    refused = await asyncio.to_thread(typed, config, *words)
    assert "the records cannot be read or written" in refused.output
    assert refused.stdout == ""
