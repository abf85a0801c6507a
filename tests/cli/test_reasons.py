"""What an operator types stays in the books and on the trail for ever: nobody's address, token or card is among it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.cli import test_erase as erasing
from tests.cli.test_auto_top_up import ACCOUNT

of_saved_card, without_books, config = erasing.of_saved_card, erasing.without_books, erasing.config

REQUEST = "req_" + "0" * 28
COMMANDS = (
    ("credit", ACCOUNT, "5.00 usd"),
    ("debit", ACCOUNT, "5.00 usd"),
    ("account", "freeze", ACCOUNT),
    ("account", "unfreeze", ACCOUNT),
    ("account", "join", ACCOUNT, "acct_" + "0" * 32, "--yes"),
    ("ledger", "refund", REQUEST),
    ("charges", "waive", "chg_1"),
    ("payouts", "cancel", "anna-usd-7"),
    ("payouts", "hold", "anna"),
    ("payouts", "reverse", "anna-usd-7"),
)


def typed(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("named", ["mail to bob@example.com", "card 4242 4242 4242 4242", "sk_live_" + "a1" * 12])
def test_no_command_takes_a_reason_that_names_somebody(config: Path, command: tuple[str, ...], named: str) -> None:
    refused = typed(config, *command, "--reason", named)
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
    assert "reason: it is kept for ever: say it without addresses, tokens and cards" in refused.stderr
    assert json.loads(typed(config, "audit", "log", "--json").stdout) == []


@pytest.mark.parametrize(
    "command",
    [
        ("ledger", "export", "--account", "bob@example.com"),
        ("ledger", "export", "--owner", "bob@example.com"),
        ("alerts", "ack", "bob@example.com"),
        ("notices", "replay", "bob@example.com"),
        ("incident", "affected", "--token", "bob@example.com"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_what_was_mistyped_is_not_on_the_trail(config: Path, command: tuple[str, ...]) -> None:
    assert typed(config, *command).exit_code == 3
    assert json.loads(typed(config, "audit", "log", "--json").stdout) == []
