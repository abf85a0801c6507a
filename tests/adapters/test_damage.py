"""Books that were damaged while no gateway ran: refused at the start with the way out, or found by the audit.

Made by the store itself and left as a kill -9 leaves them: a file, a log beside it that was not folded in, and a head.
"""

import json
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from gateway.adapters.sqlite import soundness
from gateway.adapters.sqlite.audit import AuditRefused, Report, audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Draft, Kind, Record, Tariff
from gateway.core.money import Money
from gateway.ports import StoreDamaged

KEY = b"k" * 32
BATCHES = 40
_ENDINGS = ("", "-wal", ".head")


def photograph(path: Path, copy: Path) -> Path:
    """What a crash would leave of the files just now."""
    for ending in _ENDINGS:
        source = path.with_name(path.name + ending)
        if source.exists():
            shutil.copy(source, copy.with_name(copy.name + ending))
    return copy


def rows(path: Path) -> list[tuple[object, ...]]:
    """The money."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            *connection.execute("SELECT * FROM account ORDER BY id"),
            *connection.execute("SELECT * FROM credit ORDER BY ref"),
            *connection.execute("SELECT * FROM batch ORDER BY seq"),
        ]


async def write(store: SqliteLedgerStore, first: int, last: int) -> None:
    """Batches of one credit, and batches of records; each a little later than the one before."""
    number = 1
    with closing(sqlite3.connect(store._path)) as connection:
        (number,) = connection.execute("SELECT coalesce(max(first + count), 1) FROM batch").fetchone()
    for seq in range(first, last + 1):
        draft = Draft(seq=seq, first=number, at_ms=1_790_000_000_000 + seq * 60_000, started=number - 1)
        if seq == 1:
            draft.tariffs.append((1, Tariff("search", "operator", 0, "0.002 usd")))
            draft.credits.append(Credit("stripe:cs_1", "ann", Money.parse("90.00 usd"), "payment", "paid"))
        else:
            for record in range(20):
                draft.add(Record(Kind.CAPTURE, 1, 1, 5, 2000, RequestId(draft.at_ms, seq * 100 + record)))
        draft.started = draft.first + draft.count - 1
        number = draft.first + draft.count
        await store.commit(draft)


async def keep(folder: Path) -> Path:
    """Books that were closed in order."""
    path = folder / "books.db"
    store = SqliteLedgerStore(path, head_key=KEY)
    await store.open()
    await write(store, 1, BATCHES)
    await store.close()
    return path


async def kill(folder: Path, *, head_behind: int = 0) -> Path:
    """Books as a kill -9 leaves them: half folded into the file, half in the log. The head may lag."""
    folder.joinpath("kept").mkdir()
    path = await keep(folder / "kept")
    store = SqliteLedgerStore(path, head_key=KEY)
    await store.open()
    await write(store, BATCHES + 1, 2 * BATCHES - head_behind)
    store._renew_head(now=True)
    store._head_due = float("inf")
    await write(store, 2 * BATCHES - head_behind + 1, 2 * BATCHES)
    copy = photograph(path, folder / "books.db")
    await store.close()
    return copy


async def start(path: Path) -> None:
    store = SqliteLedgerStore(path, head_key=KEY)
    try:
        await store.open()
    finally:
        await store.close()


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def cut(ending: str, share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = beside(path, ending)
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return damage


def flip(ending: str, share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = beside(path, ending)
        contents = bytearray(file.read_bytes())
        contents[int(len(contents) * share)] ^= 0x40
        file.write_bytes(contents)

    return damage


def lose(ending: str) -> Callable[[Path], None]:
    return lambda path: beside(path, ending).unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_an_old_copy_back(path: Path) -> None:
    """As it was before the last start: complete, sound, and old."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM batch WHERE seq > ?", (BATCHES,))
        connection.execute("UPDATE account SET spent = ?", ((BATCHES - 1) * 20 * 2000,))
    for ending in ("-wal", "-shm"):
        beside(path, ending).unlink(missing_ok=True)


DAMAGES = {
    "the log is cut in half": (cut("-wal", 0.5), "no batch 80 with the hash"),
    "the log is cut within its last frame": (cut("-wal", 0.999), "no batch 80 with the hash"),
    "a byte of a frame is flipped": (flip("-wal", 0.5), "no batch 80 with the hash"),
    "a byte of the log's header is flipped": (flip("-wal", 0.00001), "no batch 80 with the hash"),
    "the log is deleted": (lose("-wal"), "no batch 80 with the hash"),
    "an old copy is put back": (put_an_old_copy_back, "no batch 80 with the hash"),
    "the file is gone": (lose(""), "is missing, but books.db.head says that the books reach to batch 80"),
    "the file is empty": (empty, "is empty, but books.db.head says that the books reach to batch 80"),
    "the head is gone": (lose(".head"), "is missing: nothing proves that the books are whole"),
    "the head is cut": (cut(".head", 0.5), "is not a head that the gateway wrote"),
    "a digit of the head is flipped": (flip(".head", 0.5), r"is not signed by this gateway's key|is not a head"),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damaged_end_is_refused_with_the_way_out_and_stays_evidence(tmp_path: Path, name: str) -> None:
    path = await kill(tmp_path)
    damage, words = DAMAGES[name]
    damage(path)
    left = {ending: beside(path, ending).read_bytes() for ending in _ENDINGS if beside(path, ending).exists()}
    for _ in range(2):  # a second attempt finds it as it was
        with pytest.raises(StoreDamaged, match=words) as refused:
            await start(path)
        assert any(way in str(refused.value) for way in ("--accept-head", "restore a backup")), refused.value
        assert {ending: beside(path, ending).read_bytes() for ending in left if left[ending]} == {
            ending: contents for ending, contents in left.items() if contents
        }
    with pytest.raises(AuditRefused) if name.startswith("the file is") else nullcontext():
        assert not audit(path, head_key=KEY).clean


async def test_books_after_a_kill_are_whole(tmp_path: Path) -> None:
    path = await kill(tmp_path)
    await start(path)
    assert audit(path, head_key=KEY).clean
    assert len(rows(path)) == 2 + 2 * BATCHES


@pytest.mark.parametrize("pages", [1, 3])
async def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, pages: int) -> None:
    path = await keep(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - pages * 4096)
    with pytest.raises(StoreDamaged, match=r"run `gateway audit` and restore a backup"):
        await start(path)
    assert not audit(path, head_key=KEY).clean


