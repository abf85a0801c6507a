"""The operator's commands, run as processes the way an operator runs them."""

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.demo.upstreams import ToyUpstream, weather
from tests import programs
from tests.gateway_process import fund, running, write_config
from tests.ports import own_port

ACCOUNT = "acct_" + "0" * 31 + "a"


def gateway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return programs.run(*arguments, environ=environ)


@pytest.fixture
def config(tmp_path: Path) -> str:
    write_config(tmp_path, "http://127.0.0.1:1")
    return str(tmp_path / "gateway.yaml")


def test_help_names_every_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "gateway", "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "check", "demo", "audit", "balance", "credit", "config"):
        assert f"  {command} " in shown.stdout


def test_check_says_what_is_right_and_worth_a_word(config: str) -> None:
    shown = gateway("check", "--config", config)
    assert shown.returncode == 0
    assert "2 routes, development, mode test" in shown.stdout
    assert "a 402 carries no payment_url" in shown.stdout
    assert json.loads(gateway("check", "--config", config, "--json").stdout)["ok"] is True


def test_one_of_a_kind_is_no_plural(config: str) -> None:
    values = json.loads(Path(config).read_text())
    Path(config).write_text(json.dumps(values | {"routes": values["routes"][:1]}))
    assert "right; 1 route, development" in gateway("check", "--config", config).stdout


def test_check_says_every_mistake_and_starts_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nmode: tset\nlisten: 127.0.0.1:0\nstor: x\n")
    shown = gateway("check", "--config", str(bad))
    assert shown.returncode == 2
    assert f"{bad}:2:7: mode:" in shown.stderr
    assert "did you mean `store`?" in shown.stderr
    assert sorted(tmp_path.iterdir()) == [bad]
    assert gateway("run", "--config", str(bad)).returncode == 2


def test_credit_and_balance_work_while_no_gateway_runs(config: str) -> None:
    shown = gateway("credit", ACCOUNT, "5.00 usd", "--reason", "a present", "--ref", "one", "--config", config)
    assert shown.returncode == 0, shown.stderr
    assert "balance 5.00 usd" in shown.stdout
    again = gateway("credit", ACCOUNT, "5.00 usd", "--reason", "a present", "--ref", "one", "--config", config)
    assert "nothing added" in again.stdout
    assert json.loads(gateway("balance", ACCOUNT, "--config", config, "--json").stdout)["available"] == "5.00 usd"
    proof = gateway("audit", "--config", config)
    assert proof.returncode == 0, proof.stdout
    assert "clean" in proof.stdout


def test_promotion_credit_has_a_purse_of_its_own(config: str) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "paid", "--config", config)
    arguments = ("credit", ACCOUNT, "2.00 usd", "--reason", "welcome", "--ref", "w", "--config", config)
    shown = gateway(*arguments, "--expires", "2199-01-31", "--priority", "-10", "--json")
    assert json.loads(shown.stdout) == {
        "account": ACCOUNT,
        "credited": True,
        "available": "7.00 usd",
        "priority": -10,
        "expires": "2199-01-31T00:00:00.000Z",
    }
    assert "nothing added: manual:w was credited before" in gateway(*arguments).stdout
    assert "7.00 usd" in gateway("balance", ACCOUNT, "--config", config).stdout
    assert gateway("audit", "--config", config).returncode == 0


