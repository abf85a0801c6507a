"""A trace goes on only if it is one, and nothing of a wrong one goes on with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import RequestId
from gateway.core.traces import NO_TRACE, replaced, trace, valid

ID = RequestId(1_767_225_600_000, 0x0001000000000007)
TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
THEIRS = f"00-{TRACE_ID}-{PARENT}-01"


def one(value: str) -> str | None:
    return valid([("Accept", "*/*"), ("TraceParent", value)])


@pytest.mark.parametrize(
    "value", [THEIRS, f" {THEIRS}\t", f"cc-{TRACE_ID}-{PARENT}-00", f"01-{TRACE_ID}-{PARENT}-ff-x"]
)
def test_a_valid_one_is_believed(value: str) -> None:
    assert one(value) == value.strip()


@pytest.mark.parametrize(
    "value",
    [
        "", "x", THEIRS.upper(), THEIRS[:-1], THEIRS + "0", THEIRS + "-x", f"ff-{TRACE_ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE_ID}-{'0' * 16}-01", f"00-{TRACE_ID[:-1]}g-{PARENT}-01",
        THEIRS.replace("-", "_"), f"00-{TRACE_ID}-{PARENT}", f"cc-{TRACE_ID}-{PARENT}-01x", f"{THEIRS},{THEIRS}",
    ],
)  # fmt: skip
def test_a_wrong_one_is_not(value: str) -> None:
    assert one(value) is None


def test_of_two_none_is_believed_and_none_that_its_sender_meant_for_us_alone() -> None:
    assert valid([("traceparent", THEIRS), ("Traceparent", THEIRS)]) is None
    assert valid([("traceparent", THEIRS), ("Connection", "close, TraceParent")]) is None
    assert valid([]) is None


def test_what_passes_is_theirs_to_the_byte() -> None:
    assert trace(ID, THEIRS, "pass") == (TRACE_ID, PARENT, THEIRS)
    assert replaced(THEIRS, "pass") == frozenset()


def test_what_is_made_goes_on_with_their_trace_and_flags_and_a_span_of_ours() -> None:
    made = trace(ID, THEIRS, "make")
    _, span_id, field = made
    assert field == f"00-{TRACE_ID}-{span_id}-01"
    assert span_id == str(ID)[16:]
    assert replaced(THEIRS, "make") == {"traceparent"}


@pytest.mark.parametrize("mode", ["pass", "make"])
def test_without_one_ours_names_the_request(mode: str) -> None:
    made = trace(ID, None, mode)  # type: ignore[arg-type]
    trace_id, span_id, field = made
    assert field == f"00-{trace_id}-{span_id}-00"
    assert trace_id.startswith(str(ID)[4:16])
    assert valid([("traceparent", made[2])]) == made[2]
    assert replaced(None, mode) == {"traceparent", "tracestate"}  # type: ignore[arg-type]


def test_who_wants_none_gets_none() -> None:
    assert trace(ID, THEIRS, "off") == trace(ID, None, "off") == NO_TRACE
    assert replaced(None, "off") == replaced(THEIRS, "off") == frozenset()


@given(st.text(max_size=70))
def test_whatever_is_sent_what_goes_on_is_valid(text: str) -> None:
    for mode in ("pass", "make"):
        made = trace(ID, one(text), mode)
        assert valid([("traceparent", made[2])]) == made[2]
