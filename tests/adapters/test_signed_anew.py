"""What an older key has signed in the books is signed by the newest, so that the older may go."""

import asyncio
from pathlib import Path

import pytest

from gateway.adapters.postgres import prune as postgres_prune
from gateway.adapters.postgres.audit import audit as audit_hosts
from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite import prune as prune_module
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.bookkeeping import SqliteBookkeeping
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.secrets import Secret
from gateway.ports import BooksRefused
from tests.adapters.test_fold import fold_all, prune_all, three_hours
from tests.batches import HOUR, KEY, NOON, Batches
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

NEW, OTHER = b"n" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "BATCHES_KEPT", 1)
    monkeypatch.setattr(postgres_prune, "BATCHES_KEPT", 1)


def pruned(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    assert prune_all(books, NOON + HOUR)
    books.close()


async def test_the_head_and_the_anchor_of_a_file_are_signed_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    pruned(Batches(path))
    keys = [KEY]
    store = SqliteLedgerStore(path, head_key=KEY)
    store.sign_with(keys)
    await store.open()
    books = SqliteBookkeeping(store, path, keys)
    keys.insert(0, NEW)
    assert not audit(path, head_key=[NEW]).clean
    await books.sign()
    report = audit(path, head_key=[NEW])
    assert (report.findings, report.head) == ((), "verified")
    await store.close()


async def test_an_anchor_in_a_file_that_somebody_else_signed_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    pruned(Batches(path))
    store = SqliteLedgerStore(path, head_key=KEY)
    await store.open()
    with pytest.raises(BooksRefused, match="not signed by this gateway's key"):
        await SqliteBookkeeping(store, path, [NEW, OTHER]).sign()
    await store.close()
    assert audit(path, head_key=[KEY]).clean


def test_the_anchors_of_hosts_are_signed_anew(postgres: Server) -> None:
    dsn = asyncio.run(postgres.schema())
    pruned(PostgresBatches(dsn))
    address = Address(Secret(dsn))

    async def sign(*keys: bytes) -> bool:
        books = PostgresBookkeeping(address, keys, name="command")
        try:
            await books.sign()
            return await books.signed_by(keys[:1])
        finally:
            await books.close()

    with pytest.raises(BooksRefused, match="not signed by this gateway's key"):
        asyncio.run(sign(NEW, OTHER))
    assert not asyncio.run(audit_hosts(address, keys=[NEW])).clean
    assert asyncio.run(sign(NEW, KEY))
    assert asyncio.run(audit_hosts(address, keys=[NEW])).clean
