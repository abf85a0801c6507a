"""What is in use is remembered however much else passes; what passes once takes no room."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.relay.memory import KEY_BYTES_MAX, Memory


def asked(memory: Memory[str], key: bytes) -> bool:
    """As the relay asks; whether it was known."""
    if (memory.younger.get(key) or memory.older(key)) is not None:
        return True
    memory.keep(key, f"made of {key!r}")
    return False


def test_what_comes_twice_is_known_the_third_time() -> None:
    memory: Memory[str] = Memory(8)
    assert [asked(memory, b"a") for _ in range(4)] == [False, False, True, True]
    assert memory.younger == {b"a": "made of b'a'"}


def test_what_comes_once_takes_no_room_and_pushes_nothing_out() -> None:
    memory: Memory[str] = Memory(4)
    for key in (b"a", b"b", b"a", b"b"):
        asked(memory, key)
    for number in range(20_000):
        asked(memory, b"once %d" % number)
    assert asked(memory, b"a")
    assert asked(memory, b"b")
    assert len(memory) == 2


def test_what_is_asked_for_stays_while_others_come_and_go() -> None:
    memory: Memory[str] = Memory(4)
    for _ in range(2):
        asked(memory, b"daily")
    for number in range(100):
        for _ in range(2):
            asked(memory, b"%d" % number)
        if number % 3 == 0:
            assert asked(memory, b"daily"), number
    assert not asked(memory, b"5"), "it was asked for twice, long ago"


def test_long_keys_are_made_anew_each_time() -> None:
    memory: Memory[str] = Memory(4)
    assert not any(asked(memory, b"x" * (KEY_BYTES_MAX + 1)) for _ in range(5))
    assert len(memory) == 0


@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 6))
def test_it_is_bounded_and_right_whatever_comes(keys: list[int], size: int) -> None:
    memory: Memory[str] = Memory(size)
    for number in keys:
        key = b"%d" % number
        asked(memory, key)
        assert len(memory) <= 2 * size
        found = memory.younger.get(key) or memory.older(key)
        assert found in (None, f"made of {key!r}")