def test_a_named_credit_is_granted_and_is_no_money(config: str) -> None:
    given = gateway("credit", ACCOUNT, "100 unit:export", "--reason", "plan", "--ref", "one", "--config", config)
    assert "+100 unit:export  balance 100 unit:export" in given.stdout
    taken = gateway("debit", ACCOUNT, "30 unit:export", "--reason", "a slip", "--config", config, "--json")
    assert json.loads(taken.stdout)["available"] == "70 unit:export"
    shown = gateway("balance", ACCOUNT, "--unit", "unit:export", "--config", config)
    assert shown.stdout == f"{ACCOUNT}  70 unit:export\n"
    assert gateway("balance", ACCOUNT, "--config", config).stdout == f"{ACCOUNT}  0.00 usd\n"
    proved = gateway("audit", "--config", config)
    assert "unit:export: 70.00 credited - 0.00 spent = 70.00" in proved.stdout
    assert proved.returncode == 0
    lines = gateway("ledger", "export", "--account", ACCOUNT, "--format", "jsonl", "--config", config).stdout
    told = [json.loads(line) for line in lines.splitlines()]
    assert [(line["unit"], line["credited"]) for line in told] == [("unit:export", "100.00"), ("unit:export", "-30.00")]
    for wrong, words in (("1.5 unit:export", "whole number"), ("5.00 eur", "this gateway's currency is usd")):
        refused = gateway("credit", ACCOUNT, wrong, "--reason", "x", "--config", config)
        assert refused.returncode == 2
        assert words in refused.stderr
    assert "--unit: 'export' is neither" in gateway("balance", ACCOUNT, "--unit", "export", "--config", config).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--expires", "soon"), "expires: 'soon' is no date"),
        (("--expires", "2020-01-01"), "expires: 2020-01-01 is over"),
        (("--priority", "1001"), "priority, expires: a priority is a whole number from -1000 to 1000"),
    ],
)
def test_a_purse_that_makes_no_sense_is_refused_by_name(config: str, options: tuple[str, str], words: str) -> None:
    shown = gateway("credit", ACCOUNT, "1.00 usd", "--reason", "x", *options, "--config", config)
    assert (shown.returncode, words in shown.stderr) == (2, True), shown.stderr


def test_a_debit_takes_what_is_there_and_the_rest_is_owed(config: str) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "a present", "--ref", "one", "--config", config)
    shown = gateway("debit", ACCOUNT, "7.00 usd", "--reason", "a mistake", "--ref", "two", "--config", config)
    assert shown.returncode == 0, shown.stderr
    assert "-7.00 usd  balance -2.00 usd  (manual:two)" in shown.stdout
    again = gateway("debit", ACCOUNT, "7.00 usd", "--reason", "a mistake", "--ref", "two", "--config", config)
    assert "nothing taken" in again.stdout
    assert "balance -2.00 usd" in gateway("balance", ACCOUNT, "--config", config).stdout.replace("  ", " balance ")
    proof = gateway("audit", "--config", config)
    assert "5.00 credited" not in proof.stdout
    assert "usd: 0.00 credited - 0.00 spent - 2.00 owed = -2.00" in proof.stdout
    statement = gateway("ledger", "export", "--account", ACCOUNT, "--config", config)
    assert "reversal,manual:two" in statement.stdout
    assert ",-7.00,usd,,manual" in statement.stdout
    paid = gateway("credit", ACCOUNT, "2.50 usd", "--reason", "paid", "--json", "--config", config)
    assert json.loads(paid.stdout)["available"] == "0.50 usd"


def test_a_ref_with_another_amount_or_account_is_refused_and_not_on_the_trail(config: str) -> None:
    def typed(command: str, account: str, amount: str) -> subprocess.CompletedProcess[str]:
        return gateway(command, account, amount, "--reason", "x", "--ref", "one", "--config", config)

    assert typed("credit", ACCOUNT, "5.00 usd").returncode == 0
    refused = [typed("credit", ACCOUNT, "7.00 usd"), typed("debit", ACCOUNT, "5.00 usd")]
    refused.append(typed("credit", ACCOUNT[:-1] + "b", "5.00 usd"))
    for shown, wanted in zip(refused, ("7.00 usd", "-5.00 usd", "5.00 usd"), strict=True):
        assert shown.returncode == 1, shown.stdout
        assert f"the books have manual:one of 5.00 usd for {ACCOUNT}, not of {wanted}" in shown.stderr
    assert "nothing added" in typed("credit", ACCOUNT, "5.00 usd").stdout
    assert gateway("debit", ACCOUNT[:-1] + "c", "1.00 usd", "--reason", "x", "--config", config).returncode == 3
    trail = json.loads(gateway("audit", "log", "--json", "--config", config).stdout)
    assert [entry["action"] for entry in trail] == ["account.credit"]


