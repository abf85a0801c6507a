"""Keys, what they are bound to, and what is kept under them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import idempotency
from gateway.core.answers import Answer
from gateway.core.idempotency import digest, fingerprint

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


def test_a_key_is_the_same_with_and_without_quotes() -> None:
    assert digest("8e03-bc") == digest('"8e03-bc"') == digest(' "8e03-bc"\t')
    assert digest(r'"a\"b\\c"') == digest('a"b\\c')
    assert digest("a") != digest("b")


@given(st.text(VISIBLE, min_size=1, max_size=255), st.text(VISIBLE, min_size=1, max_size=255))
def test_different_keys_have_different_digests(one: str, other: str) -> None:
    quoted = ['"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"' for key in (one, other)]
    assert (digest(quoted[0]) == digest(quoted[1])) == (one == other)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_different_bodies_are_different_requests(one: bytes, other: bytes) -> None:
    assert (fingerprint("POST", "/a", one) == fingerprint("POST", "/a", other)) == (one == other)
    assert len({fingerprint("POST", "/a", one), fingerprint("PUT", "/a", one), fingerprint("POST", "/a?", one)}) == 3


@given(st.integers(200, 599), st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9))), st.binary(max_size=99))
def test_what_is_packed_is_unpacked(status: int, fields: list[tuple[str, str]], body: bytes) -> None:
    answer = Answer(status, fields, body)
    assert idempotency.unpacked(idempotency.packed(answer)) == answer
