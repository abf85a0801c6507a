"""What is looked at before the books are opened, and what only an audit sees.

Looked at, in about 10 ms whatever their size: that the file is there if its head is; that the last thousand batches
have the hashes of their contents, one upon the other (at full load those are seconds of commits, more than the head can
lag; of large ones, such as thousands of credits at once, as many as 64 MiB hold); that the batch which the head names
is among the books, with that hash. So a log (`-wal`) that was cut, torn or deleted, a byte that changed in the newest
batches or in the head, and an old copy put back are refused here. SQLite itself refuses a file that is shorter than its
first page says.

Not looked at: the older batches, and the rows of accounts. SQLite's `quick_check` reads the whole file: 0.8 s for each
GB that is in memory already, and as long as the disk takes for one that is not. `gateway audit` does that, and more.

It is done through a connection that cannot write. The last connection that can write folds the log into the file when
it closes and deletes it, and with it whatever stood behind a tear; and SQLite deletes the log of an empty file when it
opens it. Books that are refused are evidence, and stay byte for byte as they were found.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from gateway.core.ledger import GENESIS, Draft, chain
from gateway.ports import StoreDamaged

TAIL_BATCHES = 1000
TAIL_BYTES = 64 * 2**20


def check_before_opening(path: Path, head: Path, check_head: Callable[[sqlite3.Connection], None]) -> None:
    """That the books, if there are any, hang together at their end. Raises StoreDamaged, sqlite3.Error. Reads only."""
    named = named_batch(head)
    if not path.exists() or not path.stat().st_size:
        if named:
            raise StoreDamaged(
                f"{path} {'is empty' if path.exists() else 'is missing'}, but {head.name} says that the books reach to"
                f" batch {named}: put the file back, with its -wal if there was one, or restore a backup; to begin"
                f" with new books and none of that money, move {head.name} away too"
            )
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.1)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'batch'").fetchone():
            if named:
                raise StoreDamaged(
                    f"{path} holds no books, but {head.name} says that they reach to batch {named}: the file and its"
                    " -wal do not belong together, or one is missing; put them back, or restore a backup"
                )
            return
        check_tail(connection, path)
        check_head(connection)


def check_tail(connection: sqlite3.Connection, path: Path) -> None:
    """The hashes and the numbers of the last batches. Raises StoreDamaged that names the first which is wrong."""
    rows = connection.execute(
        "SELECT seq, at, first, count, started, payload, notes, hash FROM batch ORDER BY seq DESC LIMIT ?",
        (TAIL_BATCHES + 1,),
    )
    wrong, looked_at, newer = 0, 0, rows.fetchone()
    while newer is not None and looked_at < TAIL_BYTES:
        older = rows.fetchone()
        if older is None and newer[0] != 1:
            break  # it only says what the next must build upon
        seq, at_ms, first, count, started, payload, notes, hash = newer
        before = (older[0], older[2] + older[3], older[7]) if older is not None else (0, 1, GENESIS)
        draft = Draft(seq, first, at_ms, started, count, bytearray(payload))
        if (seq, first) != (before[0] + 1, before[1]) or chain(before[2], draft, notes) != hash:
            wrong = seq
        looked_at += len(payload) + len(notes)
        newer = older
    rows.close()
    if wrong:
        raise StoreDamaged(
            f"{path}: batch {wrong} is not what its hash and the batch before it say: its bytes were changed, or"
            " a row is missing; run `gateway audit`, which names all that is wrong, and restore a backup"
        )


def named_batch(head: Path) -> int:
    """The batch that a head names, whoever signed it; 0 if nobody can tell."""
    try:
        return int(json.loads(head.read_text())["seq"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
