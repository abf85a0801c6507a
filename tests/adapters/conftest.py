"""What the adapters' tests share: one PostgreSQL for all of them."""

from collections.abc import Iterator

import pytest

from tests.postgres_server import Server, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real server; each test makes schemas of its own in it."""
    with running() as server:
        yield server
