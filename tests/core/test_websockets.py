"""Where WebSocket frames end, however they are cut, and the frame that says goodbye, by a library of others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.websockets import Frames, code_of, goodbye

SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536])
FRAMES = st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.CONT, Opcode.PING]), SIZES, st.booleans()), max_size=4)


def wired(opcode: Opcode, size: int, *, masked: bool) -> bytes:
    data = b"\x88" * (size if opcode != Opcode.PING else min(size, 125))
    return Frame(opcode, data, fin=opcode == Opcode.PING).serialize(mask=masked)


@given(FRAMES, st.integers(1, 70_000))
def test_between_two_frames_and_nowhere_else_there_is_room_for_a_goodbye(
    frames: list[tuple[Opcode, int, bool]], step: int
) -> None:
    whole = [wired(opcode, size, masked=masked) for opcode, size, masked in frames]
    ends = {sum(map(len, whole[:count])) for count in range(len(whole) + 1)}
    data, reading = b"".join(whole), Frames()
    for at in range(0, len(data), step):
        assert reading.can_close == (at in ends)
        reading.feed(data[at : at + step])
    assert reading.can_close


def test_every_byte_of_a_frame_is_told_from_its_end() -> None:
    for size in (0, 125, 126, 300):
        data, reading = wired(Opcode.TEXT, size, masked=True), Frames()
        for byte in data[:-1]:
            reading.feed(bytes((byte,)))
            assert not reading.can_close
        reading.feed(data[-1:])
        assert reading.can_close


def test_who_said_goodbye_says_nothing_more() -> None:
    reading = Frames()
    reading.feed(goodbye(1000, "", masked=False))
    assert not reading.can_close


@pytest.mark.parametrize("masked", [False, True])
def test_a_goodbye_is_read_by_others(masked: bool) -> None:
    reader = StreamReader()
    reader.feed_data(goodbye(1008, "é" * 100, masked=masked))
    parsing = Frame.parse(reader.read_exact, mask=masked)
    with pytest.raises(StopIteration) as ended:
        next(parsing)
    frame = ended.value.value
    assert (frame.opcode, frame.fin, len(frame.data) <= 125) == (Opcode.CLOSE, True, True)
    close = Close.parse(frame.data)
    assert (close.code, close.reason) == (1008, "é" * 61)


def test_a_store_that_is_away_is_no_fault_of_the_callers() -> None:
    nothing = Money.zero("usd")
    assert code_of(PaymentRequired(price=nothing, balance=nothing)) == 1008
    assert code_of(LedgerUnavailable()) == 1013
