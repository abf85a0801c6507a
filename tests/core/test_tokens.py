"""Tokens that only our keys can make, and where a request may carry one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import tokens
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.core.tokens import Credential, TokenMint

OLD, NEW = Keyring([Secret("o" * 32)]), Keyring([Secret("n" * 32), Secret("o" * 32)])
NOW = 1_790_000_000_000
RANDOM = bytes(range(12))
ALPHABET = string.ascii_letters + string.digits + "-_"


def mint(ring: Keyring = NEW, mode: tokens.Mode = "test", now_ms: int = NOW, random: bytes = RANDOM) -> str:
    return TokenMint(ring, mode).mint(now_ms=now_ms, random=random).reveal()


@given(now_ms=st.integers(0, 2**48 - 1), random=st.binary(min_size=12, max_size=12), live=st.booleans())
def test_a_mint_recognises_what_it_made(now_ms: int, random: bytes, live: bool) -> None:
    mode: tokens.Mode = "live" if live else "test"
    token = mint(NEW, mode, now_ms, random)
    genuine = TokenMint(NEW, mode).recognise(token)
    assert genuine is not None
    assert genuine.account.startswith(f"acct_{now_ms:012x}")
    assert len(genuine.account) == 5 + 12 + 20
    assert tokens.holds_ours(token)


@given(position=st.integers(0, 51), other=st.sampled_from(ALPHABET))
def test_a_token_with_any_character_changed_is_not_recognised(position: int, other: str) -> None:
    token = mint()
    assert len(token) == 52
    changed = token[:position] + other + token[position + 1 :]
    if changed != token:
        assert TokenMint(NEW, "test").recognise(changed) is None


def test_every_single_bit_of_a_token_counts() -> None:
    token = mint().encode()
    for position in range(len(token)):
        for bit in range(7):
            changed = bytearray(token)
            changed[position] ^= 1 << bit
            assert TokenMint(NEW, "test").recognise(changed.decode()) is None


@given(text=st.text(max_size=60))
def test_no_other_text_is_recognised(text: str) -> None:
    assert TokenMint(NEW, "test").recognise(text) is None
    assert not tokens.holds_ours(text)


@pytest.mark.parametrize(
    "spelling", ["{}", "Bearer {}", "Bearer\t{}", 'Bearer "{}"', "Bearer {},", "a=b, c={}", "x{}x"]
)
def test_a_token_is_seen_however_it_is_dressed_up(spelling: str) -> None:
    assert tokens.holds_ours(spelling.format(mint(NEW, "test", 1, bytes(12))))


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}\n", "{}x", "x{}", "Bearer {}"])
def test_a_token_with_anything_around_it_is_not_recognised(spelling: str) -> None:
    assert TokenMint(NEW, "test").recognise(spelling.format(mint())) is None


def test_a_token_of_the_other_mode_is_not_recognised() -> None:
    assert TokenMint(NEW, "live").recognise(mint(mode="test")) is None
    assert TokenMint(NEW, "live").recognise(mint(mode="test").replace("test", "live")) is None


def test_a_token_of_another_keyring_is_not_recognised() -> None:
    assert TokenMint(OLD, "test").recognise(mint(NEW)) is None


def test_a_token_survives_the_rotation_of_its_key_and_keeps_its_account() -> None:
    token = mint(OLD)
    before, after = TokenMint(OLD, "test").recognise(token), TokenMint(NEW, "test").recognise(token)
    assert before == after
    assert before is not None


def test_two_tokens_of_one_millisecond_are_two_accounts() -> None:
    minter = TokenMint(NEW, "test")
    one, two = minter.recognise(mint()), minter.recognise(mint(random=bytes(12)))
    assert one is not None
    assert two is not None
    assert one.account != two.account


@pytest.mark.parametrize("count", [0, 11, 13])
def test_a_token_takes_exactly_twelve_random_bytes(count: int) -> None:
    with pytest.raises(ValueError, match="takes 12 random bytes"):
        mint(random=bytes(count))


def test_a_digest_depends_on_the_pepper_and_the_token() -> None:
    peppers = Secret("a"), Secret("b")
    digests = {tokens.digest(pepper, token) for pepper in peppers for token in ("t", "u")}
    assert len(digests) == 4
    assert tokens.pepper_id(peppers[0]) != tokens.pepper_id(peppers[1])
    assert 0 <= tokens.tag(b"\xff" * 32) < 2**63


def test_a_token_that_is_no_unicode_has_a_digest_too() -> None:
    assert len(tokens.digest(Secret("a"), "\udcff")) == 32


def candidates(headers: dict[str, str], cookies: dict[str, str] | None = None) -> list[Credential]:
    return list(tokens.candidates(headers, cookies or {}, header="X-Api-Key", cookie_names=("a", "b")))


def test_the_header_comes_before_the_bearer_and_the_bearer_before_the_cookie() -> None:
    found = candidates({"x-api-key": "one", "authorization": "Bearer two"}, {"b": "four", "a": "three"})
    assert [(c.value, c.place) for c in found] == [
        ("one", "header"), ("two", "header"), ("three", "cookie"), ("four", "cookie"),
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["Bearer t", "bearer t", "BEARER   t ", " Bearer t"])
def test_a_bearer_is_read_in_every_spelling(value: str) -> None:
    assert candidates({"authorization": value}) == [Credential("t", "header")]
    assert candidates({"x-api-key": value}) == [Credential("t", "header")]


@pytest.mark.parametrize("value", ["", " ", "Bearer", "Bearer ", "Basic dTpw", "t"])
def test_an_authorization_of_another_scheme_is_the_upstream_s_business(value: str) -> None:
    assert candidates({"authorization": value}) == []


def test_a_request_without_any_carries_none() -> None:
    assert candidates({}, {"a": "", "c": "x"}) == []
