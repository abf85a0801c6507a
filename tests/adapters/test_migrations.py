"""Schema changes: once, in order, whole or not at all, and never edited afterwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.migrations import MigrationRefused


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as opened:
        yield opened


@pytest.mark.parametrize("folder", ["ledger", "records"])
def test_a_migration_is_applied_once(connection: sqlite3.Connection, folder: str) -> None:
    assert migrations.apply(connection, folder) >= 1
    assert migrations.apply(connection, folder) == 0
    connection.close()


def test_a_file_that_was_edited_after_it_was_applied_is_refused(connection: sqlite3.Connection) -> None:
    migrations.apply(connection, "ledger")
    connection.execute("UPDATE migration SET checksum = 'other'")
    with pytest.raises(MigrationRefused, match=r"0001_books\.sql was changed"):
        migrations.apply(connection, "ledger")
    connection.close()


def test_a_database_of_a_newer_gateway_is_refused(connection: sqlite3.Connection) -> None:
    migrations.apply(connection, "ledger")
    connection.execute("INSERT INTO migration VALUES (999, '0999_future.sql', 'x')")
    with pytest.raises(MigrationRefused, match=r"0999_future\.sql"):
        migrations.apply(connection, "ledger")
    connection.close()


def test_a_migration_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE tariff (x)")  # in the way of the second statement or a later one
    with pytest.raises(sqlite3.OperationalError):
        migrations.apply(connection, "ledger")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"tariff"}
    connection.close()


def test_what_was_credited_before_there_were_plans_is_still_there(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = migrations._files
    with monkeypatch.context() as before:
        before.setattr(migrations, "_files", lambda folder: (file for file in files(folder) if file[0] < 7))
        migrations.apply(connection, "records")
    connection.execute("INSERT INTO credited VALUES ('pi_1', 'cs_1', 'acct_1', 'usd', 6000000, 5000000)")
    assert migrations.apply(connection, "records") >= 1
    rows = connection.execute("SELECT * FROM credited").fetchall()
    assert rows == [("pi_1", "cs_1", "acct_1", "usd", 6_000_000, 5_000_000, 0, 0, None, None, 0)]
