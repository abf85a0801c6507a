"""Schema changes: once, in order, whole or not at all, and never edited afterwards."""

import sqlite3
from pathlib import Path

import pytest

from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.migrations import MigrationRefused


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "x.db", isolation_level=None)


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