def test_a_debit_of_an_account_that_is_not_there_is_refused(config: str) -> None:
    shown = gateway("debit", ACCOUNT, "7.00 usd", "--reason", "a slip", "--config", config)
    assert shown.returncode == 3
    assert f"nobody ever paid usd into {ACCOUNT}" in shown.stderr
    assert json.loads(gateway("audit", "--json", "--config", config).stdout)["accounts"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("acct_1", "5.00 usd"), "account:"),
        ((ACCOUNT, "5"), "amount:"),
        ((ACCOUNT, "5.00 eur"), "currency is usd"),
        ((ACCOUNT, "0.00 usd"), "more than nothing"),
        ((ACCOUNT, "0.0000001 usd"), "finer than a millionth"),
    ],
)
def test_a_credit_that_makes_no_sense_is_refused_by_name(config: str, arguments: tuple[str, str], words: str) -> None:
    for command in ("credit", "debit"):
        shown = gateway(command, *arguments, "--reason", "x", "--config", config)
        assert shown.returncode == 2
        assert words in shown.stderr


def test_a_debit_of_what_an_account_never_had_says_of_what(config: str) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "x", "--config", config)
    shown = gateway("debit", ACCOUNT, "1 unit:nothere", "--reason", "x", "--config", config)
    assert f"nobody ever paid unit:nothere into {ACCOUNT}" in shown.stderr


def test_an_audit_names_what_was_changed(config: str, tmp_path: Path) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "x", "--config", config)
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("UPDATE credit SET micros = micros + 1")
        connection.commit()
    shown = gateway("audit", "--config", config)
    assert shown.returncode == 1
    assert "FOUND  credit manual:" in shown.stdout
    assert json.loads(gateway("audit", "--config", config, "--json").stdout)["clean"] is False


def test_an_audit_of_nothing_says_so(config: str) -> None:
    shown = gateway("audit", "--config", config)
    assert shown.returncode == 3
    assert "does not exist" in shown.stderr


async def test_credit_and_audit_work_while_the_gateway_runs(tmp_path: Path) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    settings = write_config(tmp_path, toy.url)
    [caller] = await fund(settings, "0.002 usd", count=1)
    config = str(tmp_path / "gateway.yaml")
    async with running(tmp_path / "gateway.yaml") as process:
        shown = gateway("credit", caller.account, "1.00 usd", "--reason", "while it runs", "--config", config)
        assert shown.returncode == 0, shown.stderr
        assert "balance 1.002 usd" in shown.stdout
        promo = ("--expires", "2199-01-31", "--priority", "-10", "--ref", "promo")
        for given in ("1.102", "1.102"):
            shown = gateway("credit", caller.account, "0.10 usd", "--reason", "a gift", *promo, "--config", config)
            assert given in shown.stdout, shown.stderr
        gateway("debit", caller.account, "0.10 usd", "--reason", "as before", "--config", config)
        shown = gateway("debit", caller.account, "1.10 usd", "--reason", "while it runs", "--config", config)
        assert "balance -0.198 usd" in shown.stdout, shown.stderr
        shown = gateway("debit", ACCOUNT, "1.10 usd", "--reason", "while it runs", "--config", config)
        assert "nobody ever paid usd into" in shown.stderr
        for verb, given in (("credit", "balance 3 unit:export"), ("debit", "balance 0 unit:export")):
            assert given in gateway(verb, caller.account, "3 unit:export", "--reason", "x", "--config", config).stdout
        assert gateway("audit", "--config", config).returncode == 0
        assert gateway("run", "--config", config).returncode == 3, "two gateways on one ledger"
        assert await process.stop() == 0
    await toy.stop()


