"""`gateway auto-top-up`: what an operator sees of a saved card, and switching it off."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemClock
from gateway.cli import main
from gateway.core.auto_top_ups import Ceilings, Refill, SavedCard, Wish
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.secrets import Secret
from tests.fakes import SeededRandomness

ACCOUNT = "acct_" + "1a" * 16
SEALING, PEPPER, OPERATOR = (hashlib.sha256(what).hexdigest() for what in (b"1", b"2", b"3"))
FIVE = Money.parse("5.00 usd")


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """A gateway's files, with one account whose card was charged and then declined."""
    path = tmp_path / "gateway.yaml"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "mode": "test",
                "store": f"sqlite:{tmp_path}/gateway.db",
                "currency": "usd",
                "secrets": {"sealing_keys": [SEALING], "peppers": [PEPPER], "operator_token": OPERATOR},
                "stripe": {
                    "secret_key": "sk_test_" + "1a" * 20,
                    "webhook_secrets": ["whsec_" + "2b" * 20],
                    "auto_top_up": {},
                },
            }
        )
    )
    (tmp_path / "gateway.db").touch()
    records = SqliteRecords(
        tmp_path / "gateway.records.db", keyring=Keyring([Secret(SEALING)]), randomness=SeededRandomness()
    )
    await records.open()
    kept, now = records.ways_to_pay, SystemClock().now_ms()
    most = Ceilings(Money.parse("50.00 usd"), Money.parse("99.00 usd"))
    card = SavedCard("cus_1", "pm_1", "visa 4242")
    await kept.keep_card(ACCOUNT, card, Wish(Money.parse("1.00 usd"), FIVE), most, at_ms=now, now_ms=now)
    await kept.begin_refill(Refill(ACCOUNT, 1, "key", FIVE, "cus_1", "pm_1", "ref", now), most)
    await kept.end_refill("key", "succeeded")
    await kept.pause("pm_1", "declined", now_ms=now)
    await records.close()
    return path


def test_it_is_shown_and_switched_off(config: Path) -> None:
    def typed(*words: str) -> str:
        done = CliRunner().invoke(main, ["auto-top-up", *words, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return done.output

    told = json.loads(typed("show", ACCOUNT, "--json"))
    assert (told["state"], told["reason"], told["card"]) == ("paused", "declined", "visa 4242")
    assert (told["charged_in_a_day"], told["per_day"]) == ("5.00 usd", "50.00 usd")
    assert "paused (declined); below 1.00 usd visa 4242 pays 5.00 usd" in typed("show", ACCOUNT)
    for _ in range(2):
        assert "auto top-up is off" in typed("off", ACCOUNT)
    assert json.loads(typed("show", ACCOUNT, "--json")) == {"account": ACCOUNT, "state": "off"}


def test_what_is_no_account_is_refused(config: Path) -> None:
    done = CliRunner().invoke(main, ["auto-top-up", "off", "acct_1", "--config", str(config)])
    assert done.exit_code == 2
    assert "is not an account id" in done.output
