"""Keys rotate: the newest signs and seals, every key still verifies and opens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.keyring import KEY_ID_CHARS, Key, Keyring, NotOurs, UnknownKey
from gateway.core.secrets import Secret

OLD, NEW, OTHER = (Secret(text * 32) for text in "onx")
NONCE = bytes(range(12))


def test_the_newest_key_comes_first() -> None:
    ring = Keyring([NEW, OLD])
    assert ring.newest.id == Key(NEW).id
    assert [key.id for key in ring.keys] == [Key(NEW).id, Key(OLD).id]


def test_a_ring_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Keyring([])


def test_a_key_is_found_by_its_id_and_nothing_else_is() -> None:
    ring = Keyring([NEW, OLD])
    assert ring.key(Key(OLD).id).subkey("a") == Key(OLD).subkey("a")
    with pytest.raises(UnknownKey):
        ring.key(Key(OTHER).id)
    assert len(Key(OLD).id) == KEY_ID_CHARS


def test_no_key_is_used_for_two_purposes() -> None:
    key = Key(NEW)
    subkeys = {key.subkey(purpose) for purpose in ("token", "account", "ledger head", "")}
    assert len(subkeys) == 4
    assert all(len(subkey) == 32 for subkey in subkeys)
    assert key.subkey("token") == Key(NEW).subkey("token") != Key(OLD).subkey("token")


@given(plain=st.binary(max_size=200))
def test_what_is_sealed_opens_after_a_rotation(plain: bytes) -> None:
    key_id, sealed = Keyring([OLD]).seal("p", plain, nonce=NONCE)
    assert key_id == Key(OLD).id
    assert Keyring([NEW, OLD]).open("p", key_id, sealed) == plain
    with pytest.raises(UnknownKey):
        Keyring([NEW]).open("p", key_id, sealed)


@given(plain=st.binary(max_size=40), bit=st.integers(min_value=0))
def test_a_sealed_text_that_was_changed_does_not_open(plain: bytes, bit: int) -> None:
    ring = Keyring([NEW])
    key_id, sealed = ring.seal("p", plain, nonce=NONCE)
    changed = bytearray(sealed)
    changed[bit // 8 % len(sealed)] ^= 1 << bit % 8
    with pytest.raises(NotOurs):
        ring.open("p", key_id, bytes(changed))


@pytest.mark.parametrize("sealed", [b"", b"x", bytes(12), bytes(27)])
def test_a_sealed_text_that_is_too_short_does_not_open(sealed: bytes) -> None:
    ring = Keyring([NEW])
    with pytest.raises(NotOurs):
        ring.open("p", ring.newest.id, sealed)


def test_what_was_sealed_for_one_purpose_does_not_open_for_another() -> None:
    ring = Keyring([NEW])
    key_id, sealed = ring.seal("one", b"plain", nonce=NONCE)
    with pytest.raises(NotOurs):
        ring.open("two", key_id, sealed)


@pytest.mark.parametrize("nonce", [b"", bytes(11), bytes(13)])
def test_a_nonce_of_another_size_is_refused(nonce: bytes) -> None:
    with pytest.raises(ValueError, match="a nonce has 12 bytes"):
        Keyring([NEW]).seal("p", b"", nonce=nonce)


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {secret:>20}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert secret != "hunter2"
    with pytest.raises(TypeError, match="not to be pickled"):
        secret.__reduce__()
