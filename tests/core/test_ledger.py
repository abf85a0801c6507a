"""The rules of the books, and the bytes in which they are kept."""

import hashlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import RequestId, RequestNumbers, account_id
from gateway.core.ledger import (
    GENESIS,
    Credit,
    Draft,
    Kind,
    Record,
    Tariff,
    chain,
    note_lines,
    tariff_note,
    voids,
)
from gateway.core.money import Money

INT64 = st.integers(-(2**63), 2**63 - 1)
RECORDS = st.builds(
    Record,
    kind=st.sampled_from(Kind),
    tariff=st.integers(0, 2**32 - 1),
    account=INT64,
    token=INT64,
    micros=INT64,
    request=st.builds(RequestId, INT64, INT64),
)


def record(kind: Kind, micros: int, request: int = 1, account: int = 1) -> Record:
    return Record(kind, 1, account, 7, micros, RequestId(1000, request))


@given(records=st.lists(RECORDS, max_size=8))
def test_records_are_read_back_as_they_were_packed(records: list[Record]) -> None:
    packed = b"".join(record.pack() for record in records)
    assert len(packed) == 48 * len(records)
    assert list(Record.unpack_all(packed)) == records


def test_a_stored_kind_never_changes_its_number() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "CAPTURE": 1, "GATED_CAPTURE": 2, "CORRECTION": 3, "VOID": 4, "RENEWAL": 5,
    }  # fmt: skip


def test_a_record_is_laid_out_as_it_is_documented() -> None:
    packed = Record(Kind.CORRECTION, 2, 3, 4, -5, RequestId(6, 7)).pack()
    assert packed == bytes([3, 0, 0, 0, 0, 0, 0, 2]) + struct.pack(">5q", 3, 4, -5, 6, 7)


def test_a_draft_numbers_its_records_and_sums_them_by_account() -> None:
    draft = Draft(seq=3, first=10)
    assert not draft.writes
    numbers = [draft.add(record(Kind.CAPTURE, micros, account=id)) for micros, id in ((5, 1), (7, 2), (9, 1))]
    assert numbers == [10, 11, 12]
    assert (draft.count, draft.spent) == (3, {1: 14, 2: 7})
    assert draft.writes


@pytest.mark.parametrize(
    ("draft", "writes"),
    [
        (Draft(1, 1), False),
        (Draft(1, 1, loads=[("ann", "usd")]), False),
        (Draft(1, 1, quiet=True), True),
        (Draft(1, 1, credits=[Credit("c", "ann", Money(1, "usd"), "", "")]), True),
        (Draft(1, 1, tariffs=[(1, Tariff("r", "o", 0, "p"))]), True),
    ],
)
def test_a_draft_that_only_reads_needs_no_transaction(draft: Draft, writes: bool) -> None:
    assert draft.writes is writes


# --- voids ------------------------------------------------------------------------------------------------------------


def test_only_gated_captures_are_voided() -> None:
    gated = record(Kind.GATED_CAPTURE, 9, request=2)
    (void,) = voids([record(Kind.CAPTURE, 5), gated, record(Kind.CORRECTION, -5)])
    assert void == Record(Kind.VOID, gated.tariff, gated.account, gated.token, -9, gated.request)


def test_a_void_is_net_of_corrections() -> None:
    (void,) = voids([record(Kind.GATED_CAPTURE, 9), record(Kind.CORRECTION, -4)])
    assert void.micros == -5


def test_what_was_corrected_to_nothing_or_voided_before_is_not_voided() -> None:
    assert voids([record(Kind.GATED_CAPTURE, 9), record(Kind.CORRECTION, -9)]) == []
    assert voids([record(Kind.GATED_CAPTURE, 9), record(Kind.VOID, -9)]) == []


def test_a_correction_whose_capture_had_started_is_left_alone() -> None:
    assert voids([record(Kind.CORRECTION, -4), record(Kind.CORRECTION, 4, request=2)]) == []


def test_one_request_of_two_accounts_is_voided_in_both() -> None:
    undo = voids([record(Kind.GATED_CAPTURE, 9, account=1), record(Kind.GATED_CAPTURE, 3, account=2)])
    assert [(void.account, void.micros) for void in undo] == [(1, -9), (2, -3)]


