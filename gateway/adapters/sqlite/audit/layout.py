"""How the books are laid out, written down a second time: records, batches, notes, tables.

Nothing of this is imported from the ledger that writes it. Were the two to share a definition, a mistake in it would
prove itself. What can be judged of a record or a note by itself, without the rest of the books, is judged here.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]

RECORD = struct.Struct(">B3sIqqqqq")  # kind, nothing, tariff, account, token, micros, time and number of the request
NUMBERS = struct.Struct(">qqqqqq")  # of a batch: seq, at, first, count, started, bytes of payload
GENESIS = bytes(32)
"""The hash before the first batch."""

CAPTURE, GATED_CAPTURE, CORRECTION, VOID, RENEWAL = 1, 2, 3, 4, 5

MIGRATION = """CREATE TABLE migration (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"""

TYPE_NAMES: Mapping[type, str] = {int: "an integer", str: "a text", bytes: "a blob"}
_TYPES: Mapping[str, type] = {"int": int, "text": str, "blob": bytes}


def _shape(text: str) -> Mapping[str, type]:
    return {name: _TYPES[type] for name, _, type in (word.partition(":") for word in text.split())}


COLUMNS = {
    "migration": _shape("number:int name:text checksum:text"),
    "account": _shape(
        "id:int holder:text unit:text priority:int expires:int credited:int spent:int leased:int debt:int"
    ),
    "credit": _shape("ref:text account:int micros:int kind:text reason:text at:int batch:int repaid:int"),
    "reversal": _shape("ref:text account:int micros:int taken:int kind:text reason:text at:int batch:int"),
    "tariff": _shape("id:int route:text owner:text commission_points:int price:text"),
    "batch": _shape("seq:int at:int first:int count:int started:int payload:blob notes:text hash:blob"),
    "fold": _shape(
        "last:int first:int hour:int next:int started:int tariffs:int chain:blob account:int written:int hash:blob"
        " done:int"
    ),
    "transfer": _shape("fold:int number:int kind:text payer:text payee:text unit:text micros:int cause:text"),
    "usage_hour": _shape("fold:int account:int tariff:int hour:int requests:int micros:int"),
    "carry": _shape("owner:text unit:text commission_points:int carry:int"),
    "anchor": _shape("seq:int next:int started:int tariffs:int hash:blob folded:blob mac:blob"),
}
"""The tables, their keys first."""

_NOTES: Mapping[object, Mapping[str, type]] = {
    "credit": _shape("note:text account:int ref:text holder:text unit:text micros:int kind:text reason:text at:int"),
    "reversal": _shape(
        "note:text account:int ref:text holder:text unit:text micros:int taken:int kind:text reason:text at:int"
    ),
    "refund": _shape("note:text request:text account:int micros:int reason:text at:int"),
    "tariff": _shape("note:text id:int route:text owner:text commission_points:int price:text"),
    "origin": _shape("note:text worker:text seq:int first:int count:int local:int"),
}


def records_of(batch: Row) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The whole records of a batch's payload, each with its number."""
    whole = len(batch["payload"]) // RECORD.size * RECORD.size
    return enumerate(RECORD.iter_unpack(memoryview(batch["payload"])[:whole]), batch["first"])


def wrong_record(kind: int, padding: bytes, token: int, micros: int) -> str | None:
    """What is wrong with a record by itself."""
    if kind not in (CAPTURE, GATED_CAPTURE, CORRECTION, VOID, RENEWAL):
        return f"is of the unknown kind {kind}"
    if padding != b"\0\0\0":
        return "has something in its padding"
    if token < 0:
        return f"names the token {token}"
    if kind in (CAPTURE, GATED_CAPTURE) and micros <= 0:
        return f"captures {micros}"
    if kind == RENEWAL and micros <= 0:
        return f"renews by {micros}"
    if kind == VOID and micros >= 0:
        return f"voids {-micros}"
    return "corrects nothing" if micros == 0 else None


_UNSAID_IF_ZERO: Mapping[object, tuple[tuple[str, ...], ...]] = {
    "credit": (("repaid",), ("priority", "expires")),
    "reversal": (("priority", "expires"),),
}
"""Numbers that a note has when one of them is not zero, and else leaves out together."""


def read_note(line: str) -> Row | None:
    """A note as the gateway writes it, to the byte; None for anything else. What it leaves unsaid is there, as 0."""
    try:
        note = json.loads(line)
        if not isinstance(note, dict):
            return None
        canonical = json.dumps(note, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        shape = dict(_NOTES.get(note.get("note"), {}))
        unsaid = _UNSAID_IF_ZERO.get(note.get("note"), ())
    except (ValueError, TypeError, RecursionError):
        return None
    for names in unsaid:
        shape |= dict.fromkeys(names, int)
        if note.keys().isdisjoint(names):
            note |= dict.fromkeys(names, 0)
        elif not any(note.get(name) for name in names):
            return None
    if not shape or canonical != line or {name: type(value) for name, value in note.items()} != shape:
        return None
    # No column could hold it, and sums of numbers without a bound would grow past what Python agrees to write out.
    if any(isinstance(value, int) and not -(1 << 63) <= value < 1 << 63 for value in note.values()):
        return None
    return note


def shipped() -> Iterator[tuple[str, str]]:
    """The migrations of this gateway's ledger, by name, in order."""
    folder = Path(__file__).parents[1] / "migrations/ledger"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield file.name, file.read_text()
