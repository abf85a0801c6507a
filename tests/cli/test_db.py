"""`gateway db` and `gateway audit --since`, run as processes the way an operator runs them."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.audit import Since
from gateway.cli.books import read_since
from gateway.cli.progress import Progress
from gateway.demo.upstreams import ToyUpstream, weather
from tests.cli.test_commands import ACCOUNT, gateway
from tests.gateway_process import fund, running, write_config
from tests.raw import closed


@pytest.fixture
def config(tmp_path: Path) -> str:
    write_config(tmp_path, "http://127.0.0.1:1")
    return str(tmp_path / "gateway.yaml")


def credit(config: str, amount: str = "5.00 usd", *, ref: str = "one") -> None:
    shown = gateway("credit", ACCOUNT, amount, "--reason", "x", "--ref", ref, "--config", config)
    assert shown.returncode == 0, shown.stderr


def make_older(path: Path, folder: str) -> str:
    """Books of a gateway that knew one migration less, with the same rows; the name of that one."""
    *older, (_, name, _) = migrations._files(folder)
    made = path.with_name("older.db")
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(migrations._TABLE)
        for number, file, text in older:
            connection.executescript(text)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, file, migrations._checksum(text)))
        connection.execute(f"ATTACH '{path}' AS newer")
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            columns = ", ".join(column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})"))
            connection.execute(f"INSERT OR IGNORE INTO {table} SELECT {columns} FROM newer.{table}")
        connection.execute("DELETE FROM migration WHERE name = ?", (name,))
    made.replace(path)
    return name


# --- migrate ----------------------------------------------------------------------------------------------------------


def test_migrating_nothing_says_that_there_is_nothing(config: str, tmp_path: Path) -> None:
    shown = gateway("db", "migrate", "--config", config)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("not there yet; `gateway run` makes it") == 2
    assert not (tmp_path / "gateway.db").exists()
    credit(config)
    assert f"{tmp_path}/gateway.db: up to date (schema 0" in gateway("db", "migrate", "--config", config).stdout


def test_a_dry_run_says_what_is_pending_and_a_run_does_it(config: str, tmp_path: Path) -> None:
    credit(config)
    name = make_older(tmp_path / "gateway.db", "ledger")
    before = (tmp_path / "gateway.db").read_bytes()
    shown = gateway("db", "migrate", "--dry-run", "--config", config)
    assert shown.returncode == 0
    assert f"gateway.db: pending: {name}; before that, a copy of" in shown.stdout
    told = json.loads(gateway("db", "migrate", "--dry-run", "--json", "--config", config).stdout)
    assert told["files"][0]["pending"] == [name]
    assert (tmp_path / "gateway.db").read_bytes() == before
    done = json.loads(gateway("db", "migrate", "--json", "--config", config).stdout)["files"][0]
    assert done["applied"] == [name]
    assert done["backups"] == 1
    with closing(sqlite3.connect(done["backup"])) as connection:
        assert connection.execute("SELECT count(*) FROM credit").fetchone() == (1,)
    assert gateway("audit", "--config", config).returncode == 0


async def test_a_gateway_brings_its_files_up_to_date_when_it_starts_and_keeps_others_off(tmp_path: Path) -> None:
    write_config(tmp_path, "http://127.0.0.1:1")
    config = str(tmp_path / "gateway.yaml")
    credit(config)
    make_older(tmp_path / "gateway.db", "ledger")
    async with running(tmp_path / "gateway.yaml") as process:
        refused = await asyncio.to_thread(gateway, "db", "migrate", "--config", config)
        assert refused.returncode == 3
        assert "another gateway keeps these books" in refused.stderr
        assert "brings its files up to date when it starts" in refused.stderr
        assert (await asyncio.to_thread(gateway, "db", "migrate", "--dry-run", "--config", config)).returncode == 0
        assert await process.stop() == 0
    assert len(list(tmp_path.glob("gateway.db.schema-*Z"))) == 1
    assert gateway("audit", "--config", config).returncode == 0


def test_a_database_of_a_newer_gateway_is_left_alone(config: str, tmp_path: Path) -> None:
    credit(config)
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO migration VALUES (9999, '9999_future.sql', 'x')")
    for arguments in ((), ("--dry-run",)):
        refused = gateway("db", "migrate", *arguments, "--config", config)
        assert refused.returncode == 3
        assert "9999_future.sql" in refused.stderr


# --- backup -----------------------------------------------------------------------------------------------------------


async def test_a_backup_under_load_proves_itself(tmp_path: Path) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    settings = write_config(tmp_path, toy.url)
    callers = await fund(settings, "10.00 usd", count=20)
    config = str(tmp_path / "gateway.yaml")
    answers, answered = 0, asyncio.Event()

    async def ask(token: str) -> None:
        nonlocal answers
        assert isinstance(settings.listen, tuple)
        reader, writer = await asyncio.open_connection(*settings.listen)
        try:
            while True:
                writer.write(f"GET /paid/oslo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                assert head.startswith("HTTP/1.1 200"), head
                await reader.readexactly(int(head.lower().partition("content-length: ")[2].split()[0]))
                answers += 1
                answered.set()
        finally:
            await closed(writer)

    async with running(tmp_path / "gateway.yaml"):
        load = [asyncio.create_task(ask(caller.token)) for caller in callers]
        for number in range(3):
            answered.clear()
            await asyncio.wait_for(answered.wait(), 20)
            before = answers
            folder = str(tmp_path / f"backup {number}")
            shown = await asyncio.to_thread(gateway, "db", "backup", folder, "--config", config)
            assert shown.returncode == 0, shown.stderr
            if answers == before:  # it was faster than a request
                answered.clear()
                await asyncio.wait_for(answered.wait(), 20)
            copy = f"{folder}/gateway.db"
            proof = await asyncio.to_thread(
                gateway, "audit", "--store", copy, "--head", f"{copy}.head", "--config", config
            )
            assert proof.returncode == 0, proof.stdout
            assert "head of the chain: verified" in proof.stdout
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    await toy.stop()
    assert sorted(file.name for file in (tmp_path / "backup 0").iterdir()) == [
        "SHA256SUMS",
        "gateway.db",
        "gateway.db.head",
        "gateway.records.db",
    ]


def test_a_backup_says_what_is_in_it_and_that_the_secrets_are_not(config: str, tmp_path: Path) -> None:
    credit(config)
    shown = gateway("db", "backup", str(tmp_path / "new/backup"), "--config", config)
    assert shown.returncode == 0, shown.stderr
    assert "The secrets are not in it" in shown.stdout
    assert str(tmp_path / "secrets") in shown.stdout
    told = json.loads(gateway("db", "backup", str(tmp_path / "other"), "--json", "--config", config).stdout)
    assert told["secrets"] is False
    assert told["batch"] == told["head_batch"] == 1
    secrets = [file.read_bytes().strip() for file in (tmp_path / "secrets").iterdir()]
    for file in (tmp_path / "other").iterdir():
        assert not any(secret in file.read_bytes() for secret in secrets)
    again = gateway("db", "backup", str(tmp_path / "other"), "--config", config)
    assert again.returncode == 3
    assert "writes over nothing" in again.stderr


def test_a_backup_of_nothing_says_so(config: str, tmp_path: Path) -> None:
    shown = gateway("db", "backup", str(tmp_path / "backup"), "--config", config)
    assert shown.returncode == 3
    assert "there is no ledger at" in shown.stderr


# --- audit ------------------------------------------------------------------------------------------------------------


def test_a_shorter_audit_says_what_it_did_not_look_at(config: str) -> None:
    for number in range(4):
        credit(config, ref=str(number))
    shown = gateway("audit", "--since", "3", "--config", config)
    assert shown.returncode == 0, shown.stdout
    assert "not looked at: the hashes, records and notes of the batches up to 2" in shown.stdout
    assert "from batch 3 on and upon the earlier ones as they stand" in shown.stdout
    told = json.loads(gateway("audit", "--since", "1h", "--json", "--config", config).stdout)
    assert told["clean"] is True
    assert told["first_batch"] == 1
    assert told["unproved"] == []
    for beyond, words in (("9999", "end before batch 9,999"), ("2199-01-01", "is still to come")):
        nothing = gateway("audit", "--since", beyond, "--config", config)
        assert (nothing.returncode, words in nothing.stderr) == (2, True), nothing.stderr
    wrong = gateway("audit", "--since", "yesterday", "--config", config)
    assert wrong.returncode == 2
    assert "--since: 'yesterday' is no batch's number" in wrong.stderr


def test_an_audit_names_the_first_bad_batch(config: str, tmp_path: Path) -> None:
    for number in range(4):
        credit(config, ref=str(number))
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as connection:
        connection.execute("UPDATE batch SET at = at + 1 WHERE seq > 2")
    assert "NOT CLEAN; the first bad batch is 3" in gateway("audit", "--config", config).stdout
    assert json.loads(gateway("audit", "--json", "--config", config).stdout)["first_bad_batch"] == 3
    refused = gateway("run", "--config", config)
    assert refused.returncode == 3
    assert "batch 3 is not what its hash" in refused.stderr


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("900", Since(batch=900)),
        ("24h", Since(at_ms=1_790_000_000_000 - 86_400_000)),
        ("7d", Since(at_ms=1_790_000_000_000 - 7 * 86_400_000)),
        ("2026-09-01", Since(at_ms=int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) * 1000)),
        ("2026-09-01T08:00+02:00", Since(at_ms=int(datetime(2026, 9, 1, 6, tzinfo=UTC).timestamp()) * 1000)),
    ],
)
def test_since_when(text: str, since: Since) -> None:
    assert read_since(text, now_ms=1_790_000_000_000) == since


@pytest.mark.parametrize("text", ["", "-1", "7w", "1.5", "9" * 30, "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no batch's number"):
        read_since(text, now_ms=0)


def test_progress_is_silent_when_short_and_then_tells_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    short = Progress("audited {} of {} batches", clock=lambda: now[0], watched=True)
    for now[0], done in ((0.1, 10), (0.2, 20), (0.3, 30)):
        short(done, 30)
    assert capsys.readouterr().err == ""
    now[0] = 0.0
    long = Progress("audited {} of {} batches", clock=lambda: now[0], watched=True)
    for now[0], done in ((0.9, 1), (2.0, 2000), (2.1, 2100), (4.0, 4000), (5.0, 5000)):
        long(done, 5000)
    lines = [line.strip() for line in capsys.readouterr().err.split("\r")[1:]]
    assert lines == [
        "audited 2,000 of 5,000 batches, 1,000/s, about 3 s left",
        "audited 4,000 of 5,000 batches, 1,000/s, about 1 s left",
        "audited 5,000 of 5,000 batches, 1,000/s",
    ]


def test_progress_that_nobody_watches_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress("copied {} of {} pages", clock=lambda: now[0], watched=False)
    for second in range(31):
        now[0] = float(second)
        progress(second * 100, 100_000)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "copied 1",
        "copied 2",
        "copied 3",
    ]


def test_progress_of_what_nobody_knows_the_end_of_counts_and_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress("compared {} payments", clock=lambda: now[0], watched=True)
    for now[0], done in ((0.5, 5), (2.0, 20), (4.0, 40)):
        progress(done)
    progress.over(40)
    written = capsys.readouterr().err
    assert [line.strip() for line in written.split("\r")[1:]] == [
        "compared 20 payments, 10/s", "compared 40 payments, 10/s", "compared 40 payments, 10/s",
    ]  # fmt: skip
    assert written.endswith("\n")
