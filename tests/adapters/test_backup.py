"""Backups: of one moment, whole or not there, sound, while somebody writes."""

import asyncio
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite import backup as module
from gateway.adapters.sqlite import copies
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.backup import SUMS, Backup, back_up
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.ports import BackupRefused
from tests.adapters.test_damage import BATCHES, KEY, flipped_payload, keep, kill, photograph, rows, start, write

NO_RECORDS = Path("none.records.db")


def backed_up(path: Path, folder: Path, records: Path = NO_RECORDS) -> Backup:
    return back_up(path, records, folder, head_keys=[KEY])


async def test_a_backup_proves_itself_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    done = backed_up(path, tmp_path / "backup")
    assert (done.batch, done.head_batch) == (BATCHES, BATCHES)
    copy = tmp_path / "backup/books.db"
    report = audit(copy, head_key=KEY)
    assert report.clean, report.findings
    assert report.head == "verified"
    assert rows(copy) == rows(path)
    assert sorted(file.name for file in done.folder.iterdir()) == [SUMS, "books.db", "books.db.head"]
    assert all(file.stat().st_mode & 0o077 == 0 for file in [done.folder, *done.folder.iterdir()])


async def test_the_sums_are_those_of_the_files(tmp_path: Path) -> None:
    done = backed_up(await keep(tmp_path), tmp_path / "backup")
    lines = (done.folder / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [file.name for file in done.files]
    for line in lines:
        sum, name = line.split("  ")
        assert hashlib.sha256((done.folder / name).read_bytes()).hexdigest() == sum


async def test_what_a_kill_left_in_the_log_is_in_the_backup_and_stays_in_the_log(tmp_path: Path) -> None:
    path = await kill(tmp_path)
    log = path.with_name("books.db-wal").read_bytes()
    backed_up(path, tmp_path / "backup")
    assert audit(tmp_path / "backup/books.db", head_key=KEY).batches == 2 * BATCHES
    assert path.with_name("books.db-wal").read_bytes() == log


async def test_a_backup_starts_in_the_place_of_the_books(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    done = backed_up(path, tmp_path / "backup")
    (tmp_path / "restored").mkdir()
    for file in done.folder.iterdir():
        (tmp_path / "restored" / file.name).write_bytes(file.read_bytes())
    await start(tmp_path / "restored/books.db")


async def test_backups_while_somebody_writes_are_each_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page a step, and a commit between any two: without the one read transaction no copy would ever end."""
    monkeypatch.setattr(copies, "_PAGES_AT_ONCE", 1)
    path = await keep(tmp_path)
    store = SqliteLedgerStore(path, head_key=KEY)
    tail = await store.open()
    seq = tail.seq
    records = tmp_path / "records.db"
    with closing(sqlite3.connect(records, isolation_level=None)) as second:
        second.execute("PRAGMA journal_mode = WAL")
        second.execute("CREATE TABLE event (id TEXT)")
        second.execute("INSERT INTO event VALUES ('stripe:cs_1')")
        loop = asyncio.get_running_loop()

        def meanwhile(name: str, done: int, total: int) -> None:
            nonlocal seq
            seq += 1
            asyncio.run_coroutine_threadsafe(write(store, seq, seq), loop).result(10)
            steps.append((name, done, total))

        batches = []
        for number in range(4):
            steps: list[tuple[str, int, int]] = []
            folder = tmp_path / f"backup {number}"
            begun = seq
            done = await asyncio.to_thread(back_up, path, records, folder, head_keys=[KEY], progress=meanwhile)
            assert done.batch == begun, "what was written meanwhile is not in it"
            assert done.head_batch <= done.batch
            assert seq > begun + 5
            report = audit(folder / "books.db", head_key=KEY)
            assert report.clean, report.findings
            assert report.head == "verified"
            assert {name for name, _, _ in steps} == {"books.db", "records.db"}
            assert steps[-1][1] == steps[-1][2]
            batches.append(report.batches)
    await store.close()
    assert batches == sorted(set(batches))
    assert audit(path, head_key=KEY).clean


async def test_the_records_are_of_an_earlier_moment_than_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that the copied records call done has its credit in the copied books."""
    path = await keep(tmp_path)
    records = tmp_path / "records.db"
    order: list[str] = []
    with closing(sqlite3.connect(records, isolation_level=None)) as second:
        second.execute("PRAGMA journal_mode = WAL")
        second.execute("CREATE TABLE event (id TEXT)")

        begin, copy_file = module._begin, copies.copy_file

        def begun(connection: sqlite3.Connection) -> None:
            begin(connection)
            order.append(Path(connection.execute("PRAGMA database_list").fetchone()[2]).name)
            second.execute("INSERT INTO event VALUES ('later')")

        def copied(source: Path, to: Path) -> None:
            copy_file(source, to)
            order.append(source.name)

        monkeypatch.setattr(module, "_begin", begun)
        monkeypatch.setattr(module, "copy_file", copied)
        backed_up(path, tmp_path / "backup", records)
    assert order == ["records.db", "books.db.head", "books.db"]
    with closing(sqlite3.connect(tmp_path / "backup/records.db")) as connection:
        assert connection.execute("SELECT * FROM event").fetchall() == []


async def test_a_backup_writes_over_nothing(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    for name, words in (("backup", "writes over nothing"), ("other.partial", "another backup is being made there")):
        (tmp_path / name).mkdir()
        with pytest.raises(BackupRefused, match=words):
            backed_up(path, tmp_path / name.removesuffix(".partial"))
        assert list((tmp_path / name).iterdir()) == []
    with pytest.raises(BackupRefused, match="there is no ledger at"):
        backed_up(tmp_path / "none.db", tmp_path / "third")


async def test_damaged_books_are_not_backed_up(tmp_path: Path) -> None:
    path = await flipped_payload(tmp_path, BATCHES)
    with pytest.raises(BackupRefused, match=rf"(?s)batch {BATCHES} is not.*copy the files by hand"):
        backed_up(path, tmp_path / "backup")
    photograph(path, tmp_path / "other.db")
    (tmp_path / "other.db.head").unlink()
    with pytest.raises(BackupRefused):
        backed_up(tmp_path / "other.db", tmp_path / "backup")
    assert not list(tmp_path.glob("backup*"))


async def test_books_without_their_head_are_not_backed_up(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    path.with_name("books.db.head").unlink()
    with pytest.raises(BackupRefused, match="is missing: nothing proves that the books are whole"):
        backed_up(path, tmp_path / "backup")
    path.with_name("books.db.head").write_text(json.dumps({"seq": 1, "hash": "", "mac": ""}))
    with pytest.raises(BackupRefused, match="is not signed"):
        backed_up(path, tmp_path / "backup")


async def test_pages_that_are_damaged_are_not_backed_up(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    records = tmp_path / "records.db"
    with closing(sqlite3.connect(records, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE event (id TEXT)")
        connection.executemany("INSERT INTO event VALUES (?)", [("x" * 500,)] * 100)
    contents = bytearray(records.read_bytes())
    contents[3 * 4096 : 4 * 4096] = bytes(4096)
    records.write_bytes(contents)
    with pytest.raises(BackupRefused, match=r"records\.db is damaged"):
        backed_up(path, tmp_path / "backup", records)


async def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await keep(tmp_path)

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "sync", full)
    with pytest.raises(BackupRefused, match="No space left on device; nothing was kept"):
        backed_up(path, tmp_path / "backup")
    assert not list(tmp_path.glob("backup*"))
