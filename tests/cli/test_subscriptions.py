"""`gateway subscriptions` and `gateway account show`: what an operator sees of who has which plan."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.cli import main
from gateway.cli import subscriptions as command
from gateway.core.keyring import Keyring
from gateway.core.plans import Subscription
from gateway.core.secrets import Secret
from tests.cli.test_auto_top_up import ACCOUNT, SEALING
from tests.cli.test_auto_top_up import config as of_auto_top_up
from tests.fakes import SeededRandomness

OTHER, OLD = "acct_" + "2b" * 16, "acct_" + "3c" * 16
ENDS = 1_800_000_000_000
STANDS = Subscription("sub_1", ACCOUNT, "price_1", "cus_1", "active", ENDS, False, 5, "evt_1")
of_saved_card = of_auto_top_up


@pytest.fixture
async def config(of_saved_card: Path) -> Path:
    """The same files, with a plan, and with subscriptions of several accounts."""
    written = json.loads(of_saved_card.read_text())
    written["plans"] = {"monthly": {"price": "price_1", "costs": "10.00 usd", "grants": "12.00 usd"}}
    of_saved_card.write_text(json.dumps(written))
    path = of_saved_card.parent / "gateway.records.db"
    records = SqliteRecords(path, keyring=Keyring([Secret(SEALING)]), randomness=SeededRandomness())
    await records.open()
    for one in (
        STANDS,
        replace(STANDS, id="sub_2", state="over"),
        replace(STANDS, id="sub_3", account=OTHER, price="price_9", leaves=True),
        replace(STANDS, id="sub_4", account=""),
        replace(STANDS, id="sub_5", account=OLD),
    ):
        await records.subscriptions.keep_subscription(one)
    await records.aliases.add_alias(OLD, ACCOUNT, why="asked", now_ms=1)
    await records.close()
    return of_saved_card


def typed(config: Path, *words: str) -> str:
    done = CliRunner().invoke(main, [*words, "--config", str(config)])
    assert done.exit_code == 0, done.output
    return done.stdout


def ids(config: Path, *words: str) -> list[str]:
    return [row["id"] for row in json.loads(typed(config, "subscriptions", *words, "--json"))]


@pytest.mark.parametrize("page", [1, 2, 500])
def test_all_are_listed(config: Path, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAGE", page)
    assert ids(config) == ["sub_1", "sub_3", "sub_4", "sub_5"]
    assert ids(config, "--all") == ["sub_1", "sub_2", "sub_3", "sub_4", "sub_5"]


def test_those_of_one_account_are_listed_with_those_of_its_aliases(config: Path) -> None:
    assert ids(config, ACCOUNT) == ["sub_1", "sub_5"]
    assert ids(config, ACCOUNT, "--all") == ["sub_1", "sub_2", "sub_5"]
    assert typed(config, "subscriptions", "acct_" + "4d" * 16) == "no subscriptions\n"
    done = CliRunner().invoke(main, ["subscriptions", "acct_1", "--config", str(config)])
    assert (done.exit_code, "is not an account id" in done.stderr) == (2, True)


def test_each_says_how_it_stands(config: Path) -> None:
    said = typed(config, "subscriptions")
    assert f"{ACCOUNT}  sub_1  monthly: active, paid until 2027-01-15T08:00:00+00:00" in said
    assert f"{OTHER}  sub_3  no plan of this gateway (price_9): active, ends 2027-01-15T08:00:00+00:00" in said
    assert "no account  sub_4" in said
    first: dict[str, Any] = json.loads(typed(config, "subscriptions", "--json"))[0]
    assert first == {
        "id": "sub_1", "account": ACCOUNT, "plan": "monthly", "price": "price_1", "state": "active",
        "period_ends": "2027-01-15T08:00:00+00:00", "ends_with_period": False,
    }  # fmt: skip


async def test_an_account_is_shown_with_its_plans_and_its_saved_card(config: Path) -> None:
    books = SqliteLedgerStore(config.parent / "gateway.db", head_key=b"k" * 32)
    await books.open()
    await books.close()
    told = json.loads(await asyncio.to_thread(typed, config, "account", "show", ACCOUNT, "--json"))
    assert [plan["id"] for plan in told["subscriptions"]] == ["sub_1", "sub_5"]
    assert told["saved_card"] == "visa 4242"
    said = await asyncio.to_thread(typed, config, "account", "show", ACCOUNT)
    assert "  subscribed: sub_1  monthly: active" in said
    assert "  saved card: visa 4242" in said
