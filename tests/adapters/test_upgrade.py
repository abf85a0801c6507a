"""Bringing files up to date: a copy first, all or nothing, and a kill -9 in the middle loses nothing."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite import copies, migrations, upgrade
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.core.ledger import Draft
from gateway.ports import StoreDamaged
from tests.adapters.test_damage import KEY, keep, photograph, rows

ADDED = (9001, "9001_more.sql", "CREATE TABLE more (x INTEGER) STRICT;\nINSERT INTO more VALUES (1);\n")
KILLED = """
import asyncio, sys
from pathlib import Path
from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
shipped = list(migrations._files("ledger"))
text = '''CREATE TABLE more (x INTEGER, y TEXT) STRICT;
UPDATE account SET credited = credited + 1;
INSERT INTO more
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000)
SELECT i, hex(randomblob(100)) FROM n;
'''
migrations._files = lambda folder: iter([*shipped, (9001, "9001_more.sql", text)])
asyncio.run(SqliteLedgerStore(Path(sys.argv[1]), head_key=b"k" * 32).open())
"""


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the gateway has a migration more."""
    shipped = migrations._files
    monkeypatch.setattr(migrations, "_files", lambda folder: iter([*shipped(folder), ADDED]))


async def reopened(path: Path) -> None:
    store = SqliteLedgerStore(path, head_key=KEY)
    await store.open()
    await store.close()


async def test_a_new_file_needs_no_copy_and_one_that_is_up_to_date_neither(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    await reopened(path)
    assert upgrade.copies_of(path) == []


@pytest.mark.usefixtures("newer")
async def test_what_is_pending_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (x)")
    before = path.read_bytes()
    planned = upgrade.plan(path, "records")
    assert planned.schema == 0
    assert planned.migrations == ("0001_records.sql", "0002_receipts.sql", "0003_ways_to_pay.sql", "9001_more.sql")
    assert path.read_bytes() == before


async def test_before_a_migration_the_books_are_copied_with_their_head(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = await keep(tmp_path)
    held = rows(path)
    schema = upgrade.plan(path, "ledger").schema
    request.getfixturevalue("newer")
    await reopened(path)
    (copy,) = upgrade.copies_of(path)
    assert copy.name.startswith(f"books.db.schema-{schema:04d}.20")
    assert rows(path) == rows(copy) == held
    assert upgrade.plan(path, "ledger").schema == 9001
    assert upgrade.plan(copy, "ledger").schema == schema
    assert copy.stat().st_mode & 0o077 == 0


async def test_the_copy_proves_itself_to_the_gateway_that_made_it(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    added = [ADDED]
    with pytest.MonkeyPatch.context() as newer_for_a_while:
        shipped = migrations._files
        newer_for_a_while.setattr(migrations, "_files", lambda folder: iter([*shipped(folder), *added]))
        await reopened(path)
    (copy,) = upgrade.copies_of(path)
    report = audit(copy, head_key=KEY)
    assert report.clean, report.findings
    assert report.head == "verified"


@pytest.mark.usefixtures("newer")
async def test_a_copy_is_never_written_over_and_all_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for _ in range(3):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE other (x)")
            done = upgrade.upgrade(connection, path, "records")
    assert done.backups == len(upgrade.copies_of(path)) == 3


@pytest.mark.usefixtures("newer")
async def test_without_room_for_a_copy_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "books.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (x)")

        def full(_: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(copies, "sync", full)
        with pytest.raises(MigrationRefused, match=r"(?s)9001_more.*No space left.*Nothing was changed"):
            upgrade.upgrade(connection, path, "records")
    assert [file.name for file in tmp_path.iterdir()] == ["books.db"]
    with pytest.raises(StoreDamaged, match="No space left"):
        await reopened(path)


def kill_in_mid_migration(path: Path, log: Path, patience: float) -> None:
    """A process of its own, ended by kill -9 while its big statement writes."""
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env=environ) as process:
        deadline = time.monotonic() + 20
        while not (log.exists() and log.stat().st_size > 4_000_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("patience", [0.0, 0.05, 0.3])
async def test_a_kill_in_mid_migration_loses_nothing_and_the_next_start_goes_on(
    tmp_path: Path, patience: float
) -> None:
    path = await keep(tmp_path)
    held, log = rows(path), path.with_name("books.db-wal")
    kill_in_mid_migration(path, log, patience)
    photograph(path, tmp_path / "killed.db")
    assert rows(tmp_path / "killed.db") == held
    await reopened(path)
    assert rows(path) == held
    assert audit(path, head_key=KEY).clean
    (copy,) = upgrade.copies_of(path)
    assert rows(copy) == held


@pytest.mark.usefixtures("newer")
async def test_a_copy_that_a_kill_left_half_made_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.with_name("x.db.schema-0000.20200101T000000Z.partial").write_bytes(b"half")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (x)")
        done = upgrade.upgrade(connection, path, "records")
    assert done.backups == 1
    assert not list(tmp_path.glob("*.partial"))


async def test_the_head_of_the_copy_is_the_one_of_that_moment(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = await keep(tmp_path)
    head = path.with_name("books.db.head").read_bytes()
    request.getfixturevalue("newer")
    store = SqliteLedgerStore(path, head_key=KEY)
    tail = await store.open()
    await store.commit(Draft(seq=tail.seq + 1, first=tail.first, at_ms=1, started=tail.first - 1, quiet=True))
    await store.close()
    (copy,) = upgrade.copies_of(path)
    assert copy.with_name(f"{copy.name}.head").read_bytes() == head
    assert json.loads(path.with_name("books.db.head").read_text())["seq"] == tail.seq + 1
