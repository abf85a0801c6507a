"""What an account has, as commands say it: of no account but one that can be, and with those that are one with it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.cli import test_auto_top_up as saved_card

config = saved_card.config
FIRST, SECOND = "acct_" + "1" * 32, "acct_" + "2" * 32


def typed(config: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, [*words, "--config", str(config)])
    assert done.exit_code == code, done.output
    return done.output


def given(config: Path, *amounts: str) -> None:
    for amount in amounts:
        typed(config, "credit", FIRST, amount, "--reason", "x")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nope",), "is not an account id"),
        (("acct_123",), "is not an account id"),
        ((FIRST, "--unit", "eur"), "this gateway's currency is usd, and the account has no eur"),
    ],
)
def test_what_nobody_can_have_is_no_balance_of_nothing(config: Path, words: tuple[str, ...], told: str) -> None:
    given(config, "5.00 usd")
    assert told in typed(config, "balance", *words, code=2)


def test_an_account_that_nobody_paid_into_has_nothing(config: Path) -> None:
    given(config, "5.00 usd")
    assert typed(config, "balance", SECOND) == f"{SECOND}  0.00 usd\n"
    assert typed(config, "balance", FIRST, "--unit", "unit:export") == f"{FIRST}  0 unit:export\n"


def test_money_in_a_currency_of_before_is_still_shown(config: Path) -> None:
    given(config, "5.00 usd")
    config.write_text(config.read_text().replace('"currency": "usd"', '"currency": "eur"'))
    assert typed(config, "balance", FIRST, "--unit", "usd") == f"{FIRST}  5.00 usd\n"


def test_a_join_names_all_that_moves_and_then_both_are_the_same(config: Path) -> None:
    given(config, "10.00 usd", "3 unit:export", "2 unit:export")
    join = ("account", "join", FIRST, SECOND, "--reason", "one person")
    assert "10.00 usd and 5 unit:export would move" in typed(config, *join)
    told = json.loads(typed(config, *join, "--json"))
    assert (told["moves"], told["named"], told["joined"]) == ("10.00 usd", ["5 unit:export"], False)
    assert "10.00 usd and 5 unit:export moves" in typed(config, *join, "--yes")
    for unit, left in (("usd", "10.00 usd"), ("unit:export", "5 unit:export")):
        assert typed(config, "balance", SECOND, "--unit", unit) == f"{SECOND}  {left}\n"
        assert typed(config, "balance", FIRST, "--unit", unit) == f"{FIRST}  {left}  (it is {SECOND} now)\n"
    assert json.loads(typed(config, "balance", FIRST, "--json"))["alias_of"] == SECOND
    for account in (FIRST, SECOND):
        shown = typed(config, "account", "show", account)
        assert "balance 10.00 usd" in shown
        assert "purse 10.00 usd" in shown
