"""The same commands on a database: of several hosts, and beside their gateways."""

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from gateway.adapters.postgres import prune as prune_module
from gateway.adapters.postgres.audit import audit
from gateway.adapters.system import SystemClock
from gateway.app.stores import database, keeper
from gateway.cli import hosts, main
from gateway.cli.books import head_keys
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Kind, Tariff
from gateway.core.money import Money
from gateway.settings import load
from tests.batches import HOUR, NOON
from tests.gateway_process import write_config
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

SEARCH = Tariff("search", "anna", 1000, "p")
ACCOUNT = "acct_a"


@pytest.fixture
def config(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Three hours on one host, one of them on another, too."""
    monkeypatch.setattr(prune_module, "BATCHES_KEPT", 1)
    one = PostgresBatches(asyncio.run(postgres.schema()))
    two = PostgresBatches(one.dsn, "two", beside=one)
    monkeypatch.setenv("GATEWAY_STORE", one.dsn)
    monkeypatch.setenv("GATEWAY_HOST_NAME", "three")
    monkeypatch.chdir(tmp_path)  # the secrets beside a database are of the working folder
    write_config(tmp_path, "http://127.0.0.1:1")
    load(tmp_path / "gateway.yaml", os.environ, make_secrets=True)
    one.credit("stripe:cs_1", 5_000_000, ACCOUNT)
    for hour in range(3):
        one.record(Kind.CAPTURE, 2000, SEARCH, ACCOUNT)
        one.commit(NOON + hour * HOUR)
    two._requests = 100
    two.record(Kind.CAPTURE, 1000, SEARCH, ACCOUNT)
    two.commit(NOON + HOUR + 7)
    yield str(tmp_path / "gateway.yaml")
    one.close()


def gateway(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def lines(config: str, *more: str) -> list[tuple[str, str, str]]:
    shown = gateway("ledger", "export", "--format", "jsonl", *more, "--config", config)
    assert shown.exit_code == 0, shown.output
    found = [json.loads(line) for line in shown.stdout.splitlines()]
    return [(line["time"][11:16], line["cost"], line["state"]) for line in found]


def test_a_statement_has_the_requests_of_all_hosts_in_the_order_of_time(config: str) -> None:
    shown = gateway("ledger", "export", "--account", ACCOUNT, "--config", config)
    assert shown.exit_code == 0, shown.output
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert [row["type"] for row in rows] == ["credit", *["request"] * 4]
    assert [row["cost"] for row in rows[1:]] == ["0.002", "0.002", "0.001", "0.002"]
    assert lines(config, "--owner", "anna", "--from", "2026-09-21T15:00", "--to", "2026-09-21T16:00") == [
        ("15:00", "0.002", "charged"),
        ("15:00", "0.001", "charged"),
    ]


def test_fold_prune_audit_and_summary_go_together(config: str) -> None:
    shown = gateway("ledger", "fold", "--config", config, "--json")
    assert shown.exit_code == 0, shown.output
    folded = json.loads(shown.stdout)
    assert folded == {"batches": 4, "records": 4, "transfers": 9}
    assert "folded 0 batches" in gateway("ledger", "fold", "--config", config).stdout
    before = ("--before", "2026-09-21T15:00", "--config", config)
    shown = gateway("db", "prune", *before, "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    dry = json.loads(shown.stdout)
    assert (dry["dry_run"], dry["batches"], dry["last"]) == (True, 1, {"one": 1})
    assert "1 batches of 1 hosts dropped" in gateway("db", "prune", *before).stdout
    assert "nothing to drop" in gateway("db", "prune", *before).stdout
    audited = json.loads(gateway("audit", "--config", config, "--json").stdout)
    assert (audited["clean"], audited["folded"], audited["transfers"]) == (True, 4, 9)
    told = gateway("audit", "--config", config).stdout
    assert "the books sum to zero" in told
    assert "not looked at: the batches of one up to 1 were pruned" in told
    assert [state for _, _, state in lines(config, "--owner", "anna")] == ["pruned", "charged", "charged", "charged"]
    assert lines(config, "--owner", "anna", "--summary") == [
        ("14:00", "0.002", "folded"),
        ("15:00", "0.002", "folded"),
        ("15:00", "0.001", "folded"),
        ("16:00", "0.002", "folded"),
    ]


def test_a_refund_is_given_once(config: str) -> None:
    request = f"req_{NOON + 101:012x}{101:016x}"
    given = gateway("ledger", "refund", request, "--reason", "it was wrong", "--config", config)
    assert (given.exit_code, given.stdout) == (0, f"{request}  {ACCOUNT}  +0.001 usd\n"), given.output
    again = gateway("ledger", "refund", request, "--reason", "it was wrong", "--config", config)
    assert "nothing given back" in again.stdout
    unknown = gateway("ledger", "refund", "req_" + "0" * 28, "--reason", "x", "--config", config)
    assert unknown.exit_code == 3
    assert "the books hold nothing of it" in unknown.stderr
    assert lines(config, "--owner", "anna")[2] == ("15:00", "0.00", "corrected")
    assert json.loads(gateway("audit", "--config", config, "--json").stdout)["clean"]


async def test_commands_about_money_that_are_typed_at_once_are_all_done(config: str) -> None:
    accounts = [f"acct_{number:032x}" for number in range(4)]
    words = ("--reason", "for a test", "--config", config)
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "credit", account, "1.00 usd", *words,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for account in accounts
    ]  # fmt: skip
    said = await asyncio.gather(*(one.communicate() for one in running))
    assert [one.returncode for one in running] == [0] * len(running), [stderr.decode()[-300:] for _, stderr in said]
    made = await fetched("SELECT holder, credited FROM account WHERE holder = ANY ($1) ORDER BY holder", accounts)
    assert made == [(account, 1_000_000) for account in accounts]
    log = await asyncio.to_thread(gateway, "audit", "log", "--action", "account.credit", "--config", config, "--json")
    assert sorted(step["object"] for step in json.loads(log.stdout)) == accounts


async def test_a_command_whose_turn_does_not_come_does_nothing_and_says_why(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_TURN_SECONDS_MAX", 0.1)
    at_work = hosts.visiting_keeper(load(Path(config), os.environ, make_secrets=True))
    await at_work.open()
    credit = ("credit", f"acct_{7:032x}", "1.00 usd", "--reason", "for a test", "--config", config)
    refused = await asyncio.to_thread(gateway, *credit)
    assert refused.exit_code == 3
    assert "another command of this host has been at work as 'three (command)'" in refused.stderr
    assert await at_work.credit(Credit("cs_7", ACCOUNT, Money(5, "usd"), "payment", "")), "it was not disturbed"
    log = await asyncio.to_thread(gateway, "audit", "log", "--action", "account.credit", "--config", config)
    assert "nothing of that is on the trail" in log.output
    await at_work.close()
    done = await asyncio.to_thread(gateway, *credit)
    assert done.exit_code == 0, done.output


async def fetched(query: str, *values: object) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(os.environ["GATEWAY_STORE"])
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


def test_later_batches_are_proved_of_all_hosts(config: str) -> None:
    shown = gateway("audit", "--since", "2026-09-21T15:30", "--config", config, "--json")
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.stdout)
    assert (report["clean"], report["batches"], report["records"]) == (True, 1, 1)
    assert "not looked at: double entry" in gateway("audit", "--since", "2", "--config", config).stdout
    assert "not looked at" not in gateway("audit", "--since", "1", "--config", config).stdout
    wrong = gateway("audit", "--since", "yesterday", "--config", config)
    assert (wrong.exit_code, "--since: 'yesterday' is no batch's number" in wrong.stderr) == (2, True)


def test_the_head_of_a_host_is_accepted_verified_and_missed(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "head of the chain: not checked: each host keeps" in gateway("audit", "--config", config).stdout
    monkeypatch.setenv("GATEWAY_HOST_NAME", "one")
    shown = gateway("audit", "--accept-head", "--config", config)
    assert shown.exit_code == 0, shown.output
    assert "accepted the chain of one as it ends, with batch 3" in shown.stderr
    assert "verified, of the chain of 'one' up to batch 3" in shown.stdout
    asyncio.run(_drop_the_end_of_one())
    shown = gateway("audit", "--config", config, "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["first_bad_batch"] == 3
    monkeypatch.setenv("GATEWAY_HOST_NAME", "two")
    assert gateway("audit", "--config", config).exit_code == 0
    [head] = tmp_path.rglob("one.head")
    shown = gateway("audit", "--head", str(head), "--config", config)
    assert shown.exit_code == 1
    assert "FOUND  head one: names batch 3, which is not there" in shown.stdout
    shown = gateway("audit", "--head", "no.head", "--config", config)
    assert (shown.exit_code, shown.stderr) == (3, "gateway: no.head: there is no such file\n")


async def _drop_the_end_of_one() -> None:
    connection = await asyncpg.connect(os.environ["GATEWAY_STORE"])
    try:
        await connection.execute("DELETE FROM batch WHERE keeper = 1 AND seq = 3")
        await connection.execute("UPDATE account SET spent = spent - 2000")
    finally:
        await connection.close()


def test_a_backup_is_made_and_proves_itself_in_another_database(
    config: str, tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_HOST_NAME", "one")
    monkeypatch.setenv("GATEWAY_STORE_PASSWORD", "Br4ckwater-9")
    monkeypatch.setenv("PATH", f"{postgres.bin}:{os.environ['PATH']}")
    gateway("audit", "--accept-head", "--config", config)
    folder = tmp_path / "new/backup"
    shown = gateway("db", "backup", str(folder), "--config", config)
    assert shown.exit_code == 0, shown.output
    assert "The secrets are not in it" in shown.stdout
    assert {path.name for path in folder.iterdir()} == {"gateway.dump", "one.head", "SHA256SUMS"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0
    told = json.loads(gateway("db", "backup", str(tmp_path / "other"), "--json", "--config", config).stdout)
    assert [file["name"] for file in told["files"]] == ["gateway.dump", "one.head"]
    copy = asyncio.run(_restored(postgres, folder / "gateway.dump"))
    shown = gateway("audit", "--store", copy, "--head", str(folder / "one.head"), "--config", config)
    assert shown.exit_code == 0, shown.output
    assert "batches 4," in shown.stdout
    assert "verified, of the chain of 'one' up to batch 3" in shown.stdout
    for other, words in ((copy, "not of another --store"), ("postgresql://nowhere", "write a database as")):
        refused = gateway("audit", "--accept-head", "--store", other, "--config", config)
        assert (refused.exit_code, words in refused.output) == (2, True), refused.output


async def _restored(postgres: Server, dump: Path) -> str:
    """The address of a new database that holds it."""
    schema, name = os.environ["GATEWAY_STORE"].rpartition("=")[2], f"proof_{os.getpid()}"
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    address = f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}"
    done = await asyncio.create_subprocess_exec("pg_restore", "--no-owner", f"--dbname={address}", str(dump))
    assert await done.wait() == 0
    return f"{address}?search_path={schema}"


def test_a_backup_that_cannot_be_made_leaves_nothing_and_says_how(
    config: str, tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    monkeypatch.setenv("GATEWAY_STORE_PASSWORD", "Br4ckwater-9")
    monkeypatch.setenv("PATH", "")
    shown = gateway("db", "backup", str(folder), "--config", config)
    assert shown.exit_code == 3
    assert "pg_dump is not on this machine" in shown.stderr
    assert f"--file=gateway.dump 'postgresql://postgres@127.0.0.1:{postgres.port}/postgres'" in shown.stderr
    assert "Br4ckwater" not in shown.output
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump: error: server version mismatch' >&2\nexit 1\n")
    (programs / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    shown = gateway("db", "backup", str(folder), "--config", config)
    assert (shown.exit_code, shown.stderr) == (
        3,
        "gateway: pg_dump: error: server version mismatch; nothing was kept\n",
    )
    assert not list(tmp_path.glob("backup*"))
    folder.mkdir()
    shown = gateway("db", "backup", str(folder), "--config", config)
    assert "exists, and a backup writes over nothing" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ledger", "export", "--account", "eve"), 3, "there is no account eve"),
        (("db", "prune"), 2, "say what to keep"),
    ],
)
def test_what_cannot_be_done_is_said_in_plain_words(
    config: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    shown = gateway(*arguments, "--config", config)
    assert shown.exit_code == code
    assert words in shown.stderr
    assert shown.stdout == ""


def test_a_database_without_books_is_told(
    config: str, postgres: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_STORE", asyncio.run(postgres.schema()))
    for arguments in (("ledger", "fold"), ("ledger", "export", "--owner", "anna"), ("db", "prune", "--keep-days", "3")):
        shown = gateway(*arguments, "--config", config)
        assert shown.exit_code == 3, shown.output
        assert "books" in shown.stderr


async def test_a_gateway_folds_by_itself_and_prunes_what_the_settings_say(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_RETENTION__BATCHES_DAYS", "1")
    settings = load(Path(config), os.environ, make_secrets=True)
    said: list[object] = []
    kept = keeper(
        settings,
        Keyring(settings.secrets.sealing_keys),
        SystemClock(),
        lambda *words, **more: said.append((words, more)),
    )
    await kept.open()
    await kept.credit(Credit("stripe:cs_9", ACCOUNT, Money(5, "usd"), "payment", ""))
    connection = await database(settings).connect("test")
    try:
        async with asyncio.timeout(20):
            while await connection.fetchval("SELECT min(seq) FROM batch WHERE keeper = 1") < 3:  # the newest stays
                await asyncio.sleep(0.05)
        await kept.close()
        assert await connection.fetchval("SELECT min(seq) FROM batch WHERE keeper = 1") == 3
        assert await connection.fetchval("SELECT count(*) FROM transfer WHERE cause = 'stripe:cs_9'") == 1
        assert await connection.fetchval("SELECT until = '-infinity' FROM housekeeping")
    finally:
        connection.terminate()
    assert said == []
    assert (await audit(database(settings), keys=head_keys(settings))).findings == ()