async def test_the_admin_listener_lets_operators_only_in(tmp_path: Path) -> None:
    from aiohttp import ClientSession

    settings = write_config(tmp_path, "http://127.0.0.1:1")
    url = f"http://{settings.admin[0]}:{settings.admin[1]}"
    async with running(tmp_path / "gateway.yaml"), ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xff"}):
            async with session.post(f"{url}/accounts/{ACCOUNT}/credit", json={}, headers=headers) as answer:
                assert answer.status == 401
        assert settings.secrets.operator_token is not None
        operator = {"Authorization": f"Bearer {settings.secrets.operator_token.reveal()}"}
        async with session.post(f"{url}/accounts/{ACCOUNT}/credit", json={"ref": "x"}, headers=operator) as answer:
            assert answer.status == 400
        async with session.get(f"{url}/accounts/{ACCOUNT}/balance?currency=usd", headers=operator) as answer:
            assert (await answer.json())["available"] == "0.00 usd"
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("setting", ["listen", "admin"])
def test_a_busy_port_is_told_with_the_setting_that_names_it(tmp_path: Path, setting: str, workers: int) -> None:
    settings = write_config(tmp_path, "http://127.0.0.1:1", workers=workers)
    address = settings.admin if setting == "admin" else settings.listen
    assert isinstance(address, tuple)
    with socket.create_server(address):
        shown = gateway("run", "--config", str(tmp_path / "gateway.yaml"))
    assert shown.returncode == 3
    assert f"gateway: {setting}: {address[0]}:{address[1]}: another program listens there" in shown.stderr


def test_the_demo_walks_through_by_itself() -> None:
    shown = gateway("demo", "--script")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("✓") == 10


def test_books_that_lost_their_end_are_refused_until_the_loss_is_accepted(config: str, tmp_path: Path) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "x", "--config", config)
    early = (tmp_path / "gateway.db").read_bytes()
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "y", "--config", config)
    (tmp_path / "gateway.db").write_bytes(early)
    assert gateway("audit", "--config", config).returncode == 1
    refused = gateway("run", "--config", config)
    assert refused.returncode == 3
    assert "gateway audit --accept-head" in refused.stderr
    accepted = gateway("audit", "--accept-head", "--config", config)
    assert accepted.returncode == 0, accepted.stderr
    again = gateway("credit", ACCOUNT, "1.00 usd", "--reason", "z", "--config", config)
    assert "balance 6.00 usd" in again.stdout


def test_lost_secrets_are_not_replaced_beside_books_that_need_them(config: str, tmp_path: Path) -> None:
    gateway("credit", ACCOUNT, "5.00 usd", "--reason", "x", "--config", config)
    (tmp_path / "secrets/sealing_key").unlink()
    refused = gateway("run", "--config", config)
    assert refused.returncode == 2
    assert "sealing_key" in refused.stderr
    assert "put it back" in refused.stderr
    assert not (tmp_path / "secrets/sealing_key").exists()


def test_records_that_cannot_be_read_are_told_and_the_process_ends(config: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.records.db").write_bytes(b"this is no database, whatever its name says" * 100)
    refused = gateway("run", "--config", config)
    assert refused.returncode == 3
    assert "gateway.records.db" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_two_demos_on_one_folder_and_one_port(tmp_path: Path) -> None:
    port = own_port()
    command = [sys.executable, "-m", "gateway", "demo", "--data", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        while "Ctrl-C" not in (line := first.stdout.readline()):
            assert line or first.poll() is None
        same_folder = gateway("demo", "--data", str(tmp_path), "--port", str(port))
        same_port = gateway("demo", "--script", "--port", str(port))
        first.terminate()
    assert same_folder.returncode == 3
    assert "Is another demo running?" in same_folder.stderr
    assert "Traceback" not in same_folder.stderr
    assert same_port.returncode == 0, same_port.stderr
