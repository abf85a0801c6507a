"""The same as the library writes, and nothing left to collect."""

import gc
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.indented import indented

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
CONTENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(CONTENTS)
def test_it_is_what_the_library_writes(content: object) -> None:
    assert indented(content) == json.dumps(content, indent=2) + "\n"


def test_a_tuple_is_a_list() -> None:
    assert indented({"a": (1, ("b", ()))}) == json.dumps({"a": [1, ["b", []]]}, indent=2) + "\n"


def test_nothing_is_left_in_cycles() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            indented({"status": 402, "prices": [{"plan": "pro", "price": "1.00 usd"}]})
        assert gc.collect() == 0
        around: list[object] = []
        around.append(around)
        del around
        assert gc.collect() == 1  # or this test could not fail
    finally:
        gc.enable()
