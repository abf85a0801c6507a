"""Links that sign an operator in, and how long a session lasts."""

import pytest

from gateway.core.operators import LINK_MS, LINK_NONCE_BYTES, Operators, Session, bearer, is_name, link_code
from gateway.core.secrets import Secret

TOKEN, OTHER = Secret("t" * 40), Secret("o" * 40)
NOW, NONCE = 1_800_000_000_000, bytes(range(LINK_NONCE_BYTES))


def test_a_link_is_good_for_its_minutes_and_its_token_and_names_its_nonce() -> None:
    code, operators = link_code(TOKEN, now_ms=NOW, nonce=NONCE), Operators(TOKEN, OTHER)
    assert operators.link_nonce(code, now_ms=NOW + LINK_MS - 1) == NONCE
    assert operators.link_nonce(code, now_ms=NOW + LINK_MS) is None
    assert operators.link_nonce(code, now_ms=NOW - LINK_MS - 1) is None, "of a clock that is far off"
    assert Operators(OTHER, TOKEN).link_nonce(code, now_ms=NOW) is None
    assert Operators(None, TOKEN).link_nonce(code, now_ms=NOW) is None
    assert TOKEN.reveal() not in code


def test_no_other_text_is_a_link() -> None:
    code, operators = link_code(TOKEN, now_ms=NOW, nonce=NONCE), Operators(TOKEN)
    for at in range(len(code) - 1):  # of the last character some bits mean nothing
        other = code[:at] + ("A" if code[at] != "A" else "B") + code[at + 1 :]
        assert operators.link_nonce(other, now_ms=NOW) is None
    for text in ("", "A", "é", "....", code[:20], code + "AAAA"):
        assert operators.link_nonce(text, now_ms=NOW) is None
    with pytest.raises(ValueError, match="bytes"):
        link_code(TOKEN, now_ms=NOW, nonce=b"short")


def test_a_stamp_tells_tokens_apart_and_nothing_of_them() -> None:
    operators = Operators(TOKEN, OTHER)
    stamps = {operators.stamp("operator"), operators.stamp("auditor"), Operators(Secret("x" * 40)).stamp("operator")}
    assert len(stamps) == 3
    assert Operators(TOKEN).stamp("auditor") is None
    assert Operators(OTHER).stamp("operator") == operators.stamp("auditor"), "it is of the token alone"


@pytest.mark.parametrize(("idle_ms", "age_ms", "over"), [(9, 99, False), (10, 99, True), (9, 100, True), (0, 0, False)])
def test_a_session_ends_when_it_was_not_used_or_is_old(idle_ms: int, age_ms: int, over: bool) -> None:
    session = Session(b"d", "ann", "operator", b"s", NOW - age_ms, NOW - idle_ms)
    assert session.ended(now_ms=NOW, idle_ms=10, most_ms=100) is over


def test_a_name_can_be_said_on_the_trail() -> None:
    assert all(is_name(name) for name in ("ann", "a.b_c@d-e", "x" * 64))
    assert not any(is_name(name) for name in ("", "x" * 65, "a b", "a\n", "é"))


@pytest.mark.parametrize(
    ("field", "rank"),
    [
        (f"Bearer {TOKEN.reveal()}", "operator"), (f"bearer  {TOKEN.reveal()} ", "operator"),
        (f"Bearer {OTHER.reveal()}", "auditor"), (TOKEN.reveal(), None), (f"Token {TOKEN.reveal()}", None),
        (f"Basic {TOKEN.reveal()}", None), ("Bearer ", None), ("Bearer", None), ("", None), ("Bearer é", None),
    ],
)  # fmt: skip
def test_a_token_counts_behind_its_scheme_alone(field: str, rank: str | None) -> None:
    """So nobody tries tokens where only what has a scheme is counted as a guess."""
    assert Operators(TOKEN, OTHER).rank(bearer(field)) == rank
    assert Operators(None).rank(bearer(field)) is None
