"""What contract tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.secrets import Secret
from tests.fakes import SeededRandomness
from tests.postgres_server import Server
from tests.stored import KEYRING, Records


@pytest.fixture(params=["sqlite", "postgres"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    """Empty records, in either database."""
    stored: Records
    if request.param == "sqlite":
        stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    else:
        server: Server = request.getfixturevalue("postgres")
        stored = PostgresRecords(Address(Secret(await server.schema())), keyring=KEYRING, randomness=SeededRandomness())
    await stored.open()
    yield stored
    await stored.close()