async def flipped_payload(folder: Path, seq: int) -> Path:
    """One byte of a batch's records, flipped in the file itself."""
    path = await keep(folder)
    record = struct.pack(">q", seq * 100 + 7)
    contents = bytearray(path.read_bytes())
    contents[contents.index(record)] ^= 1
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("seq", [2, 20, BATCHES])
async def test_a_byte_flipped_in_the_newest_batches_is_refused_by_the_batch(tmp_path: Path, seq: int) -> None:
    path = await flipped_payload(tmp_path, seq)
    with pytest.raises(StoreDamaged, match=rf"batch {seq} is not what its hash .* run `gateway audit`"):
        await start(path)
    report = audit(path, head_key=KEY)
    assert report.first_bad_batch == seq


async def test_a_byte_flipped_in_an_older_batch_is_found_by_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "TAIL_BATCHES", 10)
    path = await flipped_payload(tmp_path, BATCHES - 10)  # the last that is just too old
    await start(path)
    assert found(path).first_bad_batch == BATCHES - 10
    (tmp_path / "other").mkdir()
    path = await flipped_payload(tmp_path / "other", BATCHES - 9)
    with pytest.raises(StoreDamaged, match=f"batch {BATCHES - 9} is not"):
        await start(path)


async def test_a_batch_that_is_gone_from_the_middle_of_the_tail_is_refused(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM batch WHERE seq = 30")
    with pytest.raises(StoreDamaged, match="batch 31 is not what its hash and the batch before it say"):
        await start(path)


async def test_a_balance_that_was_changed_is_found_by_the_audit(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (spent,) = connection.execute("SELECT spent FROM account").fetchone()
    contents = path.read_bytes()
    place = contents.index(struct.pack(">q", 90_000_000)[-4:] + spent.to_bytes(3, "big"))
    path.write_bytes(contents[: place + 6] + bytes([contents[place + 6] ^ 1]) + contents[place + 7 :])
    await start(path)
    report = found(path)
    assert str(report.findings[0]).startswith("account 1: spent is")
    assert report.first_bad_batch is None


def found(path: Path) -> Report:
    report = audit(path, head_key=KEY)
    assert not report.clean
    return report


# --- what may be lost without notice ----------------------------------------------------------------------------------


async def test_only_what_the_head_did_not_see_yet_can_be_lost_without_notice(tmp_path: Path) -> None:
    path = await kill(tmp_path, head_behind=5)
    log = beside(path, "-wal")
    whole = log.read_bytes()
    frame = 24 + 4096
    kept = set()
    for frames in range((len(whole) - 32) // frame + 1):
        beside(path, "-shm").unlink(missing_ok=True)
        log.write_bytes(whole[: 32 + frames * frame])
        try:
            await start(photograph(path, tmp_path / "tried.db"))
        except StoreDamaged:
            continue
        report = audit(tmp_path / "tried.db", head_key=KEY)
        assert report.clean
        kept.add(report.batches)
    assert kept == set(range(2 * BATCHES - 5, 2 * BATCHES + 1)), "the five batches after the head, and no other"


async def test_a_credit_is_in_the_head_before_it_is_acknowledged(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    store = SqliteLedgerStore(path, head_key=KEY)
    tail = await store.open()
    for number in range(1, 4):  # within one second
        draft = Draft(seq=tail.seq + number, first=tail.first, at_ms=1, started=tail.started)
        draft.credits.append(Credit(f"stripe:cs_more_{number}", "ann", Money.parse("1.00 usd"), "payment", "paid"))
        await store.commit(draft)
        assert json.loads(beside(path, ".head").read_text())["seq"] == draft.seq
    await store.close()


async def test_of_large_batches_the_start_looks_at_as_many_as_so_many_bytes_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await flipped_payload(tmp_path, BATCHES - 10)
    monkeypatch.setattr(soundness, "TAIL_BYTES", 1)
    await start(path)
    monkeypatch.setattr(soundness, "TAIL_BYTES", 2**20)
    with pytest.raises(StoreDamaged, match=f"batch {BATCHES - 10} is not"):
        await start(path)


async def test_the_look_at_the_tail_reads_so_many_batches_and_no_more(tmp_path: Path) -> None:
    path = await keep(tmp_path)
    seen: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(seen.append)
        soundness.check_tail(connection, path)
    assert [statement for statement in seen if f"LIMIT {soundness.TAIL_BATCHES + 1}" in statement] == seen