@given(
    story=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans(), st.integers(1, 100), st.integers(0, 100)),
        max_size=12,
        unique_by=lambda part: part[:2],
    )
)
def test_voids_leave_gated_requests_at_nothing_and_others_as_they_were(
    story: list[tuple[int, int, bool, int, int]],
) -> None:
    unstarted = []
    for request, account, gated, micros, cost in story:
        unstarted.append(record(Kind.GATED_CAPTURE if gated else Kind.CAPTURE, micros, request, account))
        if cost < micros:
            unstarted.append(record(Kind.CORRECTION, cost - micros, request, account))
    undo = voids(unstarted)
    assert voids([*unstarted, *undo]) == []
    sums: dict[tuple[int, int], int] = {}
    for one in (*unstarted, *undo):
        key = (one.request.number, one.account)
        sums[key] = sums.get(key, 0) + one.micros
    for request, account, gated, micros, cost in story:
        assert sums[request, account] == (0 if gated else min(micros, cost))


# --- chain and notes --------------------------------------------------------------------------------------------------


def test_the_hash_of_a_batch_is_as_it_is_documented() -> None:
    draft = Draft(seq=2, first=5, at_ms=99, started=4)
    draft.add(record(Kind.CAPTURE, 3))
    header = struct.pack(">6q", 2, 99, 5, 1, 4, 48)
    expected = hashlib.sha256(GENESIS + header + bytes(draft.payload) + b"note\n").digest()
    assert chain(GENESIS, draft, "note\n") == expected


def test_everything_that_a_batch_holds_changes_its_hash() -> None:
    def hash_of(
        previous: bytes = GENESIS,
        notes: str = "",
        micros: int = 3,
        seq: int = 1,
        first: int = 1,
        at_ms: int = 9,
        started: int = 0,
    ) -> bytes:
        draft = Draft(seq=seq, first=first, at_ms=at_ms, started=started)
        draft.add(record(Kind.CAPTURE, micros))
        return chain(previous, draft, notes)

    hashes = [
        hash_of(), hash_of(b"\1" * 32), hash_of(notes="x"), hash_of(micros=4), hash_of(seq=2), hash_of(first=2),
        hash_of(at_ms=8), hash_of(started=1),
    ]  # fmt: skip
    assert len(set(hashes)) == len(hashes)


@given(reason=st.text(max_size=40).filter(str.isprintable), ref=st.text(max_size=20).filter(str.isprintable))
def test_a_credit_s_note_holds_every_column_on_one_line_of_ascii(reason: str, ref: str) -> None:
    credit = Credit(ref, "acct_1", Money(5, "usd"), "payment", reason)
    line = note_lines([credit.note(3, 99)])
    assert line.isascii()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line) == {
        "note": "credit", "account": 3, "ref": ref, "holder": "acct_1", "unit": "usd", "micros": 5,
        "kind": "payment", "reason": reason, "at": 99,
    }  # fmt: skip


def test_notes_are_canonical_and_none_are_nothing() -> None:
    assert note_lines([]) == ""
    assert note_lines([tariff_note(1, Tariff("r", "o", 15, "p")), {"b": 1, "a": "é"}]) == (
        '{"commission_points":15,"id":1,"note":"tariff","owner":"o","price":"p","route":"r"}\n{"a":"\\u00e9","b":1}\n'
    )


# --- ids --------------------------------------------------------------------------------------------------------------


def test_request_ids_sort_by_time_and_then_by_number() -> None:
    ids = [RequestId(5, 2**62), RequestId(6, 1), RequestId(6, 2), RequestId(2**40, 0)]
    assert sorted(map(str, ids)) == [str(id) for id in ids]
    assert str(RequestId(0xABC, 0x12)) == "req_000000000abc0000000000000012"


@given(slot=st.integers(0, 2**15 - 1), start=st.integers(0, 2**64))
def test_the_numbers_of_two_workers_never_meet(slot: int, start: int) -> None:
    numbers = RequestNumbers(slot=slot, start=start)
    for _ in range(3):
        number = numbers.next()
        assert 0 < number < 2**63
        assert number >> 48 == slot


def test_an_account_s_id_begins_with_its_time() -> None:
    assert account_id(0xABC, b"\xff" * 32) == "acct_000000000abc" + "ff" * 10


@pytest.mark.parametrize("text", ["caf\udce9", "two\nlines", "\x00", "x" * 501])
def test_a_credit_that_could_not_be_written_down_cannot_be_made(text: str) -> None:
    with pytest.raises(ValueError, match="a text of a credit"):
        Credit("ref", "acct_1", Money(5, "usd"), "manual", text)
    with pytest.raises(ValueError, match="a text of a credit"):
        Credit(text, "acct_1", Money(5, "usd"), "manual", "")
